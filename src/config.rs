//! The configuration: checked values, from flags, environment, file and defaults.
//!
//! `config/options.rs` is the table of options, `config/sources.rs` says which source wins,
//! `config/values.rs` reads single values. Every error is one line that begins with the option:
//! `--nats-replicas (from ARCHIVE_LEDGER_NATS_REPLICAS): …`.

mod auth;
mod nats;
mod options;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod values;

pub use auth::{Auth, TokenIssuer};
pub use options::{Flags, GivenTwice};
pub use settings::Setting;
pub use sources::{ConfigError, Origin};
pub use values::{Database, JwksSource};

use crate::callbacks::target::Allowed;
use crate::secret_url::SecretUrl;
use crate::telemetry::Log;
use ipnet::IpNet;
use sources::Values;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// Everything that can be set, checked as far as that is possible without touching disk or network.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// The file that `--config` names, if it does.
    pub config_file: Option<PathBuf>,
    /// Directory of the SQLite database and of the keys; may not exist yet.
    pub data_dir: PathBuf,
    /// The database.
    pub database: Database,
    /// Connections beside the writer's own one and, on PostgreSQL, those for callbacks.
    pub database_connections: u32,
    /// JetStream; `None` is the in-process bus.
    pub nats: Option<Nats>,
    /// What may be cleaned, and how it is reached.
    pub storage: Storage,
    /// How tokens are checked.
    pub auth: Auth,
    /// The keyring that wraps the entities' keys.
    pub keyring_file: PathBuf,
    /// The key that signs the ledger.
    pub ledger_key_file: PathBuf,
    /// Where the last checkpoint is kept outside the database.
    pub guard_file: PathBuf,
    /// Callback delivery.
    pub callbacks: Callbacks,
    /// The writer's limits.
    pub writer: Writer,
    /// How much memory requests may take together, in bytes; `None` is what the system's limit leaves.
    pub memory_budget: Option<u64>,
    /// The HTTP server's limits.
    pub http: Http,
    /// What the errors' `ctx` names.
    pub service: Service,
    /// Logging.
    pub log: Log,
}

/// How JetStream is reached.
#[derive(Debug, Clone)]
pub struct Nats {
    /// Servers of one cluster, at least one; what stands in them of users or tokens is the same in each.
    pub servers: Vec<SecretUrl>,
    /// What shows the servers who asks, beside what stands in their URLs.
    pub sign_in: NatsSignIn,
    /// The authorities that vouch for the servers.
    pub ca: Option<PathBuf>,
    /// This service's certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The stream's name.
    pub stream: String,
    /// What its subjects begin with.
    pub subject_prefix: String,
    /// Copies of the stream: 1 or 3.
    pub replicas: u8,
}

/// What shows NATS' servers who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatsSignIn {
    /// Nothing but what stands in the URLs.
    Urls,
    /// This credentials file.
    Credentials(PathBuf),
    /// The seed in this file.
    Nkey(PathBuf),
}

/// What may be cleaned, and how it is reached.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The only places whose objects may be deleted: `file:///…`, `s3://bucket/…`, `gs://bucket/…` or
    /// `az://container/…`, as the operator wrote them.
    pub roots: Vec<String>,
    /// `None` is AWS.
    pub s3_endpoint: Option<Url>,
    /// `None` is what the AWS environment says.
    pub s3_region: Option<String>,
    /// `http://server/bucket/key` instead of `http://bucket.server/key`.
    pub s3_force_path_style: bool,
    /// Buckets whose server keeps no versions, and cannot say so.
    pub s3_plain_buckets: Vec<String>,
    /// `None` is Google.
    pub gcs_endpoint: Option<Url>,
    /// `None` is what the environment says.
    pub azure_account: Option<String>,
    /// `None` is Azure.
    pub azure_endpoint: Option<Url>,
}

/// Callback delivery.
#[derive(Debug, Clone)]
pub struct Callbacks {
    /// What is exempt from the refusal of private addresses.
    pub allow: Vec<Allowed>,
    /// The signing keys.
    pub secret_file: PathBuf,
    /// Pauses between attempts, at least one; the last one repeats until day 30.
    pub schedule: Vec<Duration>,
    /// The longest that one attempt may take.
    pub timeout: Duration,
    /// How long finished deliveries are kept.
    pub retention: Duration,
    /// Whether an answer of 410 ends the attempts.
    pub stop_on_gone: bool,
    /// Whether the proxy of the environment is used.
    pub proxy_from_env: bool,
}

/// The writer's limits.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The most commands per transaction.
    pub max_batch: usize,
    /// The most commands that wait.
    pub queue_limit: usize,
}

/// The HTTP server's limits.
#[derive(Debug, Clone)]
pub struct Http {
    /// The longest request body, in bytes.
    pub body_limit: usize,
    /// The most connections; `None` is what the limit of file descriptors leaves.
    pub max_connections: Option<usize>,
    /// The networks whose proxies may say for whom they ask.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a request's head, and then its body, may take to arrive.
    pub request_timeout: Duration,
    /// How long work under way may take to finish at shutdown.
    pub shutdown_grace: Duration,
}

/// What the errors' `ctx` names.
#[derive(Debug, Clone)]
pub struct Service {
    /// The service.
    pub id: String,
    /// Its domain.
    pub domain: String,
}

const DAY: Duration = Duration::from_hours(24);

