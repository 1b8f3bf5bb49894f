//! `archive-ledger import`: bulk soft-delete from NDJSON.

use super::Options;
use super::token::{default_subject, subject};
use crate::{Failure, say};
use archive_ledger::config::Config;
use archive_ledger::import::{self, ImportError, ImportOptions, Observer, Report, Source};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const AFTER_HELP: &str = "\
Each line is the body of the soft-delete route and the entity's type; docs/IMPORT.md has all fields:
  {\"entity_type\":\"backups\",\"id\":\"497f6eca-6276-4993-bfeb-53cbbbba6f08\",\"name\":\"nightly\"}

Exit codes: 0 every line is in the ledger; 1 lines were rejected, or the import broke off and is to be run again; 2 an
option, the file or the database is at fault";

/// What to import.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file of lines; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Who the ledger records as the actor [default: the user of this process, or admin]
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    actor: Option<String>,

    #[command(flatten)]
    pub(super) options: Options,
}

/// Imports, and sums up on standard error.
///
/// # Errors
/// A [`Failure`] of exit code 1 when lines were rejected.
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let source = if arguments.file.as_os_str() == "-" {
        Source::Stdin
    } else {
        Source::File(arguments.file)
    };
    let options = ImportOptions {
        source,
        actor: arguments.actor.unwrap_or_else(default_subject),
    };
    let bar = Bar {
        bar: ProgressBar::hidden(),
        lines: AtomicU64::new(0),
    };
    let outcome = import::run(config, options, &bar).await;
    bar.bar.finish_and_clear();
    match outcome {
        Ok(report) if report.rejected > 0 => Err(Failure::found(summary(&report))),
        Ok(report) => {
            say(&summary(&report));
            Ok(())
        }
        Err(error) => {
            if let Some(report) = error.report() {
                say(&summary(report));
            }
            Err(error.into())
        }
    }
}

/// The bar, which shows only where standard error is a terminal, and the lines that were rejected.
struct Bar {
    bar: ProgressBar,
    lines: AtomicU64,
}

/// After how many lines their number is shown anew.
const SHOWN_EVERY: u64 = 500;

impl Observer for Bar {
    fn begins(&self, bytes: Option<u64>) {
        let template = match bytes {
            Some(_) => "importing {wide_bar} {percent}%, {msg} {eta} left",
            None => "importing {spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        if let Some(bytes) = bytes {
            self.bar.set_length(bytes);
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.reset();
    }

    fn settled(&self, bytes: u64) {
        self.bar.inc(bytes);
        let lines = self.lines.fetch_add(1, Ordering::Relaxed) + 1;
        if lines.is_multiple_of(SHOWN_EVERY) {
            let rate = per_second(lines, self.bar.elapsed());
            self.bar.set_message(format!("{lines} lines, {rate:.0}/s,"));
        }
    }

    fn rejected(&self, line: u64, reason: &str) {
        self.bar.suspend(|| say(&format!("line {line}: {reason}")));
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match &error {
            ImportError::Start(start) => Self::usage(start),
            ImportError::Open { .. } => Self::usage(&error),
            ImportError::Read { .. } | ImportError::Store { .. } | ImportError::Writer(_) => {
                Self::runtime(&error)
            }
        }
    }
}

fn summary(report: &Report) -> String {
    format!(
        "imported {}, already there {}, rejected {} in {:.1} s, {:.0} lines/s",
        report.imported,
        report.already_there,
        report.rejected,
        report.elapsed.as_secs_f64(),
        per_second(
            report.imported + report.already_there + report.rejected,
            report.elapsed
        ),
    )
}

fn per_second(lines: u64, elapsed: Duration) -> f64 {
    let lines = u32::try_from(lines).map_or(f64::INFINITY, f64::from);
    lines / elapsed.as_secs_f64().max(0.001)
}
