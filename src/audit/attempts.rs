//! Gathers attempts: alike ones of a minute are one row, and there is a greatest number of rows a minute, whoever asks for more.
//!
//! An attempt finds its row by everything that is known of it. When a minute has too many rows of an outcome, by what, from where
//! and why only; when it has too many of those as well, all others of the minute share one row, with the reason `overflow`.
//!
//! A denied attempt names its entity, which its sender chose, with a valid token or without one. So not all rows are for names:
//! beyond their number, an attempt is counted with those of its kind that name none. Nothing else that is compared or kept was
//! chosen by somebody without a valid token, but for the time of day.

use crate::clock::SharedClock;
use crate::store::StoreError;
use crate::store::audit::{Attempt, AttemptsWrite, AuditAction, AuditStore, Outcome};
use archive_ledger_domain::EntityKey;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

/// How many rows of an outcome a minute has that tell everything.
const DETAILED: usize = 256;

/// How many of them name the entity of a denied attempt, and how many of these are for attempts without a valid token: who has
/// none cannot hide what others were denied.
const NAMED: usize = 192;
const NAMED_WITHOUT_TOKEN: usize = 64;

/// How many more it has that tell what, from where and why only.
const COARSE: usize = 64;

/// How many rows of an outcome a minute of one instance has at the most.
pub const ROWS_PER_MINUTE: usize = DETAILED + COARSE + 1;

/// How many rows of past minutes wait at the most for a store that is away.
const WAITING: usize = 4_096;

/// The longest text that is kept, in characters.
const TEXT_MAX: usize = 512;

/// What row an attempt belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    outcome: Outcome,
    action: AuditAction,
    reason: Option<String>,
    actor: Option<String>,
    token_issuer: Option<String>,
    token_id_hash: Option<String>,
    ip: Option<String>,
    key: Option<EntityKey>,
    detail: Option<String>,
}

impl Kind {
    fn of(attempt: &Attempt) -> Self {
        Self {
            outcome: attempt.outcome,
            action: attempt.action,
            reason: attempt.reason.clone(),
            actor: attempt.actor.clone(),
            token_issuer: attempt.token_issuer.clone(),
            token_id_hash: attempt.token_id_hash.clone(),
            ip: attempt.ip.clone(),
            key: attempt.key.clone(),
            detail: attempt.detail.clone(),
        }
    }
}

/// One row, as far as it is gathered.
#[derive(Debug)]
struct Group {
    id: u64,
    attempt: Attempt,
    /// Its sequence, once it was written.
    sequence: Option<u64>,
    /// How often since it was last written.
    pending: u64,
}

impl Group {
    /// Whether this is the row, not written yet, that all others of the outcome share.
    fn takes(&self, other: &Self) -> bool {
        self.sequence.is_none() && Kind::of(&self.attempt) == Kind::of(&other.attempt)
    }
}

#[derive(Debug, Default)]
struct Gathered {
    minute: i64,
    groups: HashMap<Kind, Group>,
    /// How many rows of each outcome this minute has, by how much they tell.
    detailed: HashMap<Outcome, usize>,
    coarse: HashMap<Outcome, usize>,
    /// How many rows name the entity of a denied attempt, and how many of these are for attempts without a valid token.
    named: usize,
    named_without_token: usize,
    /// Rows of past minutes that are not written yet.
    past: Vec<Group>,
    last_id: u64,
}

/// Gathers attempts.
#[derive(Debug)]
pub struct Attempts {
    clock: SharedClock,
    gathered: Mutex<Gathered>,
}

impl Attempts {
    /// Nothing yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            gathered: Mutex::default(),
        }
    }

    /// Takes an attempt up. Its times and count are set here.
    pub fn add(&self, mut attempt: Attempt) {
        let now = self.clock.now();
        attempt.first_at = now;
        attempt.last_at = now;
        attempt.count = 1;
        let texts = [
            &mut attempt.reason,
            &mut attempt.actor,
            &mut attempt.token_issuer,
            &mut attempt.user_agent,
            &mut attempt.request_id,
            &mut attempt.detail,
        ];
        for text in texts.into_iter().flatten() {
            bound(text);
        }
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.turn(now.timestamp().div_euclid(60));
        gathered.add(attempt);
    }

    /// Writes what was gathered since the last time. What fails stays gathered; what was lost on the way to an answer is counted
    /// twice rather than not at all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(&self, store: &dyn AuditStore) -> Result<(), StoreError> {
        let (write, taken) = self.pending();
        if taken.is_empty() {
            return Ok(());
        }
        let sequences = store.add_attempts(&write).await?;
        self.written(&taken, &sequences);
        Ok(())
    }

    /// What is to be written; and of each row its id, how much of it, and whether it is new: new ones first, in order.
    fn pending(&self) -> (AttemptsWrite, Vec<(u64, u64)>) {
        let gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waiting: Vec<&Group> = gathered.all().filter(|group| group.pending > 0).collect();
        waiting.sort_by_key(|group| (group.sequence.is_some(), group.id));
        let mut write = AttemptsWrite::default();
        let mut taken = Vec::with_capacity(waiting.len());
        for group in waiting {
            match group.sequence {
                None => write.added.push(Attempt {
                    count: group.pending,
                    ..group.attempt.clone()
                }),
                Some(sequence) => write.grown.push((sequence, group.pending, group.attempt.last_at)),
            }
            taken.push((group.id, group.pending));
        }
        (write, taken)
    }

    fn written(&self, taken: &[(u64, u64)], sequences: &[u64]) {
        let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sequences = sequences.iter();
        let written: HashMap<u64, (u64, Option<u64>)> = taken
            .iter()
            .map(|(id, count)| (*id, (*count, sequences.next().copied())))
            .collect();
        let Gathered { groups, past, .. } = &mut *gathered;
        for group in groups.values_mut().chain(past.iter_mut()) {
            if let Some((count, sequence)) = written.get(&group.id) {
                group.pending = group.pending.saturating_sub(*count);
                group.sequence = group.sequence.or(*sequence);
            }
        }
        past.retain(|group| group.pending > 0);
    }
}

