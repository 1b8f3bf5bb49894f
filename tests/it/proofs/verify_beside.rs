//! `archive-ledger verify` beside a service that writes, and of what commands left beside the log.

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::on_both_backends;
use crate::harness::server::{Backend, Server};
use archive_ledger::clock::{Clock as _, SystemClock};
use archive_ledger::ledger::{CommandContext, Purge, Register, SoftDelete};
use archive_ledger::store::audit::{Attempt, AttemptsWrite, AuditAction, Outcome};
use archive_ledger_domain::EntityType;
use reqwest::Method;
use serde_json::json;
use std::process::Output;

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// How often a ledger is verified while it is written to.
const RUNS: usize = 20;

/// How many entities live beside one run.
const LIVES: usize = 4;

/// One entity's whole life, with all that is written beside the log: objects, a callback that nobody takes, an answer that is
/// remembered, an attempt that is refused.
async fn live(server: &Server, token: &str, root: &std::path::Path) {
    let id = crate::harness::fresh_id();
    let folder = root.join(id.to_string());
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("object"), "x").unwrap();
    let entity = format!("/api/admin/archived/backups/{id}");
    let body = json!({"id": id, "name": "n", "storage": [format!("file://{}", folder.display())]});
    let callback = json!({"deletedCallback": "http://127.0.0.1:9/nobody"});
    for (method, path, body, expected) in [
        (Method::POST, "/api/admin/archived/backups".to_owned(), &body, 201),
        (Method::POST, format!("{entity}/restore"), &json!({}), 200),
        (Method::POST, format!("{entity}/restore"), &json!({}), 409),
        (Method::POST, "/api/admin/archived/backups".to_owned(), &body, 201),
        (Method::DELETE, format!("{entity}/purge"), &callback, 200),
    ] {
        let request = server.request(method, &path, token).json(body);
        let key = crate::harness::fresh_id().to_string();
        let answer = request.header("Idempotency-Key", key).send().await.unwrap();
        assert_eq!(
            answer.status(),
            expected,
            "{path}: {}",
            answer.text().await.unwrap()
        );
    }
}

