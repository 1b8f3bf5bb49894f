//! The database URL, read as libpq reads it.
//!
//! The driver has a reader of its own, which takes no URL without a host beside a user, leaves the brackets around an IPv6
//! address, knows no `passfile`, and gives what a password file has escaped to the server as it stands there.

use super::pgpass;
use ::url::{Host, Url};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::borrow::Cow;
use std::ffi::OsStr;
use std::net::IpAddr;
use std::path::PathBuf;

/// What the driver reads of the environment. It passes over what it cannot read, and connects to somebody else then, or without TLS.
const VARIABLES: [&str; 12] = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGAPPNAME",
    "PGOPTIONS",
];

/// Refuses a variable that cannot be read; one that is empty is not set.
fn check_variable(name: &str, value: &OsStr) -> Result<(), String> {
    let value = value.to_str().ok_or_else(|| format!("{name} is not UTF-8"))?;
    let wrong = |what: &str| Err(format!("{name}={value:?} {what}"));
    match name {
        _ if value.is_empty() => Ok(()),
        "PGHOST" | "PGHOSTADDR" | "PGPORT" if value.contains(',') => wrong(SEVERAL_HOSTS),
        "PGPORT" if value.parse::<u16>().is_err() => wrong("is no port"),
        "PGSSLMODE" if value.parse::<PgSslMode>().is_err() => wrong(NO_SSL_MODE),
        _ => Ok(()),
    }
}

/// libpq asks one after the other; which of them has the ledger is nothing to be found out by trying.
const SEVERAL_HOSTS: &str =
    "names several hosts: name the one that has the ledger, or an address that always leads to it";

const NO_SSL_MODE: &str = "is none of disable, allow, prefer, require, verify-ca, verify-full";

/// Reads a URL, the environment's `PG…` variables for what it leaves out, and the password file for a password that neither has.
///
/// # Errors
/// What is wrong, naming the part of the URL or the file; never a password.
pub(super) fn read(text: &str) -> Result<Way, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    for name in VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            check_variable(name, &value)?;
        }
    }
    let mut read = Read {
        options: PgConnectOptions::new_without_pgpass(),
        password: std::env::var_os("PGPASSWORD").is_some(),
        passfile: None,
        files: TlsFiles::of_environment(),
    };
    read.address(&url)?;
    for (name, value) in url.query_pairs() {
        read.parameter(&name, &value)?;
    }
    let Read {
        options,
        password,
        passfile,
        files,
    } = read;
    if password {
        return Ok(Way {
            options,
            files,
            left_out: None,
        });
    }
    let socket = options.get_socket().and_then(|path| path.to_str());
    let sought = pgpass::Sought {
        host: socket.unwrap_or_else(|| options.get_host()),
        port: options.get_port(),
        database: options.get_database().unwrap_or_else(|| options.get_username()),
        user: options.get_username(),
    };
    let found = pgpass::find(passfile, &sought)?;
    let options = match found.password {
        Some(password) => options.password(&password),
        None => options,
    };
    Ok(Way {
        options,
        files,
        left_out: found.left_out,
    })
}

/// How the server is reached.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) options: PgConnectOptions,
    pub(super) files: TlsFiles,
    /// Why there may be no password: a file that was left out of account.
    pub(super) left_out: Option<String>,
}

/// What TLS takes from files: their paths, or what is in them.
#[derive(Debug, Default)]
pub(super) struct TlsFiles {
    /// The authorities that may vouch for the server.
    pub(super) authorities: Option<String>,
    /// The client's certificate and its key.
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
}

impl TlsFiles {
    fn of_environment() -> Self {
        let given = |name| std::env::var(name).ok();
        Self {
            authorities: given("PGSSLROOTCERT"),
            certificate: given("PGSSLCERT"),
            key: given("PGSSLKEY"),
        }
    }
}

struct Read {
    options: PgConnectOptions,
    /// Whether a password is given.
    password: bool,
    passfile: Option<PathBuf>,
    files: TlsFiles,
}

impl Read {
    fn set(&mut self, set: impl FnOnce(PgConnectOptions) -> PgConnectOptions) {
        let options = std::mem::replace(&mut self.options, PgConnectOptions::new_without_pgpass());
        self.options = set(options);
    }

