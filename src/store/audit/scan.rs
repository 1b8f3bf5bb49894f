//! A step of a walk: events and attempts in one order, found with a bounded amount of work.

use super::blocks;
use super::{
    AttemptSpan, AuditFilter, AuditPage, AuditPlace, AuditQuery, AuditRecord, AuditSnapshot, AuditStore,
    Order, Rows,
};
use crate::store::{Position, StoreError};
use futures::{Stream, stream};
use std::collections::VecDeque;
use std::sync::Arc;

/// How many positions of the log a step reads at the most, however few of them match.
const EVENTS_SCANNED: u64 = 16_384;

/// How many attempts a step looks at, at the most.
const ATTEMPTS_SCANNED: u32 = 20_000;

/// How many positions are read by one statement at the most.
const WINDOW: u64 = 4_096;

/// How many blocks are read by the first statement of a step that the index leads.
const FIRST_BLOCKS: usize = 16;

/// How often a step looks into the index at the most.
const LOOKUPS: u32 = 6;

/// How many records an export reads at a time.
const EXPORT_PAGE: u32 = 2_000;

/// Rows of one kind: complete up to `reached` (included), or to the end where it is `None`.
struct Found {
    rows: Vec<AuditRecord>,
    reached: Option<AuditPlace>,
}

/// One step of a walk.
///
/// # Errors
/// [`StoreError`].
pub async fn page(store: &dyn AuditStore, query: &AuditQuery) -> Result<AuditPage, StoreError> {
    let rows = Rows {
        filter: &query.filter,
        order: query.order,
        // One more, to know whether it is the last step.
        limit: query.limit.saturating_add(1),
    };
    let events = match event_bounds(store, query).await? {
        Some((low, high)) => events(store, rows, low, high).await?,
        None => Found {
            rows: Vec::new(),
            reached: None,
        },
    };
    let attempts = attempts(store, rows, query).await?;
    Ok(merge(events, attempts, query))
}

