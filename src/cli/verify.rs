//! `archive-ledger verify`: whether a log is what its ledger signed.

use super::export::bar_style;
use crate::Failure;
use archive_ledger::app::{self, StartError};
use archive_ledger::config::{Config, Flags};
use archive_ledger::foreign_text::{harmless, shown};
use archive_ledger::merkle::note::VerifierKey;
use archive_ledger::proofs::evidence::Bundle;
use archive_ledger::small_files::{self, BUNDLE_MAX, NOTE_MAX};
use archive_ledger::verify::bundle::check_bundle;
use archive_ledger::verify::database::{DatabaseRequest, Stage, check_database};
use archive_ledger::verify::source::{Directory, Source, Web};
use archive_ledger::verify::{Disclosures, Finding, LogReport, Request, check_log};
use indicatif::ProgressBar;
use std::fmt::Write as _;
use std::io::{BufReader, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const AFTER_HELP: &str = "\
The verifier key is all that is trusted: ask for it once, by a way that you trust (archive-ledger ledger vkey,
or GET /api/ledger/vkey), and keep it. Keep a checkpoint too: with --since, nothing before it can be changed,
removed or reordered without being found.

Exit codes: 0 sound; 2 tampered, and the first bad position is named; 3 incomplete: something is missing or
cannot be read; 4 the command line or a file that it names is at fault.

Examples:
  archive-ledger verify --url https://ledger.example --token \"$TOKEN\" --vkey ledger.vkey --since old.checkpoint
  archive-ledger verify --dir exported --vkey ledger.vkey
  archive-ledger verify --data-dir data --vkey ledger.vkey
  archive-ledger verify --bundle evidence.json --vkey ledger.vkey";

/// The exit code of a wrong command line.
pub(crate) const USAGE: u8 = 4;

/// What is verified, and against what.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").multiple(false))]
pub(crate) struct Arguments {
    /// Verify a served log: a service, or a static host of an export
    #[arg(long, value_name = "URL", group = "where")]
    url: Option<String>,

    /// Verify an exported log
    #[arg(long = "dir", value_name = "DIR", group = "where")]
    directory: Option<PathBuf>,

    /// Verify one entity's evidence, offline
    #[arg(long, value_name = "FILE", group = "where", conflicts_with_all = ["since", "payloads"])]
    bundle: Option<PathBuf>,

    /// The key that must have signed it: the key itself, or a file that holds it
    #[arg(long, value_name = "KEY|FILE")]
    vkey: String,

    /// A checkpoint from earlier, which the log must go on from
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,

    /// Disclosed payloads, one JSON object per line, which the log must commit to
    #[arg(long, value_name = "FILE")]
    payloads: Option<PathBuf>,

    /// Token for --url, with the right audit:read
    #[arg(
        long,
        value_name = "TOKEN",
        requires = "url",
        env = "ARCHIVE_LEDGER_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,

    #[command(flatten)]
    pub(super) flags: Flags,
}

/// Verifies, and says what was found sound.
///
/// # Errors
/// A [`Failure`] with the exit code that `--help` promises.
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let key = verifier_key(&arguments.vkey)?;
    if let Some(path) = &arguments.bundle {
        return bundle(path, &key);
    }
    let since = arguments
        .since
        .as_deref()
        .map(|path| read("--since", path, NOTE_MAX))
        .transpose()?;
    let disclosures = match &arguments.payloads {
        Some(path) => {
            let file = small_files::open(path).map_err(|error| unreadable("--payloads", path, &error))?;
            Disclosures::read(BufReader::new(file)).map_err(|error| wrong("--payloads", &error))?
        }
        None => Disclosures::default(),
    };
    let source: Option<Arc<dyn Source>> = match (&arguments.url, &arguments.directory) {
        (Some(url), _) => Some(Arc::new(
            Web::new(url, arguments.token).map_err(|error| wrong("--url", &error))?,
        )),
        (None, Some(directory)) => Some(Arc::new(Directory::new(directory))),
        (None, None) => None,
    };
    let disclosures = Arc::new(disclosures);
    let with_payloads = arguments.payloads.is_some();
    let bar = ProgressBar::new(0).with_style(bar_style("verifying"));
    let said = match source {
        Some(source) => {
            let request = Request {
                source,
                key,
                since,
                disclosures,
                roots: Vec::new(),
                progress: &|done, of| show(&bar, done, of),
            };
            check_log(request)
                .await
                .map(|report| told(&report, with_payloads))
        }
        None => database(config, &bar, key, since, (disclosures, with_payloads)).await?,
    };
    bar.finish_and_clear();
    say(&said?)
}