    fn address(&mut self, url: &Url) -> Result<(), String> {
        match url.host() {
            None => {}
            Some(Host::Domain(name)) => self.host(&decoded("host", name)?)?,
            Some(Host::Ipv4(address)) => self.host(&address.to_string())?,
            Some(Host::Ipv6(address)) => self.host(&address.to_string())?,
        }
        if let Some(port) = url.port() {
            self.set(|options| options.port(port));
        }
        let user = decoded("user", url.username())?;
        if !user.is_empty() {
            self.set(|options| options.username(&user));
        }
        if let Some(password) = url.password() {
            let password = decoded("password", password)?;
            self.set(|options| options.password(&password));
            self.password = true;
        }
        let database = decoded("database", url.path().trim_start_matches('/'))?;
        if !database.is_empty() {
            self.set(|options| options.database(&database));
        }
        Ok(())
    }

    /// A name, an address, or the directory of a socket; nothing is the usual one.
    fn host(&mut self, host: &str) -> Result<(), String> {
        if host.contains(',') {
            return Err(format!("host={host:?} {SEVERAL_HOSTS}"));
        }
        if host.starts_with('/') {
            self.set(|options| options.socket(host));
        } else if !host.is_empty() {
            let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            self.set(|options| options.host(bare.unwrap_or(host)));
        }
        Ok(())
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |what: &str| format!("{name}={value:?} {what}");
        match name {
            "hostaddr" | "port" if value.contains(',') => return Err(wrong(SEVERAL_HOSTS)),
            "host" => self.host(value)?,
            "hostaddr" => {
                let address: IpAddr = value.parse().map_err(|_| wrong("is no IP address"))?;
                self.host(&address.to_string())?;
            }
            "port" => {
                let port = value.parse().map_err(|_| wrong("is no port"))?;
                self.set(|options| options.port(port));
            }
            "user" => self.set(|options| options.username(value)),
            "password" => {
                self.set(|options| options.password(value));
                self.password = true;
            }
            "passfile" => {
                self.passfile = Some(PathBuf::from(value)).filter(|path| !path.as_os_str().is_empty())
            }
            "dbname" => self.set(|options| options.database(value)),
            "application_name" => self.set(|options| options.application_name(value)),
            "sslmode" | "ssl-mode" => {
                let mode: PgSslMode = value.parse().map_err(|_| wrong(NO_SSL_MODE))?;
                self.set(|options| options.ssl_mode(mode));
            }
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" => {
                self.set(|options| options.ssl_root_cert(value));
                self.files.authorities = Some(value.to_owned());
            }
            "sslcert" | "ssl-cert" => {
                self.set(|options| options.ssl_client_cert(value));
                self.files.certificate = Some(value.to_owned());
            }
            "sslkey" | "ssl-key" => {
                self.set(|options| options.ssl_client_key(value));
                self.files.key = Some(value.to_owned());
            }
            "statement-cache-capacity" => {
                let capacity = value.parse().map_err(|_| wrong("is no number"))?;
                self.set(|options| options.statement_cache_capacity(capacity));
            }
            "options" => self.set(|options| options.options(server_options(value))),
            other => {
                let setting = other
                    .strip_prefix("options[")
                    .and_then(|rest| rest.strip_suffix(']'));
                match setting {
                    Some(setting) => self.set(|options| options.options([(setting, value)])),
                    // Its value may be a secret.
                    None => {
                        tracing::warn!("the parameter {other:?} of the database URL is not known and ignored")
                    }
                }
            }
        }
        Ok(())
    }
}

/// The settings of an `options` parameter: `-c name=value` and `--name=value`, as the server reads them.
fn server_options(text: &str) -> Vec<(String, String)> {
    // A space behind a backslash is part of a value, and stays behind it for the server.
    let mut escaped = false;
    let mut words = text
        .split(move |character: char| {
            let splits = character.is_ascii_whitespace() && !escaped;
            escaped = character == '\\' && !escaped;
            splits
        })
        .filter(|word| !word.is_empty());
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(setting) => Some(setting),
            None => word.strip_prefix("--"),
        };
        if let Some((name, value)) = setting.and_then(|setting| setting.split_once('=')) {
            found.push((name.to_owned(), value.to_owned()));
        }
    }
    found
}

