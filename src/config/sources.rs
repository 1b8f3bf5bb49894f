//! Where an option's value comes from: flag, environment, file, default, in this order of precedence.

use super::options::{self, CONFIG_FILE, Flags, Kind, OPTIONS};
use crate::small_files::{self, CONFIG_MAX};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Every key with its comment and its default.
const DEFAULTS: &str = include_str!("../../config.default.toml");

/// What a wrong configuration is about: each message is one line that begins with the option.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that `--config` names cannot be read.
    #[error("--config: cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("--config: {} line {line}: {cause}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What the parser found, without the text around it: that may hold a password.
        cause: String,
    },
    /// The file has a key that is no option.
    #[error("--config: {}: unknown key {key:?}{hint}", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
    },
    /// The environment has a variable that looks like an option and is none.
    #[error("{variable}: there is no such option; {hint}")]
    UnknownVariable {
        /// The variable.
        variable: String,
        /// What may have been meant, or where to look.
        hint: String,
    },
    /// An `[[issuer]]` of the file cannot be used.
    #[error("--config: {}: [[issuer]] number {number}: {cause}", path.display())]
    Issuer {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// An option's value cannot be used.
    #[error("--{flag}{origin}: {cause}")]
    BadValue {
        /// The option's flag, without dashes.
        flag: &'static str,
        /// Where the value stands.
        origin: Origin,
        /// What is wrong with it; never quotes a value that may hold a password.
        cause: String,
    },
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In this environment variable.
    Environment(String),
    /// Under `key` of the file that `--config` names.
    File {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// In the defaults that are compiled in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => Ok(()),
            Self::Environment(variable) => write!(f, " (from {variable})"),
            Self::File { path, key } => write!(f, " ({key} in {})", path.display()),
            Self::Default => f.write_str(" (default)"),
        }
    }
}

/// The values of one option, as texts, and where they stand. One text unless the option is a list.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub values: Vec<String>,
    pub origin: Origin,
}

/// Every option that has a value.
pub(super) type Values = BTreeMap<&'static str, Raw>;

/// The key that is no option: a list of tables.
pub(super) const ISSUERS: &str = "issuer";

/// An `[[issuer]]` of the file, not yet read.
pub(super) struct IssuerTable {
    pub path: PathBuf,
    /// Which, from 1.
    pub number: usize,
    pub value: toml::Value,
}

/// Collects the values that hold, by precedence; `file` is the configuration file.
pub(super) fn resolve(
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<OsString>,
    file: Option<&Path>,
) -> Result<(Values, Vec<IssuerTable>), ConfigError> {
    let mut values = DEFAULT_VALUES.clone();
    let mut issuers = Vec::new();
    if let Some(path) = file {
        let text = small_files::read_text(path, CONFIG_MAX).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let (of_file, tables) = parse_file(&text, path)?;
        values.extend(of_file);
        issuers = tables;
    }
    for option in OPTIONS {
        let variable = option.env();
        if let Some(text) = variable_text(option.flag, &variable, environment)? {
            let texts = match option.kind {
                Kind::List => text.split(',').map(|part| part.trim().to_owned()).collect(),
                Kind::Text | Kind::Integer | Kind::Bool => vec![text],
            };
            values.insert(
                option.key,
                Raw {
                    values: texts,
                    origin: Origin::Environment(variable),
                },
            );
        }
        if let Some(texts) = flags.get(option.key) {
            values.insert(
                option.key,
                Raw {
                    values: texts.clone(),
                    origin: Origin::Flag,
                },
            );
        }
    }
    Ok((values, issuers))
}