async fn database(
    config: &Config,
    bar: &ProgressBar,
    key: VerifierKey,
    since: Option<String>,
    (disclosures, with_payloads): (Arc<Disclosures>, bool),
) -> Result<Result<String, Finding>, Failure> {
    let store = match app::existing(config).await {
        Ok(store) => store,
        Err(error @ StartError::Store { .. }) => return Ok(Err(unopened(error))),
        Err(error) => return Err(Failure::usage(&error).with_code(USAGE)),
    };
    let progress = |stage, done, of| {
        bar.set_style(bar_style(match stage {
            Stage::Log => "verifying",
            Stage::Rows => "comparing rows",
            Stage::Projections => "replaying projections",
        }));
        show(bar, done, of);
    };
    let request = DatabaseRequest {
        config,
        store: &store,
        key,
        since,
        disclosures,
        progress: &progress,
    };
    Ok(check_database(request).await.map(|report| {
        let mut text = told(&report.log, with_payloads);
        let opened = if report.opened {
            "sealed details opened"
        } else {
            "no keyring at hand, sealed details not opened"
        };
        // Writing to a string never fails.
        let _ = writeln!(
            text,
            "database: {} rows, {} checkpoints, the projections and the head agree, and so do entities, jobs and the index of the audit ({opened})",
            report.rows, report.checkpoints
        );
        text
    }))
}

/// Of a database that cannot be opened: whether it is damaged, or not there.
fn unopened(error: StartError) -> Finding {
    let line = crate::one_line(&error);
    let StartError::Store { source, .. } = error else {
        return Finding::Incomplete(line);
    };
    match Finding::from(source) {
        Finding::Tampered { .. } => Finding::tampered(line),
        Finding::Incomplete(_) => Finding::Incomplete(line),
    }
}

fn bundle(path: &Path, key: &VerifierKey) -> Result<(), Failure> {
    let text = read("--bundle", path, BUNDLE_MAX)?;
    let parsed: Result<Bundle, Finding> = serde_json::from_str(&text)
        .map_err(|error| Finding::tampered(format!("the bundle is malformed at line {}", error.line())));
    let parsed = parsed?;
    let report = check_bundle(&parsed, key)?;
    if !report.complete {
        // All that it holds is sound, and what it lacks nobody could tell.
        return Err(Finding::Incomplete(format!(
            "the bundle has no statement of its ledger: its {} events are in the signed log, and it does not prove completeness, nor \
             which entity they are of; ask the ledger for a new one",
            report.events.len()
        ))
        .into());
    }
    let mut text = format!(
        "sound: {} events of one stream, all of {}/{} so far, in the log {} of {} events\n",
        report.events.len(),
        shown(&parsed.entity_type),
        shown(&parsed.id),
        shown(&report.checkpoint.origin),
        report.checkpoint.size,
    );
    for event in report.events {
        let _ = writeln!(text, "  {event}");
    }
    say(&text)
}

fn told(report: &LogReport, with_payloads: bool) -> String {
    let checkpoint = &report.checkpoint;
    let mut text = format!(
        "sound: {}, {} events in {} streams, root {}\n",
        shown(&checkpoint.origin),
        checkpoint.size,
        report.streams,
        hex::encode(checkpoint.root)
    );
    if with_payloads {
        let _ = writeln!(text, "payloads: {} are what the log commits to", report.payloads);
    }
    for notice in &report.notices {
        let _ = writeln!(text, "notice: {}", harmless(notice).replace('\n', " "));
    }
    text
}

fn show(bar: &ProgressBar, done: u64, of: u64) {
    bar.set_length(of);
    bar.set_position(done);
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(harmless(text).as_bytes())
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the report"))
}

fn verifier_key(text: &str) -> Result<VerifierKey, Failure> {
    let failed = match text.parse() {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let path = Path::new(text);
    match small_files::read_text(path, NOTE_MAX) {
        Ok(content) => content
            .trim_end()
            .parse()
            .map_err(|error: archive_ledger::merkle::note::InvalidKey| wrong("--vkey", &error)),
        Err(error) if error.kind() == ErrorKind::NotFound && text.contains('+') => {
            Err(wrong("--vkey", &failed))
        }
        Err(error) => Err(unreadable("--vkey", path, &error)),
    }
}

fn read(option: &str, path: &Path, limit: u64) -> Result<String, Failure> {
    small_files::read_text(path, limit).map_err(|error| unreadable(option, path, &error))
}

fn unreadable(option: &str, path: &Path, error: &std::io::Error) -> Failure {
    wrong(&format!("{option}: cannot read {}", path.display()), error)
}

fn wrong(option: &str, error: &dyn std::error::Error) -> Failure {
    Failure::usage(error).in_context(option).with_code(USAGE)
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        let code = match &finding {
            Finding::Tampered { .. } => 2,
            Finding::Incomplete(_) => 3,
        };
        Self::runtime(&finding).with_code(code)
    }
}
