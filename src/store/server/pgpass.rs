//! The password file, read as libpq reads it: `host:port:database:user:password`, where `*` stands for anything and a backslash
//! takes its meaning from a colon or a backslash.

use crate::small_files;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// The largest password file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Where sockets are when nobody says otherwise: a password for `localhost` is for these as well.
const SOCKETS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// Whose password is looked for.
pub(super) struct Sought<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) database: &'a str,
    pub(super) user: &'a str,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) password: Option<String>,
    /// Why a file was left out of account that may have held it.
    pub(super) left_out: Option<String>,
}

/// The password of the file that the URL names, or `PGPASSFILE`, or else of `~/.pgpass`. As for libpq, one that cannot be used is no
/// password, unless the URL names it: then it is this database's.
///
/// # Errors
/// A file that the URL names and that cannot be used: what is wrong with it.
pub(super) fn find(named: Option<PathBuf>, sought: &Sought<'_>) -> Result<Found, String> {
    if let Some(path) = named {
        let password = password(&read(&path)?, sought);
        return Ok(Found {
            password,
            left_out: None,
        });
    }
    let set = std::env::var_os("PGPASSFILE").filter(|path| !path.is_empty());
    let is_set = set.is_some();
    let usual = || std::env::home_dir().map(|home| home.join(".pgpass"));
    let Some(path) = set.map(PathBuf::from).or_else(usual) else {
        return Ok(Found::default());
    };
    if !is_set && matches!(path.try_exists(), Ok(false)) {
        return Ok(Found::default());
    }
    Ok(in_file(&path, sought))
}

fn in_file(path: &Path, sought: &Sought<'_>) -> Found {
    match read(path) {
        Ok(content) => Found {
            password: password(&content, sought),
            left_out: None,
        },
        Err(error) => {
            tracing::warn!("{error}: it is left out of account");
            Found {
                password: None,
                left_out: Some(error),
            }
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    let told = |what: &str| format!("the password file {}: {what}", path.display());
    let file = small_files::open(path).map_err(|error| told(&error.to_string()))?;
    let mode = file.metadata().map_err(|error| told(&error.to_string()))?;
    let mode = mode.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(told(&format!(
            "it is open to others (mode {mode:04o}): chmod 600 it"
        )));
    }
    let bytes = small_files::rest(file, LARGEST).map_err(|error| told(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| told("it is not UTF-8"))
}

/// The password of the first line that fits.
fn password(content: &str, sought: &Sought<'_>) -> Option<String> {
    let port = sought.port.to_string();
    content.lines().find_map(|line| {
        if line.starts_with('#') {
            return None;
        }
        let mut fields = fields(line);
        let mut next = || fields.next();
        let (host, at, database, user) = (next()?, next()?, next()?, next()?);
        let local = SOCKETS.contains(&sought.host) && host.is("localhost");
        let fits = (local || host.is(sought.host))
            && at.is(&port)
            && database.is(sought.database)
            && user.is(sought.user);
        // Without a password in it a line says nothing, not that it is empty.
        fits.then(next)
            .flatten()
            .map(|field| field.text)
            .filter(|text| !text.is_empty())
    })
}

struct Field {
    text: String,
    any: bool,
}

impl Field {
    fn is(&self, text: &str) -> bool {
        self.any || self.text == text
    }
}

/// The fields of a line.
fn fields(line: &str) -> impl Iterator<Item = Field> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let mut text = String::new();
        let mut characters = line.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.extend(characters.next().map_or(Some('\\'), |(_, escaped)| Some(escaped))),
                ':' => {
                    rest = line.get(at + 1..);
                    let any = line.get(..at) == Some("*");
                    return Some(Field { text, any });
                }
                other => text.push(other),
            }
        }
        Some(Field {
            any: line == "*",
            text,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_gives_its_password_as_it_is_meant() {
        let file = "# h:1:d:u:comment\n\
                    other:1:d:u:no\n\
                    h:2:d:u:no\n\
                    h:1:d\\:e:u:colon\\:in\\\\it:ignored\n\
                    h:1:d:u:plain \u{20ac} \n\
                    h:1:d:u:second\n\
                    \\*:1:d:star:no\n\
                    *:*:*:anybody:wild\\*\n\
                    localhost:1:d:socket:local\n\
                    /run/x:1:d:socket:folder\n\
                    h:1:d:empty:\n\
                    h:1:d:tail:back\\\n\
                    h:1:d:short\n\
                    h:1:d\\:u:u:no\r\n";
        for (host, database, user, expected) in [
            ("h", "d", "u", Some("plain \u{20ac} ")),
            ("h", "d:e", "u", Some("colon:in\\it")),
            ("x", "y", "anybody", Some("wild*")),
            ("h", "d", "star", None),
            ("/tmp", "d", "socket", Some("local")),
            ("/run/x", "d", "socket", Some("folder")),
            ("h", "d", "empty", None),
            ("h", "d", "tail", Some("back\\")),
            ("h", "d", "short", None),
            ("h", "d", "nobody", None),
        ] {
            let sought = Sought {
                host,
                port: 1,
                database,
                user,
            };
            assert_eq!(
                password(file, &sought).as_deref(),
                expected,
                "{host} {database} {user}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_refused_where_the_url_names_it_and_told_of_where_the_environment_does() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("passwords");
        let sought = Sought {
            host: "h",
            port: 1,
            database: "d",
            user: "u",
        };
        let fails = |path: &Path, said: &str| {
            let error = find(Some(path.to_owned()), &sought).unwrap_err();
            assert!(
                error.contains(said) && error.contains(&path.display().to_string()),
                "{error}"
            );
            let found = in_file(path, &sought);
            assert_eq!((found.password, found.left_out), (None, Some(error)));
        };
        fails(&path, "No such file");
        fails(home.path(), "directory");
        std::fs::write(&path, "h:1:d:u:word\n").unwrap();
        for mode in [0o644, 0o640, 0o602] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            fails(&path, "chmod 600");
        }
        for mode in [0o600, 0o400] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let found = find(Some(path.clone()), &sought).unwrap();
            assert_eq!(found.password.as_deref(), Some("word"));
            assert_eq!(in_file(&path, &sought), found);
        }
    }
}
