//! The values that an option can hold, and how each is read from a text.

use crate::callbacks::target::{Allowed, InvalidAllowed};
use crate::secret_url::SecretUrl;
use crate::telemetry::LogFormat;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use url::Url;

/// Why a text is no value of its option. Never quotes what may hold a password.
pub(super) type Cause = String;

/// Which database holds the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Database {
    /// A SQLite file; its directory may not exist yet.
    Sqlite {
        /// The file.
        path: PathBuf,
    },
    /// A PostgreSQL server.
    Postgres {
        /// `postgres://…` or `postgresql://…`.
        url: SecretUrl,
    },
}

/// Reads `database_url`.
pub(super) fn database(text: &str) -> Result<Database, Cause> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or("must begin with postgres://, postgresql:// or sqlite://")?;
    match scheme {
        "sqlite" => sqlite_path(rest).map(|path| Database::Sqlite { path }),
        "postgres" | "postgresql" => {
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let address = authority
                .rsplit_once('@')
                .map_or(authority, |(_, address)| address);
            if address.contains(',') {
                return Err(format!(
                    "names several hosts ({address}): name the one that has the ledger, or an address that always leads to it"
                ));
            }
            let text = &*with_host_of_its_own(scheme, rest);
            let url = Url::parse(text).map_err(|error| format!("is no valid URL: {error}"))?;
            if url.path().trim_matches('/').is_empty() && !url.query_pairs().any(|(key, _)| key == "dbname") {
                return Err(
                    "must name the database, as postgres://user:password@host:5432/database does".to_owned(),
                );
            }
            Ok(Database::Postgres {
                url: SecretUrl::new(text, &url),
            })
        }
        _ => Err("must begin with postgres://, postgresql:// or sqlite://".to_owned()),
    }
}

/// A URL that names no host beside a user or a port, as `postgresql://user@/database?host=/run/postgresql` does, with these among its
/// parameters: by the standard of URLs they cannot stand alone.
fn with_host_of_its_own(scheme: &str, rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = match address.strip_prefix(':') {
        Some(port) => port,
        None if address.is_empty() && !credentials.is_empty() => "",
        None => return format!("{scheme}://{rest}"),
    };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    // What is written with percent signs is so in both places, and only a plus means a space among parameters.
    let moved = [("user", user), ("password", password), ("port", port)];
    let moved = moved.into_iter().filter(|(_, value)| !value.is_empty());
    let moved =
        moved.map(|(name, value)| format!("{name}={}", value.replace('+', "%2B").replace('&', "%26")));
    let moved = moved.collect::<Vec<_>>().join("&");
    let (behind, fragment) = behind.split_at(behind.find('#').unwrap_or(behind.len()));
    let (path, parameters) = behind.split_once('?').unwrap_or((behind, ""));
    let path = if path.is_empty() { "/" } else { path };
    match parameters {
        "" => format!("{scheme}://{path}?{moved}{fragment}"),
        // What the parameters say goes before what stands in front.
        given => format!("{scheme}://{path}?{moved}&{given}{fragment}"),
    }
}

fn sqlite_path(rest: &str) -> Result<PathBuf, Cause> {
    if rest.contains(['?', '#']) {
        return Err("a sqlite:// URL takes no parameters, only the path of the file".to_owned());
    }
    let path = percent_encoding::percent_decode_str(rest)
        .decode_utf8()
        .map_err(|_| "the path of the SQLite file is not UTF-8".to_owned())?;
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err("must name a file: sqlite:///absolute/path.db or sqlite://relative.db".to_owned());
    }
    if path == ":memory:" {
        return Err("a ledger in memory would be lost at exit; name a file".to_owned());
    }
    Ok(PathBuf::from(path.as_ref()))
}

/// Reads `nats_url`: servers of one cluster, separated by commas.
pub(super) fn nats_servers(text: &str) -> Result<Vec<SecretUrl>, Cause> {
    let servers: Vec<SecretUrl> = text
        .split(',')
        .map(|server| nats_server(server.trim()))
        .collect::<Result<_, _>>()?;
    let mut shown = servers.iter().filter_map(SecretUrl::credentials);
    let first = shown.next();
    if shown.any(|other| Some(&other) != first.as_ref()) {
        return Err("names different users or tokens: the servers of one cluster know the same".to_owned());
    }
    Ok(servers)
}

/// Reads `nats_stream`.
pub(super) fn nats_stream(text: &str) -> Result<String, Cause> {
    if (1..=64).contains(&text.len()) && is_token(text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no stream's name of 1 to 64 of A-Z, a-z, 0-9, - and _"
    ))
}

/// Reads `nats_subject_prefix`: what begins with a sign belongs to the servers.
pub(super) fn nats_subject_prefix(text: &str) -> Result<String, Cause> {
    let own = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if own && text.len() <= 128 && text.split('.').all(is_token) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no prefix of subjects: words of A-Z, a-z, 0-9, - and _ with dots between them, 128 characters at the most, \
         that begin with a letter or digit"
    ))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn nats_server(text: &str) -> Result<SecretUrl, Cause> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("nats://{text}")
    };
    let url = Url::parse(&full).map_err(|error| format!("is no valid URL: {error}"))?;
    if !matches!(url.scheme(), "nats" | "tls") {
        return Err("must begin with nats:// or tls://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("must name a host, as nats://127.0.0.1:4222 does".to_owned());
    }
    Ok(SecretUrl::new(&full, &url))
}