/// Everything that matches within a snapshot, oldest first, page by page; it ends after the first error.
pub fn export(
    store: Arc<dyn AuditStore>,
    filter: AuditFilter,
    snapshot: AuditSnapshot,
) -> impl Stream<Item = Result<Vec<AuditRecord>, StoreError>> + Send {
    let query = AuditQuery {
        filter,
        snapshot,
        order: Order::Ascending,
        after: None,
        limit: EXPORT_PAGE,
    };
    stream::unfold(Some((store, query)), |state| async move {
        let (store, mut query) = state?;
        match page(&*store, &query).await {
            Ok(found) => {
                let next = found.next.map(|place| {
                    query.after = Some(place);
                    (store, query)
                });
                Some((Ok(found.records), next))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

/// The positions that a step may look at; `None` when no event can match.
async fn event_bounds(
    store: &dyn AuditStore,
    query: &AuditQuery,
) -> Result<Option<(Position, Position)>, StoreError> {
    let (filter, last) = (&query.filter, query.snapshot.position);
    if !filter.wants_events() {
        return Ok(None);
    }
    let mut low = filter.pos_from.unwrap_or(1).max(1);
    let mut high = filter.pos_to.unwrap_or(last).min(last);
    match (query.order, query.after) {
        (_, None) => {}
        // Attempts at a position stand behind its event.
        (Order::Ascending, Some(after)) => low = low.max(after.position.saturating_add(1)),
        (Order::Descending, Some(after)) if after.sequence == 0 => {
            high = high.min(after.position.saturating_sub(1));
        }
        (Order::Descending, Some(after)) => high = high.min(after.position),
    }
    if let Some(from) = filter.from {
        low = low.max(store.position_before(from, last).await? + 1);
    }
    if let Some(to) = filter.to {
        high = high.min(store.position_before(to, last).await?);
    }
    Ok((low <= high).then_some((low, high)))
}

async fn events(
    store: &dyn AuditStore,
    rows: Rows<'_>,
    low: Position,
    high: Position,
) -> Result<Found, StoreError> {
    let want = rows.limit as usize;
    if !rows.filter.entities.is_empty() {
        let found = store.audit_entity_events(rows, low, high).await?;
        let reached = found
            .get(want - 1)
            .map(|event| last_place(rows.order, event.place().position));
        return Ok(Found { rows: found, reached });
    }
    let mut ways = Ways::new(store, rows, low, high).await?;
    let mut found: Vec<AuditRecord> = Vec::new();
    let mut scanned = 0;
    while let Some(way) = ways.next(store).await? {
        if !way.ranges.is_empty() {
            let limit = rows.limit - u32::try_from(found.len()).unwrap_or(u32::MAX);
            found.extend(store.audit_events(Rows { limit, ..rows }, &way.ranges).await?);
        }
        if found.len() >= want {
            let reached = found
                .last()
                .map(|event| last_place(rows.order, event.place().position));
            return Ok(Found { rows: found, reached });
        }
        scanned += way.ranges.iter().map(|(from, to)| to - from + 1).sum::<u64>();
        let ended = match rows.order {
            Order::Ascending => way.end >= high,
            Order::Descending => way.end <= low,
        };
        if !ended && (scanned >= EVENTS_SCANNED || ways.spent()) {
            let reached = Some(last_place(rows.order, way.end));
            return Ok(Found { rows: found, reached });
        }
    }
    Ok(Found {
        rows: found,
        reached: None,
    })
}

/// The last place before the next event, once all events up to `position` are known.
const fn last_place(order: Order, position: Position) -> AuditPlace {
    AuditPlace {
        position,
        sequence: match order {
            Order::Ascending => i64::MAX.unsigned_abs(),
            Order::Descending => 0,
        },
    }
}

/// A part of the way through the log: what to read, and how far the way then is known.
struct Way {
    ranges: Vec<(Position, Position)>,
    end: Position,
}

/// The way through the log, as the index of blocks shortens it.
struct Ways {
    order: Order,
    low: Position,
    high: Position,
    lists: Vec<Vec<i64>>,
    indexed: Position,
    /// Blocks to read, and the last block, in this order, that they cover.
    pending: VecDeque<u64>,
    covered: u64,
    width: u64,
    blocks: usize,
    lookup: u32,
    lookups: u32,
    done: bool,
}

impl Ways {
    async fn new(
        store: &dyn AuditStore,
        rows: Rows<'_>,
        low: Position,
        high: Position,
    ) -> Result<Self, StoreError> {
        let lists = blocks::tokens(rows.filter);
        let indexed = if lists.is_empty() {
            0
        } else {
            blocks::believed_blocks(store).await? * blocks::BLOCK
        };
        Ok(Self {
            order: rows.order,
            low,
            high,
            lists,
            indexed,
            pending: VecDeque::new(),
            covered: 0,
            width: u64::from(rows.limit).clamp(1, WINDOW),
            blocks: FIRST_BLOCKS,
            lookup: blocks::FIRST_LOOKUP,
            lookups: 0,
            done: false,
        })
    }

    async fn next(&mut self, store: &dyn AuditStore) -> Result<Option<Way>, StoreError> {
        if self.done || self.low > self.high {
            return Ok(None);
        }
        let led = match self.order {
            Order::Ascending => self.low <= self.indexed,
            Order::Descending => self.high <= self.indexed,
        };
        let way = if led {
            self.led(store).await?
        } else {
            self.window()
        };
        match self.order {
            Order::Ascending => self.low = way.end + 1,
            Order::Descending if way.end == 1 => self.done = true,
            Order::Descending => self.high = way.end - 1,
        }
        Ok(Some(way))
    }

    /// Whether the index was looked into as often as a step may, and what it named was read.
    fn spent(&self) -> bool {
        self.lookups >= LOOKUPS && self.pending.is_empty()
    }

    /// The next positions, without the index.
    fn window(&mut self) -> Way {
        let width = self.width;
        self.width = (width * 4).min(WINDOW);
        match self.order {
            Order::Ascending => {
                let end = self.high.min(self.low.saturating_add(width - 1));
                Way {
                    ranges: vec![(self.low, end)],
                    end,
                }
            }
            Order::Descending => {
                let end = self
                    .low
                    .max(self.indexed + 1)
                    .max(self.high.saturating_sub(width - 1));
                Way {
                    ranges: vec![(end, self.high)],
                    end,
                }
            }
        }
    }

    /// The next blocks that the index names.
    async fn led(&mut self, store: &dyn AuditStore) -> Result<Way, StoreError> {
        let (low, high) = (self.low, self.high.min(self.indexed));
        if self.pending.is_empty() {
            let (first, last) = (blocks::block_of(low), blocks::block_of(high));
            let (found, covered) =
                blocks::candidates(store, &self.lists, first, last, self.order, self.lookup).await?;
            // An index that was emptied meanwhile, to be built again or by somebody else, has told nothing.
            let indexed = blocks::believed_blocks(store).await? * blocks::BLOCK;
            if indexed < self.indexed {
                self.indexed = 0;
                return Ok(self.window());
            }
            self.pending = found.into();
            self.covered = covered;
            self.lookups += 1;
            self.lookup = (self.lookup * 4).min(blocks::LAST_LOOKUP);
        }
        let count = self.blocks.min(self.pending.len());
        self.blocks = (self.blocks * 2).min(usize::try_from(WINDOW / blocks::BLOCK).unwrap_or(usize::MAX));
        let taken: Vec<u64> = self.pending.drain(..count).collect();
        // What lies between the last block taken and the next one has nothing that matches.
        let end = match taken.last() {
            Some(last) if !self.pending.is_empty() => *last,
            Some(_) | None => self.covered,
        };
        let (from, to) = blocks::positions(end);
        let end = match self.order {
            Order::Ascending => to.min(high),
            Order::Descending => from.max(low),
        };
        let mut ranges: Vec<_> = taken
            .into_iter()
            .map(|block| {
                let (from, to) = blocks::positions(block);
                (from.max(low), to.min(high))
            })
            .collect();
        ranges.sort_unstable();
        Ok(Way { ranges, end })
    }
}

async fn attempts(store: &dyn AuditStore, rows: Rows<'_>, query: &AuditQuery) -> Result<Found, StoreError> {
    let filter = &query.filter;
    let place = |position, sequence| AuditPlace { position, sequence };
    let mut low = place(filter.pos_from.unwrap_or(0), 0);
    let mut high = place(
        filter
            .pos_to
            .unwrap_or(i64::MAX.unsigned_abs() - 1)
            .saturating_add(1),
        0,
    );
    match (query.order, query.after) {
        (_, None) => {}
        (Order::Ascending, Some(after)) => low = low.max(after),
        (Order::Descending, Some(after)) => high = high.min(after),
    }
    if low >= high || query.snapshot.sequence == 0 {
        return Ok(Found {
            rows: Vec::new(),
            reached: None,
        });
    }
    let span = AttemptSpan {
        low,
        high,
        last: query.snapshot.sequence,
        scanned: ATTEMPTS_SCANNED,
    };
    let (found, reached) = store.audit_attempts(rows, span).await?;
    let full = found.get(rows.limit as usize - 1).map(AuditRecord::place);
    Ok(Found {
        rows: found,
        reached: full.or(reached),
    })
}

/// Both kinds in one order, as far as both are known.
fn merge(events: Found, attempts: Found, query: &AuditQuery) -> AuditPage {
    let bound = match (events.reached, attempts.reached) {
        (Some(one), Some(other)) => Some(match query.order {
            Order::Ascending => one.min(other),
            Order::Descending => one.max(other),
        }),
        (one, other) => one.or(other),
    };
    let within = |place: AuditPlace| match (query.order, bound) {
        (_, None) => true,
        (Order::Ascending, Some(bound)) => place <= bound,
        (Order::Descending, Some(bound)) => place >= bound,
    };
    let mut records: Vec<AuditRecord> = events
        .rows
        .into_iter()
        .chain(attempts.rows)
        .filter(|record| within(record.place()))
        .collect();
    records.sort_by_key(AuditRecord::place);
    if query.order == Order::Descending {
        records.reverse();
    }
    let limit = query.limit as usize;
    let next = if records.len() > limit {
        records.truncate(limit);
        records.last().map(AuditRecord::place)
    } else {
        bound
    };
    AuditPage { records, next }
}
