//! Whose else a place is: asked before anything is deleted there, and again while it is.

use super::hindrance::Hindrance;
use super::{CleanupAttempt, Cut};
use crate::storage::deletion::Cleaned;
use crate::store::claims::{Claimants, Whom};
use crate::store::cleanup_jobs::{Obligation, ObligationState};
use std::time::Duration;
use tokio::sync::watch;

/// How long it is not asked again whose else a place is, while objects are being deleted there.
const ASKED_AGAIN: Duration = Duration::from_millis(250);

impl CleanupAttempt {
    /// Ends an obligation whose place others claim.
    pub(super) async fn shared(
        &mut self,
        mut after: Obligation,
        uri: &str,
        others: Claimants,
    ) -> Result<Option<Hindrance>, Cut> {
        let hindrance = Hindrance::Claimed(others);
        after.state = ObligationState::Failed;
        after.last_error = Some(hindrance.to_string());
        after.failed_at = self.seal(after.ordinal, uri).await;
        self.keep(after).await?;
        Ok(Some(hindrance))
    }

    /// Who else claims the place; `None` when nobody does.
    pub(super) async fn others(&self, uri: &str) -> Result<Option<Claimants>, Cut> {
        let ledger = &self.cleanup.parts.ledger;
        let others = ledger
            .claimants(&self.job.key, &[uri.to_owned()], Whom::NotPurged, 0)
            .await
            .map_err(Cut::Ledger)?;
        match others {
            Claimants { complete: false, .. } => Err(Cut::ClaimsMissing),
            Claimants { count: 0, .. } => Ok(None),
            others => Ok(Some(others)),
        }
    }

    /// Returns when somebody else has claimed the place since its cleanup began: asked at each heartbeat, and after a batch.
    pub(super) async fn claimed_meanwhile(
        &self,
        uri: &str,
        mut told: watch::Receiver<Cleaned>,
    ) -> Result<Claimants, Cut> {
        loop {
            tokio::time::sleep(ASKED_AGAIN).await;
            let _ = tokio::time::timeout(self.cleanup.options.heartbeat, told.changed()).await;
            match self.others(uri).await {
                Ok(Some(others)) => return Ok(others),
                // Where the database is away, the lease decides how long that may be.
                Ok(None) | Err(Cut::Ledger(_)) => {}
                Err(cut) => return Err(cut),
            }
        }
    }
}