impl Config {
    /// The configuration that `flags` and the process's environment ask for. A variable that looks like an option and is none is refused.
    ///
    /// # Errors
    /// [`ConfigError`]: one line that names the option, where it stands and the reason.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        settings::check_variables(std::env::vars_os().map(|(name, _)| name))?;
        Self::from_sources(flags, &|variable| std::env::var_os(variable))
    }

    /// As [`Config::load`], with the environment as a function.
    ///
    /// # Errors
    /// [`ConfigError`], as [`Config::load`].
    pub fn from_sources(
        flags: &Flags,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let config_file = sources::config_file(flags, environment)?;
        let (values, issuers) = sources::resolve(flags, environment, config_file.as_deref())?;
        let read = Reader(values);
        let data_dir = read.one("data_dir", values::path)?;
        let in_data_dir = |key, name: &str| read.path_or(key, data_dir.join(name));
        Ok(Self {
            listen: read.one("listen", values::socket_address)?,
            database: read
                .optional("database_url", values::database)?
                .unwrap_or_else(|| Database::Sqlite {
                    path: data_dir.join("ledger.db"),
                }),
            database_connections: read.one("database_connections", |text| values::integer(text, 1, 1000))?,
            nats: read.nats()?,
            storage: Storage {
                roots: read.list("storage_root", values::storage_root)?,
                s3_endpoint: read.optional("s3_endpoint", values::http_url)?,
                s3_region: read.optional("s3_region", values::line)?,
                s3_force_path_style: read.one("s3_force_path_style", values::boolean)?,
                s3_plain_buckets: read.list("s3_plain_bucket", values::line)?,
                gcs_endpoint: read.optional("gcs_endpoint", values::http_url)?,
                azure_account: read.optional("azure_account", values::azure_account)?,
                azure_endpoint: read.optional("azure_endpoint", values::http_url)?,
            },
            auth: read.auth(&data_dir, issuers)?,
            keyring_file: in_data_dir("keyring_file", "keyring.json")?,
            ledger_key_file: in_data_dir("ledger_key_file", "ledger.key")?,
            guard_file: in_data_dir("guard_file", "checkpoint.guard")?,
            callbacks: read.callbacks(&data_dir)?,
            writer: Writer {
                max_batch: read.one("max_batch", |text| values::integer(text, 1, 10_000))?,
                queue_limit: read.one("queue_limit", |text| values::integer(text, 1, 1_000_000))?,
            },
            memory_budget: read.optional("memory_budget", |text| {
                values::integer(text, crate::memory_budget::LEAST, 1 << 40)
            })?,
            http: Http {
                body_limit: read.one("body_limit", |text| values::integer(text, 1024, 64 << 20))?,
                max_connections: read
                    .optional("max_connections", |text| values::integer(text, 1, 1_000_000))?,
                trusted_proxies: read.list("trusted_proxy", values::network)?,
                request_timeout: read.one("request_timeout", |text| {
                    values::duration(text, Duration::from_millis(100), Duration::from_hours(1))
                })?,
                shutdown_grace: read.one("shutdown_grace", |text| {
                    values::duration(text, Duration::ZERO, Duration::from_hours(1))
                })?,
            },
            service: Service {
                id: read.one("service_id", values::line)?,
                domain: read.one("service_domain", values::domain)?,
            },
            log: Log {
                filter: read.one("log", values::log_filter)?,
                format: read.one("log_format", values::log_format)?,
            },
            config_file,
            data_dir,
        })
    }
}

/// The resolved values, read one by one.
struct Reader(Values);

impl Reader {
    /// The value of `key`, which has a default.
    fn one<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<T, ConfigError> {
        self.optional(key, read)?
            .ok_or_else(|| self.error(key, "has no value".to_owned()))
    }

    /// The value of `key`, `None` when nothing sets it.
    fn optional<T>(
        &self,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let text = self.0.get(key).and_then(|raw| raw.values.last());
        text.map(|text| read(text).map_err(|cause| self.error(key, cause)))
            .transpose()
    }

    /// The items of `key`.
    fn list<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ConfigError> {
        let texts = self
            .0
            .get(key)
            .map(|raw| raw.values.as_slice())
            .unwrap_or_default();
        texts
            .iter()
            .map(|text| read(text).map_err(|cause| self.error(key, cause)))
            .collect()
    }

    fn path_or(&self, key: &str, default: PathBuf) -> Result<PathBuf, ConfigError> {
        Ok(self.optional(key, values::path)?.unwrap_or(default))
    }

    fn callbacks(&self, data_dir: &Path) -> Result<Callbacks, ConfigError> {
        let longest_attempt = Duration::from_mins(10);
        let schedule = self.list("callback_schedule", |text| {
            values::duration(text, Duration::from_millis(1), 30 * DAY)
        })?;
        if schedule.is_empty() {
            return Err(self.error("callback_schedule", "must hold at least one duration".to_owned()));
        }
        Ok(Callbacks {
            allow: self.list("callback_allow", values::callback_target)?,
            secret_file: self.path_or("callback_secret_file", data_dir.join("callback-secrets"))?,
            schedule,
            timeout: self.one("callback_timeout", |text| {
                values::duration(text, Duration::from_millis(100), longest_attempt)
            })?,
            retention: self.one("delivery_retention", |text| {
                values::duration(text, DAY, DAY.saturating_mul(36_500))
            })?,
            stop_on_gone: self.one("callback_stop_on_gone", values::boolean)?,
            proxy_from_env: self.one("callback_proxy_from_env", values::boolean)?,
        })
    }

    /// Whether anything sets `key`.
    fn given(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|raw| !raw.values.is_empty())
    }

    fn error(&self, key: &str, cause: String) -> ConfigError {
        ConfigError::BadValue {
            flag: options::by_key(key).map_or("config", |option| option.flag),
            origin: self.0.get(key).map_or(Origin::Default, |raw| raw.origin.clone()),
            cause,
        }
    }
}
