//! Bulk soft-delete from NDJSON, through the command path: a line is the body of the soft-delete route and its
//! `entity_type`.
//!
//! ```text
//! file ─▶ reader: a thread; lines, parsed ─▶ hundreds of commands in flight, which share commits ─▶ counted
//! ```
//!
//! Every line carries an idempotency key made of its content, so an import that broke off is run again and goes on where
//! it was, and one that is run twice adds nothing. Lines are recorded in no particular order. A bad line is reported by its
//! number and stops nothing.

mod lines;
mod parse;

pub use lines::LINE_MAX;

use crate::app::{self, Opened, StartError};
use crate::config::Config;
use crate::keyring::Keyring;
use crate::ledger::writer::{CommandError, Receipt};
use crate::ledger::{CommandContext, Ledger, LedgerError, SoftDelete};
use crate::store::Position;
use archive_ledger_domain::{EventMetadata, Rejection, State};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lines::Lines;
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How many commands are under way at once.
const IN_FLIGHT: usize = 512;

/// How many bytes of lines are under way at once, beyond which reading waits.
const BYTES_IN_FLIGHT: u64 = 32 * 1024 * 1024;

/// How many parsed lines wait to be sent.
const READ_AHEAD: usize = 64;

/// The first pause before a command is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The longest pause before a command is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often a command is tried before the import gives up: for about two minutes, on top of the writer's own patience.
const ATTEMPTS: u32 = 30;

/// What to import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportOptions {
    /// Where the lines are.
    pub source: Source,
    /// Who the ledger records as the actor.
    pub actor: String,
}

/// Where lines are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input.
    Stdin,
}

/// Who watches an import.
pub trait Observer: Send + Sync {
    /// It begins; how many bytes there are to read, if that is known.
    fn begins(&self, bytes: Option<u64>);

    /// One more line is settled, of so many bytes.
    fn settled(&self, bytes: u64);

