//! The index of blocks: which values occur in which 32 positions of the log.
//!
//! An index on the events would be paid for by every append. This one is written behind the log, in runs of many blocks, each in the
//! order of the index: a row by itself costs a page that nothing else is written to. What repeats (actors, addresses, types,
//! actions) costs a few short rows per block, and so do the ids that the service gives to requests, which stand in the index in the
//! order of their time; an id that a client gives costs one. The index says where to look, never what is
//! there: every event it leads to is compared with the filter, and what it does not cover yet is read in the log itself.

use super::{AuditFilter, AuditStore, Order};
use crate::merkle::sha256;
use crate::store::{Position, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::{Uuid, Version};

/// How many positions a block has: all of them are read for one that matches. Never to be changed without emptying the index.
pub const BLOCK: u64 = 32;

/// How many blocks are indexed at a time, and may be left to be read in the log while it grows.
pub const RUN: u64 = 128;

/// How many entries of the index are compared at a time.
const COMPARED: u32 = 10_000;

/// How many blocks of a field are looked up at first: what a value that occurs everywhere needs.
pub(super) const FIRST_LOOKUP: u32 = 256;

/// How many are looked up at a time at the most.
pub(super) const LAST_LOOKUP: u32 = 4_096;

/// What is indexed.
#[derive(Clone, Copy)]
enum Field {
    Actor,
    Action,
    EntityType,
    RequestId,
    Ip,
}

impl Field {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Action => "action",
            Self::EntityType => "entity_type",
            Self::RequestId => "request_id",
            Self::Ip => "ip",
        }
    }

    /// What stands for a value in the index. Two values may share one: then a block is looked into for nothing.
    fn token(self, value: &str) -> i64 {
        if let (Self::RequestId, Some(millis)) = (self, time_of_id(value)) {
            return millis << 15;
        }
        let hash = sha256(&[self.as_str().as_bytes(), b"\0", value.as_bytes()]);
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        i64::from_be_bytes(first)
    }
}

/// The milliseconds since 1970 that a request's id says, if it is a time-ordered UUID (version 7).
fn time_of_id(id: &str) -> Option<i64> {
    let id = Uuid::try_parse(id).ok()?;
    (id.get_version() == Some(Version::SortRand)).then(|| i64::try_from(id.as_u128() >> 80).ok())?
}

/// What is indexed of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedValues {
    /// Its place in the log.
    pub position: Position,
    /// The type of the entity that it happened to.
    pub entity_type: String,
    /// Its name.
    pub event_type: String,
    /// Who stands behind it.
    pub actor: String,
    /// The request that it came by.
    pub request_id: Option<String>,
    /// From where.
    pub ip: Option<String>,
}

impl IndexedValues {
    fn tokens(&self) -> impl Iterator<Item = i64> {
        let present = [
            (Field::Actor, Some(self.actor.as_str())),
            (Field::Action, Some(self.event_type.as_str())),
            (Field::EntityType, Some(self.entity_type.as_str())),
            (Field::RequestId, self.request_id.as_deref()),
            (Field::Ip, self.ip.as_deref()),
        ];
        present
            .into_iter()
            .filter_map(|(field, value)| Some(field.token(value?)))
    }
}

/// The tokens that a filter asks for: any of each list, all lists.
pub(super) fn tokens(filter: &AuditFilter) -> Vec<Vec<i64>> {
    let texts = |field: Field, values: &[String]| values.iter().map(|value| field.token(value)).collect();
    let names = |field: Field, values: &[&str]| values.iter().map(|value| field.token(value)).collect();
    let types: Vec<&str> = filter.entity_types.iter().map(|one| one.as_str()).collect();
    let lists: [Vec<i64>; 5] = [
        texts(Field::Actor, &filter.actors),
        names(Field::Action, &filter.event_names()),
        names(Field::EntityType, &types),
        texts(Field::RequestId, &filter.request_ids),
        texts(Field::Ip, &filter.ips),
    ];
    lists.into_iter().filter(|list| !list.is_empty()).collect()
}

/// The block of a position.
pub(super) const fn block_of(position: Position) -> u64 {
    (position - 1) / BLOCK
}

/// The first and the last position of a block.
#[must_use]
pub const fn positions(block: u64) -> (Position, Position) {
    (block * BLOCK + 1, (block + 1) * BLOCK)
}

/// The blocks between two (both included) in which something of every list occurs, in order; and the last block, in this
/// order, that the answer covers. `lookup` blocks of each list are looked up.
pub(super) async fn candidates(
    store: &dyn AuditStore,
    lists: &[Vec<i64>],
    low: u64,
    high: u64,
    order: Order,
    lookup: u32,
) -> Result<(Vec<u64>, u64), StoreError> {
    let mut covered = match order {
        Order::Ascending => high,
        Order::Descending => low,
    };
    let mut common: Option<BTreeSet<u64>> = None;
    for tokens in lists {
        let found = store.blocks_with(tokens, low, high, order, lookup).await?;
        if let Some(last) = found.get(lookup as usize - 1) {
            covered = match order {
                Order::Ascending => covered.min(*last),
                Order::Descending => covered.max(*last),
            };
        }
        let found: BTreeSet<u64> = found.into_iter().collect();
        common = Some(match common {
            Some(common) => common.intersection(&found).copied().collect(),
            None => found,
        });
    }
    let common = common.unwrap_or_default();
    let blocks = match order {
        Order::Ascending => common.into_iter().filter(|block| *block <= covered).collect(),
        Order::Descending => common
            .into_iter()
            .rev()
            .filter(|block| *block >= covered)
            .collect(),
    };
    Ok((blocks, covered))
}