fn decoded<'t>(part: &str, text: &'t str) -> Result<Cow<'t, str>, String> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| format!("the {part} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_sockets_and_ports_are_read_wherever_they_stand() {
        for (url, host, socket, port) in [
            ("postgres://u@h:6000/d", Some("h"), None, 6000),
            ("postgres://u@[::1]:6000/d", Some("::1"), None, 6000),
            (
                "postgres://u@127.0.0.1/d?port=6000",
                Some("127.0.0.1"),
                None,
                6000,
            ),
            (
                "postgres:///d?user=u&host=/run/pg&port=6000",
                None,
                Some("/run/pg"),
                6000,
            ),
            ("postgresql://u@%2Frun%2Fpg:6000/d", None, Some("/run/pg"), 6000),
            (
                "postgresql://u@other:5/d?host=%2Frun%2Fpg&port=6000",
                None,
                Some("/run/pg"),
                6000,
            ),
            (
                "postgresql://u@h/d?hostaddr=::1&port=6000",
                Some("::1"),
                None,
                6000,
            ),
        ] {
            let read = read(url).unwrap().options;
            assert_eq!(read.get_socket().and_then(|path| path.to_str()), socket, "{url}");
            assert!(
                host.is_none_or(|host| host == read.get_host()),
                "{url}: {}",
                read.get_host()
            );
            assert_eq!(read.get_port(), port, "{url}");
            assert_eq!(
                (read.get_username(), read.get_database()),
                ("u", Some("d")),
                "{url}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_and_no_password_is_quoted() {
        for (url, said) in [
            ("postgres://h/d?port=65536", "port=\"65536\" is no port"),
            ("postgres://h/d?hostaddr=h", "hostaddr=\"h\" is no IP address"),
            (
                "postgres://h/d?sslmode=sometimes",
                "sslmode=\"sometimes\" is none of",
            ),
            ("postgres:///d?host=a,b", "host=\"a,b\" names several hosts"),
            ("postgres://a,b/d", "host=\"a,b\" names several hosts"),
            ("postgres://h/d?port=1,2", "port=\"1,2\" names several hosts"),
            (
                "postgres://h/d?hostaddr=::1,::1",
                "hostaddr=\"::1,::1\" names several hosts",
            ),
            (
                "postgres://h/d?passfile=/no/where",
                "the password file /no/where: No such file",
            ),
            ("postgres://u:%ff@h/d", "the password is not UTF-8"),
            ("postgres://u@%ff/d", "the host is not UTF-8"),
        ] {
            let error = read(url).unwrap_err();
            assert!(error.contains(said), "{url}: {error}");
        }
    }

    #[test]
    fn a_variable_that_cannot_be_read_is_named() {
        use std::os::unix::ffi::OsStrExt as _;
        for (name, value, said) in [
            ("PGHOST", &b"\xff"[..], "PGHOST is not UTF-8"),
            ("PGPASSWORD", b"secret\xff", "PGPASSWORD is not UTF-8"),
            ("PGHOST", b"a,b", "PGHOST=\"a,b\" names several hosts"),
            ("PGPORT", b"abc", "PGPORT=\"abc\" is no port"),
            ("PGPORT", b"65536", "PGPORT=\"65536\" is no port"),
            (
                "PGSSLMODE",
                b"verify_full",
                "PGSSLMODE=\"verify_full\" is none of",
            ),
        ] {
            let error = check_variable(name, OsStr::from_bytes(value)).unwrap_err();
            assert!(error.starts_with(said), "{error}");
        }
        for (name, value) in [
            ("PGHOST", "h"),
            ("PGPORT", ""),
            ("PGPORT", "6000"),
            ("PGSSLMODE", "verify-full"),
        ] {
            assert_eq!(check_variable(name, OsStr::new(value)), Ok(()));
        }
    }

    #[test]
    fn the_servers_options_are_read_one_by_one() {
        let expected =
            [("a", "1"), ("b", "2\\ x"), ("c", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(server_options("-c a=1 -cb=2\\ x  --c=3 -d"), expected);
    }
}
