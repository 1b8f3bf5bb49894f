//! Forks: how a ledger goes on after its newest copy was lost.
//!
//! A database that was restored from an older copy has forgotten what was signed, so nothing may be appended under the old
//! origin: an auditor who holds the newer checkpoint would rightly call it forged. `archive-ledger ledger fork` opens the next
//! origin with a statement, a signed note (`fork_statement.rs`).
//!
//! Every checkpoint of the new origin commits to the statement (`fork <hash>`), and with it to the old checkpoint: an auditor
//! sees what was lost, and that the operator said so.

use super::ProofError;
use super::checkpointer::publish;
use super::fork_statement::Statement;
use super::guard::{Guard, Guarded};
use super::identity::{FIRST_ORIGIN, Identity, fork_name, number_of, origin_name, signing_key};
use super::losses::{Asked, Elsewhere, SKIPPED_MAX, Told};
use super::start::{self, frontier_of_head};
use crate::clock::SharedClock;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::VerifierKey;
use crate::merkle::tree::{TileFrontier, TileHash};
use crate::numbering::Numbering;
use crate::store::forks::{ForkStore, Losses, StreamAsked};
use crate::store::proofs::ProofStore;
use crate::store::{CoordinationStore, Position, ReadStore};
use std::time::Duration;

/// How long an ended instance's lease may stand.
const LEASE_WAIT: Duration = Duration::from_secs(10);

/// How long the fork itself may take.
const LEASE: Duration = Duration::from_secs(60);

/// What a fork works on.
pub struct ForkParts<'a> {
    /// What proofs are made of.
    pub store: &'a dyn ProofStore,
    /// Opens origins.
    pub forks: &'a dyn ForkStore,
    /// The head.
    pub reads: &'a dyn ReadStore,
    /// The checkpointer's lease.
    pub coordination: &'a dyn CoordinationStore,
    /// The time of the fork.
    pub clock: &'a SharedClock,
    /// The seed of the ledger's key.
    pub seed: &'a [u8; 32],
    /// Names a ledger that was never opened.
    pub domain: &'a str,
    /// The guard that refused.
    pub guard: &'a Guard,
    /// The last origin that the key is known to have signed, if any is known of.
    pub used: Option<VerifierKey>,
    /// Who may know what is lost.
    pub elsewhere: &'a dyn Elsewhere,
}

/// A fork that was made.
#[derive(Debug)]
pub struct Forked {
    /// What it states.
    pub statement: Statement,
    /// What it has lost.
    pub losses: Losses,
}

/// Opens the next origin, from the tree that the database has now. The number is one that no ledger is known to have had: a copy
/// that is older than the last fork has never heard of that one's.
///
/// # Errors
/// [`ProofError::Running`] while an instance serves the ledger; [`ProofError::Head`] and others when the entries themselves
/// are not in order, which no fork mends.
pub async fn fork(parts: &ForkParts<'_>, reason: &str) -> Result<Forked, ProofError> {
    alone(parts, fork_alone(parts, reason)).await
}

/// Begins again in an empty database, under the name that follows on the last origin that is known of.
///
/// # Errors
/// [`ProofError`].
pub async fn from_nothing(parts: &ForkParts<'_>, reason: &str) -> Result<Forked, ProofError> {
    alone(parts, begin_again(parts, reason)).await
}

/// Does something that nobody who serves the ledger may come between.
async fn alone(
    parts: &ForkParts<'_>,
    work: impl Future<Output = Result<Forked, ProofError>>,
) -> Result<Forked, ProofError> {
    let owner = parts.clock.new_id();
    take_lease(parts, owner).await?;
    let forked = work.await;
    let released = parts
        .coordination
        .release_lease(super::checkpointer::LEASE, owner)
        .await;
    let forked = forked?;
    released?;
    Ok(forked)
}

