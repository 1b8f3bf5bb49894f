//! The command line as its callers meet it: the real binary, its streams and its exit codes.

use std::path::Path;
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::harness::process::free_port;
use crate::harness::server::run_binary;

async fn run(args: &str, directory: &Path) -> Output {
    let args: Vec<&str> = args.split_whitespace().collect();
    run_binary(&args, &[], directory).await
}

/// Standard output of a command that must succeed and say nothing on standard error.
async fn printed(args: &str, directory: &Path) -> String {
    let output = run(args, directory).await;
    assert!(
        output.status.success(),
        "{args}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    String::from_utf8(output.stdout).unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.trim_end().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A signing key as the service makes it.
fn signing_key(directory: &Path) -> Vec<u8> {
    archive_ledger::secret_files::jwt_secret(&directory.join("jwt-secret")).unwrap()
}

#[tokio::test]
async fn token_prints_a_token_of_the_services_key_and_a_line_break_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let secret = signing_key(&home.path().join("data"));
    let token = printed(
        "token --role operator --right archived:purge --privilege space_view --space s1=a,b --subject me --ttl 10m",
        home.path(),
    )
    .await;
    assert!(
        token.ends_with('\n') && token.lines().count() == 1 && token.split('.').count() == 3,
        "{token:?}"
    );
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    let (message, signature) = token.trim_end().rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    aws_lc_rs::hmac::verify(&key, message.as_bytes(), &signature).unwrap();
    let claims = claims(&token);
    assert_eq!(claims["sub"], "me");
    assert_eq!(claims["roles"], json!(["operator"]));
    assert_eq!(claims["scope"], "archived:purge");
    assert_eq!(claims["privileges"], json!(["space_view"]));
    assert_eq!(claims["spaces"], json!({"s1": ["a", "b"]}));
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        600
    );
}

#[tokio::test]
async fn token_makes_no_key_and_says_which_file_it_looked_for() {
    let home = tempfile::tempdir().unwrap();
    let base = home.path().canonicalize().unwrap();
    signing_key(&base.join("other"));
    std::fs::create_dir(base.join("bare")).unwrap();
    std::os::unix::fs::symlink(base.join("nowhere"), base.join("dangling")).unwrap();
    for (args, file) in [
        ("token --role admin", "data/jwt-secret"),
        ("token --role admin --data-dir d", "d/jwt-secret"),
        ("--data-dir d token --role admin", "d/jwt-secret"),
        ("token --role admin --data-dir bare", "bare/jwt-secret"),
        ("token --role admin --jwt-secret-file keys/k", "keys/k"),
        ("token --role admin --jwt-secret-file dangling", "dangling"),
        (
            "token --role admin --jwt-secret-file other/absent",
            "other/absent",
        ),
    ] {
        let output = run(args, &base).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(2), &b""[..]),
            "{args}: {error}"
        );
        assert!(
            error.starts_with("archive-ledger: --jwt-secret-file: "),
            "{args}: {error}"
        );
        assert!(
            error.contains(base.join(file).to_str().unwrap()),
            "{args}: {error}"
        );
        assert_eq!(error.matches('\n').count(), 1, "{args}: {error}");
    }
    printed("token --role admin --data-dir other", &base).await;
    printed("token --role admin --jwt-secret-file other/jwt-secret", &base).await;
    let mut left: Vec<_> = std::fs::read_dir(&base)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["bare", "dangling", "other"]);
    assert_eq!(std::fs::read_dir(base.join("bare")).unwrap().count(), 0);
}

#[tokio::test]
async fn what_looks_at_a_ledger_makes_no_key_where_there_is_none() {
    for (args, code) in [
        ("ledger vkey", 2),
        ("ledger fork --reason r", 2),
        ("verify", 2),
        ("export --out o", 2),
        ("reconcile", 2),
    ] {
        let home = tempfile::tempdir().unwrap();
        let output = run(args, home.path()).await;
        assert!(!output.status.success(), "{args}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if args.starts_with("ledger") {
            assert_eq!(output.status.code(), Some(code), "{args}: {error}");
            assert!(!home.path().join("data").exists(), "{args}: {error}");
        }
        for key in ["jwt-secret", "keyring.json", "ledger.key", "callback-secrets"] {
            assert!(
                !home.path().join("data").join(key).exists(),
                "{args} made {key}: {error}"
            );
        }
    }
    // A database alone has no key either.
    let home = tempfile::tempdir().unwrap();
    printed("migrate", home.path()).await;
    let output = run("ledger vkey", home.path()).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has no key yet"));
    assert!(!home.path().join("data/ledger.key").exists());
}