/// The file that `--config` or its variable names.
pub(super) fn config_file(
    flags: &Flags,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<PathBuf>, ConfigError> {
    if let Some(path) = flags.get(CONFIG_FILE).and_then(|values| values.last()) {
        return Ok(Some(PathBuf::from(path)));
    }
    Ok(variable_text(CONFIG_FILE, &options::env_name(CONFIG_FILE), environment)?.map(PathBuf::from))
}

/// The text of an environment variable; an empty one counts as unset, because many tools cannot unset what
/// they pass on.
fn variable_text(
    flag: &'static str,
    variable: &str,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Option<String>, ConfigError> {
    match environment(variable).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
        Some(Err(_)) => Err(ConfigError::BadValue {
            flag,
            origin: Origin::Environment(variable.to_owned()),
            cause: "is not UTF-8".to_owned(),
        }),
    }
}

/// The values that a configuration file sets, and its issuers.
fn parse_file(text: &str, path: &Path) -> Result<(Values, Vec<IssuerTable>), ConfigError> {
    let table = text.parse::<toml::Table>().map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| {
            1 + text[..span.start.min(text.len())].matches('\n').count()
        }),
        cause: error.message().replace('\n', " "),
    })?;
    let (mut values, mut issuers) = (Values::new(), Vec::new());
    for (key, value) in table {
        if key == ISSUERS {
            issuers = issuer_tables(value, path)?;
            continue;
        }
        let option = options::by_key(&key).ok_or_else(|| unknown_key(&key, path))?;
        let origin = Origin::File {
            path: path.to_owned(),
            key: option.key,
        };
        match texts(option.kind, value) {
            Ok(texts) => values.insert(
                option.key,
                Raw {
                    values: texts,
                    origin,
                },
            ),
            Err(cause) => {
                return Err(ConfigError::BadValue {
                    flag: option.flag,
                    origin,
                    cause,
                });
            }
        };
    }
    Ok((values, issuers))
}

fn issuer_tables(value: toml::Value, path: &Path) -> Result<Vec<IssuerTable>, ConfigError> {
    let toml::Value::Array(tables) = value else {
        return Err(ConfigError::Issuer {
            path: path.to_owned(),
            number: 1,
            cause: format!(
                "must be a table in a list ([[issuer]]), not of type {}",
                value.type_str()
            ),
        });
    };
    let tables = (1..).zip(tables).map(|(number, value)| IssuerTable {
        path: path.to_owned(),
        number,
        value,
    });
    Ok(tables.collect())
}

fn unknown_key(key: &str, path: &Path) -> ConfigError {
    let hint = match options::by_key(&key.to_lowercase().replace('-', "_")) {
        Some(option) => format!("; did you mean {:?}?", option.key),
        None => "; config.default.toml documents every key".to_owned(),
    };
    ConfigError::UnknownKey {
        path: path.to_owned(),
        key: key.to_owned(),
        hint,
    }
}

/// A TOML value as texts, if it is of the option's kind.
fn texts(kind: Kind, value: toml::Value) -> Result<Vec<String>, String> {
    let found = value.type_str();
    match (kind, value) {
        (Kind::Text, toml::Value::String(text)) => Ok(vec![text]),
        (Kind::Integer, toml::Value::Integer(number)) => Ok(vec![number.to_string()]),
        (Kind::Bool, toml::Value::Boolean(truth)) => Ok(vec![truth.to_string()]),
        (Kind::List, toml::Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                toml::Value::String(text) => Ok(text),
                other => Err(format!(
                    "must be a list of strings, and one item is of type {}",
                    other.type_str()
                )),
            })
            .collect(),
        (Kind::Text, _) => Err(format!("must be a string, not of type {found}")),
        (Kind::Integer, _) => Err(format!("must be an integer, not of type {found}")),
        (Kind::Bool, _) => Err(format!("must be true or false, not of type {found}")),
        (Kind::List, _) => Err(format!("must be a list of strings, not of type {found}")),
    }
}

/// The defaults. The compiled-in file is proved sound by a test; were it not, every option would be reported
/// as missing.
static DEFAULT_VALUES: LazyLock<Values> = LazyLock::new(|| {
    let defaults = parse_file(DEFAULTS, Path::new("config.default.toml"));
    let mut values = defaults.map(|(values, _)| values).unwrap_or_default();
    for raw in values.values_mut() {
        raw.origin = Origin::Default;
    }
    values
});

/// The default of `key` as `--help` shows it.
pub(super) fn default_text(key: &str) -> Option<String> {
    DEFAULT_VALUES
        .get(key)
        .filter(|raw| !raw.values.is_empty())
        .map(|raw| raw.values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_is_sound_and_documents_every_option() {
        parse_file(DEFAULTS, Path::new("config.default.toml")).unwrap();
        for option in OPTIONS {
            let documented = DEFAULTS.lines().any(|line| {
                line.trim_start_matches("# ")
                    .strip_prefix(option.key)
                    .is_some_and(|rest| rest.starts_with(" = "))
            });
            assert!(documented, "{} is not in config.default.toml", option.key);
        }
    }

    #[test]
    fn a_flag_is_its_key_in_kebab_case() {
        for option in OPTIONS {
            assert_eq!(option.flag, option.key.replace('_', "-"));
        }
    }
}
