//! The end of a service as its operator brings it about: what was begun is finished, what was answered is in the log.

use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ARCHIVED, Answer, Api, configured, new_id};
use crate::harness::on_both_backends;

on_both_backends! {
    async fn a_service_told_to_stop_finishes_what_it_has_begun(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);

        // A request whose body is still on its way.
        let id = new_id();
        let body = format!("{{\"id\":\"{id}\",\"name\":\"n\"}}");
        let head = api.head(&format!("POST {ARCHIVED}/users"))
            + &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut connection = TcpStream::connect(&api.host).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&body.as_bytes()[..10]).await.unwrap();

        // And as many others as fit.
        let acknowledged = Mutex::new(Vec::new());
        let load = async {
            let one = || async {
                loop {
                    let id = new_id();
                    let body = serde_json::json!({"id": id, "name": "n"});
                    let request = api.request("POST", &format!("{ARCHIVED}/backups")).json(&body);
                    match request.send().await {
                        Ok(answer) if answer.status() == 201 => acknowledged.lock().unwrap().push(id),
                        Ok(answer) => assert_eq!(answer.status(), 503),
                        // The connection is refused, or closed between two requests.
                        Err(_) => return,
                    }
                }
            };
            futures::future::join_all((0..16).map(|_| one())).await;
        };
        let stop = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let stopped = server.terminate();
            let rest = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                connection.write_all(&body.as_bytes()[10..]).await.unwrap();
                let mut bytes = Vec::new();
                connection.read_to_end(&mut bytes).await.unwrap();
                Answer::parse(&bytes)
            };
            tokio::join!(stopped, rest)
        };
        let ((), (code, finished)) = tokio::join!(load, stop);
        assert_eq!(code, 0, "{}", server.log());
        assert_eq!(finished.json(201)["id"], serde_json::json!(id));

        server.restart().await;
        let api = Api::of(&server);
        let acknowledged = acknowledged.into_inner().unwrap();
        assert!(acknowledged.len() > 10, "{}", acknowledged.len());
        for id in &acknowledged {
            assert_eq!(api.events("backups", id).await, ["soft_deleted"]);
        }
        assert_eq!(api.events("users", &id).await, ["soft_deleted"]);
        let summary = api.get(&format!("{ARCHIVED}/summary")).await.json(200);
        assert!(summary["backups"].as_u64().unwrap() >= acknowledged.len() as u64);
        let log = server.log();
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    }
}
