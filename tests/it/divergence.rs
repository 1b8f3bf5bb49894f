//! A database that is not the one that a running service knows: an older copy, another history, another file. Nothing is
//! acknowledged, the reason is told, and the service ends as it would not have started.

mod published;

use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use archive_ledger::bus::nats::STREAM;
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// Asks for a deletion; `None` when nobody answers.
async fn ask(server: &Server, token: &str) -> Option<StatusCode> {
    let body = json!({"id": crate::harness::fresh_id(), "name": "n", "metadata": {}});
    let asked = server.post("/api/admin/archived/backups", token, &body);
    let asked = asked.timeout(Duration::from_secs(20)).send().await;
    asked.ok().map(|answer| answer.status())
}

async fn delete(server: &Server, token: &str, count: usize) {
    for _ in 0..count {
        assert_eq!(ask(server, token).await, Some(StatusCode::CREATED));
    }
}

/// Waits until what was committed is in the guard.
async fn guarded(server: &Server, size: u64) {
    let path = server.data_dir().join("checkpoint.guard");
    eventually("the guard", SOON, || async {
        let note = std::fs::read_to_string(&path).ok()?;
        (note.lines().nth(1) == Some(&size.to_string())).then_some(())
    })
    .await;
}

/// Sends commands and probes until the process has ended: none may be acknowledged, and it must say why.
async fn ends_without_acknowledging(server: &Server, token: &str, why: &str) {
    let mut told = None;
    let code = eventually("the end of the service", SOON, || async {
        if let Some(status) = ask(server, token).await {
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        }
        server.exit_code()
    });
    let probe = async {
        loop {
            // What was asked just before may wait for a database that is not there any more.
            let asked = server
                .client()
                .get(server.url("/readyz"))
                .timeout(Duration::from_millis(300));
            if let Ok(answer) = asked.send().await {
                let status = answer.status();
                let body: Value = answer.json().await.unwrap_or_default();
                if body["reasons"].to_string().contains(why) {
                    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
                    assert_eq!(body["writer"], "unavailable");
                    told = Some(body);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let code = tokio::select! {
        code = code => code,
        () = probe => unreachable!(),
    };
    assert_eq!(code, 2, "{}", server.log());
    assert!(told.is_some(), "/readyz never said why:\n{}", server.log());
    let last = server.log();
    let last = last.lines().last().unwrap();
    assert!(
        last.starts_with("archive-ledger: --") && last.contains("refuses to append") && last.contains(why),
        "{last}"
    );
}

/// What a start says that must be refused.
async fn refusal(server: &Server) -> String {
    let output = server.run_command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    error
}

/// A cluster on a server of its own, with five events that the guard knows of.
async fn five_guarded() -> (Postgres, Server, String) {
    let postgres = Postgres::start().await;
    let builder = Server::builder(Backend::Clustered);
    let server = builder
        .on_database(postgres.create_database().await)
        .await
        .start()
        .await;
    let token = server.token(&["--role", "admin"]).await;
    delete(&server, &token, 5).await;
    guarded(&server, 5).await;
    (postgres, server, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_comes_back_as_an_older_copy_ends_the_service_before_it_acknowledges_anything() {
    let (postgres, server, token) = five_guarded().await;
    postgres.stop().await;
    postgres.keep_copy("older");
    postgres.restart().await;
    // The same database again: everybody goes on.
    eventually("a command is taken again", SOON, || async {
        (ask(&server, &token).await == Some(StatusCode::CREATED)).then_some(())
    })
    .await;
    delete(&server, &token, 20).await;
    postgres.stop().await;
    postgres.bring_back("older");
    postgres.restart().await;
    ends_without_acknowledging(&server, &token, "older copy").await;
    let told = refusal(&server).await;
    assert!(told.contains("older copy"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_lacks_only_the_last_acknowledged_event_is_refused_now_and_after_a_restart() {
    let (postgres, server, token) = five_guarded().await;
    postgres.stop().await;
    postgres.keep_copy("older");
    postgres.restart().await;
    eventually("a command is taken again", SOON, || async {
        (ask(&server, &token).await == Some(StatusCode::CREATED)).then_some(())
    })
    .await;
    // Sooner than anything of it can be in the guard.
    postgres.crash().await;
    postgres.bring_back("older");
    postgres.restart().await;
    ends_without_acknowledging(&server, &token, "older copy").await;
    let told = refusal(&server).await;
    assert!(told.contains("older copy"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_that_others_have_carried_further_is_another_log() {
    let (postgres, server, token) = five_guarded().await;
    postgres.stop().await;
    postgres.keep_copy("older");
    postgres.restart().await;
    eventually("a command is taken again", SOON, || async {
        (ask(&server, &token).await == Some(StatusCode::CREATED)).then_some(())
    })
    .await;
    delete(&server, &token, 4).await;
    server.pause();
    postgres.stop().await;
    postgres.bring_back("older");
    postgres.restart().await;
    // An instance that knows nothing of what was lost: it has a guard of its own, and the stream is gone.
    let client = async_nats::connect(server.nats().url()).await.unwrap();
    let client = async_nats::jetstream::new(client);
    client.delete_stream(STREAM).await.unwrap();
    let elsewhere = server.home().join("elsewhere.guard");
    let other = server.another().arg("--guard-file").arg(&elsewhere).start().await;
    delete(&other, &token, 9).await;
    server.resume();
    ends_without_acknowledging(&server, &token, "another log").await;
    // It knows of no other log than its own.
    delete(&other, &token, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_made_anew_under_the_service_is_no_ledger_and_then_an_older_copy() {
    let postgres = Postgres::start().await;
    let builder = Server::builder(Backend::Clustered);
    let url = postgres.create_database().await;
    let server = builder.on_database(url.clone()).await.start().await;
    let token = server.token(&["--role", "admin"]).await;
    delete(&server, &token, 3).await;
    let database = url.rsplit('/').next().unwrap();
    let mut admin = <sqlx::PgConnection as sqlx::Connection>::connect(&postgres.url("postgres"))
        .await
        .unwrap();
    for statement in [
        format!("DROP DATABASE {database} WITH (FORCE)"),
        format!("CREATE DATABASE {database}"),
    ] {
        sqlx::Executor::execute(&mut admin, statement.as_str())
            .await
            .unwrap();
    }
    // What is empty may be a restore that is under way: it is waited for.
    assert_eq!(ask(&server, &token).await, Some(StatusCode::SERVICE_UNAVAILABLE));
    eventually("/readyz says what is missing", SOON, || async {
        let answer = server.client().get(server.url("/readyz")).send().await.ok()?;
        (answer.status() == 503 && answer.text().await.ok()?.contains("holds no ledger")).then_some(())
    })
    .await;
    assert_eq!(server.exit_code(), None);
    let migrated = server.run_command(&["migrate"]).await;
    assert!(
        migrated.status.success(),
        "{}",
        String::from_utf8_lossy(&migrated.stderr)
    );
    ends_without_acknowledging(&server, &token, "older copy").await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// An embedded service with two events, and a directory with an older copy of its file.
async fn embedded() -> (Server, String) {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    delete(&server, &token, 3).await;
    guarded(&server, 3).await;
    server.terminate().await;
    copy(&server.data_dir(), &server.home().join("older"));
    server.restart().await;
    delete(&server, &token, 4).await;
    (server, token)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_renamed_removed_or_swapped_while_it_serves_ends_the_service() {
    let (server, token) = embedded().await;
    let data = server.data_dir();
    let file = data.join("ledger.db");
    let kept = server.home().join("kept");
    std::fs::create_dir_all(&kept).unwrap();

    std::fs::rename(&file, kept.join("ledger.db")).unwrap();
    ends_without_acknowledging(&server, &token, "renamed or removed").await;
    std::fs::rename(kept.join("ledger.db"), &file).unwrap();
    server.restart().await;
    delete(&server, &token, 1).await;

    // The whole directory, as when a volume is restored.
    guarded(&server, 8).await;
    copy(&data, &kept);
    for name in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    std::fs::rename(server.home().join("older/ledger.db"), &file).unwrap();
    ends_without_acknowledging(&server, &token, "another file").await;
    let told = refusal(&server).await;
    assert!(told.contains("older copy"), "{told}");
    for name in ["ledger.db-wal", "ledger.db-shm", "ledger.db"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    copy(&kept, &data);
    server.restart().await;
    delete(&server, &token, 1).await;

    std::fs::remove_file(data.join("ledger.db-wal")).unwrap();
    ends_without_acknowledging(&server, &token, "ledger.db-wal was renamed or removed").await;
    // What was acknowledged was still to be had from the log that was removed, and is in the file now.
    server.restart().await;
    delete(&server, &token, 1).await;
    guarded(&server, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_nobody_asks_anything_finds_its_file_gone_by_itself() {
    let (server, _) = embedded().await;
    std::fs::remove_file(server.data_dir().join("ledger.db")).unwrap();
    let code = eventually("the end of the service", SOON, || async { server.exit_code() }).await;
    assert_eq!(code, 2, "{}", server.log());
}

/// Writes a file's content over another one, which stays the same file.
fn write_over(from: &Path, to: &Path) {
    let content = std::fs::read(from).unwrap();
    let number = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(to).unwrap());
    std::fs::write(to, content).unwrap();
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(to).unwrap()),
        number
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_over_in_place_ends_the_service_before_it_acknowledges_anything() {
    // An older copy; another ledger of the same length; nothing at all; a copy of this run that lacks what came since.
    for kind in ["older", "another", "emptied", "of this run"] {
        let (server, token) = embedded().await;
        let file = server.data_dir().join("ledger.db");
        let kept = server.home().join("kept.db");
        let over = match kind {
            "older" => server.home().join("older/ledger.db"),
            "another" => {
                let other = Server::start(Backend::Embedded).await;
                let token = other.token(&["--role", "admin"]).await;
                delete(&other, &token, 7).await;
                assert_eq!(other.terminate().await, 0);
                std::fs::copy(other.data_dir().join("ledger.db"), &kept).unwrap();
                kept
            }
            "emptied" => {
                std::fs::write(&kept, "").unwrap();
                kept
            }
            _ => {
                crate::harness::ledger::change(
                    None,
                    &server.data_dir(),
                    &format!("VACUUM INTO '{}'", kept.display()),
                )
                .await;
                delete(&server, &token, 2).await;
                kept
            }
        };
        write_over(&over, &file);
        ends_without_acknowledging(&server, &token, "written over").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_ahead_log_that_is_written_over_in_place_ends_the_service() {
    for kind in ["foreign", "older", "emptied"] {
        let (server, token) = embedded().await;
        let log = server.data_dir().join("ledger.db-wal");
        let over = server.home().join("over");
        match kind {
            "foreign" => {
                let other = Server::start(Backend::Embedded).await;
                let token = other.token(&["--role", "admin"]).await;
                delete(&other, &token, 9).await;
                std::fs::copy(other.data_dir().join("ledger.db-wal"), &over).unwrap();
            }
            "older" => {
                std::fs::copy(&log, &over).unwrap();
                delete(&server, &token, 2).await;
            }
            _ => std::fs::write(&over, "").unwrap(),
        }
        write_over(&over, &log);
        ends_without_acknowledging(&server, &token, "written over").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_goes_on_while_others_move_its_log_touch_its_file_and_write_beside_it() {
    let (server, token) = embedded().await;
    let data = server.data_dir();
    let change = async |sql: &str| crate::harness::ledger::change(None, &data, sql).await;
    for mode in ["PASSIVE", "FULL", "RESTART", "TRUNCATE"] {
        change(&format!("PRAGMA wal_checkpoint({mode})")).await;
        delete(&server, &token, 2).await;
        // A file that is written over with what is in it is what it was.
        let file = std::fs::File::options()
            .write(true)
            .open(data.join("ledger.db"))
            .unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        delete(&server, &token, 2).await;
        change("UPDATE cursors SET position = position").await;
        delete(&server, &token, 2).await;
    }
    let rebuilt = server.run_command(&["rebuild"]).await;
    assert!(
        rebuilt.status.success(),
        "{}",
        String::from_utf8_lossy(&rebuilt.stderr)
    );
    let many: Vec<_> = (0..8).map(|_| delete(&server, &token, 50)).collect();
    tokio::join!(futures::future::join_all(many), async {
        for _ in 0..10 {
            change("PRAGMA wal_checkpoint(PASSIVE)").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let verified = server.run_command(&["verify"]).await;
    assert!(
        verified.status.code().is_some(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    delete(&server, &token, 1).await;
    assert_eq!(server.terminate().await, 0, "{}", server.log());
    server.restart().await;
    delete(&server, &token, 1).await;
}
