//! What this process knows of the log without asking the database, and whether a database still agrees with it.
//!
//! ```text
//! writer ── acknowledged (position, event, root) ──┐
//! checkpointer ── published (ledger, size, root) ──┼─▶ Witness ◀── asked by every new connection, by whoever takes up a
//! guard file ── the same, outside the database ────┘               lease, and by each batch under the head lock
//! ```
//!
//! A database that comes back as an older copy is consistent in itself: only somebody who remembers knows that something is
//! missing. What is missing was acknowledged or signed, so nothing may be appended to what is left under the same name. The
//! first connection that finds it out says so for the whole process ([`Witness::diverged`]): nothing is acknowledged or signed from
//! then on, and the process ends.
//!
//! An event's id is made once, so a log that has the same event at the same position is the same up to there.

pub(super) mod postgres;

use super::{Hash, Position, StoreError};
use crate::telemetry;
use std::borrow::Cow;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;
use uuid::Uuid;

/// An event that this process has acknowledged or found at its start, and the root of the log up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its position.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
    /// The root over the events up to it.
    pub root: Hash,
}

/// A checkpoint that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// The number of its origin.
    pub ledger: u64,
    /// How many entries it is over.
    pub size: u64,
    /// Their root.
    pub root: Hash,
}

/// An event that this ledger has published: whoever follows it has seen it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its position.
    pub position: Position,
    /// Its id.
    pub event_id: Uuid,
}

/// What a database is asked: everything that is known at the moment of the question. What is learned while the answer is on
/// its way may be missing from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Question {
    /// The last event that is known.
    pub mark: Option<Mark>,
    /// The last checkpoint that is known.
    pub signed: Option<Signed>,
    /// The number of the origin that this process serves.
    pub ledger: Option<u64>,
    /// An event that the stream has, and that was missed in the log.
    pub published: Option<Published>,
}

impl Question {
    /// Where the statement of the fork stands that ends the origin which this process serves.
    #[must_use]
    pub fn fork(&self) -> Option<String> {
        self.ledger.map(|ledger| format!("fork/{}", ledger + 1))
    }
}

/// What a database says to a [`Question`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// The head's position.
    pub position: Position,
    /// The head's root.
    pub root: Hash,
    /// The id of the event at the mark's position.
    pub marked: Option<Uuid>,
    /// The root of the checkpoint of the signed size.
    pub signed: Option<Hash>,
    /// The id of the event at the position of the one that was published.
    pub published: Option<Uuid>,
    /// Whether the server is a standby: what it lacks may still come.
    pub standby: bool,
    /// Whether the origin that this process serves has ended.
    pub forked: bool,
}

/// Why a database is not the one that this process knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Divergence(Arc<str>);

/// How to go on; the end of every sentence about a database that is another.
const GO_ON: &str =
    "Bring that one back, or go on from this one with `archive-ledger ledger fork --reason …`";

/// What reads the guard file.
type GuardReader = Box<dyn Fn() -> Option<Signed> + Send + Sync>;

/// What one process remembers of its ledger.
pub struct Witness {
    known: Mutex<Question>,
    guard: OnceLock<GuardReader>,
    /// Why the last new connection of a pool was refused; absent since one was taken.
    refusal: Mutex<Option<Cow<'static, str>>>,
    diverged: watch::Sender<Option<Divergence>>,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness")
            .field("known", &self.known)
            .field("diverged", &*self.diverged.borrow())
            .finish_non_exhaustive()
    }
}

impl Default for Witness {
    /// One that knows nothing yet: every database agrees with it.
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            guard: OnceLock::new(),
            refusal: Mutex::default(),
            diverged: watch::Sender::new(None),
        }
    }
}