    /// A line was rejected. The reason repeats nothing of the line.
    fn rejected(&self, line: u64, reason: &str);
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Deletions that it recorded.
    pub imported: u64,
    /// Deletions that stood before, by an earlier run or otherwise.
    pub already_there: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// Why an import ended before the last line. What it recorded stands; run it again to go on.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The ledger cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The file cannot be opened.
    #[error("{path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The lines cannot be read on.
    #[error("the lines cannot be read")]
    Read {
        /// Why.
        source: io::Error,
        /// What was done until then.
        report: Report,
    },
    /// The store takes no commands.
    #[error("the store takes no commands, so the import broke off; run it again to go on")]
    Store {
        /// Why.
        source: LedgerError,
        /// What was done until then.
        report: Report,
    },
    /// The writer did not end by itself.
    #[error("the writer broke off")]
    Writer(#[source] tokio::task::JoinError),
}

impl ImportError {
    /// What was done before the import ended, if it had begun.
    #[must_use]
    pub const fn report(&self) -> Option<&Report> {
        match self {
            Self::Read { report, .. } | Self::Store { report, .. } => Some(report),
            Self::Start(_) | Self::Open { .. } | Self::Writer(_) => None,
        }
    }
}

/// Imports every line of the source.
///
/// # Errors
/// [`ImportError`]; what was recorded stands.
pub async fn run(
    config: &Config,
    options: ImportOptions,
    observer: &dyn Observer,
) -> Result<Report, ImportError> {
    let started = Instant::now();
    let (source, bytes) = open(options.source)?;
    app::find_keys(config)?;
    let opened = app::open(config).await?;
    observer.begins(bytes);
    let outcome = import(&opened, source, &options.actor, observer, started).await;
    // Also after a failure: what the writer has taken is recorded. It is signed here, so that no start has to hash it all.
    let signed = app::sign(config, &opened).await;
    opened.close().await.map_err(ImportError::Writer)?;
    let report = outcome?;
    signed?;
    Ok(report)
}

/// The source, and its length if that is known.
fn open(source: Source) -> Result<(Box<dyn Read + Send>, Option<u64>), ImportError> {
    let path = match source {
        Source::Stdin => return Ok((Box::new(io::stdin()), None)),
        Source::File(path) => path,
    };
    let opened = File::open(&path).and_then(|file| {
        let metadata = file.metadata()?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A pipe ends when its writer does; a device may have no end.
        if !kind.is_file() && !kind.is_fifo() {
            return Err(io::Error::other("it is neither a regular file nor a pipe"));
        }
        Ok((file, kind.is_file().then_some(metadata.len())))
    });
    match opened {
        Ok((file, bytes)) => Ok((Box::new(file), bytes)),
        Err(source) => Err(ImportError::Open {
            path: path.display().to_string(),
            source,
        }),
    }
}

/// A line that was read.
struct Parsed {
    number: u64,
    bytes: u64,
    request: Result<SoftDelete, Cow<'static, str>>,
}

/// What became of a line.
struct Settled {
    number: u64,
    bytes: u64,
    outcome: Result<Outcome, LedgerError>,
}

enum Outcome {
    Recorded(Option<Position>),
    AlreadyThere,
    Rejected(Cow<'static, str>),
}

async fn import(
    opened: &Opened,
    source: Box<dyn Read + Send>,
    actor: &str,
    observer: &dyn Observer,
    started: Instant,
) -> Result<Report, ImportError> {
    let mut tally = Tally {
        report: Report {
            imported: 0,
            already_there: 0,
            rejected: 0,
            elapsed: Duration::ZERO,
        },
        recorded: Recorded::after(head(opened).await?),
        started,
    };
    let (sender, mut parsed) = mpsc::channel(READ_AHEAD);
    // A thread of its own and not one of the runtime's: a read from a terminal may never end, and must not keep the process.
    let reader = std::thread::spawn(move || read(source, &sender));
    let mut in_flight = FuturesUnordered::new();
    let (mut bytes_in_flight, mut more) = (0, true);
    while more || !in_flight.is_empty() {
        let room = in_flight.len() < IN_FLIGHT && bytes_in_flight < BYTES_IN_FLIGHT;
        tokio::select! {
            line = parsed.recv(), if more && room => match line {
                Some(line) => {
                    bytes_in_flight += line.bytes;
                    in_flight.push(settle(&opened.ledger, &opened.keyring, actor, line));
                }
                None => more = false,
            },
            Some(settled) = in_flight.next(), if !in_flight.is_empty() => {
                bytes_in_flight -= settled.bytes;
                tally.count(settled, observer)?;
            }
        }
    }
    match reader.join() {
        Ok(Ok(())) => Ok(tally.report()),
        Ok(Err(source)) => Err(ImportError::Read {
            source,
            report: tally.report(),
        }),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn head(opened: &Opened) -> Result<Position, ImportError> {
    let head = opened.store.reads().head().await;
    head.map(|head| head.position)
        .map_err(|source| ImportError::Start(StartError::option("--database-url", source)))
}

/// Reads and parses lines until the end, or until nobody takes them.
fn read(source: Box<dyn Read + Send>, parsed: &mpsc::Sender<Parsed>) -> io::Result<()> {
    let mut lines = Lines::new(BufReader::with_capacity(256 * 1024, source));
    while let Some((number, line, bytes)) = lines.next()? {
        let request = parse::parse(line);
        let line = Parsed {
            number,
            bytes,
            request,
        };
        if parsed.blocking_send(line).is_err() {
            break;
        }
    }
    Ok(())
}

async fn settle(ledger: &Ledger, keyring: &Keyring, actor: &str, line: Parsed) -> Settled {
    let outcome = match line.request {
        Ok(request) => record(ledger, keyring, actor, request).await,
        Err(reason) => Ok(Outcome::Rejected(reason)),
    };
    Settled {
        number: line.number,
        bytes: line.bytes,
        outcome,
    }
}

/// Sends one command, again and again while only the moment is wrong. An error means that the store takes no command.
async fn record(
    ledger: &Ledger,
    keyring: &Keyring,
    actor: &str,
    request: SoftDelete,
) -> Result<Outcome, LedgerError> {
    let context = match context(keyring, actor, &request) {
        Ok(context) => context,
        Err(reason) => return Ok(Outcome::Rejected(reason)),
    };
    let (mut attempt, mut pause) = (1, FIRST_PAUSE);
    loop {
        let error = match ledger.soft_delete(request.clone(), context.clone()).await {
            Ok(Receipt { position, .. }) => return Ok(Outcome::Recorded(position)),
            Err(error) => error,
        };
        match judge(&error) {
            Verdict::AlreadyThere => return Ok(Outcome::AlreadyThere),
            Verdict::Rejected(reason) => return Ok(Outcome::Rejected(reason)),
            // With the same key, a command whose outcome is unknown is not recorded twice.
            Verdict::Later if attempt < ATTEMPTS => {}
            Verdict::Later | Verdict::Never => return Err(error),
        }
        tokio::time::sleep(pause).await;
        attempt += 1;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The same line of the same actor makes the same key.
fn context(
    keyring: &Keyring,
    actor: &str,
    request: &SoftDelete,
) -> Result<CommandContext, Cow<'static, str>> {
    let content = serde_json::to_vec(request).map_err(|_| "it cannot be hashed")?;
    let mut metadata = EventMetadata::internal(actor, None);
    metadata.user_agent = Some(concat!("archive-ledger/", env!("CARGO_PKG_VERSION"), " import").to_owned());
    let mut context = CommandContext::new(metadata);
    let hash = keyring.keyed_hash("import-line", &content);
    context.idempotency_key = Some(format!("import:{}", hex::encode(hash)));
    Ok(context)
}

enum Verdict {
    AlreadyThere,
    Rejected(Cow<'static, str>),
    /// Nothing is wrong with the line: the same command can be tried again.
    Later,
    /// Nothing is wrong with the line, and trying again is of no use.
    Never,
}

fn judge(error: &LedgerError) -> Verdict {
    match error {
        // Their texts hold nothing of the URI or the URL.
        LedgerError::Storage { .. } | LedgerError::Callback(_) | LedgerError::DeletedInFuture => {
            Verdict::Rejected(error.to_string().into())
        }
        LedgerError::Command(error) => match error {
            CommandError::Rejected(Rejection::WrongState {
                state: State::Archived,
                ..
            }) => Verdict::AlreadyThere,
            CommandError::Rejected(rejection) => Verdict::Rejected(rejection.to_string().into()),
            CommandError::InFlight
            | CommandError::Overloaded
            | CommandError::Unavailable(_)
            | CommandError::OutcomeUnknown(_)
            | CommandError::ClockMoved(_) => Verdict::Later,
            CommandError::Stopping => Verdict::Never,
            CommandError::VersionMismatch { .. } | CommandError::IdempotencyKeyReused => {
                Verdict::Rejected(error.to_string().into())
            }
            // The cause is in the log, where the writer has put it.
            CommandError::Store(_) => Verdict::Rejected("the store refused it".into()),
            CommandError::Keyring(_) => Verdict::Rejected("the entity's key cannot be used".into()),
        },
        LedgerError::Store(error) if error.is_transient() => Verdict::Later,
        LedgerError::Store(_) => Verdict::Rejected("the store refused it".into()),
        LedgerError::Keyring(_) => Verdict::Rejected("its details cannot be sealed".into()),
        LedgerError::Load(_) => Verdict::Rejected("the entity cannot be loaded".into()),
    }
}

struct Tally {
    report: Report,
    recorded: Recorded,
    started: Instant,
}

impl Tally {
    fn count(&mut self, settled: Settled, observer: &dyn Observer) -> Result<(), ImportError> {
        match settled.outcome {
            Ok(Outcome::Recorded(position)) => {
                if position.is_some_and(|position| self.recorded.is_new(position)) {
                    self.report.imported += 1;
                } else {
                    self.report.already_there += 1;
                }
            }
            Ok(Outcome::AlreadyThere) => self.report.already_there += 1,
            Ok(Outcome::Rejected(reason)) => {
                self.report.rejected += 1;
                observer.rejected(settled.number, &reason);
            }
            Err(source) => {
                return Err(ImportError::Store {
                    source,
                    report: self.report(),
                });
            }
        }
        observer.settled(settled.bytes);
        Ok(())
    }

    fn report(&self) -> Report {
        Report {
            elapsed: self.started.elapsed(),
            ..self.report.clone()
        }
    }
}

/// Which positions this run has recorded: an answer that was given before, to an earlier run or to an equal line of this
/// one, names a position that is not new. One bit for each.
struct Recorded {
    start: Position,
    seen: Vec<u64>,
}

impl Recorded {
    const fn after(start: Position) -> Self {
        Self {
            start,
            seen: Vec::new(),
        }
    }

    fn is_new(&mut self, position: Position) -> bool {
        let Some(offset) = position
            .checked_sub(self.start + 1)
            .and_then(|offset| usize::try_from(offset).ok())
        else {
            return false;
        };
        let (word, bit) = (offset / 64, 1_u64 << (offset % 64));
        if word >= self.seen.len() {
            self.seen.resize(word + 1, 0);
        }
        match self.seen.get_mut(word) {
            Some(seen) if *seen & bit == 0 => {
                *seen |= bit;
                true
            }
            Some(_) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recorded;

    #[test]
    fn a_position_is_new_once_and_only_after_the_start() {
        let mut recorded = Recorded::after(10);
        let asked = [1, 10, 11, 11, 74, 75, 75, 10_000, 74];
        let answers = asked.map(|position| recorded.is_new(position));
        assert_eq!(
            answers,
            [false, false, true, false, true, true, false, true, false]
        );
    }
}
