//! Connections byte by byte: no answer is lost on its way, and a client that stops halfway holds nobody up.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::envelope::{ROUTES, example};
use super::{ARCHIVED, Answer, Api, configured, new_id};
use crate::harness::on_both_backends;

/// What comes back until the service hangs up.
async fn rest(connection: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    tokio::time::timeout(Duration::from_secs(60), connection.read_to_end(&mut bytes))
        .await
        .expect("the service kept the connection open")
        .unwrap();
    bytes
}

/// One answer of a connection that stays open.
async fn one(connection: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    loop {
        let read = connection.read_buf(&mut bytes).await.unwrap();
        assert!(read > 0, "hung up within {}", String::from_utf8_lossy(&bytes));
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let answer = Answer::parse(&bytes);
        let length = answer
            .header("content-length")
            .unwrap_or("0")
            .parse::<usize>()
            .unwrap();
        if bytes.len() >= end + 4 + length {
            return answer;
        }
    }
}

/// Sends all of a request and only then looks at what came back, as most clients do. A socket that was closed under it fails
/// here, either by a write or by a read.
async fn sent_whole(api: &Api, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(&api.host).await?;
    connection.write_all(head.as_bytes()).await?;
    for piece in body.chunks(8 * 1024) {
        connection.write_all(piece).await?;
        tokio::task::yield_now().await;
    }
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Requests that are refused without a look at their body: a method, a path, a token, and what the answer is.
fn refusals(api: &Api) -> Vec<(&'static str, String, String, u16)> {
    let nothing = api.token(super::Grant::default());
    let list = format!("{ARCHIVED}/backups");
    vec![
        ("POST", list.clone(), String::new(), 401),
        ("POST", list.clone(), "x".to_owned(), 401),
        ("POST", list.clone(), nothing.clone(), 403),
        ("DELETE", format!("{list}/{}/purge", new_id()), nothing, 403),
        ("POST", "/nowhere".to_owned(), api.admin.clone(), 404),
        ("PUT", list.clone(), api.admin.clone(), 405),
        ("GET", "/healthz".to_owned(), String::new(), 200),
        ("GET", list, api.admin.clone(), 200),
    ]
}

fn with_body(api: &Api, (method, path, token, _): &(&str, String, String, u16), framing: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n{framing}\r\n\r\n",
        api.host
    )
}