impl Gathered {
    fn all(&self) -> impl Iterator<Item = &Group> {
        self.past.iter().chain(self.groups.values())
    }

    /// Begins another minute.
    fn turn(&mut self, minute: i64) {
        if minute == self.minute {
            return;
        }
        self.minute = minute;
        self.detailed.clear();
        self.coarse.clear();
        self.named = 0;
        self.named_without_token = 0;
        for (_, group) in self.groups.drain() {
            if group.pending == 0 {
                continue;
            }
            if self.past.len() < WAITING {
                self.past.push(group);
                continue;
            }
            // The store has been away for long: what there is no room to keep apart is kept together.
            let rest = Group {
                attempt: overflow(&coarse(group.attempt)),
                sequence: None,
                ..group
            };
            match self.past.iter_mut().find(|past| past.takes(&rest)) {
                Some(past) => {
                    past.pending += rest.pending;
                    past.attempt.last_at = past.attempt.last_at.max(rest.attempt.last_at);
                }
                None => self.past.push(rest),
            }
        }
    }

    fn add(&mut self, attempt: Attempt) {
        let mut attempt = attempt;
        let mut kind = Kind::of(&attempt);
        if self.grow(&kind, &attempt) {
            return;
        }
        if attempt.key.is_some() && !self.may_name(&attempt) {
            attempt.key = None;
            kind = Kind::of(&attempt);
            if self.grow(&kind, &attempt) {
                return;
            }
        }
        let outcome = attempt.outcome;
        if take(&mut self.detailed, outcome, DETAILED) {
            return self.insert(kind, attempt);
        }
        let coarse = coarse(attempt);
        let kind = Kind::of(&coarse);
        if self.grow(&kind, &coarse) {
            return;
        }
        if take(&mut self.coarse, outcome, COARSE) {
            return self.insert(kind, coarse);
        }
        let rest = overflow(&coarse);
        let kind = Kind::of(&rest);
        if !self.grow(&kind, &rest) {
            self.insert(kind, rest);
        }
    }

    /// Whether a row more may name an entity.
    const fn may_name(&mut self, attempt: &Attempt) -> bool {
        match attempt.outcome {
            Outcome::Denied => {}
            Outcome::Allowed | Outcome::Failed => return true,
        }
        let without_token = attempt.actor.is_none();
        if self.named >= NAMED || (without_token && self.named_without_token >= NAMED_WITHOUT_TOKEN) {
            return false;
        }
        self.named += 1;
        if without_token {
            self.named_without_token += 1;
        }
        true
    }

    /// Counts an attempt in a row that is there.
    fn grow(&mut self, kind: &Kind, attempt: &Attempt) -> bool {
        let Some(group) = self.groups.get_mut(kind) else {
            return false;
        };
        group.pending += 1;
        group.attempt.last_at = group.attempt.last_at.max(attempt.last_at);
        true
    }

    fn insert(&mut self, kind: Kind, attempt: Attempt) {
        self.last_id += 1;
        let group = Group {
            id: self.last_id,
            attempt,
            sequence: None,
            pending: 1,
        };
        if let Entry::Vacant(place) = self.groups.entry(kind) {
            place.insert(group);
        }
    }
}

/// Takes one of `limit` places.
fn take(used: &mut HashMap<Outcome, usize>, outcome: Outcome, limit: usize) -> bool {
    let used = used.entry(outcome).or_default();
    let free = *used < limit;
    *used += usize::from(free);
    free
}

/// What, from where and why only.
fn coarse(attempt: Attempt) -> Attempt {
    Attempt {
        actor: None,
        token_id_hash: None,
        user_agent: None,
        request_id: None,
        key: None,
        detail: None,
        ..attempt
    }
}

/// The row that all others of an outcome share.
fn overflow(attempt: &Attempt) -> Attempt {
    Attempt {
        action: AuditAction::Other,
        reason: Some("overflow".to_owned()),
        token_issuer: None,
        ip: None,
        ..attempt.clone()
    }
}

/// Cuts a text to what is kept of it.
fn bound(text: &mut String) {
    // PostgreSQL's text cannot hold it.
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests;
