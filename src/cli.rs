//! The command line: subcommands, their arguments, and how a wrong one is reported.

pub(crate) mod config;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod ledger;
pub(crate) mod rebuild;
pub(crate) mod reconcile;
pub(crate) mod shell;
pub(crate) mod token;
pub(crate) mod verify;

use archive_ledger::config::{Flags, GivenTwice};
use archive_ledger::telemetry::VERSION_AND_COMMIT;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Every option, before or after the subcommand, can also be set
  by an environment variable: --data-dir by ARCHIVE_LEDGER_DATA_DIR (lists separated by commas)
  by a key of the TOML file that --config names: data_dir (config.default.toml has them all)
A flag wins over the environment, the environment over the file, the file over the default.";

/// An event-sourced ledger for what platforms throw away: soft-delete, list, restore, purge, prove.
#[derive(Debug, Parser)]
#[command(name = "archive-ledger", version = VERSION_AND_COMMIT, propagate_version = true, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    flags: Flags,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the service (the default)
    ///
    /// Without further options it keeps everything in ./data and listens on http://127.0.0.1:8080.
    #[command(display_name = "archive-ledger serve")]
    Serve(Options),

    /// Print a token (JWT) for the API, and nothing else
    ///
    /// The token is signed with the key file that the server checks it with (--jwt-secret-file); the server
    /// makes it when it first starts. It must name at least one role, right, privilege or space.
    #[command(display_name = "archive-ledger token", after_help = token::AFTER_HELP)]
    Token(token::Arguments),

    /// Bring the database's schema up to date, and end
    ///
    /// The server does the same at its start; this is for whoever wants it done before, or with another database user. It is
    /// safe to run beside servers and more than once.
    #[command(display_name = "archive-ledger migrate")]
    Migrate(Options),

    /// Rebuild the lists and counters from the log, beside live traffic
    ///
    /// The log is replayed into tables of its own and these are compared with the live ones; only rows that differ are
    /// replaced, in one transaction. Nothing is locked while they are right, and nothing is published or called.
    #[command(display_name = "archive-ledger rebuild", after_help = rebuild::AFTER_HELP)]
    Rebuild(rebuild::Arguments),

    /// Compare the storage under the roots with the ledger
    ///
    /// Tells of storage that entities name and that is gone, and of objects that a purge ordered to be deleted and that are
    /// there. With --fix the latter are deleted, and nothing else.
    #[command(display_name = "archive-ledger reconcile", after_help = reconcile::AFTER_HELP)]
    Reconcile(reconcile::Arguments),

    /// Check that a log is what its ledger signed
    ///
    /// Rebuilds every root from the entries and trusts no tile. It checks a served log (--url), an exported one (--dir), one
    /// entity's evidence (--bundle), or the ledger's own database with everything in it (--data-dir, --database-url).
    #[command(display_name = "archive-ledger verify", after_help = verify::AFTER_HELP)]
    Verify(verify::Arguments),

    /// Write the log as files: a tiled log that any static host serves (C2SP tlog-tiles), or its events
    #[command(display_name = "archive-ledger export", after_help = export::AFTER_HELP)]
    Export(export::Arguments),

    /// Show the key that auditors check the ledger with, or go on from a restored copy
    #[command(display_name = "archive-ledger ledger")]
    Ledger(ledger::Arguments),

    /// Record many deletions from a file with one JSON object per line
    ///
    /// They go the way of any other deletion, beside a running server or without one. An import that broke off is run again
    /// and goes on; one that is run twice adds nothing. A bad line is reported by its number and stops nothing.
    #[command(display_name = "archive-ledger import", after_help = import::AFTER_HELP)]
    Import(import::Arguments),

    /// Check the configuration, or show it with where each value comes from
    #[command(display_name = "archive-ledger config", after_help = config::AFTER_HELP)]
    Config(config::Arguments),

    /// Print what completes the command line in a shell
    #[command(display_name = "archive-ledger completions", after_help = shell::COMPLETIONS_AFTER_HELP)]
    Completions(shell::Completions),

    /// Print the manual page, or write one for each subcommand
    #[command(display_name = "archive-ledger man", after_help = shell::MAN_AFTER_HELP)]
    Man(shell::Manual),
}

/// A subcommand's arguments when it has the common options only.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    flags: Flags,
}

/// The options that a subcommand heeds, of those that heed few: the others are accepted there and not shown.
const HEEDED: [(&str, &[&str]); 2] = [
    (
        "token",
        &[
            "config",
            "data_dir",
            "jwt_secret_file",
            "jwt_issuer",
            "jwt_audience",
            "jwt_hs256",
        ],
    ),
    (
        "import",
        &[
            "config",
            "data_dir",
            "database_url",
            "database_connections",
            "keyring_file",
            "ledger_key_file",
            "guard_file",
            "max_batch",
            "log",
            "log_format",
        ],
    ),
];

impl Cli {
    /// Parses the process's arguments.
    ///
    /// # Errors
    /// [`clap::Error`]: also for `--help` and `--version`, see [`report_usage`].
    pub(crate) fn from_command_line() -> Result<Self, clap::Error> {
        Self::from_arguments(std::env::args_os())
    }

    fn from_arguments<T>(arguments: impl IntoIterator<Item = T>) -> Result<Self, clap::Error>
    where
        T: Into<OsString> + Clone,
    {
        Self::from_arg_matches(&Self::described().try_get_matches_from(arguments)?)
    }