on_both_backends! {
    async fn verification_accuses_nobody_beside_constant_appends_restores_and_purges(backend: Backend) {
        let objects = tempfile::tempdir().unwrap();
        let server = Server::builder(backend)
            .storage_root(format!("file://{}", objects.path().display()))
            .callbacks_to_loopback()
            .start()
            .await;
        let token = server.token(&["--role", "admin"]).await;
        live(&server, &token, objects.path()).await;
        let vkey = server.get("/api/ledger/vkey", &token).send().await.unwrap().text().await.unwrap();
        let vkey = vkey.trim();
        crate::harness::eventually("the log is signed", crate::harness::READY_WITHIN, || async {
            let answer = server.get("/api/ledger/checkpoint", &token).send().await.unwrap();
            answer.status().is_success().then_some(())
        })
        .await;
        for run in 0..RUNS {
            let lives = async {
                for _ in 0..LIVES {
                    live(&server, &token, objects.path()).await;
                }
            };
            let args = ["verify", "--vkey", vkey];
            let (output, ()) = tokio::join!(server.run_command(&args), lives);
            assert_eq!(output.status.code(), Some(0), "run {run}: {}", said(&output));
        }
    }

    async fn what_commands_and_requests_left_beside_the_log_is_checked(backend: Backend) {
        let mut place = Place::new(backend).await;
        let root = place.home().join("objects");
        std::fs::create_dir(&root).unwrap();
        let storage = format!("file://{}", root.display());
        place.set("ARCHIVE_LEDGER_STORAGE_ROOT", &storage);
        let opened = place.open().await;
        let remembered = |key: &str| CommandContext { idempotency_key: Some(key.to_owned()), ..context() };
        for n in 1..=3 {
            let request = SoftDelete { storage: vec![format!("{storage}/{n}")], ..deletion(entity(EntityType::Users, n)) };
            opened.ledger.soft_delete(request, remembered(&format!("key {n}"))).await.unwrap();
        }
        let refused = opened.ledger.soft_delete(deletion(entity(EntityType::Users, 1)), remembered("refused")).await;
        assert!(refused.is_err());
        let callback = |path: &str| Some(format!("https://receiver.example/{path}"));
        let purge = Purge { callback: callback("purged"), join: false };
        opened.ledger.purge(entity(EntityType::Users, 1), purge, remembered("purge")).await.unwrap();
        let archive = Register {
            key: archive_ledger_domain::EntityKey::new(EntityType::Archives, "a-1").unwrap(),
            dataset_id: Some("d".into()),
            space_id: None,
            description: None,
            storage: Vec::new(),
            deleted_callback: callback("registered"),
        };
        opened.ledger.register(archive, context()).await.unwrap();
        let attempt = |n: u64| Attempt {
            outcome: Outcome::Denied,
            action: AuditAction::Other,
            reason: None,
            actor: None,
            token_issuer: None,
            token_id_hash: None,
            ip: None,
            user_agent: None,
            request_id: Some(n.to_string()),
            key: Some(entity(EntityType::Users, u128::from(n))),
            detail: None,
            first_at: SystemClock.now(),
            last_at: SystemClock.now(),
            count: n,
        };
        let write = AttemptsWrite { added: (1..=12).map(attempt).collect(), grown: Vec::new() };
        opened.store.audit().add_attempts(&write).await.unwrap();
        opened.close().await.unwrap();
        let exported = place.run(&["export", "--dir", "out"]).await;
        assert!(exported.status.success(), "{}", said(&exported));
        let sound = place.run(&["verify", "--vkey", "out/vkey"]).await;
        assert_eq!(sound.status.code(), Some(0), "{}", said(&sound));
        let kept = entity(EntityType::Users, 3).stream_id();
        let purged = entity(EntityType::Users, 1).stream_id();
        let blank = match backend {
            Backend::Embedded => "x'00'",
            Backend::Clustered => "'\\x00'",
        };
        let other_hash = match backend {
            Backend::Embedded => "zeroblob(32)",
            Backend::Clustered => "decode(repeat('00', 32), 'hex')",
        };
        // PostgreSQL's JSON is no text.
        let (none, elsewhere) = match backend {
            Backend::Embedded => (
                "replace(answer, '\"recorded\"', '\"recorder\"')",
                "replace(answer, '\"position\":', '\"position\":1')",
            ),
            Backend::Clustered => (
                "replace(answer::text, '\"recorded\"', '\"recorder\"')::json",
                "regexp_replace(answer::text, '\"position\": ?', '\"position\": 1')::json",
            ),
        };
        let answer = |changed: &str| format!("UPDATE idempotency_answers SET answer = {changed}");
        for (table, change, said_of_it) in [
            ("callback_targets", format!("DELETE FROM callback_targets WHERE aggregate_id = '{purged}'"), "a callback waits"),
            ("callback_targets", format!("UPDATE callback_targets SET aggregate_id = '{kept}' WHERE aggregate_id = '{purged}'"), "or a purge that the log does not have"),
            ("callback_targets", format!("UPDATE callback_targets SET aggregate_id = 'users:nobody' WHERE aggregate_id = '{purged}'"), "the log does not have"),
            ("callback_targets", "UPDATE callback_targets SET registered = NOT registered".to_owned(), "registration"),
            ("callback_targets", format!("UPDATE callback_targets SET url_sealed = {blank}"), "cannot be opened"),
            ("callback_targets", format!("UPDATE callback_targets SET url_hash = {other_hash} WHERE aggregate_id = '{purged}'"), "leads elsewhere"),
            ("idempotency_answers", format!("UPDATE idempotency_answers SET request = {blank}"), "no hash"),
            ("idempotency_answers", answer(none), "an answer that is none"),
            ("idempotency_answers", answer(elsewhere), "the log does not have"),
            ("audit_attempts", "DELETE FROM audit_attempts WHERE sequence = 5".to_owned(), "lacks the attempt 5"),
            ("audit_attempts", "DELETE FROM audit_attempts WHERE sequence = 12".to_owned(), "ends at the attempt 11"),
            ("audit_attempts", "DELETE FROM audit_attempts".to_owned(), "ends at the attempt 0"),
            ("audit_attempts", "UPDATE audit_attempts SET position = 100 WHERE sequence = 12".to_owned(), "another position"),
            ("audit_attempts", "UPDATE audit_attempts SET position = 0 WHERE sequence = 5".to_owned(), "another position"),
            ("audit_attempts", "UPDATE audit_attempts SET action = 'nothing' WHERE sequence = 5".to_owned(), "that is none"),
            ("audit_attempts", "UPDATE audit_attempts SET entity_type = 'ghosts' WHERE sequence = 10".to_owned(), "that is none"),
            ("audit_head", "UPDATE audit_head SET sequence = sequence + 1".to_owned(), "13 were recorded"),
            ("audit_head", "DELETE FROM audit_head".to_owned(), "audit_head is empty"),
        ] {
            place.tamper(&format!("CREATE TABLE aside AS SELECT * FROM {table}")).await;
            assert!(place.tamper(&change).await > 0, "{change}");
            let output = place.run(&["verify", "--vkey", "out/vkey"]).await;
            assert_eq!(output.status.code(), Some(2), "{change}: {}", said(&output));
            assert!(said(&output).contains(said_of_it), "{change}: {}", said(&output));
            for undo in [format!("DELETE FROM {table}"), format!("INSERT INTO {table} SELECT * FROM aside"), "DROP TABLE aside".to_owned()] {
                place.tamper(&undo).await;
            }
            let output = place.run(&["verify", "--vkey", "out/vkey"]).await;
            assert_eq!(output.status.code(), Some(0), "undone: {change}: {}", said(&output));
        }
        // Without the keyring it is not said where callbacks lead, and nobody is accused.
        std::fs::remove_file(place.home().join("data/keyring.json")).unwrap();
        let output = place.run(&["verify", "--vkey", "out/vkey"]).await;
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
}
