//! An empty database beside a key that has signed a ledger: no second history begins without a word.

use crate::harness::eventually;
use crate::harness::ledger::Place;
use crate::harness::on_both_backends;
use crate::harness::server::Server;
use archive_ledger::app;
use archive_ledger::merkle::checkpoint::Checkpoint;
use archive_ledger::merkle::note::VerifierKey;
use archive_ledger::telemetry;
use serde_json::json;
use std::time::Duration;

async fn delete(server: &Server, token: &str) {
    let body = json!({"id": crate::harness::fresh_id(), "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", token, &body)
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 201);
}

async fn refusal(server: &Server) -> String {
    let output = server.run_command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    error
}

async fn signed(server: &Server, token: &str, size: u64) -> Checkpoint {
    let text = async |path: &str| {
        server
            .get(path, token)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    };
    let key: VerifierKey = text("/api/ledger/vkey").await.trim_end().parse().unwrap();
    eventually("the checkpoint", Duration::from_secs(30), || async {
        let note = text("/api/ledger/checkpoint").await;
        Checkpoint::open(&note, &key)
            .ok()
            .filter(|signed| signed.size == size)
    })
    .await
}

/// The database is gone, and an empty one is in its place.
async fn lose_database(server: &Server) {
    match server.database_url() {
        None => {
            for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
                let _ = std::fs::remove_file(server.data_dir().join(name));
            }
        }
        Some(url) => {
            let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url)
                .await
                .unwrap();
            sqlx::Executor::execute(
                &mut connection,
                "DROP SCHEMA public CASCADE; CREATE SCHEMA public",
            )
            .await
            .unwrap();
        }
    }
}

on_both_backends! {
    async fn an_empty_database_beside_a_used_key_is_refused_until_it_is_said_that_all_is_lost(backend: Backend) {
        let server = Server::start(backend).await;
        let token = server.token(&["--role", "admin"]).await;
        for _ in 0..3 {
            delete(&server, &token).await;
        }
        assert_eq!(signed(&server, &token, 3).await.origin, "localhost/ledger/1");
        let early = server.run_command(&["ledger", "fork", "--from-nothing", "--reason", "x"]).await;
        assert_eq!(early.status.code(), Some(2));
        server.terminate().await;
        let guard = server.data_dir().join("checkpoint.guard");
        let kept = std::fs::read(&guard).unwrap();

        lose_database(&server).await;
        // Whatever is left of what tells it.
        for with_guard in [true, false] {
            if !with_guard {
                std::fs::remove_file(&guard).unwrap();
            }
            let told = refusal(&server).await;
            assert!(told.contains("fork --from-nothing --reason") && told.contains("localhost/ledger/1"), "{told}");
            let plain = server.run_command(&["ledger", "fork", "--reason", "x"]).await;
            assert_eq!(plain.status.code(), Some(2), "{}", String::from_utf8_lossy(&plain.stdout));
        }
        // Nothing tells any more which ledger it has signed.
        let mark = server.data_dir().join("ledger.key.used");
        let marked = std::fs::read(&mark).unwrap();
        for nothing_in_it in [true, false] {
            std::fs::remove_file(&mark).unwrap();
            if nothing_in_it {
                std::fs::write(&mark, "").unwrap();
            }
            let told = refusal(&server).await;
            assert!(told.contains("fork --from-nothing --reason") && told.contains("may have signed one"), "{told}");
        }
        std::fs::write(&mark, marked).unwrap();
        std::fs::write(&guard, kept).unwrap();

        let forked = server.run_command(&["ledger", "fork", "--from-nothing", "--reason", "the disk burned"]).await;
        let said = String::from_utf8_lossy(&forked.stdout).into_owned();
        assert!(forked.status.success(), "{}", String::from_utf8_lossy(&forked.stderr));
        assert!(said.contains("localhost/ledger/2+") && said.contains("3 that were signed are lost"), "{said}");
        server.restart().await;
        delete(&server, &token).await;
        let first = signed(&server, &token, 1).await;
        assert_eq!(first.origin, "localhost/ledger/2");
        assert!(first.fork.is_some(), "it commits to the statement");
        server.terminate().await;
        server.restart().await;
        server.terminate().await;

        // And once more: the names go on.
        lose_database(&server).await;
        assert!(refusal(&server).await.contains("localhost/ledger/2"));
        let forked = server.run_command(&["ledger", "fork", "--from-nothing", "--reason", "again"]).await;
        assert!(String::from_utf8_lossy(&forked.stdout).contains("localhost/ledger/3+"));
        server.restart().await;
        delete(&server, &token).await;
        assert_eq!(signed(&server, &token, 1).await.origin, "localhost/ledger/3");
    }

    async fn a_key_that_was_made_elsewhere_begins_no_ledger_until_it_is_said(backend: Backend) {
        let place = Place::new(backend).await;
        let data = place.config().data_dir;
        std::fs::create_dir_all(&data).unwrap();
        let key = data.join("ledger.key");
        std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let refused = app::open(&place.config()).await.expect_err("it is refused");
        assert!(telemetry::chain(&refused).contains("fork --from-nothing --reason"), "{refused:?}");

        app::fork_from_nothing(&place.config(), "made in a vault").await.unwrap();
        place.open().await.close().await.unwrap();
        place.open().await.close().await.unwrap();
    }

    async fn a_first_start_that_was_killed_goes_on(backend: Backend) {
        let place = Place::new(backend).await;
        let data = place.config().data_dir;
        std::fs::create_dir_all(&data).unwrap();
        // As it is left before the database knows of anything.
        let (new, key) = (data.join("ledger.key.new"), data.join("ledger.key"));
        std::fs::write(&new, "").unwrap();
        std::fs::write(&key, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        place.open().await.close().await.unwrap();
        assert!(!new.exists(), "the key is used now");
        place.open().await.close().await.unwrap();
    }
}