/// Everything below a directory.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn only_serve_makes_keys_and_what_misses_one_says_which_file_it_looked_for() {
    // What needs a key names it; what needs a ledger says that there is none. `migrate` makes a database, and no key.
    for (args, code, said) in [
        (
            "import lines",
            2,
            "--keyring-file: there is no key {base}/data/keyring.json",
        ),
        (
            "import lines --data-dir d",
            2,
            "--keyring-file: there is no key {base}/d/keyring.json",
        ),
        (
            "import lines --keyring-file k/r",
            2,
            "--keyring-file: there is no key {base}/k/r",
        ),
        (
            "import -",
            2,
            "--keyring-file: there is no key {base}/data/keyring.json",
        ),
        (
            "token --role admin",
            2,
            "--jwt-secret-file: there is no key {base}/data/jwt-secret",
        ),
        ("rebuild", 2, "data/ledger.db does not exist"),
        ("rebuild --check", 2, "data/ledger.db does not exist"),
        (
            "reconcile --storage-root file:///tmp",
            2,
            "data/ledger.db does not exist",
        ),
        (
            "reconcile --fix --storage-root file:///tmp",
            2,
            "data/ledger.db does not exist",
        ),
        ("export --dir o", 2, "data/ledger.db does not exist"),
        ("export --format ndjson", 2, "data/ledger.db does not exist"),
        (
            "export --format ndjson --details",
            2,
            "data/ledger.db does not exist",
        ),
        ("ledger vkey", 2, "data/ledger.db does not exist"),
        ("ledger fork --reason r", 2, "data/ledger.db does not exist"),
        (
            "ledger accept-clock --reason r",
            2,
            "data/ledger.db does not exist",
        ),
        (
            "verify --data-dir data --vkey example.org/ledger+0a0b0c0d+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            4,
            "",
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let base = home.path().canonicalize().unwrap();
        std::fs::write(base.join("lines"), "").unwrap();
        let output = run(args, &base).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args}: {error}");
        let said = said.replace("{base}", base.to_str().unwrap());
        assert!(
            error.starts_with("archive-ledger: ") && error.contains(&said),
            "{args}: {error}"
        );
        assert_eq!(error.matches('\n').count(), 1, "{args}: {error}");
        assert_eq!(files(&base), [base.join("lines").display().to_string()], "{args}");
    }
    // Where there is a database and no key, as after `migrate`, and where one of two keys is missing.
    let home = tempfile::tempdir().unwrap();
    let base = home.path().canonicalize().unwrap();
    std::fs::write(base.join("lines"), "").unwrap();
    printed("migrate", &base).await;
    for keys in [&[][..], &["keyring.json"]] {
        for key in keys {
            std::fs::write(base.join("data").join(key), "a key").unwrap();
        }
        let missing = if keys.is_empty() {
            "keyring.json"
        } else {
            "ledger.key"
        };
        let output = run("import lines", &base).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains(&format!("there is no key {}/data/{missing}: ", base.display())),
            "{error}"
        );
        let left = files(&base.join("data"));
        let keys_left = left.iter().filter(|file| !file.contains("ledger.db")).count();
        assert_eq!(keys_left, keys.len(), "{left:?}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_an_option_is_told_in_one_line_with_exit_code_2() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("bad.toml"), "listne = \"127.0.0.1:1\"\n").unwrap();
    for (args, told) in [
        ("token", "--role"),
        ("token --role king", "--role"),
        ("token --right archived", "--right"),
        ("token --role admin --ttl 11years", "--ttl"),
        ("token --role admin --no-such-option", "--no-such-option"),
        ("token --role admin --listen nowhere", "--listen: "),
        ("--listen nowhere token --role admin", "--listen: "),
        ("token --role admin --config missing.toml", "--config: "),
        ("token --role admin --config bad.toml", "\"listne\""),
        (
            "token --role admin --jwt-secret-file /dev/null/x",
            "--jwt-secret-file: ",
        ),
        ("--data-dir a token --role admin --data-dir b", "--data-dir: "),
        ("no-such-command", "no-such-command"),
    ] {
        let output = run(args, home.path()).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {error}");
        assert!(
            error.starts_with("archive-ledger: ") && error.contains(told),
            "{args}: {error}"
        );
        assert_eq!(error.matches('\n').count(), 1, "{args}: {error}");
        assert_eq!(output.stdout, b"", "{args}");
    }
    assert!(
        !home.path().join("data").exists(),
        "a refused command left something behind"
    );
}

