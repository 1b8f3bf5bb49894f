//! `archive-ledger token`: signs a token with the service's own key.

use crate::Failure;
use archive_ledger::clock::{Clock, SystemClock};
use archive_ledger::config::{Config, Flags};
use archive_ledger::secret_files;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

pub(crate) const AFTER_HELP: &str = "\
Roles:      admin (everything), operator (everything but purge), auditor (read)
Rights:     archived:read, archived:write (soft-delete, restore), archived:purge,
            audit:read, callbacks:manage
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
    #[arg(long = "role", value_name = "ROLE", group = "grants", value_parser = PossibleValuesParser::new(ROLES))]
    roles: Vec<String>,

    /// A right; can be repeated
    #[arg(long = "right", value_name = "RIGHT", group = "grants", value_parser = PossibleValuesParser::new(RIGHTS))]
    rights: Vec<String>,

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

const ROLES: [&str; 3] = ["admin", "operator", "auditor"];
const RIGHTS: [&str; 5] = [
    "archived:read",
    "archived:write",
    "archived:purge",
    "audit:read",
    "callbacks:manage",
];

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

fn subject(text: &str) -> Result<String, String> {
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
fn default_subject() -> String {
    let named = ["USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok());
    named
        .filter_map(|name| subject(&name).ok())
        .next()
        .unwrap_or_else(|| "admin".to_owned())
}

/// Prints a token and a line break.
///
/// # Errors
/// A [`Failure`] of the option `--jwt-secret-file` when the key cannot be read or made.
pub(crate) fn run(config: &Config, arguments: Arguments) -> Result<(), Failure> {
    let key = secret_files::jwt_secret(&config.auth.secret_file)
        .map_err(|error| Failure::usage(&error).in_context("--jwt-secret-file"))?;
    let token = mint(config, arguments, &key).map_err(|error| Failure::runtime(&error))?;
    writeln!(std::io::stdout(), "{token}")
        .map_err(|error| Failure::runtime(&error).in_context("cannot print the token"))
}

/// The claims, as the design has them.
#[derive(Debug, Serialize)]
struct Claims {
    sub: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    scope: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    privileges: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    spaces: BTreeMap<String, Vec<String>>,
}

fn mint(config: &Config, arguments: Arguments, key: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
    let mut spaces = BTreeMap::<String, Vec<String>>::new();
    for (space, privileges) in arguments.spaces {
        spaces.entry(space).or_default().extend(privileges);
    }
    let now = SystemClock.now().timestamp();
    let claims = Claims {
        sub: arguments.subject.unwrap_or_else(default_subject),
        iat: now,
        nbf: now,
        exp: now.saturating_add_unsigned(arguments.ttl.as_secs()),
        iss: config.auth.issuer.clone(),
        aud: config.auth.audience.clone(),
        roles: arguments.roles,
        scope: arguments.rights.join(" "),
        privileges: arguments.privileges,
        spaces,
    };
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(key))
}
