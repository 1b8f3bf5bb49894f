//! Whether all instances are set up alike where they must be.
//!
//! Instances share the log, and whoever asks one of them must get from it what any other would give: a callback has the same
//! signature, a token is accepted by all, an object is looked for in the same place. Each tells the database keyed hashes of what
//! it has ([`crate::store::instance_marks`]), never the thing itself, and looks at the others' once a minute. Differences are told and
//! nothing else: which of two is right nobody here can know.

use crate::store::instance_marks::{InstanceMark, InstanceMarkStore};
use crate::telemetry;
use metrics::gauge;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often the others are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// Who has told nothing for so long is gone.
const GONE: Duration = Duration::from_secs(180);

/// Something that instances must have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// The secrets that callbacks are signed with.
    CallbackSecret,
    /// The HS256 key of tokens.
    JwtSecret,
    /// Whose tokens are accepted.
    TokenIssuer,
    /// The keyring.
    Keyring,
    /// Where the guard is.
    Guard,
    /// What the service calls itself to clients and subscribers.
    Service,
    /// Where the clouds are that objects are deleted in.
    StorageEndpoints,
    /// Where callbacks may go, and when they are tried again.
    Callbacks,
}

impl Shared {
    /// Everything.
    pub const ALL: [Self; 8] = [
        Self::CallbackSecret,
        Self::JwtSecret,
        Self::TokenIssuer,
        Self::Keyring,
        Self::Guard,
        Self::Service,
        Self::StorageEndpoints,
        Self::Callbacks,
    ];

    /// Its name in the database and in the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CallbackSecret => "callback_secret",
            Self::JwtSecret => "jwt_secret",
            Self::TokenIssuer => "token_issuer",
            Self::Keyring => "keyring",
            Self::Guard => "guard",
            Self::Service => "service",
            Self::StorageEndpoints => "storage_endpoints",
            Self::Callbacks => "callbacks",
        }
    }

    /// What people are told, and which options set it right.
    const fn told(self) -> &'static str {
        match self {
            Self::CallbackSecret => "none of this one's callback secrets (--callback-secret-file)",
            Self::JwtSecret => "none of this one's keys for tokens (--jwt-secret-file)",
            Self::TokenIssuer => {
                "other issuers of tokens (--jwks, --jwt-issuer, --jwt-audience and the like)"
            }
            Self::Keyring => "another copy of the keyring (--keyring-file)",
            Self::Guard => "its guard elsewhere (--guard-file)",
            Self::Service => "another name (--service-id, --service-domain)",
            Self::StorageEndpoints => "other addresses of the storage (--s3-endpoint and the like)",
            Self::Callbacks => {
                "other rules for callbacks (--callback-allow, --callback-schedule, --callback-stop-on-gone)"
            }
        }
    }

    /// Whether one mark in common is enough: while a thing is replaced, some have the old and the new one.
    const fn is_replaced_bit_by_bit(self) -> bool {
        match self {
            Self::CallbackSecret | Self::JwtSecret => true,
            Self::TokenIssuer
            | Self::Keyring
            | Self::Guard
            | Self::Service
            | Self::StorageEndpoints
            | Self::Callbacks => false,
        }
    }

    /// Whether two instances have the same.
    fn is_same(self, one: &[String], other: &[String]) -> bool {
        let (one, other): (BTreeSet<_>, BTreeSet<_>) = (one.iter().collect(), other.iter().collect());
        if self.is_replaced_bit_by_bit() {
            one == other || !one.is_disjoint(&other)
        } else {
            one == other
        }
    }
}

/// What is different now, for whoever keeps the service running; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Differences(Arc<Mutex<BTreeMap<Shared, usize>>>);

