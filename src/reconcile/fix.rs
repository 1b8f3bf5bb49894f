//! Deletes what purges that are over have left, once the log was asked again.

use super::names::{self, Spot};
use super::{Comparison, PAGE, ReconcileError};
use crate::cleanup::survey::Tree;
use crate::store::sqlite::scratch::{Claim, Ordered};
use archive_ledger_domain::{Event, EventName};

impl Comparison<'_> {
    /// Deletes what a purge ordered to be deleted; why not, when it must not or cannot be.
    pub(super) async fn fix(
        &mut self,
        tree: &Tree,
        spot: &Spot,
        ordered: &Ordered,
        uri: &str,
    ) -> Result<Option<String>, ReconcileError> {
        if !self.is_ordered(ordered).await? {
            return Ok(Some("the log orders no such purge, or it is not over".to_owned()));
        }
        self.catch_up().await?;
        // Somebody may have stored there since, around it or inside it.
        for place in spot.with_folders(tree) {
            let known = self.scratch.look(&place.hash(tree, self.keyring)).await?;
            let taken = match known.claim {
                Claim::None => false,
                Claim::Below => place.names_same(spot),
                Claim::Own => true,
            };
            if taken {
                return Ok(Some("an entity that is not purged stores there too".to_owned()));
            }
        }
        Ok(match self.blobs.purge(uri, &|_| {}).await {
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        })
    }

    /// Whether the log has ordered the purge, and says that it is over.
    async fn is_ordered(&self, ordered: &Ordered) -> Result<bool, ReconcileError> {
        let Some(stream) = self.reads.stream(&ordered.key).await? else {
            return Ok(false);
        };
        let requested = stream.events.iter().any(|event| match &event.event {
            Event::PurgeRequested(facts) => facts.purge_id == ordered.purge_id,
            Event::Registered(_)
            | Event::SoftDeleted(_)
            | Event::Restored(_)
            | Event::Purged(_)
            | Event::PurgeFailed(_)
            | Event::PurgeForced(_) => false,
        });
        let over = stream
            .events
            .last()
            .is_some_and(|event| event.event.name() == EventName::Purged);
        Ok(requested && over)
    }

    /// Notes what was claimed since the comparison began.
    async fn catch_up(&mut self) -> Result<(), ReconcileError> {
        let head = self.reads.head().await?.position;
        while self.seen < head {
            let names = [EventName::Registered, EventName::SoftDeleted];
            let page = self.reads.log_after(self.seen, &names, PAGE).await?;
            for event in &page {
                if let Some(claimed) = self.claims.of(&event.key).await? {
                    self.scratch
                        .claim(&names::claims(self.keyring, &claimed.ever))
                        .await?;
                }
            }
            let full = page.len() >= PAGE as usize;
            self.seen = match page.last() {
                Some(last) if full => last.position,
                Some(_) | None => head,
            };
        }
        Ok(())
    }
}
