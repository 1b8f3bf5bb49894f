//! Who signs, what is refused, and what a fork says.

use crate::harness::described::Told as _;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::merkle::checkpoint::{Checkpoint, statement_hash};
use archive_ledger::merkle::note::VerifierKey;
use archive_ledger::proofs::fork_statement::Statement;
use serde_json::json;
use sqlx::{Connection, Executor, SqliteConnection};
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(10);

async fn delete(server: &Server, token: &str, id: u128) {
    let body = json!({"id": Uuid::from_u128(id), "name": "n", "metadata": {}});
    let path = "/api/admin/archived/backups";
    let answer = server.post(path, token, &body).told().await;
    assert_eq!(answer.status(), 201);
}

async fn text(server: &Server, path: &str, token: &str) -> String {
    server.get(path, token).told().await.text().await.unwrap()
}

async fn signed_size(server: &Server, token: &str, size: u64) -> Checkpoint {
    let key: VerifierKey = text(server, "/api/ledger/vkey", token)
        .await
        .trim_end()
        .parse()
        .unwrap();
    eventually("the checkpoint", SOON, || async {
        let note = text(server, "/api/ledger/checkpoint", token).await;
        Checkpoint::open(&note, &key)
            .ok()
            .filter(|signed| signed.size == size)
    })
    .await
}

/// What a start that must be refused says.
async fn refusal(server: &Server) -> String {
    let output: Output = server.run_command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    error
}

fn copy(from: &Path, to: &Path) {
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

async fn sql(server: &Server, statement: &str) {
    match server.database_url() {
        Some(url) => {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            connection.execute(statement).await.unwrap();
        }
        None => {
            let path = server.data_dir().join("ledger.db");
            let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display()))
                .await
                .unwrap();
            connection.execute(statement).await.unwrap();
        }
    }
}

on_both_backends! {
    async fn an_empty_ledger_is_signed_too_and_the_origin_outlives_a_change_of_the_domain(backend: Backend) {
        let server = Server::builder(backend).arg("--service-domain").arg("archive.example").start().await;
        let token = server.token(&["--role", "admin"]).await;
        let first = signed_size(&server, &token, 0).await;
        assert_eq!(first.origin, "archive.example/ledger/1");
        let guard = eventually("the guard file is written", SOON, || async {
            std::fs::read_to_string(server.data_dir().join("checkpoint.guard")).ok()
        })
        .await;
        assert!(guard.starts_with("archive.example/ledger/1\n0\n"));
        assert_eq!(server.terminate().await, 0);
        server.restart().await;
        assert_eq!(signed_size(&server, &token, 0).await, first);
    }

    async fn another_key_than_the_ledgers_is_refused(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        delete(&server, &token, 1).await;
        server.terminate().await;
        let key = server.data_dir().join("ledger.key");
        std::fs::rename(&key, server.home().join("kept")).unwrap();
        let told = refusal(&server).await;
        assert!(told.contains("--ledger-key-file: ") && told.contains("localhost/ledger/1+"), "{told}");
        std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let told = refusal(&server).await;
        assert!(told.contains("--ledger-key-file: ") && told.contains("bring the key file back"), "{told}");
        std::fs::rename(server.home().join("kept"), &key).unwrap();
        server.restart().await;
    }

    async fn an_entry_that_was_changed_at_the_right_edge_is_refused_with_its_position(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        for id in 1..=5 {
            delete(&server, &token, id).await;
        }
        signed_size(&server, &token, 5).await;
        server.terminate().await;
        sql(&server, "UPDATE events SET entry = (SELECT entry FROM events WHERE position = 3) WHERE position = 4").await;
        let told = refusal(&server).await;
        assert!(told.contains("refuses to append") && told.contains("position 4"), "{told}");
    }
}

#[tokio::test]
async fn whatever_does_not_fit_what_was_signed_is_refused_with_the_reason() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    for id in 1..=5 {
        delete(&server, &token, id).await;
    }
    signed_size(&server, &token, 5).await;
    server.terminate().await;
    let kept = server.home().join("kept");
    std::fs::create_dir_all(&kept).unwrap();
    copy(&server.data_dir(), &kept);
    for (statement, said) in [
        (
            "UPDATE events SET leaf = (SELECT leaf FROM events WHERE position = 3) WHERE position = 4",
            "position 4",
        ),
        (
            "UPDATE ledger_head SET root = (SELECT leaf FROM events WHERE position = 1)",
            "the head says",
        ),
        ("DELETE FROM events WHERE position = 5", "ends with"),
        (
            "UPDATE checkpoints SET root = (SELECT leaf FROM events WHERE position = 1) WHERE size = 5",
            "the stored checkpoint of 5 entries",
        ),
        (
            "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size < 5) WHERE size = 5",
            "the stored checkpoint of 5 entries",
        ),
        (
            "UPDATE ledger_meta SET value = replace(value, 'localhost', 'elsewhere') WHERE name = 'origin/1'",
            "origin 1 was changed",
        ),
    ] {
        sql(&server, statement).await;
        let told = refusal(&server).await;
        assert!(
            told.contains("refuses to append") && told.contains(said),
            "{statement}: {told}"
        );
        copy(&kept, &server.data_dir());
    }
    std::fs::write(server.data_dir().join("checkpoint.guard"), "no note").unwrap();
    let told = refusal(&server).await;
    assert!(told.contains("--guard-file: "), "{told}");
    std::fs::remove_file(server.data_dir().join("checkpoint.guard")).unwrap();
    server.restart().await;
}

