//! Output that nobody takes: the service goes on, and counts the lines that are lost; no command panics.

use crate::harness::receiver::Receiver;
use crate::harness::server::{BINARY, Backend, Builder, Server};
use crate::harness::{eventually, on_both_backends};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// How many lines were lost, as the metric has it.
async fn lost(server: &Server) -> u64 {
    let text = server.client().get(server.url("/metrics")).send().await.unwrap();
    let text = text.text().await.unwrap();
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix("archive_ledger_log_lines_lost_total "));
    value.map_or(0, |value| value.parse().unwrap())
}

/// Purges an archive with an object in the storage: it is removed, and the callback is sent.
async fn purge(server: &Server, root: &Path, receiver: &Receiver, number: usize) {
    let rights = [
        "--role",
        "admin",
        "--privilege",
        "space_manage_datasets",
        "--privilege",
        "space_remove_archives",
    ];
    let token = server.token(&rights).await;
    let folder = root.join(format!("archive-{number}"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("object"), "content").unwrap();
    let archive = json!({
        "archiveId": format!("a{number}"), "datasetId": "d", "spaceId": "s", "description": "d",
        "storage": [format!("file://{}", folder.display())],
    });
    let answer = server
        .post("/api/v3/oneprovider/archives", &token, &archive)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let path = format!("/api/v3/oneprovider/archives/a{number}/delete");
    let body = json!({"deletedCallback": receiver.url("/done")});
    let answer = server.post(&path, &token, &body).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    let calls = receiver.wait_for(number, SOON).await;
    assert_eq!(calls[number - 1].json()["archiveId"], format!("a{number}"));
    assert!(!folder.exists());
}

/// Asks for things until lines are lost: each request writes some.
async fn talk_until_lines_are_lost(server: &Server) {
    eventually("lines are lost", SOON, || async {
        for _ in 0..20 {
            server.client().get(server.url("/readyz")).send().await.unwrap();
        }
        (lost(server).await > 0).then_some(())
    })
    .await;
}

fn fifo(home: &Path) -> (PathBuf, File) {
    let path = home.join("said");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    // Held open for both, so that the writer's opening does not wait for a reader.
    let held = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (path, held)
}

fn rooted(backend: Backend, root: &Path) -> Builder {
    Server::builder(backend)
        .callbacks_to_loopback()
        .storage_root(format!("file://{}", root.display()))
}

on_both_backends! {
    async fn a_standard_error_that_is_full_ends_nothing_and_its_lines_are_counted(backend: Backend) {
        let (root, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
        let server = rooted(backend, root.path()).saying_to("/dev/full").start().await;
        purge(&server, root.path(), &receiver, 1).await;
        assert!(lost(&server).await > 0);
        purge(&server, root.path(), &receiver, 2).await;
        assert_eq!(server.terminate().await, 0);
    }

    async fn a_pipe_that_nobody_reads_delays_nothing_and_one_that_is_closed_ends_nothing(backend: Backend) {
        let (root, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
        let home = tempfile::tempdir().unwrap();
        let (path, held) = fifo(home.path());
        let server = rooted(backend, root.path()).arg("--log").arg("trace").saying_to(path).start().await;
        talk_until_lines_are_lost(&server).await;
        purge(&server, root.path(), &receiver, 1).await;
        // The reader goes: the thread that waited for it gets an error for each line.
        drop(held);
        let before = lost(&server).await;
        eventually("more lines are lost", SOON, || async {
            server.client().get(server.url("/readyz")).send().await.unwrap();
            (lost(&server).await > before).then_some(())
        })
        .await;
        purge(&server, root.path(), &receiver, 2).await;
        assert_eq!(server.terminate().await, 0);
    }

    async fn a_service_that_is_told_to_stop_does_not_wait_for_a_pipe_that_nobody_reads(backend: Backend) {
        let (root, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, held) = fifo(home.path());
        let server = rooted(backend, root.path()).arg("--log").arg("trace").saying_to(path).start().await;
        talk_until_lines_are_lost(&server).await;
        let ended = tokio::time::timeout(Duration::from_secs(20), server.terminate()).await;
        assert_eq!(ended.expect("it waits for the reader"), 0);
        drop(held);
    }

    async fn a_service_whose_output_is_closed_purges_and_calls_back(backend: Backend) {
        let (root, receiver) = (tempfile::tempdir().unwrap(), Receiver::start().await);
        let home = tempfile::tempdir().unwrap();
        let script = home.path().join("closed");
        std::fs::write(&script, format!("#!/bin/sh\nexec '{BINARY}' \"$@\" >&- 2>&-\n")).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
        let server = rooted(backend, root.path()).through(script).start().await;
        purge(&server, root.path(), &receiver, 1).await;
        assert_eq!(server.terminate().await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_command_panics_when_nobody_takes_what_it_prints() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "admin"]).await;
    let body = json!({"id": crate::harness::fresh_id(), "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", &token, &body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(server.terminate().await, 0);
    let (root, out) = (tempfile::tempdir().unwrap(), server.home().join("exported"));
    let (root, out) = (
        format!("file://{}", root.path().display()),
        out.display().to_string(),
    );
    let commands: [&[&str]; 18] = [
        &["--help"],
        &["help", "ledger"],
        &["--version"],
        &["serve", "--help"],
        &["conquer"],
        &["serve", "--listen", "nowhere"],
        &["token", "--role", "admin"],
        &["token"],
        &["migrate"],
        &["verify"],
        &["rebuild"],
        &["rebuild", "--check"],
        &["reconcile", "--storage-root", &root],
        &["export", "--dir", &out],
        &["export", "--format", "ndjson"],
        &["ledger", "vkey"],
        &["ledger", "losses"],
        &["ledger", "accept-clock", "--reason", "a test"],
    ];
    for arguments in commands {
        for closed in [true, false] {
            let take_nothing = || -> Stdio {
                if closed {
                    // The reader is gone before anything is written.
                    let (_, writer) = std::io::pipe().unwrap();
                    writer.into()
                } else {
                    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
                }
            };
            let mut command = crate::harness::process::clean_command(BINARY);
            command
                .args(arguments)
                .env("ARCHIVE_LEDGER_DATA_DIR", server.data_dir())
                .current_dir(server.home())
                .stdin(Stdio::null())
                .stdout(take_nothing())
                .stderr(take_nothing());
            let status = tokio::task::spawn_blocking(move || command.status().unwrap())
                .await
                .unwrap();
            // 101 is a panic; none when a signal ended it.
            assert!(
                matches!(status.code(), Some(0..=4)),
                "{arguments:?}, closed: {closed}: {status:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_failure_that_is_told_to_a_pipe_that_nobody_reads_ends_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let (_reader, mut writer) = std::io::pipe().unwrap();
    // What a pipe holds unless somebody asked for another size.
    writer.write_all(&[b'x'; 64 << 10]).unwrap();
    let mut child = crate::harness::process::clean_command(BINARY)
        .args(["serve", "--listen", "nowhere"])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(writer)
        .spawn()
        .unwrap();
    let ended = eventually("it ends", SOON, || {
        let ended = child.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert_eq!(ended.code(), Some(2));
}
