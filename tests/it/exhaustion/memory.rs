//! More requests than there is memory for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{HEALED_WITHIN, healed, nothing_is_lost};
use crate::harness::on_both_backends;
use crate::harness::server::{BINARY, Server};

const CLIENTS: usize = 256;

/// A control group with so little memory, of either version; nothing where none can be made.
struct Group(PathBuf);

impl Group {
    fn with_memory(mebibytes: u64) -> Option<Self> {
        let name = format!("archive-ledger-test-{}", crate::harness::fresh_id());
        let limit = (mebibytes << 20).to_string();
        for (base, file) in [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ] {
            let path = Path::new(base).join(&name);
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let group = Self(path);
            // The directory may be one like any other.
            if group.0.join("cgroup.procs").exists() && fs::write(group.0.join(file), &limit).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// A program that starts the service in it.
    fn starter(&self, folder: &Path) -> PathBuf {
        let script = folder.join("in-group");
        let text = format!(
            "#!/bin/sh\necho $$ > {}/cgroup.procs || exit 9\nexec {BINARY} \"$@\"\n",
            self.0.display()
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        script
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once whoever was in it is gone.
        let _ = fs::remove_dir(&self.0);
    }
}

async fn still_runs(server: &Server) {
    // Long enough for the end of a process to be noticed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.exit_code(), None, "the service ended");
}

/// Each client sends until it is told so many times that what it sent is recorded.
async fn send_much(server: &Server, token: &str, times: usize) -> (Vec<Uuid>, usize) {
    let refused = AtomicUsize::new(0);
    let metadata = "m".repeat(60_000);
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| async {
        let mut acknowledged = Vec::new();
        while acknowledged.len() < times {
            assert!(
                began.elapsed() < 4 * HEALED_WITHIN,
                "{} refused",
                refused.load(Ordering::Relaxed)
            );
            let id = crate::harness::fresh_id();
            let body = json!({"id": id, "name": "n", "metadata": {"text": metadata}});
            let sent = server
                .post("/api/admin/archived/backups", token, &body)
                .timeout(2 * HEALED_WITHIN)
                .send()
                .await;
            let Ok(answer) = sent else {
                // The connection was idle, and somebody else has got its place in that moment: a client sends again.
                still_runs(server).await;
                continue;
            };
            match answer.status() {
                StatusCode::CREATED => acknowledged.push(id),
                StatusCode::SERVICE_UNAVAILABLE => {
                    assert!(answer.headers().contains_key("retry-after"));
                    refused.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => panic!("{other}"),
            }
        }
        acknowledged
    });
    let acknowledged = join_all(clients).await.concat();
    (acknowledged, refused.into_inner())
}

/// Each client reads pages of what was sent.
async fn read_much(server: &Server, token: &str) -> usize {
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| async {
        loop {
            assert!(began.elapsed() < 4 * HEALED_WITHIN);
            let page = server.get("/api/admin/archived/backups", token);
            let Ok(answer) = page.timeout(2 * HEALED_WITHIN).send().await else {
                still_runs(server).await;
                continue;
            };
            match answer.status() {
                StatusCode::OK => match answer.bytes().await {
                    Ok(bytes) => break bytes.len(),
                    Err(_) => still_runs(server).await,
                },
                StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(Duration::from_millis(300)).await,
                other => panic!("{other}"),
            }
        }
    });
    join_all(clients).await.into_iter().min().unwrap()
}

/// A value of the process's status, in KiB.
fn kibibytes(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':')
        .trim()
        .strip_suffix("kB")
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

/// Sends this on so many connections, which stay open, and goes on when all of it is on its way or refused.
async fn send_to_each(server: &Server, connections: usize, sent: &[u8]) -> Vec<TcpStream> {
    let address = server.url("").trim_start_matches("http://").to_owned();
    let sending = (0..connections).map(|_| async {
        let mut connection = TcpStream::connect(&address).await.unwrap();
        let writing = connection.write_all(sent);
        let _ = tokio::time::timeout(Duration::from_secs(20), writing).await;
        connection
    });
    join_all(sending).await
}

on_both_backends! {
    async fn half_sent_heads_of_all_connections_stay_within_the_budget(backend: Backend) {
        const BUDGET: u64 = 12 << 20;
        let server = Server::builder(backend).arg("--memory-budget").arg(BUDGET.to_string()).start().await;
        let token = server.token(&["--role", "admin"]).await;
        let acknowledged = healed(&server, &token).await;
        let head = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: {}", "x".repeat(126_000));
        let before = kibibytes(&server, "VmRSS");
        let slow = send_to_each(&server, 1_000, head.as_bytes()).await;
        let taken = kibibytes(&server, "VmHWM") - before;
        println!("{taken} KiB");
        // Each connection takes some beside its head, in a build without optimization, whose code comes into memory as it is used. Heads
        // that were read whole would take five times the budget.
        assert!(taken < (3 * BUDGET) >> 10, "{taken} KiB");
        drop(slow);
        healed(&server, &token).await;
        nothing_is_lost(&server, &token, &[acknowledged]).await;
    }

    async fn half_sent_bodies_stay_within_the_budget_however_long_bodies_may_be(backend: Backend) {
        const BUDGET: u64 = 12 << 20;
        let server = Server::builder(backend)
            .arg("--memory-budget")
            .arg(BUDGET.to_string())
            .arg("--body-limit")
            .arg((64 << 20).to_string())
            .start()
            .await;
        assert!(server.log().contains("--body-limit: of 67108864 bytes"), "{}", server.log());
        let token = server.token(&["--role", "admin"]).await;
        let acknowledged = healed(&server, &token).await;
        let before = kibibytes(&server, "VmRSS");
        let mut open = Vec::new();
        for framing in ["Content-Length: 60000000", "Content-Length: 600000", "Transfer-Encoding: chunked"] {
            let mut half = format!(
                "POST /api/admin/archived/backups HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\n{framing}\r\n\r\n"
            );
            if framing.ends_with("chunked") {
                half += "2000000\r\n";
            }
            half += &" ".repeat(if framing.contains("600000") { 500_000 } else { 5_000_000 });
            open.push(send_to_each(&server, 20, half.as_bytes()).await);
        }
        let taken = kibibytes(&server, "VmHWM") - before;
        // Copied as they grow, in a build without optimization, whose code comes into memory as it is used.
        assert!(taken < (3 * BUDGET) >> 10, "{taken} KiB");
        // One that is longer than there will ever be room for is told so, though nobody else sends.
        drop(open);
        healed(&server, &token).await;
        let body = json!({"id": crate::harness::fresh_id(), "name": "n", "reason": " ".repeat(2_000_000)});
        let answer = server.post("/api/admin/archived/backups", &token, &body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key("retry-after"));
        nothing_is_lost(&server, &token, &[acknowledged]).await;
    }

    async fn what_many_clients_send_and_read_at_once_fits_into_the_least_memory(backend: Backend) {
        let Some(group) = Group::with_memory(128) else {
            eprintln!("skipped: no control group can be made");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let server = Server::builder(backend).through(group.starter(folder.path())).start().await;
        let token = server.token(&["--role", "admin"]).await;
        let (acknowledged, _) = send_much(&server, &token, 2).await;
        assert_eq!(acknowledged.len(), 2 * CLIENTS);
        assert!(read_much(&server, &token).await > 20 * 60_000);
        healed(&server, &token).await;
        nothing_is_lost(&server, &token, &acknowledged).await;
        drop(server);
        drop(group);
    }

    async fn requests_beyond_the_budget_are_told_to_come_again_and_what_was_recorded_is_there(backend: Backend) {
        let server = Server::builder(backend).arg("--memory-budget").arg("4194304").start().await;
        let token = server.token(&["--role", "admin"]).await;
        let (acknowledged, _) = send_much(&server, &token, 1).await;
        let peak = kibibytes(&server, "VmHWM");
        // A build without optimization has much of its code in memory.
        assert!(peak < 192 * 1024, "{peak} KiB");
        healed(&server, &token).await;
        nothing_is_lost(&server, &token, &acknowledged).await;
    }
}