impl Differences {
    /// One sentence for each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found
            .iter()
            .map(|(what, count)| sentence(*what, *count))
            .collect()
    }

    /// Takes note of how many instances differ in what, and tells what is new and what is over.
    fn note(&self, found: BTreeMap<Shared, usize>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for what in Shared::ALL {
            let count = found.get(&what).copied().unwrap_or_default();
            gauge!(telemetry::INSTANCES_DIFFER, "what" => what.as_str())
                .set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
            match (known.get(&what), found.get(&what)) {
                (None, Some(count)) => tracing::warn!("{}", sentence(what, *count)),
                (Some(_), None) => tracing::info!("no instance has {} any more", what.told()),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        *known = found;
    }
}

fn sentence(what: Shared, count: usize) -> String {
    let instances = if count == 1 {
        "1 other instance has".to_owned()
    } else {
        format!("{count} other instances have")
    };
    format!("{instances} {}: all must have the same", what.told())
}

/// What differs between one's own marks and the others', and of how many.
fn compare(own: &[InstanceMark], others: &[(Uuid, InstanceMark)]) -> BTreeMap<Shared, usize> {
    let mut found = BTreeMap::new();
    for what in Shared::ALL {
        let Some(mine) = own.iter().find(|mark| mark.name == what.as_str()) else {
            continue;
        };
        let differ = others
            .iter()
            .filter(|(_, theirs)| theirs.name == mine.name && !what.is_same(&mine.marks, &theirs.marks))
            .count();
        if differ > 0 {
            found.insert(what, differ);
        }
    }
    found
}

/// Computes what this instance has.
pub type Own = Arc<dyn Fn() -> Vec<InstanceMark> + Send + Sync>;

/// Tells what this instance has and compares it with the others', at once and each minute until `stop`; then takes it back.
///
/// # Errors
/// None: what cannot be told now is told another time.
pub async fn keep(
    store: Arc<dyn InstanceMarkStore>,
    instance: Uuid,
    own: Own,
    differences: Differences,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut failing = false;
    loop {
        let marks = own();
        match store.tell_marks(instance, &marks, GONE).await {
            Ok(others) => {
                failing = false;
                differences.note(compare(&marks, &others));
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %telemetry::chain(&error), "it cannot be told whether all instances are set up alike");
                }
                failing = true;
            }
        }
        if tokio::time::timeout(EVERY, stop.cancelled()).await.is_ok() {
            break;
        }
    }
    if let Err(error) = store.forget_marks(instance).await {
        // It is forgotten by itself.
        tracing::debug!(error = %telemetry::chain(&error), "what this instance had stays told for a while");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(what: Shared, marks: &[&str]) -> InstanceMark {
        InstanceMark {
            name: what.as_str().to_owned(),
            marks: marks.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn what_is_replaced_bit_by_bit_differs_only_where_nothing_is_in_common() {
        for (what, own, other, same) in [
            (Shared::CallbackSecret, &["old"][..], &["old"][..], true),
            (Shared::CallbackSecret, &["new", "old"], &["old"], true),
            (Shared::CallbackSecret, &["new"], &["old", "new"], true),
            (Shared::CallbackSecret, &["new"], &["old"], false),
            (Shared::JwtSecret, &["a"], &["a"], true),
            (Shared::JwtSecret, &["a"], &["b"], false),
            (Shared::Keyring, &["a", "b"], &["b", "a"], true),
            (Shared::Keyring, &["a", "b"], &["a"], false),
        ] {
            let others = [(Uuid::nil(), mark(what, other))];
            let found = compare(&[mark(what, own)], &others);
            assert_eq!(found.is_empty(), same, "{what:?} {own:?} {other:?}");
        }
    }

    #[test]
    fn what_differs_is_told_with_how_many_have_it_and_forgotten_when_it_is_over() {
        let own = [mark(Shared::JwtSecret, &["a"]), mark(Shared::Guard, &["g"])];
        let others = [
            (Uuid::from_u128(1), mark(Shared::JwtSecret, &["b"])),
            (Uuid::from_u128(2), mark(Shared::JwtSecret, &["c"])),
            (Uuid::from_u128(2), mark(Shared::Guard, &["g"])),
            // Of a later version.
            (
                Uuid::from_u128(2),
                InstanceMark {
                    name: "another".into(),
                    marks: vec!["x".into()],
                },
            ),
        ];
        let differences = Differences::default();
        differences.note(compare(&own, &others));
        assert_eq!(
            differences.warnings(),
            [
                "2 other instances have none of this one's keys for tokens (--jwt-secret-file): all must have the same"
            ]
        );
        differences.note(compare(&own, &[]));
        assert_eq!(differences.warnings(), Vec::<String>::new());
    }
}
