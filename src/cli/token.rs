//! `archive-ledger token`: signs a token with the service's own key.

use crate::Failure;
use archive_ledger::clock::SystemClock;
use archive_ledger::config::{Config, Flags};
use archive_ledger::http::auth::rights::{Right, Role};
use archive_ledger::http::auth::token;
use archive_ledger::http::auth::token::TokenRequest;
use archive_ledger::secret_files;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub(crate) const AFTER_HELP: &str = "\
The key is the service's own: it makes it when it first starts, in its data directory. Run this where the service was
started, or name its --data-dir.

Roles:      admin (everything), operator (everything but purge), auditor (read)
Rights:     archived:read, archived:write (soft-delete, restore), archived:purge,
            archived:purge-force (past a safeguard), audit:read, callbacks:manage
Privileges: what the Onedata routes ask for; to delete an archive they ask for
            space_manage_datasets and space_remove_archives

Examples:
  archive-ledger token --role admin
  archive-ledger token --right archived:read --right audit:read --ttl 30days
  archive-ledger token --space s1=space_manage_datasets,space_remove_archives";

/// The longest life of a token: ten years of 365.25 days.
const LONGEST: Duration = Duration::from_secs(315_576_000);

/// What the token shall say.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("grants").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// A role; can be repeated
    #[arg(long = "role", value_name = "ROLE", group = "grants", value_parser = one_of(Role::ALL, Role::as_str))]
    roles: Vec<Role>,

    /// A right; can be repeated
    #[arg(long = "right", value_name = "RIGHT", group = "grants", value_parser = one_of(Right::ALL, Right::as_str))]
    rights: Vec<Right>,

    /// A Onedata privilege in every space; can be repeated
    #[arg(long = "privilege", value_name = "PRIVILEGE", group = "grants", value_parser = word)]
    privileges: Vec<String>,

    /// Onedata privileges in one space; can be repeated
    #[arg(long = "space", value_name = "SPACE=PRIVILEGE[,PRIVILEGE]", group = "grants", value_parser = space)]
    spaces: Vec<(String, Vec<String>)>,

    /// Who the ledger records as the actor [default: the user of this process, or admin]
    #[arg(long, value_name = "SUBJECT", value_parser = subject)]
    subject: Option<String>,

    /// How long the token holds, from 1s to 10years
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = ttl)]
    ttl: Duration,

    #[command(flatten)]
    pub(super) flags: Flags,
}

/// The names that an option takes, and what each stands for.
fn one_of<T>(
    all: impl IntoIterator<Item = T>,
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(all.into_iter().map(name)).try_map(|text| text.parse::<T>())
}

fn word(text: &str) -> Result<String, String> {
    if !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    {
        Ok(text.to_owned())
    } else {
        Err("letters, digits, '_' and '-' only".to_owned())
    }
}

fn space(text: &str) -> Result<(String, Vec<String>), String> {
    let (space, privileges) = text
        .split_once('=')
        .ok_or("must be SPACE=PRIVILEGE[,PRIVILEGE]")?;
    Ok((
        word(space)?,
        privileges.split(',').map(word).collect::<Result<_, _>>()?,
    ))
}

pub(super) fn subject(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("must be 1 to 256 bytes without control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| format!("{error} (write 30m, 12h, 30days)"))?;
    if !(Duration::from_secs(1)..=LONGEST).contains(&ttl) {
        return Err("must be from 1s to 10years".to_owned());
    }
    Ok(ttl)
}

/// The user whom the environment names, else `admin`.
pub(super) fn default_subject() -> String {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok());
    named
        .filter_map(|name| subject(&name).ok())
        .next()
        .unwrap_or_else(|| "admin".to_owned())
}

/// There is no key to sign with. One that was made here would be known to no service.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no key {}: the service makes it when it first starts; run this in the folder that it was started in, \
     or name its --data-dir",
    path.display()
)]
struct NoKey {
    path: PathBuf,
}

/// The service takes tokens of others only.
#[derive(Debug, thiserror::Error)]
#[error("the service takes no tokens of its own beside a key set, unless it is told to (--jwt-hs256 on)")]
struct NoOwnTokens;

/// The key of the service; makes none.
fn key(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn Error| Failure::usage(error).in_context("--jwt-secret-file");
    match secret_files::existing_jwt_secret(path) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => {
            // Whole, because it says where this was run.
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            Err(failed(&NoKey { path }))
        }
        Err(error) => Err(failed(&error)),
    }
}

/// Prints a token and a line break.
///
/// # Errors
/// A [`Failure`] of the option `--jwt-secret-file` when the key is not there or cannot be read.
pub(crate) fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    if !config.auth.hs256 {
        return Err(Failure::usage(&NoOwnTokens).in_context("--jwt-hs256"));
    }
    let key = key(&config.auth.secret_file)?;
    let mut spaces = BTreeMap::<String, Vec<String>>::new();
    for (space, privileges) in arguments.spaces {
        spaces.entry(space).or_default().extend(privileges);
    }
    let request = TokenRequest {
        roles: arguments.roles,
        rights: arguments.rights,
        privileges: arguments.privileges,
        spaces,
        subject: arguments.subject.unwrap_or_else(default_subject),
        ttl: arguments.ttl,
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
    };
    // What is left to refuse is a token that grants so much that it would be too long.
    let token = token::mint(&key, &request, &SystemClock).map_err(|error| Failure::usage(&error))?;
    writeln!(std::io::stdout(), "{token}")
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the token"))
}
