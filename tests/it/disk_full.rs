//! A full disk under the database: what cannot be written is refused, what was acknowledged stays, and room is all it needs to go on.
//!
//! On a small file system of the test's own, which only root may mount; for others the test says that it is skipped.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use archive_ledger::ledger::writer::CommandError;
use archive_ledger::store::contract::{ContractStore, fresh_key, soft_delete};
use archive_ledger::store::log::contract::verified;
use archive_ledger_domain::EntityType;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use crate::store_contract::{OnPostgres, OnSqlite};

/// A small file system.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one of this size; nothing where that is not allowed.
    pub fn mount(mebibytes: u32) -> Option<Self> {
        let place = tempfile::Builder::new()
            .prefix("archive-ledger-disk-")
            .tempdir()
            .unwrap();
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mebibytes}m"),
                "archive-ledger-test",
            ])
            .arg(place.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(place))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = std::fs::File::create(self.path().join("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![7; size];
            while ballast.write_all(&piece).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what a failed test still holds open must not keep it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_commands_loses_nothing_and_is_got_over() {
    let Some(disk) = SmallDisk::mount(8) else {
        eprintln!("skipped: only root may mount a file system");
        return;
    };
    let home = tempfile::tempdir_in(disk.path()).unwrap();
    let store = ContractStore::new(Arc::new(OnSqlite::open_in(home).await));
    let unknown = run_full(&disk, store, async || {}).await;
    assert_eq!(unknown, 0, "a file always tells what became of a commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_postgres_refuses_commands_loses_nothing_and_is_got_over() {
    let Some(disk) = SmallDisk::mount(192) else {
        eprintln!("skipped: only root may mount a file system");
        return;
    };
    let server = Postgres::start_in(disk.path()).await;
    let store = OnPostgres::open(server.create_database().await).await;
    let store = ContractStore::new(Arc::new(store));
    // It ends by itself where its write-ahead log finds no room; whether or not it did, it recovers.
    run_full(&disk, store, async || server.restart().await).await;
}

async fn status(server: &Server, path: &str, token: &str) -> StatusCode {
    server.get(path, token).send().await.unwrap().status()
}

async fn delete(server: &Server, token: &str) -> (Uuid, StatusCode) {
    let id = crate::harness::fresh_id();
    let body = json!({"id": id, "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", token, &body)
        .send()
        .await;
    (id, answer.unwrap().status())
}

/// Deletes until the disk takes no more: what does not fit is told to come again.
async fn delete_until_full(server: &Server, token: &str) {
    for _ in 0..10_000 {
        match delete(server, token).await.1 {
            StatusCode::CREATED => {}
            StatusCode::SERVICE_UNAVAILABLE => return,
            other => panic!("{other}"),
        }
    }
    panic!("the disk never was full");
}

async fn reads_are_served(server: &Server, token: &str, id: Uuid) {
    let list = "/api/admin/archived/backups";
    for path in [
        list.to_owned(),
        format!("{list}/{id}"),
        format!("{list}/{id}/history"),
        "/api/admin/archived/summary".to_owned(),
        "/api/admin/audit/events?limit=5".to_owned(),
        "/api/ledger/checkpoint".to_owned(),
    ] {
        assert_eq!(status(server, &path, token).await, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_on_a_full_disk_serves_reads_also_when_it_is_started_there_and_goes_on_once_there_is_room()
{
    let Some(disk) = SmallDisk::mount(8) else {
        eprintln!("skipped: only root may mount a file system");
        return;
    };
    let builder = Server::builder(Backend::Embedded);
    let server = builder.with_data_on(disk.path()).await.start().await;
    let token = server.token(&["--role", "admin"]).await;
    let (id, first) = delete(&server, &token).await;
    assert_eq!(first, StatusCode::CREATED);
    disk.fill();
    delete_until_full(&server, &token).await;
    reads_are_served(&server, &token, id).await;
    let answer = server.client().get(server.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let said = answer.text().await.unwrap();
    assert!(said.contains("(13)"), "{said}");

    // However it ends: by a kill, or by its operator's order.
    for by_order in [false, true, true] {
        if by_order {
            assert_eq!(server.terminate().await, 0, "{}", server.log());
            disk.fill();
        }
        server.restart().await;
        reads_are_served(&server, &token, id).await;
        delete_until_full(&server, &token).await;
        assert_eq!(server.exit_code(), None);
    }
    disk.make_room();
    eventually("it is ready again", Duration::from_secs(30), || async {
        let answer = server.client().get(server.url("/readyz")).send().await.ok()?;
        (answer.status() == StatusCode::OK).then_some(())
    })
    .await;
    assert_eq!(delete(&server, &token).await.1, StatusCode::CREATED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guard_that_cannot_be_kept_is_told_and_ends_nothing() {
    let Some(disk) = SmallDisk::mount(1) else {
        eprintln!("skipped: only root may mount a file system");
        return;
    };
    for backend in [Backend::Embedded, Backend::Clustered] {
        let guard = disk.path().join(format!("{backend:?}.guard"));
        let server = Server::builder(backend)
            .arg("--guard-file")
            .arg(&guard)
            .start()
            .await;
        let token = server.token(&["--role", "admin"]).await;
        assert_eq!(delete(&server, &token).await.1, StatusCode::CREATED);
        disk.fill();
        let told = eventually("/readyz warns", Duration::from_secs(30), || async {
            assert_eq!(delete(&server, &token).await.1, StatusCode::CREATED);
            let answer = server.client().get(server.url("/readyz")).send().await.ok()?;
            assert_eq!(answer.status(), StatusCode::OK);
            let body: Value = answer.json().await.ok()?;
            let warnings = body["warnings"].to_string();
            warnings.contains("guard").then_some(warnings)
        })
        .await;
        assert!(!told.contains('/'), "no path is told to everybody: {told}");
        let metrics = server.client().get(server.url("/metrics")).send().await.unwrap();
        let metrics = metrics.text().await.unwrap();
        assert!(metrics.contains("archive_ledger_guard_up 0"), "{metrics}");
        assert_eq!(
            server.log().matches("the guard cannot be kept").count(),
            1,
            "{}",
            server.log()
        );
        let left: Vec<_> = std::fs::read_dir(disk.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().contains(".new-"))
            .collect();
        assert_eq!(left, [""; 0], "nothing is left of what could not be written");
        server.restart().await;
        disk.make_room();
        eventually("the guard is kept again", Duration::from_secs(30), || async {
            let answer = server.client().get(server.url("/readyz")).send().await.ok()?;
            let body: Value = answer.json().await.ok()?;
            (body["warnings"] == json!([]) && delete(&server, &token).await.1 == StatusCode::CREATED)
                .then_some(())
        })
        .await;
        // What somebody else has put there is replaced by what is known.
        std::fs::write(&guard, "no note").unwrap();
        eventually("the guard is whole again", Duration::from_secs(30), || async {
            delete(&server, &token).await;
            std::fs::read_to_string(&guard)
                .ok()?
                .contains("/ledger/1")
                .then_some(())
        })
        .await;
        assert_eq!(server.exit_code(), None);
    }
}

/// Fills the disk, makes room again, and does `recover`; returns of how many commands it was not told what became of them.
async fn run_full(disk: &SmallDisk, store: ContractStore, recover: impl AsyncFnOnce()) -> usize {
    let writer = store.writer().await;
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        let key = fresh_key(EntityType::Backups);
        acknowledged.push((writer.handle.submit(soft_delete(&key, 1)).await.unwrap(), key));
    }
    disk.fill();
    let (mut refused, mut unknown) = (Vec::new(), Vec::new());
    while refused.len() + unknown.len() < 3 {
        let key = fresh_key(EntityType::Backups);
        match writer.handle.submit(soft_delete(&key, 1)).await {
            Ok(receipt) => acknowledged.push((receipt, key)),
            Err(CommandError::Store(_) | CommandError::Unavailable(_)) => refused.push(key),
            Err(CommandError::OutcomeUnknown(_)) => unknown.push(key),
            Err(error) => panic!("not told what became of it: {error:?}"),
        }
        assert!(acknowledged.len() < 100_000, "the disk never was full");
    }
    // What was acknowledged can be read meanwhile, if the server is there.
    match store.reads.log_after(0, &[], 1_000_000).await {
        Ok(read) => assert!((acknowledged.len()..=acknowledged.len() + unknown.len()).contains(&read.len())),
        Err(error) => assert!(error.is_transient(), "{error:?}"),
    }

    disk.make_room();
    recover().await;
    let key = fresh_key(EntityType::Backups);
    let receipt = eventually("a command is taken again", Duration::from_secs(30), || async {
        writer.handle.submit(soft_delete(&key, 1)).await.ok()
    });
    acknowledged.push((receipt.await, key));
    writer.stop().await;
    // A connection that was used a moment before the server went may still be taken for a living one.
    eventually("the log is read again", Duration::from_secs(30), || async {
        store.reads.head().await.ok()
    })
    .await;
    let log = verified(&store).await;
    for (receipt, key) in &acknowledged {
        let events: Vec<_> = log.iter().filter(|event| event.key == *key).collect();
        assert_eq!(events.len(), 1, "{key}");
        assert_eq!(Some(events[0].event_id), receipt.event_id);
    }
    let told = log.iter().filter(|event| !unknown.contains(&event.key));
    assert_eq!(told.count(), acknowledged.len());
    assert!(log.iter().all(|event| !refused.contains(&event.key)));
    unknown.len()
}
