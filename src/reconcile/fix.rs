//! Deletes what purges that are over have left, once the log was asked again.

use super::names::Spot;
use super::{Comparison, ReconcileError};
use crate::storage::roots::tree::Tree;
use crate::store::claims::{Claimants, Whom};
use crate::store::reconcile::scratch::{Ordered, Taken};
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
        if self.left_unread {
            return Ok(Some(
                "what restores left cannot all be read: it may be one's".to_owned(),
            ));
        }
        // Somebody may have stored there, around it or inside it: when the comparison began, or since.
        let names = self.names(tree, spot);
        let places: Vec<_> = names.iter().map(|spot| spot.place(tree, self.keyring)).collect();
        for place in &places {
            if let Some(taken) = self.scratch.taken(place, ordered).await? {
                return Ok(Some(taken.to_string()));
            }
        }
        let others = self
            .claimed
            .claimants(&places, &ordered.key, Whom::All, 0)
            .await?;
        match others {
            Claimants { complete: false, .. } => {
                return Ok(Some("it is not known yet what storage is claimed".to_owned()));
            }
            Claimants { count: 0, .. } => {}
            Claimants { .. } => return Ok(Some(Taken::Claimed.to_string())),
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
}
