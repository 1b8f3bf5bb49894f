//! What holds, and why: every option with its value and where that stands.

use super::options::{self, CONFIG_FILE, Flags, Kind, OPTIONS};
use super::sources::{self, ConfigError, ISSUERS, Origin};
use crate::secret_url::SecretUrl;
use std::ffi::OsString;

/// One option as it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The key in TOML.
    pub key: &'static str,
    /// The value as TOML writes it, without what may be a password; `None` where nothing sets it.
    pub value: Option<toml::Value>,
    /// Where the value stands; the default where nothing sets it.
    pub origin: Origin,
}

impl Setting {
    /// Every option in the order of `--help`, as `flags` and `environment` set it.
    ///
    /// # Errors
    /// [`ConfigError`] where a source cannot be read. The values themselves are not checked.
    pub fn all(
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Vec<Self>, ConfigError> {
        let file = sources::config_file(flags, environment)?;
        let (mut values, issuers) = sources::resolve(flags, environment, file.as_deref())?;
        let settings = OPTIONS.iter().map(|option| {
            let raw = values.remove(option.key);
            let (texts, origin) = match raw {
                Some(raw) => (raw.values, raw.origin),
                None => (Vec::new(), Origin::Default),
            };
            Self {
                key: option.key,
                value: toml_value(option.kind, texts),
                origin,
            }
        });
        let mut settings: Vec<_> = settings.collect();
        settings.extend(issuers.first().map(|first| Self {
            key: ISSUERS,
            value: Some(toml::Value::Array(
                issuers.iter().map(|table| hidden(table.value.clone())).collect(),
            )),
            origin: Origin::File {
                path: first.path.clone(),
                key: ISSUERS,
            },
        }));
        Ok(settings)
    }
}

/// The value, each URL in it without credentials and query.
fn hidden(value: toml::Value) -> toml::Value {
    match value {
        toml::Value::String(text) => toml::Value::String(without_secrets(&text)),
        toml::Value::Array(items) => toml::Value::Array(items.into_iter().map(hidden).collect()),
        toml::Value::Table(table) => toml::Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, hidden(value)))
                .collect(),
        ),
        other => other,
    }
}

/// Texts as TOML writes them; those that the kind does not take stay texts, as nothing is checked here.
fn toml_value(kind: Kind, texts: Vec<String>) -> Option<toml::Value> {
    let text = |text: &String| toml::Value::String(without_secrets(text));
    match kind {
        Kind::List => (!texts.is_empty()).then(|| toml::Value::Array(texts.iter().map(text).collect())),
        Kind::Text => texts.last().map(text),
        Kind::Integer => texts
            .last()
            .map(|one| one.parse().map_or_else(|_| text(one), toml::Value::Integer)),
        Kind::Bool => texts
            .last()
            .map(|one| one.parse().map_or_else(|_| text(one), toml::Value::Boolean)),
    }
}

