//! The real binary: from a purge to its callback, the operator's routes, and a kill in between.

use crate::harness::described::Told as _;
use crate::harness::receiver::{Answer, Receiver};
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const CALLBACKS: &str = "/api/admin/callbacks";

async fn tokens(server: &Server) -> (String, String) {
    let owner = server
        .token(&[
            "--role",
            "admin",
            "--privilege",
            "space_manage_datasets",
            "--privilege",
            "space_remove_archives",
        ])
        .await;
    (owner, server.token(&["--role", "auditor"]).await)
}

/// Registers an archive without storage and has it deleted with a callback.
async fn delete_archive(server: &Server, token: &str, id: &str, callback: &str) {
    let archive = json!({"archiveId": id, "datasetId": "data-1", "spaceId": "space-1", "description": "d"});
    let answer = server
        .post("/api/v3/oneprovider/archives", token, &archive)
        .told()
        .await;
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    let path = format!("/api/v3/oneprovider/archives/{id}/delete");
    let body = json!({"deletedCallback": callback});
    let answer = server.post(&path, token, &body).told().await;
    assert_eq!(answer.status(), 204, "{}", answer.text().await.unwrap());
}

async fn get(server: &Server, token: &str, path: &str) -> Value {
    let answer = server.get(path, token).told().await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

/// Waits until the only delivery is in this state.
async fn until(server: &Server, token: &str, state: &str) -> Value {
    eventually(&format!("the delivery is {state}"), SOON, || async {
        let page = get(server, token, &format!("{CALLBACKS}?state={state}")).await;
        page["items"].as_array().unwrap().first().cloned()
    })
    .await
}

on_both_backends! {
    async fn a_purge_reaches_its_callback_and_the_operator_sees_and_replays_it(backend: Backend) {
        let receiver = Receiver::answering([Answer::Full(500, vec![], b"no".to_vec())]).await;
        let server = Server::builder(backend).callbacks_to_loopback().start().await;
        let (owner, auditor) = tokens(&server).await;
        delete_archive(&server, &owner, "arch-1", &receiver.url("/done?token=very-secret")).await;

        let received = receiver.wait_for(2, SOON).await;
        let body = json!({"archiveId": "arch-1", "datasetId": "data-1", "error": null});
        assert!(received.iter().all(|request| request.json() == body && request.target == "/done?token=very-secret"));
        let item = until(&server, &owner, "delivered").await;
        let id = item["id"].as_str().unwrap();
        assert!(received.iter().all(|request| request.header("webhook-id") == Some(id)));
        assert_eq!(
            (&item["entity_type"], &item["entity_id"], &item["attempt_count"], &item["last_status"]),
            (&json!("archives"), &json!("arch-1"), &json!(2), &json!(200))
        );
        let detail = get(&server, &owner, &format!("{CALLBACKS}/{id}")).await;
        assert_eq!(detail["url"], json!(format!("{}?…", receiver.url("/done"))));
        assert_eq!(detail["attempts"][0]["outcome"], "failed");
        assert_eq!(detail["attempts"][0]["body"], "no");
        assert_eq!(detail["attempts"][1]["outcome"], "delivered");

        let replay = format!("{CALLBACKS}/{id}/replay");
        let answer = server.request(Method::POST, &replay, &owner).told().await;
        assert_eq!(answer.status(), 202);
        receiver.wait_for(3, SOON).await;
        let filter = json!({"state": "delivered", "entity_type": "archives", "entity_id": "arch-1"});
        let bulk = format!("{CALLBACKS}/replay");
        until(&server, &owner, "delivered").await;
        let dry = server.post(&bulk, &owner, &json!({"dry_run": true, "filter": filter})).told().await;
        assert_eq!(dry.status(), 200);
        assert_eq!(dry.json::<Value>().await.unwrap(), json!({"dry_run": true, "deliveries": 1, "next_cursor": null}));
        let done = server.post(&bulk, &owner, &json!({"dry_run": false, "filter": filter})).told().await;
        assert_eq!(done.status(), 202);
        assert_eq!(done.json::<Value>().await.unwrap()["deliveries"], 1);
        let fourth = &receiver.wait_for(4, SOON).await[3];
        assert_eq!((fourth.header("webhook-id"), fourth.header("archive-ledger-attempt")), (Some(id), Some("4")));

        for (method, path) in [
            (Method::GET, CALLBACKS),
            (Method::GET, detail["id"].as_str().map(|_| replay.trim_end_matches("/replay")).unwrap()),
            (Method::POST, replay.as_str()),
            (Method::POST, bulk.as_str()),
        ] {
            let answer = server.request(method.clone(), path, &auditor).told().await;
            assert_eq!(answer.status(), 403, "{method} {path}");
            let answer = server.request(method.clone(), path, "none").told().await;
            assert_eq!(answer.status(), 401, "{method} {path}");
        }
        for (path, status) in [
            (format!("{CALLBACKS}/x"), 400),
            (format!("{CALLBACKS}/{}", uuid::Uuid::nil()), 404),
            (format!("{CALLBACKS}?state=lost"), 400),
        ] {
            let answer = server.get(&path, &owner).told().await;
            assert_eq!(answer.status(), status, "{path}");
            assert!(answer.json::<Value>().await.unwrap()["error"]["id"].is_string());
        }
        let answer = server.post(&bulk, &owner, &json!({"filter": filter})).told().await;
        assert_eq!(answer.status(), 400, "a bulk replay says whether it is dry");

        let metrics = server.get("/metrics", &owner).told().await.text().await.unwrap();
        assert!(metrics.contains("archive_ledger_callback_attempts_total{outcome=\"delivered\"} 3"), "{metrics}");
        assert!(metrics.contains("archive_ledger_callback_attempts_total{outcome=\"refused\"} 1"), "{metrics}");
        assert!(!server.log().contains("very-secret"), "the query is in the log");
    }

    async fn a_listing_shows_the_circuit_and_a_replay_waits_for_none(backend: Backend) {
        let receiver = Receiver::start().await;
        let refused = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let server = Server::builder(backend).callbacks_to_loopback().start().await;
        let (owner, _) = tokens(&server).await;
        delete_archive(&server, &owner, "healthy", &receiver.url("/")).await;
        for number in 0..6 {
            delete_archive(&server, &owner, &format!("arch-{number}"), &format!("http://{refused}/{number}")).await;
        }
        let item = eventually("the circuit is open", SOON, || async {
            let page = get(&server, &owner, &format!("{CALLBACKS}?host={refused}")).await;
            let items = page["items"].as_array().unwrap();
            items.iter().find(|item| item["circuit"]["state"] == "open").cloned()
        })
        .await;
        assert_eq!(item["circuit"]["scope"], "endpoint");
        let time = |name: &str| item["circuit"][name].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        assert!((time("next_probe_at") - time("since")).num_seconds() >= 30, "{item}");
        let path = format!("{CALLBACKS}/{}", item["id"].as_str().unwrap());
        assert_eq!(get(&server, &owner, &path).await["circuit"]["since"], item["circuit"]["since"]);
        let other = until(&server, &owner, "delivered").await;
        let closed = json!({"state": "closed", "scope": null, "since": null, "next_probe_at": null});
        assert_eq!(other["circuit"], closed);

        let before = eventually("nothing is under way", SOON, || async {
            let shown = get(&server, &owner, &path).await;
            (shown["under_way"] == false).then(|| shown["attempt_count"].as_u64().unwrap())
        })
        .await;
        let answer = server.request(Method::POST, &format!("{path}/replay"), &owner).told().await;
        assert_eq!(answer.json::<Value>().await.unwrap()["replayed"], true);
        let shown = eventually("the replay is attempted", SOON, || async {
            Some(get(&server, &owner, &path).await).filter(|shown| shown["attempt_count"].as_u64().unwrap() > before)
        })
        .await;
        assert_eq!(shown["circuit"]["next_probe_at"], item["circuit"]["next_probe_at"]);
    }

    async fn a_callback_that_a_kill_cut_off_is_sent_again(backend: Backend) {
        let receiver = Receiver::answering([Answer::Hang]).await;
        let server = Server::builder(backend)
            .callbacks_to_loopback()
            .arg("--callback-timeout")
            .arg("1s")
            .start()
            .await;
        let (owner, _) = tokens(&server).await;
        delete_archive(&server, &owner, "arch-2", &receiver.url("/")).await;
        receiver.wait_for(1, SOON).await;
        server.kill9().await;
        server.restart().await;
        let received = receiver.wait_for(2, SOON).await;
        assert_eq!(received[0].body, received[1].body);
        assert_eq!(received[0].header("webhook-id"), received[1].header("webhook-id"));
        let item = until(&server, &owner, "delivered").await;
        let detail = get(&server, &owner, &format!("{CALLBACKS}/{}", item["id"].as_str().unwrap())).await;
        assert_eq!(detail["attempts"][0]["outcome"], "unknown");
        assert_eq!(detail["attempts"][1]["outcome"], "delivered");
    }
}
