use super::*;
use crate::telemetry::LogFormat;
use std::collections::HashMap;

fn load(flags: &[(&str, &str)], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment: HashMap<_, _> = environment.iter().copied().collect();
    Config::from_sources(&Flags::of(flags), &|variable| {
        environment.get(variable).map(OsString::from)
    })
}

/// The one line that a bad value is answered with.
fn refusal(flags: &[(&str, &str)]) -> String {
    load(flags, &[]).unwrap_err().to_string()
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn without_any_source_the_documented_defaults_hold() {
    let config = load(&[], &[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!(
        config.database,
        Database::Sqlite {
            path: PathBuf::from("./data/ledger.db")
        }
    );
    assert!(config.nats.is_none());
    assert!(config.storage.roots.is_empty());
    assert_eq!(config.auth.secret_file, PathBuf::from("./data/jwt-secret"));
    assert_eq!(config.keyring_file, PathBuf::from("./data/keyring.json"));
    assert_eq!(config.ledger_key_file, PathBuf::from("./data/ledger.key"));
    assert_eq!(
        config.callbacks.secret_file,
        PathBuf::from("./data/callback-secrets")
    );
    assert_eq!(config.callbacks.timeout, Duration::from_secs(20));
    assert_eq!(config.callbacks.schedule.len(), 10);
    assert_eq!(config.callbacks.schedule.last(), Some(&DAY));
    assert!(!config.callbacks.stop_on_gone && !config.callbacks.proxy_from_env);
    assert_eq!((config.writer.max_batch, config.writer.queue_limit), (512, 4096));
    assert_eq!(config.database_connections, 8);
    assert_eq!(config.http.body_limit, 262_144);
    assert_eq!((config.http.max_connections, config.memory_budget), (None, None));
    assert_eq!(config.http.shutdown_grace, Duration::from_secs(30));
    assert_eq!(
        (config.service.id.as_str(), config.service.domain.as_str()),
        ("archive-ledger", "localhost")
    );
    assert_eq!(
        (config.log.filter.as_str(), config.log.format),
        ("info", LogFormat::Text)
    );
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let (_dir, path) = file("max_batch = 2\nqueue_limit = 2\ndatabase_connections = 2\n");
    let environment = [
        ("ARCHIVE_LEDGER_CONFIG", path.as_str()),
        ("ARCHIVE_LEDGER_MAX_BATCH", "3"),
        ("ARCHIVE_LEDGER_QUEUE_LIMIT", "3"),
    ];
    let config = load(&[("max_batch", "4")], &environment).unwrap();
    assert_eq!(config.writer.max_batch, 4);
    assert_eq!(config.writer.queue_limit, 3);
    assert_eq!(config.database_connections, 2);
    assert_eq!(config.http.body_limit, 262_144);
}

#[test]
fn a_list_of_a_stronger_source_replaces_that_of_a_weaker_one() {
    let (_dir, path) = file("storage_root = [\"file:///file\"]\n");
    let environment = [("ARCHIVE_LEDGER_STORAGE_ROOT", "file:///a, s3://b/c")];
    let flags = [("config", path.as_str())];
    assert_eq!(load(&flags, &[]).unwrap().storage.roots, ["file:///file"]);
    assert_eq!(
        load(&flags, &environment).unwrap().storage.roots,
        ["file:///a", "s3://b/c"]
    );
    let flags = [
        ("config", path.as_str()),
        ("storage_root", "file:///x,y"),
        ("storage_root", "file:///z"),
    ];
    assert_eq!(
        load(&flags, &environment).unwrap().storage.roots,
        ["file:///x,y", "file:///z"]
    );
}

#[test]
fn an_empty_environment_variable_counts_as_unset() {
    assert!(
        load(&[], &[("ARCHIVE_LEDGER_NATS_URL", "")])
            .unwrap()
            .nats
            .is_none()
    );
}

#[test]
fn key_files_follow_the_data_directory_unless_they_are_named() {
    let config = load(&[("data_dir", "/d"), ("keyring_file", "/k/ring")], &[]).unwrap();
    assert_eq!(config.auth.secret_file, PathBuf::from("/d/jwt-secret"));
    assert_eq!(config.keyring_file, PathBuf::from("/k/ring"));
}

#[test]
fn a_bad_value_is_reported_with_its_option_and_where_it_stands() {
    assert_eq!(
        refusal(&[("listen", "localhost")]),
        "--listen: \"localhost\" is no IP address with a port, such as 127.0.0.1:8080"
    );
    assert_eq!(
        load(&[], &[("ARCHIVE_LEDGER_MAX_BATCH", "0")])
            .unwrap_err()
            .to_string(),
        "--max-batch (from ARCHIVE_LEDGER_MAX_BATCH): \"0\" is no whole number from 1 to 10000"
    );
    let (_dir, path) = file("callback_timeout = \"soon\"\n");
    let message = refusal(&[("config", &path)]);
    assert!(
        message.starts_with(&format!(
            "--callback-timeout (callback_timeout in {path}): \"soon\""
        )),
        "{message}"
    );
}

#[test]
fn every_option_refuses_what_it_cannot_use() {
    let (long_label, long_name) = (format!("{}.example", "x".repeat(64)), "x.".repeat(128));
    let bad = [
        ("data_dir", ""),
        ("database_url", "mysql://x/y"),
        ("database_url", "ledger.db"),
        ("database_url", "postgres://host:port/db"),
        ("database_url", "postgres://host"),
        ("database_url", "postgres://a,b/db"),
        ("database_url", "postgres://me:hunter2@a:5432,b:5433/db"),
        ("database_url", "sqlite://"),
        ("database_url", "sqlite://:memory:"),
        ("database_url", "sqlite:///x.db?mode=ro"),
        ("database_connections", "many"),
        ("nats_url", "http://127.0.0.1"),
        ("nats_url", "nats://a,,nats://b"),
        ("nats_url", "nats://me:hunter2@a,nats://you:hunter2@b"),
        ("nats_replicas", "2"),
        ("nats_stream", "A.B"),
        ("nats_subject_prefix", "a..b"),
        ("nats_subject_prefix", "$JS.a"),
        ("nats_creds", "/no/nats/url"),
        ("nats_nkey_file", "/no/nats/url"),
        ("nats_ca", "/no/nats/url"),
        ("nats_cert", "/no/nats/url"),
        ("nats_key", "/no/nats/url"),
        ("storage_root", "/srv"),
        ("storage_root", "file://host/srv"),
        ("storage_root", "s3://"),
        ("storage_root", "ftp://a/b"),
        ("s3_endpoint", "127.0.0.1:9000"),
        ("s3_force_path_style", "perhaps"),
        ("jwks", "ftp://a/b"),
        ("jwt_issuer", ""),
        ("jwt_hs256", "perhaps"),
        ("jwt_hs256", "off"),
        ("jwt_claim_roles", "no.key.set"),
        ("jwt_claim_privileges", "no.key.set"),
        ("role_map", "a=admin"),
        ("role_map", "admin"),
        ("callback_allow", "http://a"),
        ("callback_allow", "a:0"),
        ("callback_allow", "10.0.0.0/33"),
        ("callback_allow", "*.internal"),
        ("callback_allow", "a.internal,b.internal"),
        ("callback_allow", "10.0.0.0/8:80"),
        ("callback_allow", ""),
        ("service_domain", &long_label),
        ("service_domain", &long_name),
        ("callback_schedule", "31days"),
        ("callback_timeout", "0s"),
        ("callback_stop_on_gone", "2"),
        ("trusted_proxy", "10.0.0.0/33"),
        ("trusted_proxy", "proxy.internal"),
        ("trusted_proxy", ""),
        ("queue_limit", "-1"),
        ("body_limit", "10"),
        ("shutdown_grace", "2h"),
        ("service_id", "two\nlines"),
        ("log", "inof"),
        ("log", "archive_ledger=loud"),
        ("log_format", "xml"),
    ];
    for (key, value) in bad {
        let message = refusal(&[(key, value)]);
        assert!(
            message.starts_with(&format!("--{}: ", key.replace('_', "-"))),
            "{key}={value}: {message}"
        );
        assert!(
            !message.contains('\n') && !message.contains("hunter2"),
            "{message}"
        );
    }
    let longest = format!("{0}.{0}.{0}.{1}", "x".repeat(63), "x".repeat(61));
    for domain in ["ledger.example.", "ledger.example", &longest] {
        let config = load(&[("service_domain", domain)], &[]).unwrap();
        assert_eq!(config.service.domain, domain);
    }
}

#[test]
fn a_file_with_an_unknown_key_a_wrong_type_or_bad_syntax_is_refused() {
    let refusal = |text: &str| {
        let (_dir, path) = file(text);
        refusal(&[("config", &path)]).replace(&path, "F")
    };
    assert_eq!(
        refusal("listne = 1\n"),
        "--config: F: unknown key \"listne\"; config.default.toml documents every key"
    );
    assert_eq!(
        refusal("data-dir = \"x\"\n"),
        "--config: F: unknown key \"data-dir\"; did you mean \"data_dir\"?"
    );
    assert_eq!(
        refusal("max_batch = \"512\"\n"),
        "--max-batch (max_batch in F): must be an integer, not of type string"
    );
    assert_eq!(
        refusal("callback_allow = [\"a\", 1]\n"),
        "--callback-allow (callback_allow in F): must be a list of strings, and one item is of type integer"
    );
    assert!(refusal("listen = \"a\"\nlisten = \"b\"\n").starts_with("--config: F line 2: "));
    let secret = refusal("listen = \"a\"\n\ndatabase_url = postgres://me:hunter2@db/x\n");
    assert!(
        secret.starts_with("--config: F line 3: ") && !secret.contains("hunter2"),
        "{secret}"
    );
}

#[test]
fn a_missing_file_is_named() {
    let message = refusal(&[("config", "/nowhere/at/all.toml")]);
    assert!(
        message.starts_with("--config: cannot read /nowhere/at/all.toml: "),
        "{message}"
    );
}

#[test]
fn passwords_show_neither_in_debug_output_nor_in_errors() {
    let config = load(
        &[
            (
                "database_url",
                "postgres://me:hunter2@db:5433/ledger?sslpassword=hunter2",
            ),
            ("nats_url", "nats://me:hunter2@a:4222,tls://me:hunter2@b"),
        ],
        &[],
    )
    .unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("postgres://***@db:5433/ledger?***"), "{shown}");
    let Database::Postgres { url } = &config.database else {
        panic!("{shown}")
    };
    assert_eq!(
        url.expose(),
        "postgres://me:hunter2@db:5433/ledger?sslpassword=hunter2"
    );
    for (key, value) in [
        ("database_url", "postgres://me:hunter2@db:x/l"),
        ("nats_url", "nats://me:hunter2@"),
        ("nats_url", "x://hunter2@a"),
    ] {
        assert!(
            !refusal(&[(key, value)]).contains("hunter2"),
            "{}",
            refusal(&[(key, value)])
        );
    }
}

#[test]
fn databases_buses_and_callback_targets_are_read() {
    let sqlite = |url| load(&[("database_url", url)], &[]).unwrap().database;
    assert_eq!(
        sqlite("sqlite:///v/a%20b.db"),
        Database::Sqlite {
            path: PathBuf::from("/v/a b.db")
        }
    );
    assert_eq!(
        sqlite("sqlite://x.db"),
        Database::Sqlite {
            path: PathBuf::from("x.db")
        }
    );
    let nats = load(
        &[("nats_url", "localhost, nats://b:4333"), ("nats_replicas", "3")],
        &[],
    )
    .unwrap()
    .nats
    .unwrap();
    assert_eq!(
        nats.servers.iter().map(SecretUrl::expose).collect::<Vec<_>>(),
        ["nats://localhost", "nats://b:4333"]
    );
    assert_eq!(nats.replicas, 3);
    assert_eq!(
        (nats.stream.as_str(), nats.subject_prefix.as_str()),
        ("ARCHIVE_LEDGER", "archive")
    );
    let shown = |url| load(&[("nats_url", url)], &[]).unwrap().nats.unwrap().servers[0].credentials();
    for (url, credentials) in [
        ("nats://a", None),
        ("nats://to%2Fken@a", Some(("to/ken".to_owned(), None))),
        (
            "tls://u%40d:p%3A%20@a:1",
            Some(("u@d".to_owned(), Some("p: ".to_owned()))),
        ),
        ("b,nats://u:p@a", None),
    ] {
        assert_eq!(shown(url), credentials, "{url}");
    }
    let allow = ["Hooks.Internal", "hooks.internal:81", "10.1.2.3/8", "::1"];
    assert_eq!(
        load(&allow.map(|target| ("callback_allow", target)), &[])
            .unwrap()
            .callbacks
            .allow,
        ["hooks.internal", "hooks.internal:81", "10.0.0.0/8", "::1"].map(|target| target.parse().unwrap())
    );
    assert_eq!(
        load(&[("jwks", "keys/set.json")], &[]).unwrap().auth.issuers[0].jwks,
        JwksSource::File(PathBuf::from("keys/set.json"))
    );
}

#[test]
fn a_database_url_may_name_its_host_among_its_parameters() {
    for (given, read) in [
        ("postgres://u:p@h:1/d?a=b", "postgres://u:p@h:1/d?a=b"),
        ("postgres:///d", "postgres:///d"),
        (
            "postgresql://u@/d?host=/run/pg",
            "postgresql:///d?user=u&host=/run/pg",
        ),
        (
            "postgresql://u:a+%3D&@/d?host=/x",
            "postgresql:///d?user=u&password=a%2B%3D%26&host=/x",
        ),
        ("postgres://u@:6000/d", "postgres:///d?user=u&port=6000"),
        ("postgres://:6000/d?user=u", "postgres:///d?port=6000&user=u"),
        (
            "postgres://u@?dbname=d&host=/x",
            "postgres:///?user=u&dbname=d&host=/x",
        ),
        ("postgres://u@%2Frun%2Fpg/d", "postgres://u@%2Frun%2Fpg/d"),
    ] {
        match load(&[("database_url", given)], &[]).unwrap().database {
            Database::Postgres { url } => {
                assert_eq!(url.expose(), read, "{given}");
                assert!(!url.to_string().contains("%26"), "{url}");
            }
            Database::Sqlite { .. } => panic!("{given}"),
        }
    }
    for none in ["postgres://u@/", "postgres://u@:port/d", "postgres://u@"] {
        let shown = load(&[("database_url", none)], &[]).map(|config| config.database);
        assert!(shown.is_err() || none.contains(":port"), "{none}: {shown:?}");
    }
}

#[test]
fn a_key_set_is_named_or_found_by_its_issuer_and_then_no_file_signs_tokens_unless_it_is_said() {
    let auth = |flags: &[(&str, &str)]| load(flags, &[]).unwrap().auth;
    assert!(auth(&[]).hs256 && auth(&[]).issuers.is_empty());
    assert!(auth(&[("jwt_issuer", "us")]).issuers.is_empty() && auth(&[("jwt_issuer", "us")]).hs256);
    let found = auth(&[
        ("jwt_issuer", "https://a.example/realms/x"),
        ("jwt_audience", "ledger"),
    ]);
    assert_eq!(
        found.issuers[0].jwks,
        JwksSource::Issuer("https://a.example/realms/x".into())
    );
    assert_eq!(
        (found.issuers[0].audience.as_deref(), found.hs256),
        (Some("ledger"), false)
    );
    let named = auth(&[
        ("jwt_issuer", "https://a.example"),
        ("jwks", "keys.json"),
        ("jwt_hs256", "on"),
        ("jwt_claim_roles", "realm_access.roles"),
        ("role_map", "a=b=operator"),
    ]);
    assert_eq!(named.issuers[0].jwks, JwksSource::File("keys.json".into()));
    assert!(named.hs256);
    assert_eq!(named.issuers[0].claim_roles, "realm_access.roles");
    assert_eq!(
        named.issuers[0].role_map,
        [("a=b".to_owned(), "operator".to_owned())]
    );
}

#[test]
fn the_file_names_more_issuers_and_what_is_wrong_with_one_is_told_with_its_number() {
    let (_dir, path) = file(
        "jwt_issuer = \"https://a.example\"\n[[issuer]]\nissuer = \"https://b.example\"\naudience = \"b\"\n\
         algorithms = [\"ES256\"]\n[[issuer]]\nissuer = \"c\"\njwks = \"c.json\"\nrole_map = [\"x=admin\"]\n",
    );
    let auth = load(&[("config", &path)], &[]).unwrap().auth;
    assert_eq!(auth.issuers.len(), 3);
    assert_eq!(
        auth.issuers[1].jwks,
        JwksSource::Issuer("https://b.example".into())
    );
    assert_eq!(auth.issuers[1].algorithms, ["ES256"]);
    assert_eq!(auth.issuers[2].algorithms, ["RS256", "ES256", "EdDSA"]);
    assert!(!auth.hs256);
    for (text, says) in [
        ("issuer = 1\n", "number 1: must be a table"),
        ("[[issuer]]\njwks = \"k\"\n", "number 1: missing field `issuer`"),
        ("[[issuer]]\nissuer = \"c\"\n", "number 1: jwks: must be given"),
        ("[[issuer]]\nissuer = \"\"\njwks = \"k\"\n", "number 1: issuer: "),
        (
            "[[issuer]]\nissuer = \"c\"\njwks = \"k\"\nrole_map = [\"x\"]\n",
            "number 1: role_map: ",
        ),
        (
            "[[issuer]]\nissuer = \"c\"\njwks = \"k\"\nalgorithms = [\"HS256\"]\n",
            "number 1: algorithms: ",
        ),
        (
            "[[issuer]]\nissuer = \"c\"\njwks = \"k\"\nalgorithm = \"ES256\"\n",
            "number 1: unknown field `algorithm`",
        ),
        (
            "[[issuer]]\nissuer = \"c\"\njwks = \"k\"\n[[issuer]]\nissuer = \"c\"\njwks = \"l\"\n",
            "number 2: its issuer is named twice",
        ),
    ] {
        let (_dir, path) = file(text);
        let message = refusal(&[("config", &path)]);
        assert!(
            message.starts_with("--config: ") && message.contains(says),
            "{text}: {message}"
        );
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn options_before_and_after_the_subcommand_are_joined() {
    let joined = |before: &[(&str, &str)], after: &[(&str, &str)]| Flags::of(before).joined(Flags::of(after));
    let both = joined(
        &[("listen", "a"), ("storage_root", "r")],
        &[("data_dir", "d"), ("storage_root", "s")],
    )
    .unwrap();
    assert_eq!(both.get("storage_root").unwrap(), &["r", "s"]);
    assert_eq!(both.get("listen").unwrap(), &["a"]);
    assert_eq!(both.get("data_dir").unwrap(), &["d"]);
    assert_eq!(
        joined(&[("data_dir", "a")], &[("data_dir", "b")])
            .unwrap_err()
            .to_string(),
        "--data-dir: given twice, before and after the subcommand"
    );
}
