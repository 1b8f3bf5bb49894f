//! `archive-ledger ledger`: who the ledger is to an auditor.

mod losses;

use super::Options;
use crate::Failure;
use archive_ledger::app;
use archive_ledger::config::{Config, Flags, GivenTwice};
use clap::Subcommand;
use std::io::Write;

/// The longest reason of a fork, in bytes.
const REASON_MAX: usize = 1000;

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
        let (Action::Vkey(options)
        | Action::AcceptClock { options, .. }
        | Action::Fork { options, .. }
        | Action::Losses { options, .. }) = &mut self.action;
        std::mem::take(&mut self.flags).joined(std::mem::take(&mut options.flags))
    }
}

/// What to do with the ledger's identity.
#[derive(Debug, Subcommand)]
enum Action {
    /// Print the key that auditors check the ledger with
    ///
    /// Give it to them by a way that they trust: whoever holds it needs to trust nothing else.
    #[command(display_name = "archive-ledger ledger vkey")]
    Vkey(Options),

    /// Take the clock of a running service for right although it has moved
    ///
    /// A service whose machine's clock moves by more than an hour against the time that passes records no command until the
    /// clock is back. This says that the clock is right now: it is for all instances that wait, it shows which times they wait
    /// with, and the audit keeps who accepted them and why.
    #[command(display_name = "archive-ledger ledger accept-clock")]
    AcceptClock {
        /// Why, in one line; auditors read it
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,

        /// Who the audit records as the actor [default: the user of this process, or admin]
        #[arg(long, value_name = "NAME")]
        actor: Option<String>,

        #[command(flatten)]
        options: Options,
    },

    /// Go on from a database that was restored from an older copy
    ///
    /// The service refuses to append to such a database, because a newer checkpoint was signed than it knows: what came
    /// after the copy would be denied. This opens a new origin (the number at the end of the ledger's name) with a signed
    /// statement of why, and every checkpoint from then on commits to the statement and to the last checkpoint before it.
    /// Auditors see that a piece of the log was lost, and that the operator said so. Stop every instance first.
    ///
    /// Purges of the lost part are told as far as the stream (--nats-url) still has them: what they deleted is gone, and the
    /// ledger shows it as it was before. `ledger losses` tells them again.
    #[command(display_name = "archive-ledger ledger fork")]
    Fork {
        /// Why, in one line; auditors read it
        #[arg(long, value_name = "TEXT", value_parser = reason)]
        reason: String,

        /// Begin again in an empty database: everything that was signed is lost
        ///
        /// The service refuses an empty database beside a key that has signed a ledger. This opens the next origin after the
        /// last one that the key is known to have signed, with nothing in it.
        #[arg(long)]
        from_nothing: bool,

        /// Print one JSON object
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        options: Options,
    },

    /// Tell again what the last fork has lost
    ///
    /// Which purges of the lost part the ledger does not know, and of how many positions nothing is known. Where the stream could
    /// not be asked when the ledger was forked, it is asked now.
    #[command(display_name = "archive-ledger ledger losses")]
    Losses {
        /// Print one JSON object
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        options: Options,
    },
}

fn reason(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > REASON_MAX || text.chars().any(char::is_control) {
        return Err(format!("must be one line of 1 to {REASON_MAX} bytes"));
    }
    Ok(text.to_owned())
}

/// Prints the verifier key, or forks and prints the new one.
///
/// # Errors
/// A [`Failure`] of the option that is at fault.
pub(crate) async fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let said = match arguments.action {
        Action::Vkey(_) => app::verifier_key(config).await?.to_string(),
        Action::AcceptClock { reason, actor, .. } => {
            let actor = actor.unwrap_or_else(super::token::default_subject);
            let accepted = app::accept_clock(config, &actor, &reason).await?;
            let told: Vec<_> = accepted
                .iter()
                .map(|moved| format!("Accepted: {moved}."))
                .collect();
            told.join("\n")
        }
        Action::Fork {
            reason,
            from_nothing,
            json,
            ..
        } => {
            let forked = if from_nothing {
                app::fork_from_nothing(config, &reason).await?
            } else {
                app::fork(config, &reason).await?
            };
            if json {
                losses::fork_as_json(&forked)
            } else {
                losses::fork_as_text(&forked)
            }
        }
        Action::Losses { json, .. } => match app::losses(config).await? {
            Some(losses) if json => losses::as_json(&losses).to_string(),
            Some(losses) => losses::as_text(&losses),
            None => {
                return Err(Failure::found(
                    "the ledger was never forked, or its last fork did not keep what it has lost".to_owned(),
                ));
            }
        },
    };
    writeln!(std::io::stdout(), "{said}")
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the answer"))
}
