//! Keeps the claims on storage complete, and compares them with what the log says.
//!
//! Whatever records an event that names storage writes its claims with it. Missing are those of a ledger that is older than they
//! are, and of events that an older version has recorded since, beside this one: they are computed from the sealed details.

use crate::keyring::{Keyring, KeyringError};
use crate::store::claims::{Claim, ClaimStore, Naming, PlaceKey};
use crate::store::rebuild::{DifferenceKind, EXAMPLES, TableDifferences};
use crate::store::{Position, StoreError};
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use archive_ledger_domain::EntityKey;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How many positions are looked at together.
const WINDOW: u64 = 1_000;

/// How often it is asked whether something is missing.
const EVERY: Duration = Duration::from_secs(10);

/// The name of their table, as a comparison tells of it.
pub const TABLE: &str = "storage_claims";

/// Why the claims could not be completed or compared.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// The database failed.
    #[error("the claims on storage cannot be read or written")]
    Store(#[from] StoreError),
    /// What an entity stores cannot be told, so that nobody's storage may be deleted: it could be that entity's.
    #[error("the storage of {key} cannot be opened")]
    Sealed {
        /// The entity.
        key: EntityKey,
        /// Why.
        #[source]
        source: KeyringError,
    },
}

impl TaskFailure for ClaimsError {
    fn is_proven(&self) -> bool {
        match self {
            Self::Store(error) => error.is_proven(),
            Self::Sealed { .. } => false,
        }
    }

    fn brief(&self) -> String {
        match self {
            Self::Store(error) => error.brief(),
            // Whose it is, only the log is told.
            Self::Sealed { .. } => "the storage of an entity cannot be opened".to_owned(),
        }
    }
}

/// Completes the claims until `stop`, at once and whenever something is missing.
///
/// # Errors
/// None: what fails is tried again.
pub async fn keep(
    store: Arc<dyn ClaimStore>,
    keyring: Arc<Keyring>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut failing = false;
    loop {
        let outcome = tokio::select! {
            // Each window is a transaction of its own: it goes on there.
            () = stop.cancelled() => return Ok(()),
            outcome = complete(&*store, &keyring) => outcome,
        };
        match outcome {
            Ok(0) => {
                failing = false;
                task_states::goes_on(TABLE);
            }
            Ok(filled) => {
                failing = false;
                task_states::goes_on(TABLE);
                tracing::info!(
                    filled,
                    "the claims on storage are complete: {filled} were missing"
                );
            }
            Err(error) => {
                task_states::waits(TABLE, &error);
                if !failing {
                    tracing::error!(error = %telemetry::chain(&error), "the claims on storage are not complete, and no storage is cleaned meanwhile");
                }
                failing = true;
            }
        }
        if tokio::time::timeout(EVERY, stop.cancelled()).await.is_ok() {
            return Ok(());
        }
    }
}

/// Computes what is missing; returns how many claims that were. What was done stays done if it is cut off.
///
/// # Errors
/// [`ClaimsError`].
pub async fn complete(store: &dyn ClaimStore, keyring: &Keyring) -> Result<u64, ClaimsError> {
    let mut filled = 0;
    loop {
        let reached = store.claims_completeness().await?;
        if reached.is_complete() {
            return Ok(filled);
        }
        let until = reached.head.min(reached.claims.saturating_add(WINDOW));
        let mut missing = Vec::new();
        for naming in store.naming(reached.claims, until).await? {
            if naming.kept.is_empty() {
                missing.extend(claims(
                    naming.position,
                    named(keyring, &naming)?.unwrap_or_default(),
                ));
            }
        }
        // Where another instance was faster, it is looked again.
        if store.fill_claims(reached.claims, until, &missing).await? {
            filled += missing.len() as u64;
        }
    }
}

/// Compares the claims with what the log says, up to where they are complete; makes them so if `replace` says so. Returns how
/// they differ, and that position.
///
/// What a purged entity left by a restore cannot be compared any more: its details are gone.
///
/// # Errors
/// [`ClaimsError`].
pub async fn compare(
    store: &dyn ClaimStore,
    keyring: &Keyring,
    replace: bool,
) -> Result<(TableDifferences, Position), ClaimsError> {
    let mut found = TableDifferences::none(TABLE);
    let reached = store.claims_completeness().await?;
    let mut after = 0;
    while after < reached.claims {
        let until = reached.claims.min(after.saturating_add(WINDOW));
        let (mut events, mut right) = (Vec::new(), Vec::new());
        for naming in store.naming(after, until).await? {
            let expected = match named(keyring, &naming)? {
                Some(places) => places,
                None if naming.undone => continue,
                // A version that knows no claims may have purged it: what it did not let go of is let go of with the rest.
                None if !reached.is_complete() => continue,
                None => Vec::new(),
            };
            let mut sorted = expected.clone();
            sorted.sort();
            let (missing, surplus) = (without(&sorted, &naming.kept), without(&naming.kept, &sorted));
            if missing + surplus == 0 {
                continue;
            }
            found.missing += missing;
            found.surplus += surplus;
            if i64::try_from(found.examples.len()).is_ok_and(|named| named < EXAMPLES) {
                let kind = if missing > 0 {
                    DifferenceKind::Missing
                } else {
                    DifferenceKind::Surplus
                };
                found.examples.push((kind, naming.key.stream_id()));
            }
            events.push(naming.position);
            right.extend(claims(naming.position, expected));
        }
        if replace && !events.is_empty() {
            store.replace_claims(&events, &right).await?;
        }
        after = until;
    }
    Ok((found, reached.claims))
}

/// The places that an event names, in its order; `None` when its details are gone.
fn named(keyring: &Keyring, naming: &Naming) -> Result<Option<Vec<PlaceKey>>, ClaimsError> {
    let (Some(sealed), Some(wrapped)) = (&naming.sealed, &naming.data_key) else {
        return Ok(None);
    };
    let stream_id = naming.key.stream_id();
    let opened = keyring
        .unwrap(&stream_id, wrapped)
        .and_then(|key| key.open_details(&stream_id, naming.event_id, sealed));
    let (details, _) = opened.map_err(|source| ClaimsError::Sealed {
        key: naming.key.clone(),
        source,
    })?;
    // They were checked when they came in; what cannot be spelled any more can name nothing that is ever deleted.
    let places = details.storage.iter().filter_map(|uri| keyring.place(uri).ok());
    Ok(Some(places.collect()))
}

fn claims(position: Position, places: Vec<PlaceKey>) -> impl Iterator<Item = Claim> {
    (1..).zip(places).map(move |(ordinal, place)| Claim {
        position,
        ordinal,
        place,
    })
}

/// How many of `these` are not among `those`, both sorted; one that is there twice counts twice.
fn without(these: &[PlaceKey], those: &[PlaceKey]) -> u64 {
    let mut those = those.iter().peekable();
    let mut count = 0;
    for one in these {
        while those.next_if(|other| *other < one).is_some() {}
        if those.next_if(|other| *other == one).is_none() {
            count += 1;
        }
    }
    count
}
