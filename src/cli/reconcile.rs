//! `archive-ledger reconcile`: the storage compared with the ledger.

use super::Options;
use crate::Failure;
use archive_ledger::config::Config;
use archive_ledger::reconcile::{self, Finding, ReconcileError, Summary};
use clap::ValueEnum;
use std::io::{self, Write};

pub(crate) const AFTER_HELP: &str = "\
What is told, one line each:
  missing    an entity that is live or archived names a storage URI, and there is nothing
  leftover   a purge that is over ordered objects to be deleted, and they are there: written again since, or given
             up by a forced purge
  left_by_restore
             objects at a place that only a deletion named which was undone since, of an entity that was deleted again
             or purged: no purge has deleted them or will, and whose they are now the ledger does not know
  unclaimed  (with --unclaimed) objects below a storage root that no entity names, nor any purge that is remembered
  unchecked  something that could not be looked at

--fix deletes leftovers, in the way of any purge, where the log has ordered it and no entity that is not purged
stores anything there. It never touches what is missing, left by a restore or unclaimed. An embedded ledger must not be served
meanwhile; without --fix the command only reads and runs beside a service.

Local storage roots must all be mounted, and have been used by the service or an import before.

Of a purged entity the ledger knows keyed hashes of what its storage URIs named, not the URIs. Purges that were over before
the ledger kept these (its schema's version 8), and those whose URIs could not be opened, are not recognized: what they left
is unclaimed. So is what a restore left of an entity that was purged before the ledger kept claims (version 10).

Exit codes: 0 nothing was found, or all of it was fixed; 1 something could not be looked at or deleted, or the
command failed; 2 an option, the keyring or the database is at fault; 3 something was found and is left.

Examples:
  archive-ledger reconcile --data-dir data --storage-root file:///srv/backups
  archive-ledger reconcile --format ndjson --database-url postgres://… --storage-root s3://bucket/prefix
  archive-ledger reconcile --fix --data-dir data --storage-root file:///srv/backups";

/// The exit code of findings that are left.
const LEFT: u8 = 3;

/// How to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns for people, and a summary at the end.
    Table,
    /// One JSON object per line; the last one is the summary.
    Ndjson,
}

/// What to compare, and what to do about it.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Delete what purges that are over have left
    #[arg(long)]
    fix: bool,

    /// Tell of objects that nobody names, too
    #[arg(long)]
    unclaimed: bool,

    /// How to tell
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    pub(super) options: Options,
}

/// Compares, tells each finding as it is made, and sums up.
///
/// # Errors
/// A [`Failure`] with the exit code that `--help` promises.
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    if config.storage.roots.is_empty() {
        return Err(Failure::found(
            "--storage-root: there is none, so there is nothing to compare".to_owned(),
        )
        .with_code(2));
    }
    let options = reconcile::Options {
        fix: arguments.fix,
        unclaimed: arguments.unclaimed,
    };
    let format = arguments.format;
    let mut first = true;
    let mut tell = |finding: &Finding| {
        let mut out = io::stdout();
        match format {
            Format::Ndjson => writeln!(out, "{}", serde_json::to_string(finding)?),
            Format::Table => {
                if std::mem::take(&mut first) {
                    row(
                        &mut out,
                        ["KIND", "ENTITY", "STORAGE", "OBJECTS", "BYTES", "WHERE", "NOTE"],
                    )?;
                }
                table(&mut out, finding)
            }
        }
    };
    let summary = reconcile::run(config, options, &mut tell).await?;
    sum_up(format, &summary)
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the summary"))?;
    if summary.failed > 0 {
        return Err(Failure::found(format!(
            "could not be looked at or deleted: {}",
            summary.failed
        )));
    }
    match summary.missing + summary.leftover + summary.left_by_restore {
        0 => Ok(()),
        left => Err(Failure::found(format!(
            "the storage is not what the ledger says, findings left: {left}"
        ))
        .with_code(LEFT)),
    }
}

impl From<ReconcileError> for Failure {
    fn from(error: ReconcileError) -> Self {
        match &error {
            ReconcileError::Start(start) => Self::usage(start),
            ReconcileError::Store(_)
            | ReconcileError::Ledger(_)
            | ReconcileError::Claims(_)
            | ReconcileError::Write(_) => Self::runtime(&error),
        }
    }
}

fn sum_up(format: Format, summary: &Summary) -> io::Result<()> {
    let mut out = io::stdout();
    match format {
        Format::Ndjson => {
            let mut line = serde_json::to_value(summary)?;
            if let Some(fields) = line.as_object_mut() {
                fields.insert("kind".to_owned(), "summary".into());
            }
            writeln!(out, "{line}")
        }
        Format::Table => writeln!(
            out,
            "{} objects compared with {} entities and {} purged storage URIs: {} missing, {} leftover, {} fixed, {} left by \
             restores, {} objects unclaimed, {} failed",
            summary.objects,
            summary.entities,
            summary.purged,
            summary.missing,
            summary.leftover,
            summary.fixed,
            summary.left_by_restore,
            summary.unclaimed,
            summary.failed
        ),
    }
}

fn row(out: &mut impl Write, cells: [&str; 7]) -> io::Result<()> {
    let [kind, entity, storage, objects, bytes, place, note] = cells;
    let line = format!("{kind:<15}  {entity:<49}  {storage:>7}  {objects:>9}  {bytes:>14}  {place}  {note}");
    writeln!(out, "{}", line.trim_end())
}

fn table(out: &mut impl Write, finding: &Finding) -> io::Result<()> {
    match finding {
        Finding::Missing {
            entity_type,
            id,
            state,
            storage,
            uri,
        } => {
            let (entity, storage) = (format!("{entity_type}/{id}"), storage.to_string());
            row(out, ["missing", &entity, &storage, "-", "-", uri, state])
        }
        Finding::Leftover {
            entity_type,
            id,
            purge_id: _,
            storage,
            given_up,
            uri,
            objects,
            bytes,
            fixed,
            error,
        } => {
            let note = match (error, fixed, given_up) {
                (Some(error), _, _) => error.as_str(),
                (None, true, _) => "fixed",
                (None, false, true) => "given up",
                (None, false, false) => "",
            };
            let (entity, storage) = (format!("{entity_type}/{id}"), storage.to_string());
            let (objects, bytes) = (objects.to_string(), bytes.to_string());
            row(out, ["leftover", &entity, &storage, &objects, &bytes, uri, note])
        }
        Finding::LeftByRestore {
            entity_type,
            id,
            uri,
            objects,
            bytes,
        } => {
            let entity = format!("{entity_type}/{id}");
            let (objects, bytes) = (objects.to_string(), bytes.to_string());
            row(out, ["left_by_restore", &entity, "-", &objects, &bytes, uri, ""])
        }
        Finding::Unclaimed { uri, objects, bytes } => {
            let (objects, bytes) = (objects.to_string(), bytes.to_string());
            row(out, ["unclaimed", "-", "-", &objects, &bytes, uri, ""])
        }
        Finding::Unchecked {
            entity_type,
            id,
            uri,
            error,
        } => {
            let entity = match (entity_type, id) {
                (Some(entity_type), Some(id)) => format!("{entity_type}/{id}"),
                _ => "-".to_owned(),
            };
            row(
                out,
                [
                    "unchecked",
                    &entity,
                    "-",
                    "-",
                    "-",
                    uri.as_deref().unwrap_or("-"),
                    error,
                ],
            )
        }
    }
}