#[tokio::test]
async fn a_restored_older_copy_is_refused_until_it_is_forked_and_the_new_origin_commits_to_the_old_checkpoint()
 {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    for id in 1..=3 {
        delete(&server, &token, id).await;
    }
    signed_size(&server, &token, 3).await;
    server.terminate().await;
    let (data, older) = (server.data_dir(), server.home().join("older"));
    std::fs::create_dir_all(&older).unwrap();
    copy(&data, &older);
    server.restart().await;
    for id in 4..=9 {
        delete(&server, &token, id).await;
    }
    let lost = signed_size(&server, &token, 9).await;
    let running = server.run_command(&["ledger", "fork", "--reason", "x"]).await;
    assert_eq!(running.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&running.stderr).contains("is running"));
    server.terminate().await;

    copy(&older, &data);
    let told = refusal(&server).await;
    assert!(
        told.contains("has 3 entries") && told.contains("over 9"),
        "{told}"
    );
    assert!(told.contains("ledger fork"), "{told}");

    let forked = server
        .run_command(&["ledger", "fork", "--reason", "the disk failed"])
        .await;
    let said = String::from_utf8_lossy(&forked.stdout).into_owned();
    assert!(
        forked.status.success(),
        "{}",
        String::from_utf8_lossy(&forked.stderr)
    );
    assert!(said.contains("localhost/ledger/2+"), "{said}");

    server.restart().await;
    for id in 10..=12 {
        delete(&server, &token, id).await;
    }
    let signed = signed_size(&server, &token, 6).await;
    assert_eq!(signed.origin, "localhost/ledger/2");
    let statement = text(&server, "/api/ledger/fork", &token).await;
    assert_eq!(signed.fork, Some(statement_hash(&statement)));
    let statement = Statement::open(&statement).unwrap();
    assert_eq!(
        (statement.size, statement.reason.as_str()),
        (3, "the disk failed")
    );
    assert_eq!(statement.lost_checkpoint(), Some(lost));
    server.terminate().await;
    server.restart().await;
}

#[tokio::test]
async fn another_database_behind_the_same_guard_is_refused() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    for id in 1..=3 {
        delete(&server, &token, id).await;
    }
    signed_size(&server, &token, 3).await;
    server.terminate().await;
    let (data, older) = (server.data_dir(), server.home().join("older"));
    std::fs::create_dir_all(&older).unwrap();
    copy(&data, &older);
    let guard = std::fs::read(data.join("checkpoint.guard")).unwrap();
    server.restart().await;
    for id in 4..=5 {
        delete(&server, &token, id).await;
    }
    signed_size(&server, &token, 5).await;
    server.terminate().await;
    let newer = std::fs::read(data.join("checkpoint.guard")).unwrap();
    // The older copy goes on without the guard's knowledge, to the same size.
    copy(&older, &data);
    std::fs::write(data.join("checkpoint.guard"), guard).unwrap();
    server.restart().await;
    for id in 6..=9 {
        delete(&server, &token, id).await;
    }
    signed_size(&server, &token, 7).await;
    server.terminate().await;
    std::fs::write(data.join("checkpoint.guard"), newer).unwrap();
    let told = refusal(&server).await;
    assert!(
        told.contains("another log") && told.contains("5 entries"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_instances_and_takeovers_every_size_has_one_root_and_the_log_stays_signed() {
    let one = Server::start(Backend::Clustered).await;
    let two = one.another().start().await;
    let token = one.token(&["--role", "admin"]).await;
    let mut id = 0;
    for round in 0..4 {
        for _ in 0..10 {
            id += 2;
            tokio::join!(delete(&one, &token, id), delete(&two, &token, id + 1));
        }
        let (down, up) = if round % 2 == 0 {
            (&one, &two)
        } else {
            (&two, &one)
        };
        down.kill9().await;
        delete(up, &token, 1_000_000 + id).await;
        signed_size(up, &token, u64::try_from(id + 1 + round).unwrap()).await;
        down.restart().await;
    }
    let mut connection = sqlx::PgConnection::connect(one.database_url().unwrap())
        .await
        .unwrap();
    let rows: Vec<(i64, String)> = sqlx::query_as("SELECT size, note FROM checkpoints ORDER BY size")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let key: VerifierKey = text(&one, "/api/ledger/vkey", &token)
        .await
        .trim_end()
        .parse()
        .unwrap();
    // One at least for each round; how many more depends on how fast they are signed.
    assert!(rows.len() >= 4, "{}", rows.len());
    for (size, note) in rows {
        assert_eq!(
            Checkpoint::open(&note, &key).unwrap().size,
            u64::try_from(size).unwrap()
        );
    }
}