#[tokio::test]
async fn help_and_version_are_everywhere() {
    let home = tempfile::tempdir().unwrap();
    for command in ["", "token ", "migrate "] {
        for (flag, told) in [
            ("--help", "Usage: archive-ledger"),
            ("-h", "--data-dir"),
            ("--version", archive_ledger::telemetry::VERSION_AND_COMMIT),
        ] {
            let text = printed(&format!("{command}{flag}"), home.path()).await;
            assert!(text.contains(told), "{command}{flag}: {text}");
        }
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_told_with_its_cause_and_without_its_password() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("postgres://me:hunter2@127.0.0.1:{}/ledger", free_port());
    let output = run(&format!("migrate --database-url {url}"), home.path()).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.starts_with("archive-ledger: --database-url: ") && error.contains("Connection refused"),
        "{error}"
    );
    assert!(
        error.matches('\n').count() == 1 && !error.contains("hunter2"),
        "{error}"
    );
}

#[tokio::test]
async fn the_configuration_is_checked_and_shown_with_where_each_value_comes_from() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(
        home.path().join("a.toml"),
        "max_batch = 7\nstorage_root = [\"file:///srv/a\"]\n",
    )
    .unwrap();
    let env = [
        (
            "ARCHIVE_LEDGER_DATABASE_URL".to_owned(),
            "postgres://u:hunter2@db/x?sslmode=require".to_owned(),
        ),
        ("ARCHIVE_LEDGER_CONFIG".to_owned(), "a.toml".to_owned()),
    ];
    let shown = run_binary(&["config", "show", "--listen", "127.0.0.1:81"], &env, home.path()).await;
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    for line in [
        "listen = \"127.0.0.1:81\"  # command line",
        "database_url = \"postgres://***@db/x?***\"  # ARCHIVE_LEDGER_DATABASE_URL",
        "max_batch = 7  # a.toml",
        "storage_root = [\"file:///srv/a\"]  # a.toml",
        "nats_replicas = 1  # default",
        "# nats_url is not set",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    // What is shown can be used.
    std::fs::write(home.path().join("b.toml"), shown).unwrap();
    let checked = printed("config check --config b.toml", home.path()).await;
    assert!(
        checked.starts_with("The configuration can be used; "),
        "{checked}"
    );
    let json = run_binary(&["config", "show", "--json"], &env, home.path()).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["max_batch"], json!({"value": 7, "source": "a.toml"}));
    assert_eq!(json["nats_url"], json!({"value": null, "source": "default"}));
    assert!(
        !home.path().join("data").exists(),
        "nothing but the configuration is looked at"
    );
}

#[tokio::test]
async fn a_misspelt_variable_is_refused_by_every_command_that_is_configured() {
    let home = tempfile::tempdir().unwrap();
    let env = [("ARCHIVE_LEDGER_DATADIR".to_owned(), "x".to_owned())];
    for args in [
        &["token", "--role", "admin"][..],
        &["serve"],
        &["config", "check"],
        &["config", "show"],
        &["migrate"],
    ] {
        let output = run_binary(args, &env, home.path()).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            "archive-ledger: ARCHIVE_LEDGER_DATADIR: there is no such option; did you mean ARCHIVE_LEDGER_DATA_DIR?\n"
        );
    }
}

#[tokio::test]
async fn shells_and_man_are_told_the_command_line_whatever_is_configured() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&format!("completions {shell}"), home.path()).await;
        assert!(
            script.contains("storage-root") && script.contains("accept-clock"),
            "{shell}: {script}"
        );
    }
    let bash = printed("completions bash", home.path()).await;
    std::fs::write(home.path().join("completion"), bash).unwrap();
    let completed = std::process::Command::new("bash")
        .args(["-c", ". ./completion; COMP_WORDS=(archive-ledger ver) COMP_CWORD=1; _archive__ledger archive-ledger ver archive-ledger; echo \"${COMPREPLY[@]}\""])
        .current_dir(home.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(completed.stdout).unwrap(), "verify\n");
    assert!(printed("man", home.path()).await.contains(".TH archive-ledger 1"));
    assert_eq!(printed("man --dir .", home.path()).await, "");
    for page in [
        "archive-ledger.1",
        "archive-ledger-serve.1",
        "archive-ledger-ledger-fork.1",
    ] {
        assert!(
            home.path().join(page).exists(),
            "{page}: {:?}",
            files(home.path())
        );
    }
    let env = [("ARCHIVE_LEDGER_LISTEN".to_owned(), "nowhere".to_owned())];
    for args in [&["completions", "bash"][..], &["man"]] {
        assert!(run_binary(args, &env, home.path()).await.status.success());
    }
}
