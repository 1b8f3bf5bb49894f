//! Clients that take their time: cut off, and nobody else waits for them.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ARCHIVED, Answer, Api, configured, new_id};
use crate::harness::on_both_backends;

/// Sends `pieces` one by one, a pause before each, and returns what came back by the time that the service hung up.
async fn drip(api: &Api, pieces: &[&[u8]], pause: Duration) -> Vec<u8> {
    let mut connection = TcpStream::connect(&api.host).await.unwrap();
    let mut came = Vec::new();
    for piece in pieces {
        if connection.write_all(piece).await.is_err() {
            break;
        }
        let _ = tokio::time::timeout(pause, connection.read_buf(&mut came)).await;
    }
    tokio::time::timeout(Duration::from_secs(20), connection.read_to_end(&mut came))
        .await
        .expect("the service keeps a connection that says nothing")
        .ok();
    came
}

on_both_backends! {
    async fn a_client_that_drips_is_cut_off(backend: Backend) {
        let server = configured(backend).arg("--request-timeout").arg("1s").start().await;
        let api = Api::of(&server);
        let pause = Duration::from_millis(100);
        let started = Instant::now();
        let line = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nX-Slow: ", api.host);
        let mut head = vec![line.as_bytes()];
        head.extend([&b"x"[..]; 100]);
        let id = new_id();
        let post = api.head(&format!("POST {ARCHIVED}/backups"))
            + "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"id\":\"";
        let mut body = vec![post.as_bytes()];
        body.extend([&b" "[..]; 100]);
        let (nothing, dripped_head, dripped_body, served) = tokio::join!(
            drip(&api, &[], pause),
            drip(&api, &head, pause),
            drip(&api, &body, pause),
            // Meanwhile, others are served.
            async {
                for _ in 0..10 {
                    assert_eq!(api.get("/healthz").await.status, 200);
                    tokio::time::sleep(pause).await;
                }
                api.soft_delete("backups", &id).await
            },
        );
        // Without a request there is nothing to answer; with one there is.
        assert!(nothing.is_empty(), "{}", String::from_utf8_lossy(&nothing));
        assert!(dripped_head.is_empty() || dripped_head.starts_with(b"HTTP/1.1 4"));
        Answer::parse(&dripped_body).refused(408, "requestTimeout");
        assert_eq!(served["id"], serde_json::json!(id));
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
}