on_both_backends! {
    async fn a_refusal_reaches_a_client_that_is_still_sending(backend: Backend) {
        let api = Api::shared(backend).await;
        for case in refusals(&api) {
            for size in [10_000, 100_000, 5_000_000, 40_000_000] {
                let body = vec![b' '; size];
                let rounds = if size > 1_000_000 { 1 } else { 10 };
                for round in 0..rounds {
                    let what = format!("{} {} of {size} bytes, round {round}", case.0, case.1);
                    let framing = format!("Connection: close\r\nContent-Length: {size}");
                    let bytes = sent_whole(&api, &with_body(&api, &case, &framing), &body).await;
                    let answer = Answer::parse(&bytes.unwrap_or_else(|error| panic!("{what}: {error}")));
                    assert_eq!(answer.status, case.3, "{what}");
                }
            }
            let framing = "Connection: close\r\nTransfer-Encoding: chunked";
            let mut chunks = Vec::new();
            for _ in 0..100 {
                chunks.extend_from_slice(b"2710\r\n");
                chunks.extend_from_slice(&[b' '; 10_000]);
                chunks.extend_from_slice(b"\r\n");
            }
            chunks.extend_from_slice(b"0\r\n\r\n");
            let bytes = sent_whole(&api, &with_body(&api, &case, framing), &chunks).await.unwrap();
            assert_eq!(Answer::parse(&bytes).status, case.3, "{} {} in chunks", case.0, case.1);
        }
    }

    async fn a_connection_whose_request_was_read_to_its_end_stays_and_another_says_that_it_does_not(backend: Backend) {
        let api = Api::shared(backend).await;
        for case in refusals(&api) {
            let mut connection = TcpStream::connect(&api.host).await.unwrap();
            for _ in 0..3 {
                let head = with_body(&api, &case, "Content-Length: 50000");
                connection.write_all(head.as_bytes()).await.unwrap();
                connection.write_all(&[b' '; 50_000]).await.unwrap();
                let answer = one(&mut connection).await;
                assert_eq!((answer.status, answer.header("connection")), (case.3, None), "{} {}", case.0, case.1);
            }
            // Half a body, and a client that waits for the answer before it goes on.
            let head = with_body(&api, &case, "Content-Length: 50000");
            connection.write_all(head.as_bytes()).await.unwrap();
            connection.write_all(&[b' '; 25_000]).await.unwrap();
            let started = Instant::now();
            let answer = Answer::parse(&rest(&mut connection).await);
            assert_eq!((answer.status, answer.header("connection")), (case.3, Some("close")), "{} {}", case.0, case.1);
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
            // A client that asks first is told before it sends, and is not asked to send.
            let mut connection = TcpStream::connect(&api.host).await.unwrap();
            let head = with_body(&api, &case, "Expect: 100-continue\r\nContent-Length: 50000");
            connection.write_all(head.as_bytes()).await.unwrap();
            let bytes = rest(&mut connection).await;
            assert!(!bytes.starts_with(b"HTTP/1.1 100"), "{} {}", case.0, case.1);
            let answer = Answer::parse(&bytes);
            assert_eq!((answer.status, answer.header("connection")), (case.3, Some("close")), "{} {}", case.0, case.1);
        }
    }

    async fn a_body_beyond_every_bound_is_cut_off_after_its_answer(backend: Backend) {
        let api = Api::shared(backend).await;
        let head = api.head(&format!("POST {ARCHIVED}/backups"))
            + "Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n";
        let mut connection = TcpStream::connect(&api.host).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = connection.split();
        let mut bytes = Vec::new();
        let endless = async {
            let piece = vec![b' '; 1024 * 1024];
            let mut sent = 0_usize;
            while writer.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        };
        let (sent, _) = tokio::join!(endless, async {
            while reader.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {}
        });
        let answer = Answer::parse(&bytes);
        answer.refused(413, "payloadTooLarge");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(sent < 200 << 20, "{sent} bytes were taken");
    }

    async fn there_is_exactly_one_host(backend: Backend) {
        let api = Api::shared(backend).await;
        for (pattern, methods) in ROUTES {
            let method = methods.split(',').next().unwrap();
            let line = format!("{method} {} HTTP/1.1\r\nConnection: close\r\n", example(pattern));
            let none = api.raw(format!("{line}\r\n").as_bytes()).await;
            none.bad("missingRequiredValue", "Host");
            for hosts in ["Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a b\r\n", "Host: me@a\r\n"] {
                api.raw(format!("{line}{hosts}\r\n").as_bytes()).await.bad("badData", "Host");
            }
        }
        let old = api.raw(b"GET /healthz HTTP/1.0\r\n\r\n").await;
        assert_eq!(old.status, 200);
        let whole = api.raw(b"GET http://a/healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert_eq!(whole.status, 200);
    }

    async fn what_is_no_request_is_refused_in_the_same_words(backend: Backend) {
        let api = Api::shared(backend).await;
        for (request, status, id) in [
            ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n".to_owned(), 400, "malformedData"),
            ("GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400, "malformedData"),
            ("GET / HTTP/9.9\r\n\r\n".to_owned(), 400, "malformedData"),
            ("G\u{0}T / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400, "malformedData"),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n".to_owned(), 400, "malformedData"),
            ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n".to_owned(), 400, "malformedData"),
            ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(), 400, "malformedData"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, "malformedData"),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}".to_owned(), 400, "malformedData"),
            (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)), 414, "uriTooLong"),
            (format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(200)), 431, "requestHeaderFieldsTooLarge"),
            (
                format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1_000_000)),
                431,
                "requestHeaderFieldsTooLarge",
            ),
        ] {
            for before in ["", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"] {
                let what = format!("{before:?} {:?}", &request[..request.len().min(60)]);
                let mut connection = TcpStream::connect(&api.host).await.unwrap();
                if !before.is_empty() {
                    connection.write_all(before.as_bytes()).await.unwrap();
                    assert_eq!(one(&mut connection).await.status, 200);
                }
                connection.write_all(request.as_bytes()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
                let answer = Answer::parse(&rest(&mut connection).await);
                assert_eq!(answer.status, status, "{what}: {}", answer.text());
                answer.refused(status, id);
                assert_eq!(answer.header("connection"), Some("close"), "{what}");
            }
        }
        let head = api.raw(b"HEAD / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n").await;
        assert_eq!((head.status, head.body.len()), (400, 0));
        let length: usize = head.header("content-length").unwrap().parse().unwrap();
        assert!(length > 0);
    }

    async fn a_head_that_does_not_come_whole_in_time_is_answered(backend: Backend) {
        let server = configured(backend).arg("--request-timeout").arg("1s").start().await;
        let api = Api::of(&server);
        for half in ["G", "GET /healthz HTTP/1.1\r\nHost: x\r\n"] {
            let answer = api.raw(half.as_bytes()).await;
            answer.refused(408, "requestTimeout");
        }
        // Whoever has asked for nothing is told nothing.
        assert!(rest(&mut TcpStream::connect(&api.host).await.unwrap()).await.is_empty());
        let mut used = TcpStream::connect(&api.host).await.unwrap();
        used.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert_eq!(one(&mut used).await.status, 200);
        assert!(rest(&mut used).await.is_empty());
    }

    async fn the_end_of_the_service_waits_for_no_request_that_came_half(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let id = new_id();
        let post = api.head(&format!("POST {ARCHIVED}/backups")) + "Content-Type: application/json\r\n";
        let body = json!({"id": id, "name": "n"}).to_string();
        let halves = [
            "G".to_owned(),
            "GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ".to_owned(),
            format!("{post}Content-Length: 1000\r\n\r\n"),
            format!("{post}Content-Length: 1000\r\n\r\n{{\"id\":\""),
            format!("{post}Transfer-Encoding: chunked\r\n\r\n5\r\n{{\"id\""),
            // Refused long ago, and still sending.
            format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{body}"),
            // Used before.
            "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nHo".to_owned(),
            "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            String::new(),
        ];
        let mut open = Vec::new();
        for half in &halves {
            let mut connection = TcpStream::connect(&api.host).await.unwrap();
            connection.write_all(half.as_bytes()).await.unwrap();
            open.push(connection);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let started = Instant::now();
        let closed = open.into_iter().map(|mut connection| async move {
            let bytes = rest(&mut connection).await;
            (bytes, started.elapsed())
        });
        let (code, closed) = tokio::join!(server.terminate(), futures::future::join_all(closed));
        assert_eq!(code, 0);
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        for (half, (bytes, after)) in halves.iter().zip(closed) {
            assert!(after < Duration::from_secs(1), "{half:?} was open for {after:?}");
            if half.starts_with("POST /api") {
                let answer = Answer::parse(&bytes);
                answer.refused(503, "temporaryFailure");
                assert!(answer.header("retry-after").is_some());
            }
        }
    }
}
