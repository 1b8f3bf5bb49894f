//! Exports of events: every format says the same, the manifest says what it is, and the log proves it.

use super::foreign::python;
use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::ledger::{CommandContext, Purge, SoftDelete};
use archive_ledger::merkle::checkpoint::Checkpoint;
use archive_ledger::merkle::note::VerifierKey;
use archive_ledger_domain::{EntityType, EventMetadata};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use uuid::Uuid;

/// Actors whose names a spreadsheet would run, and others that a format could trip over.
const ACTORS: [&str; 6] = [
    "=HYPERLINK(\"http://evil\")",
    "+1",
    "-1,2",
    "@SUM(A1)",
    "a\r\n\"b\"",
    "\u{e4}\u{1f600}",
];

const EXPORT: &str = "/api/admin/audit/export";

fn by(actor: &str) -> CommandContext {
    CommandContext::new(EventMetadata {
        actor: actor.to_owned(),
        request_id: Some("r-7".to_owned()),
        ip: Some("192.0.2.7".to_owned()),
        ..EventMetadata::internal("tests", None)
    })
}

/// Some 2,100 events, so that they take more than one page, and one purge; returns how many there are.
async fn fill(place: &Place, from: u128, count: u128) -> usize {
    let opened = place.open().await;
    let delete = |n: u128| {
        let actor = ACTORS[usize::try_from(n % 6).unwrap()];
        let request = SoftDelete {
            name: format!("Ada's {n}"),
            reason: Some("=1+1".into()),
            ..deletion(entity(EntityType::Backups, n))
        };
        opened.ledger.soft_delete(request, by(actor))
    };
    for answer in futures::future::join_all((from..from + count).map(delete)).await {
        answer.unwrap();
    }
    let purged = entity(EntityType::Backups, from);
    opened
        .ledger
        .purge(purged, Purge::default(), context())
        .await
        .unwrap();
    let events = opened.store.reads().head().await.unwrap().position;
    opened.close().await.unwrap();
    usize::try_from(events).unwrap()
}