/// Where the JSON Web Key Set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// Behind an `http` or `https` address.
    Url(Url),
    /// Where the issuer of this name, an `http` or `https` address, says itself (OpenID Connect Discovery).
    Issuer(String),
}

/// Reads an item of `role_map`: an issuer's role and ours.
pub(super) fn role_mapping(text: &str) -> Result<(String, String), Cause> {
    match text.rsplit_once('=') {
        Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty() => {
            Ok((line(theirs)?, ours.to_owned()))
        }
        Some(_) | None => Err(format!("{text:?} is no THEIRS=OURS, as team-storage=operator is")),
    }
}

/// Reads `jwks`.
pub(super) fn jwks(text: &str) -> Result<JwksSource, Cause> {
    match text.split_once("://") {
        None => path(text).map(JwksSource::File),
        Some(("http" | "https", _)) => http_url(text).map(JwksSource::Url),
        Some(_) => Err("must be a file's path or an http(s) address".to_owned()),
    }
}

/// Reads an `http` or `https` address without credentials.
pub(super) fn http_url(text: &str) -> Result<Url, Cause> {
    let url = Url::parse(text).map_err(|error| format!("is no valid URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with http:// or https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    Ok(url)
}

/// Reads `storage_root`: only whether it is a place of a kind that there is a client for. The exact rules of
/// a root are those of the cleanup.
pub(super) fn storage_root(text: &str) -> Result<String, Cause> {
    let url = Url::parse(text).map_err(|error| {
        format!("{text:?} is no URI such as file:///srv/backups or s3://bucket/prefix: {error}")
    })?;
    match url.scheme() {
        "file" if url.host_str().is_none_or(str::is_empty) && text.starts_with("file:///") => {
            Ok(text.to_owned())
        }
        "file" => Err(format!(
            "{text:?} must be absolute and name no host, as file:///srv/backups does"
        )),
        "s3" | "gs" | "az" if url.host_str().is_some_and(|bucket| !bucket.is_empty()) => Ok(text.to_owned()),
        scheme @ ("s3" | "gs" | "az") => Err(format!(
            "{text:?} must name a bucket, as {scheme}://bucket/prefix does"
        )),
        _ => Err(format!(
            "{text:?} must begin with file:///, s3://, gs:// or az://"
        )),
    }
}

/// Reads `azure_account`: 3 to 24 lower-case letters and digits, which become part of a host name.
pub(super) fn azure_account(text: &str) -> Result<String, Cause> {
    let named = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if named && (3..=24).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "{text:?} is no storage account: 3 to 24 lower-case letters and digits"
        ))
    }
}

/// Reads one item of `callback_allow`.
pub(super) fn callback_target(text: &str) -> Result<Allowed, Cause> {
    text.parse().map_err(|error: InvalidAllowed| error.to_string())
}

/// Reads `log_format`.
pub(super) fn log_format(text: &str) -> Result<LogFormat, Cause> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is neither text nor json")),
    }
}

/// Reads `log`. A lone word must be a level: as a filter it would mean "only the module of this name", so a
/// misspelt level would switch the log off.
pub(super) fn log_filter(text: &str) -> Result<String, Cause> {
    for directive in text.split(',').map(str::trim) {
        let lone = directive.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if lone && tracing_subscriber::filter::LevelFilter::from_str(directive).is_err() {
            return Err(format!(
                "{directive:?} is none of error, warn, info, debug, trace, off (for one module: module=level)"
            ));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is no log filter: {error}")),
    }
}

/// Reads `listen`.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, Cause> {
    text.parse()
        .map_err(|_| format!("{text:?} is no IP address with a port, such as 127.0.0.1:8080"))
}

/// Reads a network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Cause> {
    let one = text.parse::<IpAddr>().map(IpNet::from);
    one.or_else(|_| text.parse::<IpNet>().map(|network| network.trunc()))
        .map_err(|_| format!("{text:?} is no network such as 10.0.0.0/8, nor an address"))
}

/// Reads a path.
pub(super) fn path(text: &str) -> Result<PathBuf, Cause> {
    if text.is_empty() || text.contains('\0') {
        return Err("must be a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// Reads a line of text: not empty, no control characters.
pub(super) fn line(text: &str) -> Result<String, Cause> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("must be a line of text, not empty".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads a domain: a line of text no longer than a name may be (RFC 1035, section 2.3.4).
pub(super) fn domain(text: &str) -> Result<String, Cause> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || name.split('.').any(|label| label.len() > 63) {
        return Err(format!(
            "{} characters are no domain: it has 253 at the most, and 63 between two dots",
            text.len()
        ));
    }
    line(text)
}

/// Reads true or false.
pub(super) fn boolean(text: &str) -> Result<bool, Cause> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// Reads a whole number from `least` to `most`.
pub(super) fn integer<N>(text: &str, least: N, most: N) -> Result<N, Cause>
where
    N: Copy + FromStr + PartialOrd + fmt::Display,
{
    match text.parse::<N>() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("{text:?} is no whole number from {least} to {most}")),
    }
}

/// Reads a duration from `least` to `most`.
pub(super) fn duration(text: &str, least: Duration, most: Duration) -> Result<Duration, Cause> {
    let parsed = humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is no duration such as 30s or 12h: {error}"))?;
    if (least..=most).contains(&parsed) {
        return Ok(parsed);
    }
    let (least, most) = (
        humantime::format_duration(least),
        humantime::format_duration(most),
    );
    Err(format!("{text:?} is not between {least} and {most}"))
}
