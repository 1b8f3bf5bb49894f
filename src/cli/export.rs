//! `archive-ledger export`: the log as files.

use crate::Failure;
use archive_ledger::config::{Config, Flags};
use archive_ledger::export::{self, ExportError};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::PathBuf;

/// Where to.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory to write to; created when absent
    #[arg(long = "dir", value_name = "DIR")]
    directory: PathBuf,

    /// Also write what the entries commit to (facts, context, actors, no personal details), one JSON object per line
    #[arg(long, value_name = "FILE")]
    payloads: Option<PathBuf>,

    #[command(flatten)]
    pub(super) flags: Flags,
}

/// Exports, and says what.
///
/// # Errors
/// A [`Failure`].
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let bar = ProgressBar::new(0).with_style(bar_style("exporting"));
    let progress = |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    };
    let exported = export::export(
        config,
        &arguments.directory,
        arguments.payloads.as_deref(),
        &progress,
    )
    .await;
    bar.finish_and_clear();
    let exported = exported?;
    writeln!(
        std::io::stdout(),
        "exported {} events in {} files to {}",
        exported.checkpoint.size,
        exported.files,
        arguments.directory.display()
    )
    .map_err(|error| Failure::runtime(&error).in_context("cannot print the report"))
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