impl Witness {
    /// Remembers an event that was acknowledged; an earlier one than is known changes nothing.
    pub fn acknowledge(&self, mark: Mark) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.mark.is_none_or(|before| before.position < mark.position) {
            known.mark = Some(mark);
        }
    }

    /// Remembers a checkpoint that was published; an earlier one than is known changes nothing.
    pub fn publish(&self, signed: Signed) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.signed = later(known.signed, Some(signed));
    }

    /// Remembers an event that is on the stream, proven to be this ledger's, and that was missed in the log. Whether the database
    /// lacks it is for [`Witness::compare`] to say: it may be a standby that lags.
    pub fn published(&self, published: Published) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.published = Some(published);
    }

    /// Remembers the number of the origin that this process serves: where it has ended, the log goes on as another.
    pub fn serves(&self, ledger: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.ledger = Some(ledger);
    }

    /// Has the guard file asked as well; instances may share it, so it may know more than this process. Once at the most.
    pub fn guarded_by(&self, guard: impl Fn() -> Option<Signed> + Send + Sync + 'static) {
        // A second one would be the same file.
        let _ = self.guard.set(Box::new(guard));
    }

    /// What this process knows by itself.
    #[must_use]
    pub fn known(&self) -> Question {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new connection is asked: what this process knows, and what the guard file knows beyond it.
    #[must_use]
    pub fn question(&self) -> Question {
        let known = self.known();
        let guarded = self.guard.get().and_then(|read| read());
        Question {
            signed: later(known.signed, guarded),
            ..known
        }
    }

    /// Compares what a database says with what it was asked.
    ///
    /// # Errors
    /// [`StoreError::Diverged`] when it is behind or another, which ends the process; [`StoreError::Unready`] when it is a
    /// standby that is behind.
    pub fn compare(&self, operation: &'static str, asked: &Question, seen: &Sight) -> Result<(), StoreError> {
        self.check()?;
        let Err(reason) = fits(asked, seen) else {
            return Ok(());
        };
        if seen.standby && is_behind(asked, seen) {
            return Err(StoreError::Unready {
                operation,
                reason: "the server is a standby that lags behind what was acknowledged".into(),
            });
        }
        Err(self.declare(reason))
    }

    /// Says for the whole process that its database is another one, unless something was said already.
    pub fn declare(&self, reason: impl Into<Arc<str>>) -> StoreError {
        let reason = Divergence(reason.into());
        let first = self.diverged.send_if_modified(|standing| {
            let first = standing.is_none();
            if first {
                *standing = Some(reason.clone());
            }
            first
        });
        if first {
            tracing::error!("nothing is recorded any more: {reason}");
        }
        StoreError::Diverged(reason)
    }

    /// Tells the log when new connections begin to be refused, and when they are taken again: a pool tries many times.
    pub(super) fn admitted(&self, vouched: &Result<(), StoreError>) {
        let refusal = vouched.as_ref().err().map(|error| match error {
            StoreError::Unready { reason, .. } => reason.clone(),
            error => error.brief().into(),
        });
        let refused = refusal.is_some();
        let before = mem::replace(&mut *self.lock_refusal(), refusal);
        if before.is_some() == refused {
            return;
        }
        match vouched {
            Ok(()) => tracing::info!("connections to the database are taken again"),
            // Said by whoever found it out.
            Err(StoreError::Diverged(_)) => {}
            Err(error) => {
                tracing::warn!(error = %telemetry::chain(error), "connections to the database are refused");
            }
        }
    }

    /// Why a pool has had no connection to give, where each new one is refused: it waits for one, and keeps that to itself.
    pub(super) fn explain(&self, error: sqlx::Error) -> sqlx::Error {
        let (sqlx::Error::PoolTimedOut, Some(reason)) = (&error, self.refusal()) else {
            return error;
        };
        let refused = self.check().err().unwrap_or(StoreError::Unready {
            operation: "connect to the database",
            reason,
        });
        sqlx::Error::Configuration(refused.into())
    }

    /// Why new connections are refused, while they are; without any text of the server's.
    #[must_use]
    pub fn refusal(&self) -> Option<Cow<'static, str>> {
        self.lock_refusal().clone()
    }

    fn lock_refusal(&self) -> MutexGuard<'_, Option<Cow<'static, str>>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing was found out so far.
    ///
    /// # Errors
    /// [`StoreError::Diverged`] otherwise.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.divergence() {
            None => Ok(()),
            Some(reason) => Err(StoreError::Diverged(reason)),
        }
    }

    /// What was found out.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        self.diverged.borrow().clone()
    }

    /// Waits until something is found out; for ever while nothing is.
    pub async fn diverged(&self) -> Divergence {
        let mut told = self.diverged.subscribe();
        let found = told
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|found| found.clone());
        match found {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

/// The later of two checkpoints: of the later origin, of the larger size.
fn later(one: Option<Signed>, other: Option<Signed>) -> Option<Signed> {
    [one, other]
        .into_iter()
        .flatten()
        .max_by_key(|signed| (signed.ledger, signed.size))
}

fn is_behind(asked: &Question, seen: &Sight) -> bool {
    let known = asked.mark.map_or(0, |mark| mark.position);
    let signed = asked.signed.map_or(0, |signed| signed.size);
    let published = asked.published.map_or(0, |event| event.position);
    seen.position < known.max(signed).max(published)
}

/// Whether a database has what is known.
fn fits(asked: &Question, seen: &Sight) -> Result<(), String> {
    if seen.forked {
        return Err("the ledger was forked while this process ran: start it again".to_owned());
    }
    if let Some(mark) = &asked.mark {
        if seen.position < mark.position {
            return Err(format!(
                "the database has {} events, and {} were acknowledged: it is an older copy. {GO_ON}",
                seen.position, mark.position
            ));
        }
        let other_root = seen.position == mark.position && seen.root != mark.root;
        if seen.marked != Some(mark.event_id) || other_root {
            return Err(format!(
                "the database holds another log than the one that was acknowledged: its event at position {} is another. \
                 {GO_ON}",
                mark.position
            ));
        }
    }
    if let Some(signed) = &asked.signed {
        if seen.position < signed.size {
            return Err(format!(
                "the database has {} entries, and a checkpoint over {} was signed: it is an older copy. {GO_ON}",
                seen.position, signed.size
            ));
        }
        // A copy may have all entries and lack the checkpoint, which was stored after them: it is signed again, the same.
        if seen.signed.is_some_and(|root| root != signed.root) {
            return Err(format!(
                "the database holds another log than the one whose checkpoint over {} entries was signed. {GO_ON}",
                signed.size
            ));
        }
    }
    if let Some(published) = &asked.published {
        if seen.position < published.position {
            return Err(format!(
                "the database has {} events, and the stream has the event at position {} from this ledger: it is an older copy. \
                 {GO_ON}",
                seen.position, published.position
            ));
        }
        // Where nothing is seen there, a row is damaged, or it was not asked for.
        if seen.published.is_some_and(|id| id != published.event_id) {
            return Err(format!(
                "the database holds another log than the one that was published: the stream has another event at position {} from \
                 this ledger. {GO_ON}",
                published.position
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
