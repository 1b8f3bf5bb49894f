//! What is handed out before a fork is told from what comes after it.

use crate::harness::on_both_backends;
use crate::harness::server::Server;
use archive_ledger::http::request::cursor::{CursorCodec, Walk};
use archive_ledger::keyring::Keyring;
use archive_ledger::numbering::Numbering;
use reqwest::Response;
use serde_json::{Value, json};
use uuid::Uuid;

async fn delete(server: &Server, token: &str, id: u128) {
    let body = json!({"id": Uuid::from_u128(id), "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", token, &body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
}

async fn events(server: &Server, token: &str, query: &str, last: Option<&str>) -> Response {
    let mut request = server.get(&format!("/api/events{query}"), token);
    if let Some(last) = last {
        request = request.header("Last-Event-ID", last);
    }
    request.send().await.unwrap()
}

/// The first `count` events of a stream, each with its id.
async fn take(mut answer: Response, count: usize) -> Vec<(String, Value)> {
    assert_eq!(answer.status(), 200);
    let (mut text, mut taken) = (String::new(), Vec::new());
    while taken.len() < count {
        text.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
        let blocks = text.split("\n\n").filter_map(|block| {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            Some((
                field("id: ")?.to_owned(),
                serde_json::from_str(field("data: ")?).ok()?,
            ))
        });
        taken = blocks.collect();
    }
    taken
}

/// That an answer is 410 and says where to go on.
async fn gone(answer: Response, key: &str, position: u64) {
    assert_eq!(answer.status(), 410, "{key}");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"]["id"], "ledgerForked");
    let details = json!({"key": key, "of": 1, "ledger": 2, "position": position});
    assert_eq!(body["error"]["details"], details);
}

on_both_backends! {
    async fn what_was_given_out_before_a_fork_is_gone_and_says_where_to_go_on(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        for id in 1..=5 {
            delete(&server, &token, id).await;
        }
        let cursor = async |path: &str| {
            let page: Value = server.get(path, &token).send().await.unwrap().json().await.unwrap();
            page["next_cursor"].as_str().unwrap().to_owned()
        };
        let list = format!("/api/admin/archived/backups?limit=2&cursor={}", cursor("/api/admin/archived/backups?limit=2").await);
        let walk = "/api/admin/audit/events?limit=2&order=asc";
        let audit = format!("{walk}&cursor={}", cursor(walk).await);
        // Of lists that have too few items for a second page: sealed as the service does it.
        let keyring = std::fs::read(server.data_dir().join("keyring.json")).unwrap();
        let keyring = Keyring::parse(&keyring).unwrap();
        let cursors = CursorCodec::new(&keyring.keyed_hash("list-cursor", b""), Numbering::default());
        let purges = &format!("/api/admin/purges?cursor={}", cursors.seal_place(&Walk::new("purges", "all"), 2));
        let place = (1_700_000_000_000_000_i64, Uuid::from_u128(7));
        let unfiltered = Walk::new("callbacks", [(); 5]);
        let callbacks = format!("/api/admin/callbacks?cursor={}", cursors.seal_place(&unfiltered, place));
        for path in [&list, &audit, purges, &callbacks] {
            assert_eq!(server.get(path, &token).send().await.unwrap().status(), 200, "{path}");
        }
        let before = take(events(&server, &token, "?after=0", None).await, 5).await;
        assert!(before.iter().all(|(_, event)| event["source"].as_str().unwrap().ends_with("/1")));
        assert_eq!(server.terminate().await, 0);
        let forked = server.run_command(&["ledger", "fork", "--reason", "a test"]).await;
        assert!(forked.status.success(), "{}", String::from_utf8_lossy(&forked.stderr));
        server.restart().await;
        for id in 6..=8 {
            delete(&server, &token, id).await;
        }
        // Events keep the number that they were recorded under; ids are of the ledger that gives them out.
        let after = take(events(&server, &token, "?after=0", None).await, 8).await;
        for (number, (id, event)) in (1..).zip(&after) {
            assert_eq!(*id, format!("2-{number}"));
            let ledger = if number <= 5 { "/1" } else { "/2" };
            assert!(event["source"].as_str().unwrap().ends_with(ledger), "{event}");
        }
        assert_eq!(before.iter().map(|(_, event)| event).collect::<Vec<_>>(), after.iter().take(5).map(|(_, event)| event).collect::<Vec<_>>());
        for (seen, position) in [(0, 0), (3, 3), (5, 5), (6, 5), (8, 5), (100, 5)] {
            let id = format!("1-{seen}");
            gone(events(&server, &token, "?after=0", Some(&id)).await, "Last-Event-ID", position).await;
            gone(events(&server, &token, &format!("?after={id}"), None).await, "after", position).await;
        }
        for path in [&list, &callbacks] {
            gone(server.get(path, &token).send().await.unwrap(), "cursor", 5).await;
        }
        gone(server.get(&audit, &token).send().await.unwrap(), "cursor", 2).await;
        gone(server.get(purges, &token).send().await.unwrap(), "cursor", 2).await;
        for never in ["3-1", "0-1", "5", "2-9", "2-"] {
            assert_eq!(events(&server, &token, "", Some(never)).await.status(), 400, "{never}");
        }
        let rest = take(events(&server, &token, "?after=0", Some("2-6")).await, 2).await;
        assert_eq!(rest.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["2-7", "2-8"]);
    }
}
