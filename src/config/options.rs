//! The table of options: one row each, from which come the flag, the environment variable and the TOML key.

use clap::{Arg, ArgAction, ArgMatches};
use std::collections::BTreeMap;

/// What the environment variables begin with.
const ENV_PREFIX: &str = "ARCHIVE_LEDGER_";

/// What a key's value is in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Bool,
    /// A list of texts: a flag that can be repeated, a variable with commas.
    List,
}

/// One option.
#[derive(Debug)]
pub(super) struct OptionSpec {
    /// The TOML key.
    pub key: &'static str,
    /// The flag without its dashes: the key in kebab case (clap wants it static).
    pub flag: &'static str,
    pub kind: Kind,
    value_name: &'static str,
    heading: &'static str,
    help: &'static str,
}

impl OptionSpec {
    /// The environment variable.
    pub fn env(&self) -> String {
        env_name(self.key)
    }
}

/// The environment variable of `key`.
pub(super) fn env_name(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.to_uppercase())
}

const fn option(
    key: &'static str,
    flag: &'static str,
    kind: Kind,
    value_name: &'static str,
    heading: &'static str,
    help: &'static str,
) -> OptionSpec {
    OptionSpec {
        key,
        flag,
        kind,
        value_name,
        heading,
        help,
    }
}

const SERVER: &str = "Server options";
const STORE: &str = "Database and bus options";
const STORAGE: &str = "Storage options";
const KEYS: &str = "Token and key options";
const CALLBACKS: &str = "Callback options";