/// The tokens of `count` full blocks from `first` on.
///
/// # Errors
/// [`StoreError`].
pub async fn block_tokens(
    store: &dyn AuditStore,
    first: u64,
    count: u64,
) -> Result<Vec<Vec<i64>>, StoreError> {
    let (low, _) = positions(first);
    let (_, high) = positions(first + count - 1);
    let mut blocks = vec![BTreeSet::new(); usize::try_from(count).unwrap_or_default()];
    // A search by what cannot be told of an event would miss it: the log itself is read from one on that cannot be read.
    for event in store.indexed_values(low, high).await? {
        let block = usize::try_from(block_of(event.position) - first).unwrap_or(usize::MAX);
        if let Some(tokens) = blocks.get_mut(block) {
            tokens.extend(event.tokens());
        }
    }
    Ok(blocks.into_iter().map(|set| set.into_iter().collect()).collect())
}

/// Whether this process has reason to look into the index: a search by one that lacks entries would miss events.
#[derive(Debug, Clone, Default)]
pub struct IndexTrust(Arc<AtomicBool>);

impl IndexTrust {
    /// Has searches read the log itself until the index was compared with it.
    pub fn doubt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Has searches look into the index.
    pub fn restore(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether searches may look into it.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// How many blocks the index covers as far as a search may believe it: none while it is doubted, nor when it has no entry at
/// all, because every block has some.
///
/// # Errors
/// [`StoreError`].
pub async fn believed_blocks(store: &dyn AuditStore) -> Result<u64, StoreError> {
    if !store.index_trust().holds() {
        return Ok(0);
    }
    let blocks = store.indexed_blocks().await?;
    if blocks > 0 && store.index_entries(None, 1).await?.is_empty() {
        return Ok(0);
    }
    Ok(blocks)
}

/// How the index of blocks differs from the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexDifferences {
    /// Entries that should be there and are not: a search misses events by them.
    pub missing: u64,
    /// Entries that should not be there.
    pub surplus: u64,
    /// The first block that they are of; `None` when the index is what the log says.
    pub first_block: Option<u64>,
}

impl IndexDifferences {
    fn add(&mut self, block: u64) {
        self.first_block = Some(self.first_block.map_or(block, |first| first.min(block)));
    }
}

/// Compares the index with the log, as far as it says that it covers it. What is indexed meanwhile is left out.
///
/// # Errors
/// [`StoreError`].
pub async fn compare(store: &dyn AuditStore, head: Position) -> Result<IndexDifferences, StoreError> {
    let mut found = IndexDifferences::default();
    let (indexed, full) = (store.indexed_blocks().await?, head / BLOCK);
    if indexed > full {
        found.missing += indexed - full;
        found.add(full);
    }
    let covered = indexed.min(full);
    let mut expected = Vec::new();
    let mut first = 0;
    while first < covered {
        let count = RUN.min(covered - first);
        let blocks = block_tokens(store, first, count).await?;
        for (block, tokens) in (first..).zip(blocks) {
            expected.extend(tokens.into_iter().map(|token| (token, block)));
        }
        first += count;
    }
    expected.sort_unstable();
    let mut expected = expected.into_iter().peekable();
    let mut after = None;
    loop {
        let page = store.index_entries(after, COMPARED).await?;
        for entry in &page {
            while let Some(missing) = expected.next_if(|wanted| wanted < entry) {
                found.missing += 1;
                found.add(missing.1);
            }
            if expected.next_if_eq(entry).is_none()
                && (entry.1 < covered || entry.1 >= store.indexed_blocks().await?)
            {
                found.surplus += 1;
                found.add(entry.1);
            }
        }
        match page.last() {
            Some(last) => after = Some(*last),
            None => break,
        }
    }
    for missing in expected {
        found.missing += 1;
        found.add(missing.1);
    }
    Ok(found)
}

/// Indexes the next full blocks, a run at a time, if there are at least `least`; says whether there are as many again. `head`: as far
/// as the log goes.
///
/// # Errors
/// [`StoreError`]; the index is as it was then.
pub async fn index_next(store: &dyn AuditStore, head: Position, least: u64) -> Result<bool, StoreError> {
    let first = store.indexed_blocks().await?;
    let waiting = (head / BLOCK).saturating_sub(first);
    let count = waiting.min(RUN);
    if count < least.max(1) {
        return Ok(false);
    }
    let blocks = block_tokens(store, first, count).await?;
    let mut entries: Vec<(i64, u64)> = (first..)
        .zip(blocks)
        .flat_map(|(block, tokens)| tokens.into_iter().map(move |token| (token, block)))
        .collect();
    entries.sort_unstable();
    store.add_blocks(first, count, &entries).await?;
    Ok(waiting - count >= least.max(1))
}