/// The text, each URL in it without credentials and query.
fn without_secrets(text: &str) -> String {
    let parts = text
        .split(',')
        .map(|part| match part.trim().parse::<SecretUrl>() {
            Ok(url) if url.hides_something() => url.to_string(),
            Ok(_) | Err(_) => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join(",")
}

/// What every environment variable of the service begins with.
const PREFIX: &str = "ARCHIVE_LEDGER_";

/// How alike two names must be for one to be taken for the other misspelt, from 0 to 1.
const ALIKE: f64 = 0.8;

/// Refuses variables that look like options and are none: they would be without effect, and nobody would know.
///
/// # Errors
/// [`ConfigError::UnknownVariable`]: the first of them.
pub(super) fn check_variables(names: impl Iterator<Item = OsString>) -> Result<(), ConfigError> {
    let known: Vec<String> = OPTIONS
        .iter()
        .map(options::OptionSpec::env)
        .chain([options::env_name(CONFIG_FILE)])
        .collect();
    for name in names {
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || known.iter().any(|known| *known == name) || is_service_link(&name) {
            continue;
        }
        // All begin alike: only what follows tells them apart.
        let rest = |name: &str| name.trim_start_matches(PREFIX).to_owned();
        let likeness = |known: &&String| strsim::jaro_winkler(&rest(known), &rest(&name));
        let meant = known
            .iter()
            .max_by(|one, other| likeness(one).total_cmp(&likeness(other)))
            .filter(|known| likeness(known) >= ALIKE);
        return Err(ConfigError::UnknownVariable {
            hint: meant.map_or_else(
                || "config.default.toml documents every option".to_owned(),
                |meant| format!("did you mean {meant}?"),
            ),
            variable: name.into_owned(),
        });
    }
    Ok(())
}

/// Whether Kubernetes made it for a service whose name begins with `archive-ledger`, as it does in every pod beside it
/// (<https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables>).
fn is_service_link(name: &str) -> bool {
    let is_port = name.split_once("_PORT").is_some_and(|(_, rest)| {
        let rest = rest.trim_start_matches(|letter: char| letter == '_' || letter.is_ascii_digit());
        rest.is_empty()
            || ["TCP", "UDP", "SCTP"]
                .iter()
                .any(|protocol| rest.starts_with(protocol))
    });
    is_port || name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(names: &[&str]) -> Result<(), String> {
        check_variables(names.iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_variable_that_is_no_option_is_refused_and_the_likely_one_named() {
        assert_eq!(
            checked(&[
                "PATH",
                "ARCHIVE_LEDGER",
                "ARCHIVE_LEDGER_DATA_DIR",
                "ARCHIVE_LEDGER_CONFIG"
            ]),
            Ok(())
        );
        for (name, hint) in [
            ("ARCHIVE_LEDGER_LISTENN", "did you mean ARCHIVE_LEDGER_LISTEN?"),
            ("ARCHIVE_LEDGER_DATADIR", "did you mean ARCHIVE_LEDGER_DATA_DIR?"),
            ("ARCHIVE_LEDGER_NATS-URL", "did you mean ARCHIVE_LEDGER_NATS_URL?"),
            ("ARCHIVE_LEDGER_xx", "config.default.toml documents every option"),
        ] {
            assert_eq!(
                checked(&["HOME", name]),
                Err(format!("{name}: there is no such option; {hint}"))
            );
        }
    }

    #[test]
    fn what_kubernetes_makes_for_a_service_of_the_same_name_is_nobodys_mistake() {
        assert_eq!(
            checked(&[
                "ARCHIVE_LEDGER_SERVICE_HOST",
                "ARCHIVE_LEDGER_SERVICE_PORT",
                "ARCHIVE_LEDGER_SERVICE_PORT_HTTP",
                "ARCHIVE_LEDGER_PORT",
                "ARCHIVE_LEDGER_PORT_8080_TCP",
                "ARCHIVE_LEDGER_PORT_8080_TCP_ADDR",
                "ARCHIVE_LEDGER_DB_PORT_5432_TCP_PROTO",
            ]),
            Ok(())
        );
        assert!(checked(&["ARCHIVE_LEDGER_PORTAL"]).is_err());
    }

    #[test]
    fn no_credentials_are_shown() {
        for (given, shown) in [
            (
                "postgres://u:secret@db/x?sslmode=require",
                "postgres://***@db/x?***",
            ),
            (
                "nats://token@a:4222,nats://b:4222",
                "nats://***@a:4222,nats://b:4222",
            ),
            ("https://issuer/jwks?key=secret", "https://issuer/jwks?***"),
            ("./data", "./data"),
            ("c:data", "c:data"),
            (
                "info,archive_ledger::relay=debug",
                "info,archive_ledger::relay=debug",
            ),
        ] {
            assert_eq!(without_secrets(given), shown);
        }
    }

    #[test]
    fn every_option_is_shown_with_its_origin() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("a.toml");
        std::fs::write(
            &file,
            "[[issuer]]\nissuer = \"https://a\"\njwks = \"https://a/k?key=secret\"\n",
        )
        .unwrap();
        let flags = Flags::of(&[("listen", "0.0.0.0:1"), (CONFIG_FILE, file.to_str().unwrap())]);
        let environment = |name: &str| (name == "ARCHIVE_LEDGER_MAX_BATCH").then(|| "7".into());
        let settings = Setting::all(&flags, &environment).unwrap();
        assert_eq!(settings.len(), OPTIONS.len() + 1);
        let of = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!(
            of("issuer").value.as_ref().map(ToString::to_string).as_deref(),
            Some("[{ issuer = \"https://a\", jwks = \"https://a/k?***\" }]")
        );
        assert_eq!(of("listen").origin, Origin::Flag);
        assert_eq!(of("max_batch").value, Some(toml::Value::Integer(7)));
        assert_eq!(
            of("max_batch").origin,
            Origin::Environment("ARCHIVE_LEDGER_MAX_BATCH".to_owned())
        );
        assert_eq!(
            (
                of("database_url").value.clone(),
                of("database_url").origin.clone()
            ),
            (None, Origin::Default)
        );
    }
}
