//! Files that options name: what has no end, never begins, or holds more than a reader can take in or a terminal should see.

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::server::Backend;
use archive_ledger_domain::EntityType;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Generous, because two cores are shared: a refusal takes milliseconds, and what is not refused never ends.
const AT_ONCE: Duration = Duration::from_secs(60);

/// What stands under a name that should be a file's.
fn no_files(home: &Path) -> Vec<(&'static str, String)> {
    let path = |name: &str| home.join(name).display().to_string();
    let made = Command::new("mkfifo").arg(path("pipe")).status().unwrap();
    assert!(made.success());
    fs::create_dir(path("folder")).unwrap();
    for private in ["pipe", "folder"] {
        fs::set_permissions(path(private), fs::Permissions::from_mode(0o700)).unwrap();
    }
    std::os::unix::fs::symlink("/dev/zero", path("link-to-zero")).unwrap();
    vec![
        ("a device", "/dev/zero".to_owned()),
        ("a device", path("link-to-zero")),
        ("a pipe", path("pipe")),
        ("directory", path("folder")),
    ]
}

async fn refused(place: &Place, args: &[&str], code: i32, option: &str, what: &str) {
    let output = tokio::time::timeout(AT_ONCE, place.run(args)).await;
    let output = output.unwrap_or_else(|_| panic!("{args:?} is still running"));
    let told = String::from_utf8(output.stderr).unwrap();
    // `serve` logs before it refuses.
    let line = told.lines().last().unwrap_or_default();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    assert!(
        line.starts_with(&format!("archive-ledger: {option}")),
        "{args:?}: {told}"
    );
    assert!(line.contains(what), "{args:?}: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_regular_file_is_refused_at_once_under_every_option_that_names_a_file() {
    let place = Place::new(Backend::Embedded).await;
    place.open().await.close().await.unwrap();
    let key = vkey(&place).await;
    let key = key.as_str();
    for (what, path) in no_files(place.home()) {
        for option in [
            "--config",
            "--jwt-secret-file",
            "--jwks",
            "--keyring-file",
            "--ledger-key-file",
            "--guard-file",
            "--callback-secret-file",
        ] {
            refused(
                &place,
                &["serve", "--listen", "127.0.0.1:0", option, &path],
                2,
                option,
                what,
            )
            .await;
        }
        for option in ["--nats-creds", "--nats-nkey-file", "--nats-ca"] {
            let args = ["serve", "--nats-url", "nats://127.0.0.1:1", option, &path];
            refused(&place, &args, 2, option, what).await;
        }
        refused(
            &place,
            &["serve", "--jwt-former-secret-file", &path],
            2,
            "--jwt-former-secret-file",
            what,
        )
        .await;
        for option in ["sslrootcert", "sslcert", "sslkey"] {
            let url = format!("postgres://u@127.0.0.1:1/d?{option}={path}");
            refused(
                &place,
                &["migrate", "--database-url", &url],
                2,
                "--database-url",
                what,
            )
            .await;
        }
        for args in [
            ["verify", "--vkey", &path, "--dir", "nowhere"],
            ["verify", "--vkey", key, "--bundle", &path],
            ["verify", "--vkey", key, "--since", &path],
            ["verify", "--vkey", key, "--payloads", &path],
            ["verify", "--vkey", key, "--config", &path],
        ] {
            let option = if args[2] == key { args[3] } else { "--vkey" };
            refused(&place, &args, 4, option, what).await;
        }
        if what != "a pipe" {
            refused(&place, &["import", &path], 2, &path, "").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_beyond_all_measure_is_refused_under_every_option_that_names_one() {
    let place = Place::new(Backend::Embedded).await;
    place.open().await.close().await.unwrap();
    let key = vkey(&place).await;
    let key = key.as_str();
    let path = place.home().join("large").display().to_string();
    let file = fs::File::create(&path).unwrap();
    // Sparse: it takes no room, and 8 GiB of memory if somebody reads it whole.
    file.set_len(8 << 30).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for option in [
        "--config",
        "--jwt-secret-file",
        "--jwks",
        "--keyring-file",
        "--ledger-key-file",
        "--guard-file",
        "--callback-secret-file",
    ] {
        refused(
            &place,
            &["serve", "--listen", "127.0.0.1:0", option, &path],
            2,
            option,
            "large",
        )
        .await;
    }
    for args in [
        ["verify", "--vkey", &path, "--dir", "nowhere"],
        ["verify", "--vkey", key, "--bundle", &path],
        ["verify", "--vkey", key, "--since", &path],
        ["verify", "--vkey", key, "--config", &path],
    ] {
        let option = if args[2] == key { args[3] } else { "--vkey" };
        refused(&place, &args, 4, option, "large").await;
    }
    refused(
        &place,
        &["verify", "--vkey", key, "--payloads", &path],
        4,
        "--payloads",
        "longer than",
    )
    .await;
}

async fn vkey(place: &Place) -> String {
    let output = place.run(&["ledger", "vkey"]).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a terminal would act upon, and what would read as a line of our own.
const NASTY: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}x\u{9b}31m\nsound: all is well";

fn assert_harmless(text: &str, context: &str) {
    for character in text.chars() {
        let plain = character == '\n' || !character.is_control();
        let bidi = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}');
        assert!(plain && !bidi, "{context}: {character:?} in {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_terminal_would_act_upon_is_printed_of_what_others_wrote() {
    let place = Place::new(Backend::Embedded).await;
    let opened = place.open().await;
    let request = deletion(entity(EntityType::Users, 1));
    opened.ledger.soft_delete(request, context()).await.unwrap();
    opened.close().await.unwrap();
    let output = place
        .run(&["export", "--dir", "out", "--payloads", "payloads.ndjson"])
        .await;
    assert!(output.status.success(), "{output:?}");
    let home = place.home();
    let nasty = serde_json::to_string(NASTY).unwrap();
    let payloads = fs::read_to_string(home.join("payloads.ndjson")).unwrap();
    let checkpoint = fs::read_to_string(home.join("out/checkpoint")).unwrap();
    for (name, content) in [
        ("bundle", format!(r#"{{"format":{nasty}}}"#)),
        (
            "bundle",
            format!(
                r#"{{"format":"archive-ledger/evidence/v1","entity_type":{nasty},"id":{nasty},"checkpoint":{},"events":[]}}"#,
                serde_json::to_string(&checkpoint).unwrap()
            ),
        ),
        ("bundle", format!(r#"{{{nasty}:1}}"#)),
        (
            "vkey",
            format!("{NASTY}+e4ee0b2a+AdjH3IuRDiRuTHrkpbZXbEc1wJGuzQVxjNYVRfgoyJ8P"),
        ),
        ("since", checkpoint.replacen("localhost", NASTY, 1)),
        ("since", format!("{checkpoint}{NASTY}")),
        ("payloads", payloads.replacen("\"tests\"", &nasty, 1)),
        (
            "payloads",
            payloads.replacen("\"salt\":\"", &format!("{nasty}:1,\"salt\":\""), 1),
        ),
        ("config", format!("listen = {nasty}\n")),
        ("config", format!("{nasty} = 1\n")),
        ("config", format!("listen = \"127.0.0.1:0\"\n{NASTY}\n")),
    ] {
        let file = home.join("foreign");
        fs::write(&file, &content).unwrap();
        let path = file.display().to_string();
        let mut args = vec!["verify"];
        if name != "bundle" {
            args.extend(["--dir", "out"]);
        }
        if name != "vkey" {
            args.extend(["--vkey", "out/vkey"]);
        }
        let option = format!("--{name}");
        args.extend([option.as_str(), &path]);
        let output = place.run(&args).await;
        assert_ne!(output.status.code(), Some(0), "{content:?}: {output:?}");
        let (out, error) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert_harmless(&out, &content);
        assert_harmless(&error, &content);
        assert_eq!(error.lines().count(), 1, "{content:?}: {error}");
        assert!(!out.lines().any(|line| line.starts_with("sound")), "{out}");
        assert!(error.len() < 4_000, "{error}");
    }
}
