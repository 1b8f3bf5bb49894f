//! The words that answers and requests choose from: each set has one name in the API's description, wherever it is used.

use crate::audit_export::Encoding;
use crate::store::audit::{AuditAction as Action, Outcome};
use crate::store::callbacks::DeliveryState as Delivery;
use crate::store::cleanup_jobs::ObligationState as Obligation;
use crate::task_states::State as Task;
use archive_ledger_domain::{EntityType as Type, EventName as Event, State};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type as JsonType};
use utoipa::{PartialSchema, ToSchema};

fn one_of(words: impl IntoIterator<Item = &'static str>, description: &str) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(JsonType::String)
        .description(Some(description.trim()))
        .enum_values(Some(words))
        .into()
}

/// Sets of words, by the names that the API's description has for them.
macro_rules! words {
    ($(#[doc = $doc:literal] $name:ident = $words:expr;)+) => {
        $(
            #[doc = $doc]
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    one_of($words, $doc)
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }
            }
        )+

        /// Every set with its name.
        pub fn all() -> Vec<(String, RefOr<Schema>)> {
            vec![$((stringify!($name).to_owned(), $name::schema())),+]
        }
    };
}

words! {
    /// A type of entities.
    EntityType = Type::ALL.map(Type::as_str);
    /// Where an entity stands: `unknown` is before the ledger heard of it, `purged` is for good.
    EntityState = [
        State::Unknown, State::Live, State::Archived, State::Purging, State::PurgeFailed, State::Purged,
    ].map(State::as_str);
    /// Where an archive stands, in Onedata's words where it has one.
    ArchiveState = ["preserved", "archived", "purging", "purge_failed"];
    /// What can happen to an entity.
    EventName = Event::ALL.map(Event::as_str);
    /// Where a purge stands that is owed.
    PurgeState = [State::Purging, State::PurgeFailed].map(State::as_str);
    /// Which purges are listed.
    PurgeFilter = ["purging", "failed", "all"];
    /// What one storage URI of a purge has come to.
    ObligationState = [Obligation::Owed, Obligation::Done, Obligation::Failed].map(Obligation::as_str);
    /// Where a delivery stands: `due` (now or later), `delivered`, `dead`: given up, until it is replayed, or `superseded`: a failure that was not told before the purge succeeded, and is not told any more.
    DeliveryState = Delivery::ALL.map(Delivery::as_str);
    /// Deliveries that can be replayed by a filter.
    ReplayableState = Delivery::REPLAYABLE.map(Delivery::as_str);
    /// `closed`: attempts are made when they are due; `open`: none is made before `next_probe_at`, unless a delivery is replayed; `half_open`: the next delivery that is due probes whether the receiver answers.
    CircuitState = ["closed", "open", "half_open"];
    /// Whom a circuit stands for: the `url`, which failed again and again, or the `endpoint` (scheme, host and port of many URLs), which cannot be reached.
    CircuitScope = ["url", "endpoint"];
    /// How an attempt ended: `unknown` is under way, or cut off by the end of its instance.
    AttemptOutcome = ["delivered", "failed", "unknown"];
    /// What was done or attempted: an event, or attempts at it; and what no event tells of.
    AuditAction = Action::all().map(Action::as_str);
    /// How it ended.
    AuditOutcome = Outcome::ALL.map(Outcome::as_str);
    /// Newest first, or oldest first.
    SortOrder = ["desc", "asc"];
    /// The format of an export.
    ExportFormat = Encoding::ALL.map(Encoding::as_str);
    /// Whether the process lives.
    Liveness = ["ok"];
    /// Whether the service can take work.
    ReadinessStatus = ["ready", "not ready"];
    /// Whether a part of the service is there.
    PartStatus = ["ok", "unavailable"];
    /// Whether the bus is there; `stalled`: it is, and takes none of the events that this instance's relay sends. Commands are taken all the same: what is due waits in the log.
    BusState = ["ok", "unavailable", "stalled"];
    /// `stale` while the key set cannot be had and the last keys are used; `unavailable`: tokens of its issuer cannot be checked.
    KeySetStatus = ["ok", "stale", "unavailable"];
    /// Whether the machine's clock goes with the time that passes.
    ClockStatus = ["ok", "moved"];
    /// How a background task gets on: `waiting` while it tries again what failed; `restarting`: it ended or panicked and is started again.
    TaskStatus = [Task::Running, Task::Waiting, Task::Restarting].map(Task::as_str);
}