    /// The command line as it is told: with what each subcommand heeds.
    pub(crate) fn described() -> clap::Command {
        let options = Flags::augment_args(clap::Command::new("options"));
        let options: Vec<clap::Id> = options
            .get_arguments()
            .map(|option| option.get_id().clone())
            .collect();
        HEEDED.iter().fold(Self::command(), |command, (name, heeded)| {
            command.mut_subcommand(name, |subcommand| {
                subcommand.mut_args(|argument| {
                    let id = argument.get_id();
                    let hidden = options.contains(id) && !heeded.contains(&id.as_str());
                    argument.hide(hidden)
                })
            })
        })
    }

    /// The options and the subcommand.
    ///
    /// # Errors
    /// [`GivenTwice`] when an option stands before and after the subcommand.
    pub(crate) fn into_parts(self) -> Result<(Flags, Command), GivenTwice> {
        let mut command = self.command.unwrap_or_else(|| Command::Serve(Options::default()));
        let after = match &mut command {
            Command::Token(arguments) => std::mem::take(&mut arguments.flags),
            Command::Ledger(arguments) => arguments.take_flags()?,
            Command::Verify(arguments) => std::mem::take(&mut arguments.flags),
            Command::Export(arguments) => std::mem::take(&mut arguments.flags),
            Command::Serve(options) | Command::Migrate(options) => std::mem::take(&mut options.flags),
            Command::Rebuild(arguments) => std::mem::take(&mut arguments.options.flags),
            Command::Reconcile(arguments) => std::mem::take(&mut arguments.options.flags),
            Command::Import(arguments) => std::mem::take(&mut arguments.options.flags),
            Command::Config(arguments) => arguments.take_flags()?,
            Command::Completions(_) | Command::Man(_) => Flags::default(),
        };
        Ok((self.flags.joined(after)?, command))
    }
}

/// Prints what clap has to say: help and version on standard output, an error as one line on standard error.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        kind => {
            let unreadable = (kind == ErrorKind::InvalidUtf8).then(|| no_text(std::env::args_os().skip(1)));
            let line = unreadable.flatten();
            crate::say(&line.unwrap_or_else(|| usage_line(&error.render().to_string())));
            ExitCode::from(usage_code())
        }
    }
}

/// The exit code of a wrong command line: 2, and for `verify`, where 2 says tampered, 4.
pub(crate) fn usage_code() -> u8 {
    // Nothing is parsed yet, so the first argument that names a subcommand is taken for it.
    let command = Cli::command();
    let named = std::env::args_os()
        .skip(1)
        .find(|argument| command.find_subcommand(argument).is_some());
    if named.is_some_and(|named| named == "verify") {
        verify::USAGE
    } else {
        2
    }
}

/// What is said of the first argument that is no text: the option that it belongs to, and the argument as far as it is readable.
fn no_text(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut before: Option<String> = None;
    for argument in arguments {
        let shown = argument.to_string_lossy();
        if argument.to_str().is_none() {
            let (option, value) = match (shown.split_once('='), &before) {
                (Some((option, value)), _) if option.starts_with("--") => (Some(option), value),
                (_, Some(option)) => (Some(option.as_str()), &*shown),
                (_, None) => (None, &*shown),
            };
            let option = option.map(|option| format!("{option}: ")).unwrap_or_default();
            return Some(format!("{option}{value:?} is not UTF-8 (see --help)"));
        }
        before = shown.starts_with("--").then(|| shown.into_owned());
    }
    None
}

/// clap's report as one line: what is wrong and its tips, without the usage that `--help` shows.
fn usage_line(report: &str) -> String {
    let told = report.split("\nUsage:").next().unwrap_or(report);
    let told = told.split("\nFor more information").next().unwrap_or(told);
    let paragraphs = told.trim_start_matches("error: ").split("\n\n").map(|paragraph| {
        let words: Vec<&str> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let paragraphs: Vec<String> = paragraphs.filter(|paragraph| !paragraph.is_empty()).collect();
    format!("{} (see --help)", paragraphs.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::from_arguments(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_subcommand() {
        for line in [
            "archive-ledger --data-dir x token --role admin",
            "archive-ledger token --role admin --data-dir x",
            "archive-ledger token --data-dir=x --role admin",
            "archive-ledger --data-dir x ledger vkey",
            "archive-ledger ledger --data-dir x vkey",
            "archive-ledger ledger vkey --data-dir x",
            "archive-ledger ledger fork --reason r --data-dir x",
            "archive-ledger config show --json --data-dir x",
        ] {
            let (flags, _) = parse(line).unwrap().into_parts().unwrap();
            assert_eq!(format!("{flags:?}"), "Flags({\"data_dir\": [\"x\"]})", "{line}");
        }
        assert!(
            parse("archive-ledger --data-dir x token --role admin --data-dir y")
                .unwrap()
                .into_parts()
                .is_err()
        );
    }

    #[test]
    fn a_usage_error_is_one_line() {
        for (line, said) in [
            (
                "archive-ledger --liste x token --role admin",
                "unexpected argument '--liste' found",
            ),
            (
                "archive-ledger token --role king",
                "invalid value 'king' for '--role <ROLE>'",
            ),
            (
                "archive-ledger token --role admin --ttl never",
                "invalid value 'never' for '--ttl <DURATION>'",
            ),
            (
                "archive-ledger token",
                "the following required arguments were not provided",
            ),
            ("archive-ledger conquer", "unrecognized subcommand 'conquer'"),
        ] {
            let error = parse(line).unwrap_err();
            let told = usage_line(&error.render().to_string());
            assert!(
                told.starts_with(said) && !told.contains('\n') && !told.contains("Usage"),
                "{told}"
            );
        }
    }
}
