//! `archive-ledger export`: the log as files.

mod events;

use crate::Failure;
use archive_ledger::audit_export;
use archive_ledger::config::{Config, Flags};
use archive_ledger::export::{self, ExportError};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::PathBuf;

pub(crate) const AFTER_HELP: &str = "\
--dir writes what proves the log: entries without personal data, tiles, the signed checkpoint.
--format writes what happened: one event per line or row, up to the last checkpoint or --pos-to, with a manifest beside
it (count, positions, SHA-256, checkpoint). The same options with the same --pos-to give the same bytes.

Examples:
  archive-ledger export --dir exported
  archive-ledger export --format ndjson --out events.ndjson
  archive-ledger export --format csv --action purged --from 2026-01-01T00:00:00Z --out purged.csv
  archive-ledger verify --data-dir data --vkey ledger.vkey --payloads events.ndjson";

/// What to write, and where to.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Arguments {
    /// Write the tiled log into a directory, which is created when absent
    #[arg(long = "dir", value_name = "DIR", group = "what")]
    directory: Option<PathBuf>,

    /// Also write what the entries commit to (facts, context, actors, no personal details), one JSON object per line
    #[arg(long, value_name = "FILE", requires = "directory")]
    payloads: Option<PathBuf>,

    #[command(flatten)]
    events: events::Events,

    #[command(flatten)]
    pub(super) flags: Flags,
}

/// Exports, and says what.
///
/// # Errors
/// A [`Failure`].
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let Some(directory) = arguments.directory else {
        return events::run(config, arguments.events).await;
    };
    let bar = ProgressBar::new(0).with_style(bar_style("exporting"));
    let progress = |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    };
    let exported = export::export(config, &directory, arguments.payloads.as_deref(), &progress).await;
    bar.finish_and_clear();
    let exported = exported?;
    writeln!(
        std::io::stdout(),
        "exported {} events in {} files to {}",
        exported.checkpoint.size,
        exported.files,
        directory.display()
    )
    .map_err(|error| Failure::runtime(&error).in_context("cannot print the report"))?;
    whole(
        exported.unreadable.len() as u64,
        &exported.unreadable,
        "--payloads: position",
    )
}

/// Fails where rows were left out because they cannot be read, and names their positions.
fn whole(left_out: u64, positions: &[u64], what: &str) -> Result<(), Failure> {
    if left_out == 0 {
        return Ok(());
    }
    let named: Vec<String> = positions.iter().map(u64::to_string).collect();
    let error = audit_export::ExportError::Unreadable(left_out);
    Err(Failure::runtime(&error).in_context(&format!("{what} {}", named.join(", "))))
}

/// A bar of events.
pub(super) fn bar_style(what: &str) -> ProgressStyle {
    ProgressStyle::with_template(&format!(
        "{what} {{wide_bar}} {{human_pos}}/{{human_len}} events, {{per_sec}}, {{eta}} left"
    ))
    .unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match &error {
            ExportError::Start(start) => Self::usage(start),
            ExportError::Write { .. }
            | ExportError::Store(_)
            | ExportError::Proof(_)
            | ExportError::Unsigned
            | ExportError::Row(_) => Self::runtime(&error),
        }
    }
}