async fn run(place: &Place, args: &[&str]) -> String {
    let (code, said, error) = texts(&place.run(args).await);
    assert_eq!(code, Some(0), "{args:?}: {error}");
    said
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Exports to a file, checks it against its manifest, and returns both.
async fn export(place: &Place, format: &str, name: &str, args: &[&str]) -> (Vec<u8>, Value) {
    let file = place.home().join(name);
    let out = file.display().to_string();
    run(
        place,
        &[&["export", "--format", format, "--out", &out], args].concat(),
    )
    .await;
    assert!(!place.home().join(format!("{name}.part")).exists());
    let bytes = std::fs::read(&file).unwrap();
    let manifest = std::fs::read(place.home().join(format!("{name}.manifest.json"))).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["sha256"], hex::encode(digest(&SHA256, &bytes)));
    assert_eq!(manifest["bytes"], bytes.len());
    let key: VerifierKey = manifest["vkey"].as_str().unwrap().parse().unwrap();
    let checkpoint = Checkpoint::open(manifest["checkpoint"].as_str().unwrap(), &key).unwrap();
    assert!(checkpoint.size >= manifest["pos_to"].as_u64().unwrap());
    (bytes, manifest)
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// What a reader that shares nothing with this project says of the three formats.
async fn read_elsewhere(place: &Place, name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/foreign/read_export.py");
    let files = ["ndjson", "csv", "parquet"].map(|format| place.home().join(format!("{name}.{format}")));
    let mut command = Command::new(python());
    command.arg(script).args(files);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let (code, said, error) = texts(&output);
    assert_eq!(code, Some(0), "{said}{error}");
}

async fn verify(place: &Place, payloads: &Path) -> (Option<i32>, String, String) {
    let payloads = payloads.display().to_string();
    texts(
        &place
            .run(&[
                "verify",
                "--vkey",
                "log/vkey",
                "--dir",
                "log",
                "--payloads",
                &payloads,
            ])
            .await,
    )
}

on_both_backends! {
    async fn every_format_says_the_same_and_the_log_proves_it(backend: Backend) {
        let place = Place::new(backend).await;
        let events = fill(&place, 1, 2_100).await;
        for (name, args) in [("plain", &[][..]), ("opened", &["--details"])] {
            let mut manifests = Vec::new();
            for format in ["ndjson", "csv", "parquet"] {
                let (_, manifest) = export(&place, format, &format!("{name}.{format}"), args).await;
                assert_eq!(manifest["count"], events, "{format}");
                assert_eq!((&manifest["first_position"], &manifest["last_position"]), (&json!(1), &json!(events)));
                manifests.push(manifest);
            }
            assert!(manifests.iter().all(|manifest| manifest["checkpoint"] == manifests[0]["checkpoint"]));
            read_elsewhere(&place, name).await;
        }
        run(&place, &["export", "--dir", "log"]).await;
        for name in ["plain.ndjson", "opened.ndjson"] {
            let (code, said, error) = verify(&place, &place.home().join(name)).await;
            assert_eq!(code, Some(0), "{error}");
            assert!(said.contains(&format!("payloads: {events} ")), "{said}");
        }
        let opened = lines(&std::fs::read(place.home().join("opened.ndjson")).unwrap());
        assert!(opened[5]["details"]["content"].as_str().unwrap().contains("Ada's 6"), "{}", opened[5]);
        assert_eq!((&opened[0]["details"], &opened[0]["erased"]), (&Value::Null, &json!(true)));
        assert_eq!(opened[1]["erased"], false);
        let plain = std::fs::read_to_string(place.home().join("plain.ndjson")).unwrap();
        assert!(!plain.contains("Ada's") && !plain.contains("\"details\""));
    }

    async fn an_export_that_was_changed_anywhere_is_found(backend: Backend) {
        let place = Place::new(backend).await;
        fill(&place, 1, 20).await;
        let (bytes, _) = export(&place, "ndjson", "opened.ndjson", &["--details"]).await;
        run(&place, &["export", "--dir", "log"]).await;
        let changed = place.home().join("changed.ndjson");
        let lines = lines(&bytes);
        for (field, value) in [
            ("event", json!("restored")),
            ("event_id", json!(Uuid::from_u128(1))),
            ("event_version", json!("9.0.0")),
            ("version", json!(7)),
            ("recorded_at", json!("2026-01-01T00:00:00.000000Z")),
            ("actor", json!("nobody")),
            ("request_id", json!("r-8")),
            ("ip", json!("192.0.2.8")),
            ("command_id", json!(Uuid::from_u128(1))),
            ("payload", json!({})),
            ("erased", json!(false)),
            ("details", json!({"salt": lines[3]["details"]["salt"], "content": "{}"})),
            ("position", json!(999)),
        ] {
            // The first event's details are erased, those of the others are there.
            let index = if field == "erased" { 0 } else { 2 };
            let mut line = lines[index].clone();
            assert_ne!(line[field], value, "{field}");
            line[field] = value;
            std::fs::write(&changed, format!("{line}\n")).unwrap();
            let (code, _, error) = verify(&place, &changed).await;
            let expected = if ["request_id", "ip"].contains(&field) { 4 } else { 2 };
            assert_eq!(code, Some(expected), "{field}: {error}");
        }
        std::fs::write(&changed, format!("{}\n", lines[2])).unwrap();
        assert_eq!(verify(&place, &changed).await.0, Some(0));
    }

    async fn a_snapshot_gives_the_same_bytes_again_and_filters_what_they_say(backend: Backend) {
        let place = Place::new(backend).await;
        let events = fill(&place, 1, 40).await;
        let snapshot = events.to_string();
        let mut before = Vec::new();
        for format in ["ndjson", "csv", "parquet"] {
            before.push(export(&place, format, "before", &["--pos-to", &snapshot]).await);
        }
        let more = fill(&place, 100, 10).await;
        for (format, before) in ["ndjson", "csv", "parquet"].into_iter().zip(before) {
            let again = export(&place, format, "again", &["--pos-to", &snapshot]).await;
            assert_eq!(again.0, before.0, "{format}");
            assert_eq!(again.1, before.1, "{format}");
        }
        let (all, manifest) = export(&place, "ndjson", "all", &[]).await;
        assert_eq!(manifest["count"], more);
        let all = lines(&all);
        let at = |index: usize| all[index]["recorded_at"].as_str().unwrap().to_owned();
        let expected = |of: &dyn Fn(&Value) -> bool| -> Vec<Value> {
            all.iter().filter(|line| of(line)).cloned().collect()
        };
        let (from, to) = (at(10), at(44));
        for (args, of) in [
            (vec!["--action", "purged"], &(|line: &Value| line["event"] == "purged") as &dyn Fn(&Value) -> bool),
            (vec!["--actor=-1,2", "--actor", ACTORS[4]], &|line| line["actor"] == ACTORS[2] || line["actor"] == ACTORS[4]),
            (vec!["--entity-type", "users"], &|_| false),
            (vec!["--entity-type", "backups", "--entity-id", all[3]["entity_id"].as_str().unwrap()],
                &|line| line["entity_id"] == all[3]["entity_id"]),
            (vec!["--ip", "192.0.2.7"], &|line| line["ip"] == "192.0.2.7"),
            (vec!["--request-id", "r-7", "--pos-from", "5", "--pos-to", "9"],
                &|line| line["request_id"] == "r-7" && (5..=9).contains(&line["position"].as_u64().unwrap())),
            (vec!["--from", &from, "--to", &to],
                &|line| (&*from..&*to).contains(&line["recorded_at"].as_str().unwrap())),
            (vec!["--outcome", "denied"], &|_| false),
            (vec!["--outcome", "allowed", "--action", "audit_read"], &|_| false),
        ] {
            let (found, manifest) = export(&place, "ndjson", "found", &args).await;
            let (found, expected) = (lines(&found), expected(of));
            assert_eq!(found, expected, "{args:?}");
            assert_eq!(manifest["count"], expected.len());
            assert_eq!(manifest["first_position"], expected.first().map_or(Value::Null, |line| line["position"].clone()));
        }
        for (args, option) in [
            (["--action", "nothing"], "--action"),
            (["--from", "yesterday"], "--from"),
            (["--pos-from", "x"], "--pos-from"),
            (["--pos-to", "999"], "--pos-to"),
        ] {
            let (code, _, error) = texts(&place.run(&[&["export", "--format", "csv", "--out", "x"][..], &args].concat()).await);
            assert!(code == Some(2) && error.contains(option), "{args:?}: {error}");
            assert!(!place.home().join("x").exists());
        }
    }

    async fn an_export_over_http_has_the_bytes_of_the_command_line_and_names_its_manifest(server: Server) {
        let admin = server.token(&["--role", "admin"]).await;
        for n in 1..=30u128 {
            let body = json!({"id": Uuid::from_u128(n), "name": "n", "metadata": {}});
            let answer = server.post("/api/admin/archived/backups", &admin, &body).send().await.unwrap();
            assert_eq!(answer.status(), 201);
        }
        let token = server.token(&["--role", "auditor"]).await;
        for format in ["ndjson", "csv", "parquet"] {
            let path = format!("{EXPORT}?format={format}&details=true&action=soft_deleted&pos_to=30");
            let answer = eventually("a checkpoint that covers it", Duration::from_secs(10), || async {
                let answer = server.get(&path, &token).send().await.unwrap();
                (answer.status() == 200).then_some(answer)
            })
            .await;
            assert_eq!(answer.headers()["archive-ledger-snapshot"], "30");
            let link = answer.headers()["link"].to_str().unwrap().to_owned();
            let bytes = answer.bytes().await.unwrap();
            let link = link.split(['<', '>']).nth(1).unwrap();
            let manifest: Value = server.get(link, &token).send().await.unwrap().json().await.unwrap();
            assert_eq!(manifest["sha256"], hex::encode(digest(&SHA256, &bytes)));
            assert_eq!((&manifest["count"], &manifest["pos_to"]), (&json!(30), &json!(30)));
            let out = server.home().join("out");
            let exported = server
                .run_command(&[
                    "export", "--format", format, "--details", "--action", "soft_deleted", "--pos-to", "30", "--out",
                    &out.display().to_string(),
                ])
                .await;
            assert!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
            assert_eq!(std::fs::read(&out).unwrap(), bytes, "{format}");
            let kept = std::fs::read(PathBuf::from(format!("{}.manifest.json", out.display()))).unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), manifest);
        }
        for (query, key) in [
            ("", "format"),
            ("format=xml", "format"),
            ("format=csv&format=csv", "format"),
            ("format=csv&details=yes", "details"),
            ("format=csv&actr=x", "actr"),
            ("format=csv&action=delete", "action"),
            ("format=csv&entity_type=backup", "entity_type"),
            ("format=csv&from=now", "from"),
            ("format=csv&pos_from=-1", "pos_from"),
            ("format=csv&pos_to=31000", "pos_to"),
        ] {
            for path in [EXPORT.to_owned(), format!("{EXPORT}/manifest")] {
                let answer = server.get(&format!("{path}?{query}"), &token).send().await.unwrap();
                assert_eq!(answer.status(), 400, "{query}");
                let error: Value = answer.json().await.unwrap();
                assert_eq!(error["error"]["details"]["key"], key, "{error}");
            }
        }
    }
}
