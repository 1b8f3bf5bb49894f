//! Files that cannot be written, or looked at, for a while.

use std::process::Command;
use std::time::Duration;

use reqwest::StatusCode;
use uuid::Uuid;

use super::{HEALED_WITHIN, delete, healed, nothing_is_lost, readiness};
use crate::disk_full::SmallDisk;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};

fn remount(disk: &SmallDisk, how: &str) {
    let done = Command::new("mount")
        .args(["-o", &format!("remount,{how}")])
        .arg(disk.path())
        .status();
    assert!(done.unwrap().success(), "remount,{how}");
}

on_both_backends! {
    async fn a_guard_disk_that_takes_no_writes_ends_nothing_and_is_got_over(backend: Backend) {
        let Some(disk) = SmallDisk::mount(1) else {
            eprintln!("skipped: only root may mount a file system");
            return;
        };
        let server = Server::builder(backend)
            .arg("--guard-file")
            .arg(disk.path().join("checkpoint.guard"))
            .start()
            .await;
        let token = server.token(&["--role", "admin"]).await;
        let mut acknowledged: Vec<Uuid> = vec![healed(&server, &token).await];
        for fault in ["full", "read-only", "gone"] {
            match fault {
                "full" => disk.fill(),
                "read-only" => remount(&disk, "ro"),
                _ => std::fs::rename(disk.path().join("checkpoint.guard"), disk.path().join("away")).unwrap(),
            }
            if fault != "gone" {
                let warned = eventually("/readyz warns", HEALED_WITHIN, || async {
                    let (id, answered) = delete(&server, &token).await;
                    assert_eq!(answered, Some(StatusCode::CREATED), "{fault}");
                    let (status, said) = readiness(&server).await?;
                    assert_eq!(status, StatusCode::OK, "{fault}: {said}");
                    said["warnings"].to_string().contains("guard").then_some(id)
                });
                acknowledged.push(warned.await);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(server.exit_code(), None, "{fault}: {}", server.log());
            match fault {
                "full" => disk.make_room(),
                "read-only" => remount(&disk, "rw"),
                _ => {}
            }
            acknowledged.push(healed(&server, &token).await);
        }
        nothing_is_lost(&server, &token, &acknowledged).await;
    }
}

/// SQLite opens files while it runs (`unable to open database file`, code 14), and so does the guard: where there is no descriptor left
/// for them, they wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_descriptors_waits_for_them() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    let mut acknowledged = vec![healed(&server, &token).await];
    let process = server.process_id();
    for _ in 0..3 {
        let limits = |soft: &str| {
            let done = Command::new("prlimit")
                .args(["--pid", &process.to_string(), &format!("--nofile={soft}:")])
                .status();
            assert!(done.unwrap().success(), "prlimit");
        };
        // Fewer than it has open: whatever it opens from here on fails.
        limits("3");
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_secs(3) {
            // No connection is accepted either.
            let short = Duration::from_millis(200);
            let _ = server
                .client()
                .get(server.url("/healthz"))
                .timeout(short)
                .send()
                .await;
        }
        assert_eq!(server.exit_code(), None, "{}", server.log());
        limits("1024");
        acknowledged.push(healed(&server, &token).await);
    }
    nothing_is_lost(&server, &token, &acknowledged).await;
}
