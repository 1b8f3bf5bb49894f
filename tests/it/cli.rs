//! The command line as its callers meet it: the real binary, its streams and its exit codes.

use std::os::unix::fs::PermissionsExt;
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

#[tokio::test]
async fn token_prints_a_token_and_a_line_break_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let token = printed(
        "token --role operator --right archived:purge --privilege space_view --space s1=a,b --subject me --ttl 10m",
        home.path(),
    )
    .await;
    assert!(
        token.ends_with('\n') && token.lines().count() == 1 && token.split('.').count() == 3,
        "{token:?}"
    );
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
    let secret = std::fs::metadata(home.path().join("data/jwt-secret")).unwrap();
    assert_eq!(secret.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn tokens_asked_for_at_once_on_a_fresh_directory_are_signed_with_one_key() {
    let home = tempfile::tempdir().unwrap();
    let racers = (0..6).map(|_| printed("token --role admin --data-dir d", home.path()));
    let tokens = futures::future::join_all(racers).await;
    let line = std::fs::read_to_string(home.path().join("d/jwt-secret")).unwrap();
    let secret = URL_SAFE_NO_PAD.decode(line.trim_end()).unwrap();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &secret);
    for token in tokens {
        let (message, signature) = token.trim_end().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        aws_lc_rs::hmac::verify(&key, message.as_bytes(), &signature).unwrap();
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
            ("--version", env!("CARGO_PKG_VERSION")),
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