/// Every option but `--config`, in the order in which `--help` shows them.
#[rustfmt::skip]
pub(super) const OPTIONS: &[OptionSpec] = &[
    option("listen", "listen", Kind::Text, "ADDRESS", SERVER, "Address and port to serve HTTP on"),
    option("data_dir", "data-dir", Kind::Text, "DIR", SERVER, "Directory of the SQLite database and of the keys; created when absent"),
    option("body_limit", "body-limit", Kind::Integer, "BYTES", SERVER, "The longest request body"),
    option("max_connections", "max-connections", Kind::Integer, "N", SERVER, "Connections that are served at the same time; who comes beyond is told so with 503 [default: what the limit of file descriptors leaves]"),
    option("memory_budget", "memory-budget", Kind::Integer, "BYTES", SERVER, "Memory that requests may take together; who finds none is told so with 503 [default: half of what the system's limit leaves]"),
    option("request_timeout", "request-timeout", Kind::Text, "DURATION", SERVER, "How long a request's head, and then its body, may take to arrive"),
    option("trusted_proxy", "trusted-proxy", Kind::List, "CIDR", SERVER, "Network of proxies whose Forwarded or X-Forwarded-For says who asks; can be repeated"),
    option("shutdown_grace", "shutdown-grace", Kind::Text, "DURATION", SERVER, "How long work under way may take to finish at shutdown"),
    option("service_id", "service-id", Kind::Text, "TEXT", SERVER, "Service that the errors' ctx names"),
    option("service_domain", "service-domain", Kind::Text, "TEXT", SERVER, "Domain that the errors' ctx names"),
    option("max_batch", "max-batch", Kind::Integer, "N", SERVER, "The most commands that one transaction commits"),
    option("queue_limit", "queue-limit", Kind::Integer, "N", SERVER, "Commands that may wait before one more is answered with 503"),
    option("log", "log", Kind::Text, "FILTER", SERVER, "What to log to standard error: a level, or a list such as info,archive_ledger::relay=debug"),
    option("log_format", "log-format", Kind::Text, "FORMAT", SERVER, "text or json"),
    option("database_url", "database-url", Kind::Text, "URL", STORE, "postgres://user:password@host/database or sqlite:///path.db [default: SQLite, ledger.db in the data directory]"),
    option("database_connections", "database-connections", Kind::Integer, "N", STORE, "Connections beside the writer's own one and, on PostgreSQL, up to four for callbacks"),
    option("nats_url", "nats-url", Kind::Text, "URL", STORE, "NATS server with JetStream, nats://host:4222; several separated by commas [default: in-process bus]"),
    option("nats_creds", "nats-creds", Kind::Text, "FILE", STORE, "Credentials file that shows NATS who asks, as nsc makes it [default: none]"),
    option("nats_nkey_file", "nats-nkey-file", Kind::Text, "FILE", STORE, "Seed of a user's nkey that shows NATS who asks [default: none]"),
    option("nats_ca", "nats-ca", Kind::Text, "FILE", STORE, "Certificates of the authorities that vouch for the NATS servers; demands TLS [default: the system's]"),
    option("nats_cert", "nats-cert", Kind::Text, "FILE", STORE, "Certificate that shows NATS who asks; demands TLS [default: none]"),
    option("nats_key", "nats-key", Kind::Text, "FILE", STORE, "Key of --nats-cert [default: none]"),
    option("nats_stream", "nats-stream", Kind::Text, "NAME", STORE, "JetStream stream of the ledger's events; another ledger's is refused"),
    option("nats_subject_prefix", "nats-subject-prefix", Kind::Text, "PREFIX", STORE, "What the events' subjects begin with"),
    option("nats_replicas", "nats-replicas", Kind::Integer, "1|3", STORE, "Copies that JetStream keeps of the stream"),
    option("storage_root", "storage-root", Kind::List, "URI", STORAGE, "A place whose objects may be deleted: file:///folder, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix; can be repeated, and nothing else is ever deleted"),
    option("s3_endpoint", "s3-endpoint", Kind::Text, "URL", STORAGE, "Address of an S3-compatible server [default: AWS]"),
    option("s3_region", "s3-region", Kind::Text, "REGION", STORAGE, "S3 region [default: from the AWS environment]"),
    option("s3_force_path_style", "s3-force-path-style", Kind::Bool, "true|false", STORAGE, "Write the bucket into the path, as most S3-compatible servers need it"),
    option("s3_plain_bucket", "s3-plain-bucket", Kind::List, "BUCKET", STORAGE, "A bucket whose S3-compatible server keeps no versions and cannot say so; can be repeated"),
    option("gcs_endpoint", "gcs-endpoint", Kind::Text, "URL", STORAGE, "Address of a server that speaks Google Cloud Storage's JSON API [default: Google]"),
    option("azure_account", "azure-account", Kind::Text, "NAME", STORAGE, "Azure storage account of the az:// roots [default: AZURE_STORAGE_ACCOUNT_NAME]"),
    option("azure_endpoint", "azure-endpoint", Kind::Text, "URL", STORAGE, "Address of the Azure account's blob service [default: https://ACCOUNT.blob.core.windows.net]"),
    option("jwt_secret_file", "jwt-secret-file", Kind::Text, "FILE", KEYS, "Key that signs tokens (HS256) [default: jwt-secret in the data directory, made by the service when absent]"),
    option("jwks", "jwks", Kind::Text, "FILE|URL", KEYS, "JSON Web Key Set whose keys sign tokens [default: the one that --jwt-issuer names, if it is an http(s) address]"),
    option("jwt_issuer", "jwt-issuer", Kind::Text, "TEXT", KEYS, "The `iss` that tokens must carry; of an http(s) address the key set is found by OpenID discovery [default: any or none]"),
    option("jwt_audience", "jwt-audience", Kind::Text, "TEXT", KEYS, "The `aud` that tokens must carry [default: none]"),
    option("jwt_claim_roles", "jwt-claim-roles", Kind::Text, "CLAIM", KEYS, "Claim with the roles in tokens of the key set, such as realm_access.roles [default: roles]"),
    option("jwt_claim_privileges", "jwt-claim-privileges", Kind::Text, "CLAIM", KEYS, "Claim with the Onedata privileges in tokens of the key set [default: privileges]"),
    option("role_map", "role-map", Kind::List, "THEIRS=OURS", KEYS, "What a role in tokens of the key set stands for, such as team-storage=operator; can be repeated, and no other role counts then"),
    option("jwt_hs256", "jwt-hs256", Kind::Text, "on|off", KEYS, "Whether tokens count that are signed with --jwt-secret-file [default: on, and off beside a key set]"),
    option("jwt_former_secret_file", "jwt-former-secret-file", Kind::Text, "FILE", KEYS, "Key that signed tokens before; they count as long as it is there [default: jwt-secret.former in the data directory]"),
    option("keyring_file", "keyring-file", Kind::Text, "FILE", KEYS, "Keyring that wraps the entities' keys [default: keyring.json in the data directory, created when absent]"),
    option("ledger_key_file", "ledger-key-file", Kind::Text, "FILE", KEYS, "Key that signs the ledger [default: ledger.key in the data directory, created when absent]"),
    option("guard_file", "guard-file", Kind::Text, "FILE", KEYS, "Where the last checkpoint is kept outside the database, to notice a restored older one; best on another disk [default: checkpoint.guard in the data directory]"),
    option("callback_allow", "callback-allow", Kind::List, "HOST|NETWORK", CALLBACKS, "Host, address or network that callbacks may reach although it is private; can be repeated"),
    option("callback_secret_file", "callback-secret-file", Kind::Text, "FILE", CALLBACKS, "Keys that sign callbacks [default: callback-secrets in the data directory, created when absent]"),
    option("callback_schedule", "callback-schedule", Kind::List, "DURATION", CALLBACKS, "Pause before the next attempt; can be repeated, and the last one recurs until day 30"),
    option("callback_timeout", "callback-timeout", Kind::Text, "DURATION", CALLBACKS, "The longest that one attempt may take"),
    option("delivery_retention", "delivery-retention", Kind::Text, "DURATION", CALLBACKS, "How long finished callback deliveries are kept"),
    option("callback_stop_on_gone", "callback-stop-on-gone", Kind::Bool, "true|false", CALLBACKS, "End the attempts at an answer of 410 Gone"),
    option("callback_proxy_from_env", "callback-proxy-from-env", Kind::Bool, "true|false", CALLBACKS, "Send callbacks through the proxy of HTTP_PROXY and HTTPS_PROXY, which then answers for private addresses"),
];

