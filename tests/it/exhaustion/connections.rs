//! Callers who take connections and give none back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{HEALED_WITHIN, delete, healed, nothing_is_lost, readiness};
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};

const HALF: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ";

const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

fn address(server: &Server) -> String {
    server.url("").trim_start_matches("http://").to_owned()
}

async fn connect(server: &Server) -> TcpStream {
    let connecting = TcpStream::connect(address(server));
    let connected = tokio::time::timeout(Duration::from_secs(30), connecting).await;
    connected.expect("nobody accepts").unwrap()
}

/// What comes until the service hangs up.
async fn rest(connection: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let reading = connection.read_to_end(&mut bytes);
    // A connection that is reset says no more either.
    let _ = tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .expect("the service kept the connection open");
    String::from_utf8(bytes).unwrap()
}

fn request(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

async fn ask(server: &Server, line: &str) -> String {
    let mut connection = connect(server).await;
    connection.write_all(request(line).as_bytes()).await.unwrap();
    rest(&mut connection).await
}

async fn half_sent(server: &Server) -> TcpStream {
    let mut connection = connect(server).await;
    // Turned away before it has said anything, perhaps.
    let _ = connection.write_all(HALF).await;
    connection
}

/// How long a connection may have been idle before a caller beyond the places takes its place: twice the service's second.
const KEPT_WHILE_IDLE: Duration = Duration::from_secs(2);

/// Callers who have every place that is served, and keep it: none of them is idle.
async fn every_place(server: &Server) -> Vec<TcpStream> {
    let mut busy = Vec::new();
    let began = Instant::now();
    loop {
        busy.push(half_sent(server).await);
        // A place that somebody has just left may be free for the next one again, and so is, after a while, the one of a
        // connection that the test itself keeps for its next request.
        let asked = Instant::now();
        let mut full = true;
        while full && asked.elapsed() < KEPT_WHILE_IDLE {
            full = ask(server, "GET /nowhere").await.starts_with("HTTP/1.1 503 ");
        }
        if full {
            return busy;
        }
        assert!(
            began.elapsed() < HEALED_WITHIN,
            "{} callers are served",
            busy.len()
        );
    }
}

/// Sends a long body, and only then looks at what came back.
async fn send_much(server: &Server) -> String {
    let head = "POST /api/admin/archived/backups HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    let mut caller = connect(server).await;
    caller.write_all(head.as_bytes()).await.unwrap();
    for piece in [b'x'; 100_000].chunks(10_000) {
        caller.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    rest(&mut caller).await
}

/// A probe is told what it asks for, be it that the service is not ready at the moment.
fn is_answered(probe: &str, answer: &str) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{probe}: {answer:?}"));
    let not_ready = probe == "/readyz" && head.starts_with("HTTP/1.1 503 ") && body.contains("\"reasons\":");
    assert!(
        head.starts_with("HTTP/1.1 200 ") || not_ready,
        "{probe}: {answer}"
    );
}

fn is_turned_away(answer: &str) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503 "), "{answer}");
    assert!(
        head.contains("retry-after: 1") && head.contains("connection: close"),
        "{answer}"
    );
    assert!(head.contains("x-request-id: "), "{answer}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["error"]["id"], "temporaryFailure");
}

on_both_backends! {
    async fn idle_connections_beyond_the_descriptors_end_nothing(backend: Backend) {
        for (descriptors, callers) in [(256, 300), (1_024, 1_120)] {
            let server = Server::builder(backend).with_descriptors(descriptors).start().await;
            let token = server.token(&["--role", "admin"]).await;
            let mut acknowledged: Vec<Uuid> = Vec::new();
            let mut idle = Vec::new();
            for number in 0..callers {
                idle.push(connect(&server).await);
                if number % 50 == 0 {
                    let (id, answered) = delete(&server, &token).await;
                    let expected = [Some(StatusCode::CREATED), Some(StatusCode::SERVICE_UNAVAILABLE)];
                    assert!(expected.contains(&answered), "{answered:?} with {number} callers");
                    acknowledged.extend((answered == Some(StatusCode::CREATED)).then_some(id));
                }
            }
            // They keep their connections, and somebody else asks.
            for _ in 0..20 {
                let id = eventually("a command is taken", HEALED_WITHIN, || async {
                    let (id, answered) = delete(&server, &token).await;
                    (answered == Some(StatusCode::CREATED)).then_some(id)
                });
                acknowledged.push(id.await);
            }
            // A connection that the client has kept may be the one that makes room.
            eventually("a probe is answered", HEALED_WITHIN, || readiness(&server)).await;
            acknowledged.push(healed(&server, &token).await);
            drop(idle);
            acknowledged.push(healed(&server, &token).await);
            nothing_is_lost(&server, &token, &acknowledged).await;
        }
    }

    async fn a_caller_beyond_the_most_connections_is_told_so_and_the_probes_are_answered(backend: Backend) {
        let server = Server::builder(backend)
            .arg("--max-connections")
            .arg("4")
            .arg("--request-timeout")
            .arg("600s")
            .start()
            .await;
        let busy = every_place(&server).await;
        for line in ["GET /api/admin/archived/backups", "POST /api/admin/archived/backups", "GET /nowhere"] {
            is_turned_away(&ask(&server, line).await);
        }
        let head = ask(&server, "HEAD /api/admin/archived/backups").await;
        assert!(head.starts_with("HTTP/1.1 503 ") && head.ends_with("\r\n\r\n"), "{head}");
        let answer = ask(&server, "DELETE /healthz").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        for probe in PROBES {
            is_answered(probe, &ask(&server, &format!("GET {probe}")).await);
        }
        // So many that there is no room to wait for what they want.
        let mut crowd = Vec::new();
        for _ in 0..64 {
            crowd.push(half_sent(&server).await);
        }
        is_turned_away(&rest(&mut connect(&server).await).await);
        // Whoever still sends hears it, too.
        for _ in 0..10 {
            for _ in 0..8 {
                crowd.push(half_sent(&server).await);
            }
            is_turned_away(&send_much(&server).await);
        }
        assert_eq!(server.exit_code(), None, "{}", server.log());
        drop((busy, crowd));
    }

    async fn callers_who_come_all_at_once_are_told_so_each_and_the_probes_among_them_are_answered(backend: Backend) {
        let server = Server::builder(backend)
            .arg("--max-connections")
            .arg("4")
            .arg("--request-timeout")
            .arg("600s")
            .start()
            .await;
        let busy = every_place(&server).await;
        // They are accepted in one go.
        server.pause();
        let mut callers = Vec::new();
        for number in 0..200 {
            let mut connection = connect(&server).await;
            let probe = PROBES[number % 3];
            let line = if number % 4 == 0 { format!("GET {probe}") } else { "GET /nowhere".to_owned() };
            connection.write_all(request(&line).as_bytes()).await.unwrap();
            callers.push((connection, (number % 4 == 0).then_some(probe)));
        }
        server.resume();
        for (mut connection, probe) in callers {
            let answer = rest(&mut connection).await;
            match probe {
                Some(probe) => is_answered(probe, &answer),
                None => is_turned_away(&answer),
            }
        }
        drop(busy);
    }

    async fn probes_are_answered_while_a_crowd_without_end_sends_half_its_heads(backend: Backend) {
        let server = Server::builder(backend).arg("--max-connections").arg("4").start().await;
        let over = AtomicBool::new(false);
        let crowd = async {
            let mut open = VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                let mut connection = connect(&server).await;
                let _ = connection.write_all(HALF).await;
                open.push_back(connection);
                // They hold on to what they have.
                if open.len() > 300 {
                    open.pop_front();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let probes = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut answers = Vec::new();
            for number in 0..60 {
                let probe = PROBES[number % 3];
                answers.push((probe, ask(&server, &format!("GET {probe}")).await));
            }
            over.store(true, Ordering::Relaxed);
            answers
        };
        let ((), answers) = tokio::join!(crowd, probes);
        for (probe, answer) in answers {
            is_answered(probe, &answer);
        }
        assert_eq!(server.exit_code(), None, "{}", server.log());
    }

    async fn a_head_that_does_not_come_leaves_its_place_before_its_client_has_heard_so(backend: Backend) {
        let server = Server::builder(backend)
            .arg("--max-connections")
            .arg("4")
            .arg("--request-timeout")
            .arg("1s")
            .start()
            .await;
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut connection = connect(&server).await;
            connection.write_all(HALF).await.unwrap();
            slow.push(connection);
        }
        for connection in &mut slow {
            let mut answer = [0; 13];
            connection.read_exact(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 408 ") || answer.starts_with(b"HTTP/1.1 503 "), "{answer:?}");
        }
        // They hold on to their connections, which the service would go on listening to for seconds.
        let began = Instant::now();
        eventually("somebody else is served", HEALED_WITHIN, || async {
            ask(&server, "GET /nowhere").await.starts_with("HTTP/1.1 404 ").then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }

    async fn connections_that_are_idle_make_room_and_those_that_are_served_stay(backend: Backend) {
        let server = Server::builder(backend).arg("--max-connections").arg("4").start().await;
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut connection = eventually("there is a place", HEALED_WITHIN, || async {
                let mut connection = connect(&server).await;
                connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
                let mut answer = [0; 4096];
                let read = connection.read(&mut answer).await.ok()?;
                let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
                (answer.starts_with("HTTP/1.1 200 ") && !answer.contains("connection: close")).then_some(connection)
            })
            .await;
            // The second is in the midst of a request from here on.
            if open.len() == 1 {
                connection.write_all(HALF).await.unwrap();
            }
            open.push(connection);
        }
        eventually("a newcomer is served", HEALED_WITHIN, || async {
            let answer = ask(&server, "GET /nowhere").await;
            answer.starts_with("HTTP/1.1 404 ").then_some(())
        })
        .await;
        // The first had been idle longest.
        assert_eq!(open[0].read(&mut [0; 16]).await.unwrap(), 0);
        open[1].write_all(b"\r\n\r\n").await.unwrap();
        let mut answer = [0; 16];
        open[1].read_exact(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }

    async fn two_thousand_callers_at_once_are_all_heard(backend: Backend) {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        if allowed.is_ok_and(|allowed| allowed.trim().parse().is_ok_and(|allowed: u32| allowed < 2_100)) {
            eprintln!("skipped: the system lets fewer callers wait");
            return;
        }
        let server = Server::start(backend).await;
        // It accepts nobody meanwhile: whoever is not let wait would not be connected.
        server.pause();
        let callers = futures::future::join_all((0..2_000).map(|_| connect(&server))).await;
        server.resume();
        drop(callers);
        let token = server.token(&["--role", "admin"]).await;
        healed(&server, &token).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_descriptors_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let env = [(
        "ARCHIVE_LEDGER_DATA_DIR".to_owned(),
        folder.path().join("data").display().to_string(),
    )];
    let output = crate::harness::server::run_binary(
        &["serve", "--listen", "127.0.0.1:0", "--max-connections", "1000000"],
        &env,
        folder.path(),
    )
    .await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--max-connections: 1000000 connections need"),
        "{said}"
    );
}