async fn take_lease(parts: &ForkParts<'_>, owner: uuid::Uuid) -> Result<(), ProofError> {
    let deadline = tokio::time::Instant::now() + LEASE_WAIT;
    loop {
        let asked = parts
            .coordination
            .acquire_lease(super::checkpointer::LEASE, owner, LEASE);
        if asked.await?.is_some() {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ProofError::Running);
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

async fn fork_alone(parts: &ForkParts<'_>, reason: &str) -> Result<Forked, ProofError> {
    let old = Identity::open(parts.store, parts.seed, parts.domain).await?;
    let (frontier, full) = frontier_of_head(parts.store, parts.reads).await?;
    let told = look(parts, old.numbering(), frontier.size()).await;
    let guarded = match parts.guard.read(&old)? {
        Guarded::Current(checkpoint) | Guarded::Later(checkpoint) => Some(checkpoint),
        Guarded::Earlier(_) | Guarded::Nothing => None,
    };
    let used = parts.used.as_ref().filter(|used| old.precedes(used));
    let numbers = [
        Some(old.ledger()),
        guarded.as_ref().map(|checkpoint| number_of(&checkpoint.origin)),
        used.map(|used| number_of(used.name())),
        Some(told.number),
    ];
    let last = numbers.into_iter().flatten().max().unwrap_or_default();
    let lost_origin = old.origin(last);
    if last - old.ledger() >= SKIPPED_MAX {
        return Err(ProofError::TooFarAhead {
            newer: lost_origin.name().to_owned(),
            older: old.verifier().name().to_owned(),
        });
    }
    // Of what the database and the guard remember, the larger one is what an auditor may hold.
    let stored = parts.store.last_checkpoint(last).await?;
    let stored = stored.map(|checkpoint| checkpoint.note);
    let lost = stored
        .into_iter()
        .chain(parts.guard.note_of(&lost_origin)?)
        .filter_map(|note| Some((Checkpoint::open(&note, &lost_origin).ok()?.size, note)))
        .max_by_key(|(size, _)| *size);
    let known = [
        lost.as_ref().map(|(size, _)| *size),
        guarded.map(|checkpoint| checkpoint.size),
    ];
    let base = origin_base(old.origins());
    let key = signing_key(&origin_name(&base, last + 1), parts.seed)?;
    let statement = Statement {
        new: key.verifier().clone(),
        old: lost_origin,
        lost: lost.map(|(_, note)| note),
        size: frontier.size(),
        root: frontier.root(),
        time: parts.clock.now(),
        reason: reason.to_owned(),
    };
    let signed = statement.sign(&key)?;
    let losses = losses(&statement, told, known.into_iter().flatten().max());
    // Under the first number that the database does not know, whatever the fork's own is: that is where it is looked for.
    let facts = [(fork_name(old.ledger() + 1), signed.as_str())];
    if !parts.forks.open_origin(&facts, &losses).await? {
        return Err(ProofError::Forked);
    }
    first_checkpoint(parts, &frontier, &full).await?;
    Ok(Forked { statement, losses })
}

async fn begin_again(parts: &ForkParts<'_>, reason: &str) -> Result<Forked, ProofError> {
    let lost = match &parts.used {
        Some(used) => used.clone(),
        None => signing_key(&origin_name(parts.domain, 1), parts.seed)?
            .verifier()
            .clone(),
    };
    let frontier = TileFrontier::default();
    let told = look(parts, Numbering::default(), frontier.size()).await;
    let base = lost
        .name()
        .rsplit_once("/ledger/")
        .map_or(lost.name(), |(base, _)| base)
        .to_owned();
    let last = number_of(lost.name()).max(told.number);
    let lost = lost.renamed(&origin_name(&base, last));
    let key = signing_key(&origin_name(&base, last + 1), parts.seed)?;
    let guarded = parts.guard.note_of(&lost)?;
    let known = guarded
        .as_ref()
        .and_then(|note| Some(Checkpoint::open(note, &lost).ok()?.size));
    let statement = Statement {
        new: key.verifier().clone(),
        old: lost.clone(),
        lost: guarded,
        size: frontier.size(),
        root: frontier.root(),
        time: parts.clock.now(),
        reason: reason.to_owned(),
    };
    let signed = statement.sign(&key)?;
    let losses = losses(&statement, told, known);
    // The numbers before it are skipped: what their forks stated was lost as well.
    let first = lost.renamed(&origin_name(&base, 1)).to_string();
    let facts = [
        (fork_name(2), signed.as_str()),
        (FIRST_ORIGIN.to_owned(), first.as_str()),
    ];
    if !parts.forks.open_origin(&facts, &losses).await? {
        return Err(ProofError::Forked);
    }
    first_checkpoint(parts, &frontier, &[]).await?;
    Ok(Forked { statement, losses })
}

async fn look(parts: &ForkParts<'_>, numbering: Numbering, size: Position) -> Told {
    let asked = Asked {
        numbering,
        size,
        before: u64::MAX,
    };
    parts.elsewhere.look(&asked).await
}

/// What a fork has lost; `known` is the size of the largest tree that is known to have been signed.
fn losses(statement: &Statement, told: Told, known: Option<u64>) -> Losses {
    Losses {
        ledger: number_of(statement.new.name()),
        size: statement.size,
        reached: told.reached.max(known.unwrap_or_default()).max(statement.size),
        seen: told.seen,
        stream: told.stream,
        purges: told.purges,
        told_at: statement.time,
    }
}

/// What the last fork has lost, asked for again where nobody could tell when it was made.
///
/// # Errors
/// [`ProofError::Store`].
pub async fn lost(
    store: &dyn ProofStore,
    forks: &dyn ForkStore,
    elsewhere: &dyn Elsewhere,
    clock: &SharedClock,
) -> Result<Option<Losses>, ProofError> {
    let Some(numbering) = Identity::numbering_of(store).await? else {
        return Ok(None);
    };
    let Some(known) = forks.losses(numbering.current()).await? else {
        return Ok(None);
    };
    match known.stream {
        StreamAsked::None | StreamAsked::Read => return Ok(Some(known)),
        StreamAsked::Away | StreamAsked::Missing => {}
    }
    let asked = Asked {
        numbering: numbering.before(known.ledger),
        size: known.size,
        before: known.ledger,
    };
    let told = elsewhere.look(&asked).await;
    if told.stream != StreamAsked::Read {
        return Ok(Some(known));
    }
    let losses = Losses {
        reached: told.reached.max(known.reached),
        seen: told.seen,
        stream: told.stream,
        purges: told.purges,
        told_at: clock.now(),
        ..known
    };
    forks.keep_losses(&losses).await?;
    Ok(Some(losses))
}

/// Signs the tree that an origin begins with.
async fn first_checkpoint(
    parts: &ForkParts<'_>,
    frontier: &TileFrontier,
    full: &[TileHash],
) -> Result<(), ProofError> {
    let new = Identity::open(parts.store, parts.seed, parts.domain).await?;
    let first = start::sign(&new, frontier.size(), frontier.root(), parts.clock)?;
    let standing = publish(parts.store, &first, full).await?;
    parts.guard.replace(&standing.note)
}

fn origin_base(origins: &[VerifierKey]) -> String {
    let first = origins.first().map_or("", VerifierKey::name);
    first.strip_suffix("/ledger/1").unwrap_or(first).to_owned()
}