/// The option with this TOML key.
pub(super) fn by_key(key: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.key == key)
}

/// The id of `--config`, the one option that is no TOML key.
pub(super) const CONFIG_FILE: &str = "config";

/// The options that stand on the command line, not yet checked.
///
/// Flatten it into a clap struct with `#[command(flatten)]`; the same options before and after a subcommand
/// are joined with [`Flags::joined`].
#[derive(Debug, Default, Clone)]
pub struct Flags(BTreeMap<String, Vec<String>>);

/// One option that may stand once stands twice.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: given twice, before and after the subcommand")]
pub struct GivenTwice {
    flag: String,
}

impl Flags {
    /// The values of `key`, `None` when the flag is absent.
    pub(super) fn get(&self, key: &str) -> Option<&Vec<String>> {
        self.0.get(key)
    }

    /// Joins what stands before the subcommand with what stands after it.
    ///
    /// # Errors
    /// [`GivenTwice`] when an option that may stand once stands on both sides.
    pub fn joined(mut self, after: Self) -> Result<Self, GivenTwice> {
        for (key, values) in after.0 {
            let list = by_key(&key).is_some_and(|option| option.kind == Kind::List);
            let before = self.0.entry(key.clone()).or_default();
            if !before.is_empty() && !list {
                return Err(GivenTwice {
                    flag: key.replace('_', "-"),
                });
            }
            before.extend(values);
        }
        Ok(self)
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let mut flags = BTreeMap::<String, Vec<String>>::new();
        for (key, value) in pairs {
            flags
                .entry((*key).to_owned())
                .or_default()
                .push((*value).to_owned());
        }
        Self(flags)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in OPTIONS.iter().map(|option| option.key).chain([CONFIG_FILE]) {
            if let Some(values) = matches.get_many::<String>(key) {
                self.0.insert(key.to_owned(), values.cloned().collect());
            }
        }
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let config = Arg::new(CONFIG_FILE)
            .long(CONFIG_FILE)
            .value_name("FILE")
            .help("TOML file with any of these options")
            .help_heading(SERVER);
        command.arg(config).args(OPTIONS.iter().map(argument))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn argument(option: &OptionSpec) -> Arg {
    let help = match super::sources::default_text(option.key) {
        Some(default) => format!("{} [default: {default}]", option.help),
        None => option.help.to_owned(),
    };
    let argument = Arg::new(option.key)
        .long(option.flag)
        .value_name(option.value_name)
        .help(help)
        .help_heading(option.heading);
    match option.kind {
        Kind::Text | Kind::Integer => argument.allow_negative_numbers(option.kind == Kind::Integer),
        Kind::List => argument.action(ArgAction::Append),
        Kind::Bool => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}
