//! `archive-ledger completions` and `archive-ledger man`: what shells and `man` know of the command line.

use super::Cli;
use crate::Failure;
use clap_complete::Shell;
use clap_mangen::Man;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) const COMPLETIONS_AFTER_HELP: &str = "\
Examples:
  archive-ledger completions bash > /etc/bash_completion.d/archive-ledger
  archive-ledger completions zsh > ~/.zfunc/_archive-ledger
  archive-ledger completions fish > ~/.config/fish/completions/archive-ledger.fish";

pub(crate) const MAN_AFTER_HELP: &str = "\
Examples:
  archive-ledger man | man -l -
  archive-ledger man --dir /usr/local/share/man/man1";

/// Which shell.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

/// Which pages.
#[derive(Debug, clap::Args)]
pub(crate) struct Manual {
    /// Write one page for each subcommand into this directory, which must exist [default: print the main page]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints a shell's completions.
///
/// # Errors
/// A [`Failure`] when they cannot be printed.
pub(crate) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::described(),
        "archive-ledger",
        &mut script,
    );
    print(&script)
}

/// Prints the manual's main page, or writes all of them.
///
/// # Errors
/// A [`Failure`] when they cannot be printed or written.
pub(crate) fn manual(arguments: &Manual) -> Result<(), Failure> {
    let command = Cli::described().disable_help_subcommand(true);
    match &arguments.dir {
        Some(dir) => write_pages(&command, &["archive-ledger"], dir).map_err(|error| {
            Failure::usage(&error).in_context(&format!("--dir: cannot write to {}", dir.display()))
        }),
        None => {
            let mut page = Vec::new();
            Man::new(command)
                .render(&mut page)
                .map_err(|error| Failure::runtime(&error))?;
            print(&page)
        }
    }
}

/// A page for the command and for each below it, named as `man` asks for them: `archive-ledger-ledger-fork`.
fn write_pages(command: &clap::Command, words: &[&str], dir: &Path) -> std::io::Result<()> {
    let name = words.join("-");
    let mut page = File::create(dir.join(format!("{name}.1")))?;
    let titled = command.clone().display_name(name).bin_name(words.join(" "));
    Man::new(titled.disable_help_subcommand(true)).render(&mut page)?;
    command
        .get_subcommands()
        .try_for_each(|below| write_pages(below, &[words, &[below.get_name()]].concat(), dir))
}

fn print(text: &[u8]) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text)
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the answer"))
}
