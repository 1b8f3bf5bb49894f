//! A disk that fails under the embedded database. It is made by a library of the test's own that stands before the system's.

use std::path::Path;
use std::process::Command;

use reqwest::StatusCode;
use uuid::Uuid;

use super::{HEALED_WITHIN, delete, healed, nothing_is_lost, readiness};
use crate::harness::eventually;
use crate::harness::server::{Backend, Server};

/// What fails, with which error: EIO, ENOSPC, EMFILE.
const FAULTS: [(&str, bool); 6] = [
    ("pwrite 5", true),
    ("fsync 5", true),
    ("pwrite 28", true),
    ("fsync 28", true),
    // What is in memory can be read, and what is open stays so.
    ("pread 5", false),
    ("open 24", false),
];

fn library(folder: &Path) -> String {
    let library = folder.join("bad_disk.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/exhaustion/bad_disk.c");
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .status();
    assert!(made.unwrap().success());
    library.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_under_sqlite_ends_nothing_loses_nothing_and_is_got_over() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control");
    let server = Server::builder(Backend::Embedded)
        .env("LD_PRELOAD", library(folder.path()))
        .env("BAD_DISK", control.display().to_string())
        .start()
        .await;
    let token = server.token(&["--role", "admin"]).await;
    let mut acknowledged: Vec<Uuid> = vec![healed(&server, &token).await];
    let path = format!("/api/admin/archived/backups/{}", acknowledged[0]);
    for (fault, meets_commands) in FAULTS {
        std::fs::write(&control, fault).unwrap();
        let mut refused = 0;
        for _ in 0..5 {
            let (id, answered) = delete(&server, &token).await;
            match answered {
                Some(StatusCode::CREATED) => acknowledged.push(id),
                Some(StatusCode::SERVICE_UNAVAILABLE) => refused += 1,
                other => panic!("{fault}: {other:?}\n{}", server.log()),
            }
            let read = server.get(&path, &token).send().await.unwrap().status();
            assert!(
                [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&read),
                "{fault}: {read}"
            );
        }
        if meets_commands {
            assert!(refused > 0, "{fault}: nothing was refused");
            eventually("/readyz says so", HEALED_WITHIN, || async {
                let (status, _) = readiness(&server).await?;
                (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
            })
            .await;
        }
        assert_eq!(server.exit_code(), None, "{fault}: {}", server.log());
        std::fs::write(&control, "").unwrap();
        acknowledged.push(healed(&server, &token).await);
    }
    nothing_is_lost(&server, &token, &acknowledged).await;
    assert_eq!(server.terminate().await, 0);
}
