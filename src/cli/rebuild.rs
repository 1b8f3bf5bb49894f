//! `archive-ledger rebuild`: the projections again, from the log.

use super::Options;
use crate::Failure;
use archive_ledger::config::Config;
use archive_ledger::rebuild::{self, Mode, Progress, RebuildError, Report};
use archive_ledger::store::StoreError;
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::Write as _;

pub(crate) const AFTER_HELP: &str = "\
Exit codes: 0 the projections are what the log says (or are so now), 1 --check found differences or the
rebuild failed, 2 an option or the database is at fault.";

/// What to do with differences.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Compare only, and change nothing at all
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    pub(super) options: Options,
}

/// Rebuilds, and prints what differed.
///
/// # Errors
/// A [`Failure`] of exit code 1 when `--check` found differences.
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let mode = if arguments.check {
        Mode::Check
    } else {
        Mode::Replace
    };
    // Invisible where standard error is no terminal.
    let bar = ProgressBar::new(0).with_style(replaying());
    let report = rebuild::run(config, mode, &|progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    let report = report?;
    std::io::stdout()
        .write_all(told(&report).as_bytes())
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the report"))?;
    match report.rows() {
        0 => Ok(()),
        _ if report.replaced => Ok(()),
        rows => Err(Failure::found(format!(
            "the projections are not what the log says, differing rows: {rows}; `archive-ledger rebuild` replaces them"
        ))),
    }
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        match &error {
            RebuildError::Start(start) => Self::usage(start),
            RebuildError::Store(unfit @ StoreError::Unfit(_)) => {
                Self::usage(unfit).in_context("--database-url")
            }
            RebuildError::UnderWay
            | RebuildError::Store(_)
            | RebuildError::Claims(_)
            | RebuildError::Reader(_) => Self::runtime(&error),
        }
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Replaying { position, head } => {
            // Live traffic moves the head on.
            bar.set_length(head.max(position));
            bar.set_position(position);
        }
        Progress::Comparing => begin(bar, "comparing with the live tables"),
        Progress::Replacing => begin(bar, "replacing what differs"),
    }
}

fn begin(bar: &ProgressBar, what: &'static str) {
    bar.set_style(ProgressStyle::default_spinner());
    bar.set_message(what);
    bar.tick();
}

fn replaying() -> ProgressStyle {
    ProgressStyle::with_template("replaying {wide_bar} {human_pos}/{human_len} events, {per_sec}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The report, a line per table and the rows that are named.
fn told(report: &Report) -> String {
    let mut text = String::new();
    for table in &report.tables {
        let name = table.table;
        // Writing to a string never fails.
        let _ = match table.rows() {
            0 => writeln!(text, "{name}: as the log says"),
            rows => writeln!(
                text,
                "{name}: differing rows: {rows} ({} missing, {} surplus, {} different)",
                table.missing, table.surplus, table.different
            ),
        };
        for (kind, entity) in &table.examples {
            let _ = writeln!(text, "  {}: {entity}", kind.as_str());
        }
    }
    match report.claims {
        None => text.push_str("storage_claims: not compared, as the keyring is not at hand\n"),
        Some(reached) if reached < report.position => {
            let _ = writeln!(
                text,
                "storage_claims: compared up to position {reached}; what is missing behind it is computed by the service"
            );
        }
        Some(_) => {}
    }
    let outcome = match (report.replaced, report.rows()) {
        (true, _) => "replaced",
        (false, 0) => "nothing to replace",
        (false, _) => "nothing was changed",
    };
    let _ = writeln!(
        text,
        "compared at position {}, replayed in {:.1} s: {outcome}",
        report.position,
        report.replay.as_secs_f64()
    );
    text
}
