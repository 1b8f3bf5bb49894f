//! What surrounds the process: its arguments and variables, limits, mask and clock. Each is right, or told in one line with the
//! exit code that fits; nothing panics.

use crate::clock::library;
use crate::disk_full::SmallDisk;
use crate::harness::server::{BINARY, Backend, Server};
use crate::harness::{eventually, on_both_backends};
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// Bytes that no text has.
fn no_text() -> OsString {
    OsStr::from_bytes(b"a\xff\xfeb").to_owned()
}

/// The binary in an environment of nothing but this.
fn binary(home: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("HOME", home).current_dir(home);
    command
}

/// Runs it to its end; what it must not take long for.
async fn run(mut command: Command) -> Output {
    let ended = tokio::task::spawn_blocking(move || command.output().unwrap());
    tokio::time::timeout(SOON, ended)
        .await
        .expect("it is still running")
        .unwrap()
}

fn one_line(output: &Output, code: i32, context: &str) -> String {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{context}: {told}");
    let line = told.lines().last().unwrap_or_default().to_owned();
    assert!(line.starts_with("archive-ledger: "), "{context}: {told}");
    assert!(!told.contains("panicked"), "{context}: {told}");
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arguments_and_variables_that_are_no_text_are_refused_by_name() {
    let home = tempfile::tempdir().unwrap();
    let glued = OsStr::from_bytes(b"--data-dir=a\xff\xfeb").to_owned();
    let flag = |text: &str| OsString::from(text);
    for (args, code, said) in [
        (
            vec![flag("serve"), flag("--data-dir"), no_text()],
            2,
            "--data-dir: \"a",
        ),
        (vec![flag("serve"), glued.clone()], 2, "--data-dir: \"a"),
        (vec![flag("--listen"), no_text()], 2, "--listen: \"a"),
        (vec![flag("token"), flag("--role"), no_text()], 2, "--role: \"a"),
        (
            vec![
                flag("token"),
                flag("--role"),
                flag("admin"),
                flag("--subject"),
                no_text(),
            ],
            2,
            "--subject: \"a",
        ),
        (
            vec![flag("ledger"), flag("fork"), flag("--reason"), no_text()],
            2,
            "--reason: \"a",
        ),
        (
            vec![
                flag("verify"),
                flag("--vkey"),
                no_text(),
                flag("--dir"),
                flag("x"),
            ],
            4,
            "--vkey: \"a",
        ),
        (vec![flag("verify"), glued], 4, "--data-dir: \"a"),
        (
            vec![flag("reconcile"), flag("--storage-root"), no_text()],
            2,
            "--storage-root: \"a",
        ),
        (vec![no_text()], 2, "a"),
    ] {
        let mut command = binary(home.path());
        command.args(&args);
        let line = one_line(&run(command).await, code, &format!("{args:?}"));
        assert!(line.contains(said), "{args:?}: {line}");
        assert!(line.contains("UTF-8") || args.len() == 1, "{args:?}: {line}");
    }
    for option in [
        "DATA_DIR",
        "DATABASE_URL",
        "LISTEN",
        "CONFIG",
        "STORAGE_ROOT",
        "KEYRING_FILE",
        "LOG",
    ] {
        let variable = format!("ARCHIVE_LEDGER_{option}");
        for (args, code) in [
            (["serve"].as_slice(), 2),
            (&["verify", "--vkey", "x"], 4),
            (&["token", "--role", "admin"], 2),
        ] {
            let mut command = binary(home.path());
            command.args(args).env(&variable, no_text());
            let line = one_line(&run(command).await, code, &variable);
            assert!(
                line.contains(&variable) && line.contains("is not UTF-8"),
                "{line}"
            );
        }
    }
    // What is none of ours is nobody's business.
    let mut command = binary(home.path());
    command
        .args(["token", "--role", "admin"])
        .env("SOME_OTHER", no_text())
        .env(no_text(), "x");
    command.env("USER", no_text()).env("LOGNAME", no_text());
    let line = one_line(&run(command).await, 2, "other variables");
    assert!(line.contains("--jwt-secret-file"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_never_set_is_told_by_every_command() {
    let home = tempfile::tempdir().unwrap();
    for (args, code) in [
        (&["serve", "--listen", "127.0.0.1:0"][..], 2),
        (&["token", "--role", "admin"], 2),
        (&["migrate"], 2),
        (&["verify", "--vkey", "x", "--dir", "x"], 4),
        (&["import", "x"], 2),
        (&["rebuild"], 2),
    ] {
        for (time, shows, side) in [
            ("@1969-06-01 12:00:00", "clock shows 1969-0", "before 1970"),
            ("+9000y", "clock shows +11", "after 9999"),
        ] {
            let mut command = binary(home.path());
            command
                .args(args)
                .env("LD_PRELOAD", library())
                .env("FAKETIME", time);
            let line = one_line(&run(command).await, code, &format!("{args:?} {time}"));
            assert!(line.contains(shows) && line.contains(side), "{line}");
        }
    }
    assert_eq!(
        std::fs::read_dir(home.path()).unwrap().count(),
        0,
        "nothing was made"
    );
}

/// Everything in a folder, with its mode.
fn modes(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        found.push((path.clone(), metadata.permissions().mode() & 0o777));
        if metadata.is_dir() {
            modes(&path, found);
        }
    }
}

on_both_backends! {
    async fn whatever_the_mask_is_the_service_reads_what_it_made_and_nobody_else_does(backend: Backend) {
        // The last ones take away from whoever makes a file what it needs to use it.
        for mask in ["000", "277", "777"] {
            let outer = tempfile::tempdir().unwrap();
            let script = outer.path().join("masked");
            // Inherited by what the shell becomes.
            std::fs::write(&script, format!("#!/bin/sh\numask {mask}\nexec '{BINARY}' \"$@\"\n")).unwrap();
            std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
            let server = Server::builder(backend).through(&script).start().await;
            let token = server.token(&["--role", "admin"]).await;
            let body = json!({"id": crate::harness::fresh_id(), "name": "n"});
            let answer = server.post("/api/admin/archived/users", &token, &body).send().await.unwrap();
            assert_eq!(answer.status(), 201);
            eventually("the guard is written", SOON, || async {
                server.data_dir().join("checkpoint.guard").exists().then_some(())
            })
            .await;
            let folder = std::fs::metadata(server.data_dir()).unwrap().permissions().mode() & 0o777;
            assert_eq!(folder, 0o700, "{mask}");
            let mut found = Vec::new();
            modes(&server.data_dir(), &mut found);
            assert!(found.len() >= 5, "{found:?}");
            for (path, mode) in found {
                let expected = if path.is_dir() { 0o700 } else { 0o600 };
                assert_eq!(mode, expected, "{} has mode {mode:03o} with {mask}", path.display());
            }
            server.terminate().await;
            // A key that somebody has opened to everybody since is not used.
            for key in ["jwt-secret", "keyring.json", "ledger.key"] {
                let path = server.data_dir().join(key);
                std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
                let output = server.run_command(&["serve", "--listen", "127.0.0.1:0"]).await;
                let line = one_line(&output, 2, key);
                assert!(line.contains(&path.display().to_string()) && line.contains("chmod 600"), "{line}");
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_that_cannot_be_written_is_told_with_its_file_in_one_line() {
    let Some(disk) = SmallDisk::mount(16) else {
        eprintln!("skipped: only root may mount a file system");
        return;
    };
    let server = Server::builder(Backend::Embedded)
        .with_data_on(disk.path())
        .await
        .start()
        .await;
    let data = std::fs::canonicalize(server.data_dir()).unwrap();
    server.terminate().await;
    let empty = disk.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let remount = |how: &str| {
        let mut command = Command::new("mount");
        command.args(["-o", &format!("remount,{how}")]).arg(disk.path());
        assert!(command.status().unwrap().success(), "remount,{how}");
    };
    remount("ro");
    let home = tempfile::tempdir().unwrap();
    for directory in [&data, &empty, &disk.path().join("new")] {
        let mut command = binary(home.path());
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory);
        let line = one_line(&run(command).await, 2, &directory.display().to_string());
        assert!(
            line.starts_with("archive-ledger: --data-dir: ")
                && line.contains(&directory.display().to_string())
                && line.contains("Read-only file system"),
            "{line}"
        );
    }
    remount("rw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_the_size_of_files_is_a_disk_that_is_full_and_no_end() {
    let outer = tempfile::tempdir().unwrap();
    let script = outer.path().join("limited");
    // In units of 512 bytes (dash) or 1,024 (bash): the database and its log reach it soon, everything else never.
    std::fs::write(
        &script,
        format!("#!/bin/sh\nulimit -f 1500\nexec '{BINARY}' \"$@\"\n"),
    )
    .unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    let server = Server::builder(Backend::Embedded).through(&script).start().await;
    let token = server.token(&["--role", "admin"]).await;
    let padding = "x".repeat(30_000);
    let mut recorded = Vec::new();
    let refused = loop {
        let id = crate::harness::fresh_id();
        let body = json!({"id": id, "name": "n", "metadata": {"padding": padding}});
        let answer = server
            .post("/api/admin/archived/users", &token, &body)
            .send()
            .await
            .unwrap();
        if answer.status() != 201 {
            break answer;
        }
        recorded.push(id);
        assert!(recorded.len() < 1_000, "the limit is never reached");
    };
    assert_eq!(refused.status(), 503, "{}", refused.text().await.unwrap());
    assert!(!recorded.is_empty());
    // It goes on, and has all that it has acknowledged.
    assert_eq!(server.exit_code(), None, "{}", server.log());
    let last = recorded.last().unwrap();
    let read = server
        .get(&format!("/api/admin/archived/users/{last}"), &token)
        .send()
        .await
        .unwrap();
    assert_eq!(read.status(), 200);
    server.terminate().await;
    // Without the limit it is as it was.
    let path = server.data_dir();
    let output = server.run_command(&["rebuild", "--check"]).await;
    assert!(
        output.status.success(),
        "{}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
