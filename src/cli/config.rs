//! `archive-ledger config`: what is configured, and whether it can be used.

use super::Options;
use crate::Failure;
use archive_ledger::config::{Config, Flags, GivenTwice, Origin, Setting};
use clap::Subcommand;
use serde_json::json;
use std::io::Write;

pub(crate) const AFTER_HELP: &str = "\
Examples:
  archive-ledger config show
  archive-ledger config check --config /etc/archive-ledger.toml
  ARCHIVE_LEDGER_LISTEN=0.0.0.0:80 archive-ledger config show --json";

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    flags: Flags,
}

impl Arguments {
    /// The options, wherever behind the subcommand's first word they stand.
    ///
    /// # Errors
    /// [`GivenTwice`].
    pub(super) fn take_flags(&mut self) -> Result<Flags, GivenTwice> {
        let (Action::Check(options) | Action::Show { options, .. }) = &mut self.action;
        std::mem::take(&mut self.flags).joined(std::mem::take(&mut options.flags))
    }
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check every value, and touch neither network nor database
    ///
    /// Ends with 0 where the service would take the configuration, and with 2 and one line that names the option where it would not.
    #[command(display_name = "archive-ledger config check")]
    Check(Options),

    /// Print every option with its value and where that comes from
    ///
    /// What is printed is a configuration file that says the same, without the credentials of URLs.
    #[command(display_name = "archive-ledger config show")]
    Show {
        /// Print one JSON object
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        options: Options,
    },
}

/// Checks the configuration, and prints what was asked for.
///
/// # Errors
/// A [`Failure`] of the option that is at fault.
pub(crate) fn run(flags: &Flags, arguments: Arguments) -> Result<(), Failure> {
    let config = Config::load(flags).map_err(|error| Failure::usage(&error))?;
    let environment = |variable: &str| std::env::var_os(variable);
    let settings = Setting::all(flags, &environment).map_err(|error| Failure::usage(&error))?;
    let said = match arguments.action {
        Action::Check(_) => {
            let set = settings
                .iter()
                .filter(|setting| setting.origin != Origin::Default);
            let file = config
                .config_file
                .map(|file| format!(" (file: {})", file.display()));
            format!(
                "The configuration can be used; {} options are set{}.",
                set.count(),
                file.unwrap_or_default()
            )
        }
        Action::Show { json: false, .. } => as_toml(&settings),
        Action::Show { json: true, .. } => as_json(&settings).to_string(),
    };
    writeln!(std::io::stdout(), "{said}")
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the answer"))
}

fn as_toml(settings: &[Setting]) -> String {
    let lines = settings.iter().map(|setting| match &setting.value {
        Some(value) => format!("{} = {value}  # {}", setting.key, source(&setting.origin)),
        None => format!("# {} is not set", setting.key),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn as_json(settings: &[Setting]) -> serde_json::Value {
    let options = settings.iter().map(|setting| {
        let said = json!({"value": setting.value, "source": source(&setting.origin)});
        (setting.key.to_owned(), said)
    });
    serde_json::Value::Object(options.collect())
}

fn source(origin: &Origin) -> String {
    match origin {
        Origin::Flag => "command line".to_owned(),
        Origin::Environment(variable) => variable.clone(),
        Origin::File { path, .. } => path.display().to_string(),
        Origin::Default => "default".to_owned(),
    }
}
