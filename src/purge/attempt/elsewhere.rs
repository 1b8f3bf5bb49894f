//! Places that lie outside this instance's storage roots, as during a change of configuration that reaches one instance after the
//! other: whoever has the root cleans them.

use super::hindrance::Hindrance;
use super::{CleanupAttempt, Cut};
use crate::storage::roots::StorageRoots;
use crate::store::cleanup_jobs::{Obligation, ObligationState};

impl CleanupAttempt {
    /// Leaves a place to the instances that have its root; `None` when it is this one's to clean. What no running instance has the
    /// root of is given up when it has been so for the whole schedule of retries.
    pub(super) async fn elsewhere(
        &mut self,
        before: &Obligation,
        uri: &str,
    ) -> Result<Option<Hindrance>, Cut> {
        let parts = &self.cleanup.parts;
        if !parts.blobs.roots().is_outside(uri) {
            return Ok(None);
        }
        let (options, now) = (self.cleanup.options, parts.clock.now());
        let since = now - options.holders_kept();
        let held = parts
            .holders
            .held_storage_roots(self.cleanup.instance, since)
            .await;
        let somebody = held
            .map_err(Cut::Jobs)?
            .into_iter()
            .any(|root| StorageRoots::parse(&[root]).is_ok_and(|roots| !roots.is_outside(uri)));
        let mut after = before.clone();
        // What remains here can still be recognized when the URI is gone with its key.
        after.storage_hash = parts.ledger.storage_hash(uri);
        after.nobody_since = (!somebody).then(|| before.nobody_since.unwrap_or(now));
        let given_up_in = after.nobody_since.map(|since| {
            let lasted = (now - since).to_std().unwrap_or_default();
            options.schedule().saturating_sub(lasted)
        });
        let hindrance = match given_up_in {
            Some(left) if left.is_zero() => Hindrance::Nowhere,
            given_up_in => Hindrance::Elsewhere { given_up_in },
        };
        after.state = match hindrance {
            Hindrance::Nowhere => ObligationState::Failed,
            Hindrance::Elsewhere { .. } | Hindrance::Storage(_) | Hindrance::Claimed(_) => {
                ObligationState::Owed
            }
        };
        after.last_error = Some(hindrance.to_string());
        after.failed_at = self.seal(after.ordinal, uri).await;
        self.keep(after).await?;
        Ok(Some(hindrance))
    }
}
