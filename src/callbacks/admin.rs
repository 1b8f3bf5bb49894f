//! The delivery log as operators see it, and replay.

use super::attempt::open_url;
use crate::clock::SharedClock;
use crate::keyring::Keyring;
use crate::store::StoreError;
use crate::store::callbacks::{
    AttemptRow, CallbackStore, Circuit, DeliveryCursor, DeliveryFilter, DeliveryFound, DeliveryPage,
    DeliveryRow, ListStart, Replay, endpoint_of,
};
use crate::store::damaged::{DamagedRow, Readable};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;
use uuid::Uuid;

/// The most deliveries that one call replays; the answer says where to go on.
pub const REPLAY_MAX: u64 = 10_000;
/// Deliveries that one transaction replays: short enough that nobody waits for it.
const REPLAY_PART: u32 = 500;

/// One delivery with its attempts.
#[derive(Debug, Clone)]
pub struct DeliveryView {
    /// The delivery, or what can be read of it.
    pub row: Result<DeliveryRow, DamagedRow>,
    /// The open circuit that keeps it waiting.
    pub circuit: Option<Circuit>,
    /// Where it goes, with everything but scheme, host and path left out; `None` when it cannot be opened any more.
    pub url: Option<String>,
    /// Its attempts, oldest first.
    pub attempts: Readable<AttemptRow>,
}

/// What a replay by filter did, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkReplay {
    /// Deliveries that are due now (that match, in a dry run).
    pub deliveries: u64,
    /// Where to go on when the limit ended it.
    pub next: Option<DeliveryCursor>,
}

/// Shows and replays deliveries.
pub struct CallbackAdmin {
    store: Arc<dyn CallbackStore>,
    keyring: Arc<Keyring>,
    clock: SharedClock,
    wake: Arc<Notify>,
}

impl std::fmt::Debug for CallbackAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackAdmin").finish_non_exhaustive()
    }
}

impl CallbackAdmin {
    /// Works on `store` and wakes the worker by `wake`.
    #[must_use]
    pub const fn new(
        store: Arc<dyn CallbackStore>,
        keyring: Arc<Keyring>,
        clock: SharedClock,
        wake: Arc<Notify>,
    ) -> Self {
        Self {
            store,
            keyring,
            clock,
            wake,
        }
    }

    /// A page of deliveries, newest first, and for each that can be read the open circuit that keeps it waiting.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        filter: &DeliveryFilter,
        start: ListStart,
        limit: u32,
    ) -> Result<(DeliveryPage, Vec<Option<Circuit>>), StoreError> {
        let page = self.store.deliveries(filter, start, limit).await?;
        let circuits = self.circuits(&page.rows.rows).await?;
        Ok((page, circuits))
    }

    /// Of the circuits of a receiver and its endpoint, the one that stays open longer.
    async fn circuits(&self, rows: &[DeliveryRow]) -> Result<Vec<Option<Circuit>>, StoreError> {
        let keys = |row: &DeliveryRow| [row.receiver.clone(), endpoint_of(&row.receiver).to_owned()];
        let wanted: BTreeSet<String> = rows.iter().flat_map(keys).collect();
        let wanted: Vec<String> = wanted.into_iter().collect();
        let open = self.store.circuits_of(&wanted).await?;
        let of = |row: &DeliveryRow| {
            let keys = keys(row);
            let of_row = open.iter().filter(|circuit| keys.contains(&circuit.key));
            of_row.max_by_key(|circuit| circuit.open_until).cloned()
        };
        Ok(rows.iter().map(of).collect())
    }

    /// One delivery.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn get(&self, delivery_id: Uuid) -> Result<Option<DeliveryView>, StoreError> {
        let Some(DeliveryFound { row, attempts }) = self.store.delivery(delivery_id).await? else {
            return Ok(None);
        };
        let (url, circuit) = match &row {
            Ok(row) => (
                open_url(&self.keyring, &row.key, &row.url_sealed).map(|url| url.to_string()),
                self.circuits(std::slice::from_ref(row)).await?.pop().flatten(),
            ),
            Err(_) => (None, None),
        };
        Ok(Some(DeliveryView {
            row,
            circuit,
            url,
            attempts,
        }))
    }

    /// One delivery as it is stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn find(&self, delivery_id: Uuid) -> Result<Option<DeliveryFound>, StoreError> {
        self.store.delivery(delivery_id).await
    }

    /// Makes a delivery due now, delivered or dead ones too; its schedule begins anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replay(&self, delivery_id: Uuid) -> Result<Replay, StoreError> {
        let replay = self.store.replay(delivery_id, self.clock.now()).await?;
        if replay == Replay::Due {
            self.wake.notify_one();
        }
        Ok(replay)
    }

    /// How many deliveries a replay by this filter would concern.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn count(&self, filter: &DeliveryFilter) -> Result<u64, StoreError> {
        self.store.count_deliveries(filter).await
    }

    /// Replays what matches and is not due anyway, newest first and [`REPLAY_MAX`] at the most, after `after`. Each part is
    /// committed by itself: when it fails halfway, calling again goes on, since what is due already is passed over.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn replay_matching(
        &self,
        filter: &DeliveryFilter,
        after: Option<DeliveryCursor>,
    ) -> Result<BulkReplay, StoreError> {
        let mut done = BulkReplay {
            deliveries: 0,
            next: after,
        };
        while done.deliveries < REPLAY_MAX {
            let part = self
                .store
                .replay_matching(filter, done.next, REPLAY_PART, self.clock.now())
                .await?;
            done.deliveries += part.replayed;
            done.next = part.last;
            self.wake.notify_one();
            if part.replayed < u64::from(REPLAY_PART) {
                done.next = None;
                break;
            }
        }
        Ok(done)
    }
}
