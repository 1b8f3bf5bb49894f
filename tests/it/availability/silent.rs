//! A database that goes silent: its connections stand, and no answer comes.

use super::{
    ANSWERED, SOON, delete, exists, is_put_off, is_ready, readiness, records, tells_that_it_is_not_ready,
    verifies,
};
use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Backend, Server};
use crate::harness::stalling::{Passes, Stalling};
use reqwest::{Method, StatusCode};
use std::time::Instant;

/// A service whose database is behind a proxy.
async fn behind_a_proxy() -> (Stalling, Server, String) {
    let postgres = Postgres::shared().await;
    let url = postgres.create_database().await;
    let proxy = Stalling::before(postgres.port()).await;
    let through = url.replace(&format!(":{}/", postgres.port()), &format!(":{}/", proxy.port()));
    let builder = Server::builder(Backend::Clustered);
    let server = builder.on_database(through).await.start().await;
    let token = owner(&server).await;
    records(&server, &token).await;
    (proxy, server, token)
}

/// A token for everything, archives included.
async fn owner(server: &Server) -> String {
    let privileges = [
        "--privilege",
        "space_manage_datasets",
        "--privilege",
        "space_remove_archives",
    ];
    server
        .token(&[&["--role", "admin"][..], &privileges].concat())
        .await
}

async fn reads_are_put_off(server: &Server, token: &str) {
    for path in [
        "/api/admin/archived/backups",
        "/api/admin/archived/summary",
        "/api/admin/audit/events",
        "/api/admin/callbacks",
        "/api/admin/purges",
        "/api/v3/oneprovider/archives/some",
    ] {
        let asked = Instant::now();
        let answer = server.get(path, token).timeout(SOON).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.headers().contains_key("retry-after"), "{path}");
        assert!(asked.elapsed() < ANSWERED, "{path}: {:?}", asked.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_is_told_of_in_time_and_all_goes_on_when_it_speaks_again() {
    let (proxy, server, token) = behind_a_proxy().await;
    for passes in [Passes::Nothing, Passes::Answers, Passes::Questions] {
        proxy.pass(passes);
        let commands = async {
            for _ in 0..2 {
                is_put_off(&server, &token).await;
            }
        };
        let told = async {
            tells_that_it_is_not_ready(&server, "writer").await;
            tells_that_it_is_not_ready(&server, "store").await;
        };
        tokio::join!(commands, reads_are_put_off(&server, &token), told);
        proxy.pass(Passes::All);
        is_ready(&server).await;
        records(&server, &token).await;
        let listed = server.get("/api/admin/archived/backups", &token).send().await;
        assert_eq!(listed.unwrap().status(), StatusCode::OK, "{passes:?}");
        assert_eq!(server.exit_code(), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_never_answer_again_are_replaced() {
    let (proxy, server, token) = behind_a_proxy().await;
    let storage = server.home().join("objects");
    std::fs::create_dir_all(&storage).unwrap();
    // The pool has several.
    let asked = (0..20).map(|_| server.get("/api/admin/archived/backups", &token).send());
    futures::future::join_all(asked).await;
    proxy.pass(Passes::New);
    let (answer, lasted) = delete(&server, &token, crate::harness::fresh_id()).await;
    assert!(lasted < ANSWERED, "{lasted:?}");
    // Either the outcome was found out by then, or the caller was told to come again.
    assert!(
        [StatusCode::CREATED, StatusCode::SERVICE_UNAVAILABLE].contains(&answer.status()),
        "{}",
        answer.status()
    );
    is_ready(&server).await;
    records(&server, &token).await;
    eventually("reads are answered again", SOON, || async {
        let listed = server
            .get("/api/admin/archived/backups", &token)
            .send()
            .await
            .unwrap();
        (listed.status() == StatusCode::OK).then_some(())
    })
    .await;
    // What works behind the log gets on as well: the last event is signed.
    eventually("the log is signed up to its end", SOON, || async {
        let (status, body) = readiness(&server).await;
        let checkpoint = server.get("/api/ledger/checkpoint", &token).send().await.unwrap();
        let checkpoint = checkpoint.text().await.unwrap();
        let size: u64 = checkpoint.lines().nth(1)?.parse().ok()?;
        (status == 200 && body["bus"] == "ok" && size >= 2).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_a_commit_that_is_never_answered_is_found_out() {
    let (proxy, server, token) = behind_a_proxy().await;
    for text in ["soft_deleted", "COMMIT", "soft_deleted"] {
        let id = crate::harness::fresh_id();
        proxy.stall_after(text);
        let asked = async {
            let (answer, lasted) = delete(&server, &token, id).await;
            assert!(lasted < ANSWERED, "{lasted:?}");
            answer.status()
        };
        let reconnects = async {
            proxy.stalled().await;
            proxy.pass(Passes::New);
        };
        let (first, ()) = tokio::join!(asked, reconnects);
        is_ready(&server).await;
        proxy.pass(Passes::All);
        match first {
            StatusCode::CREATED => assert!(exists(&server, &token, id).await, "acknowledged and lost"),
            other => assert_eq!(other, StatusCode::SERVICE_UNAVAILABLE),
        }
        let (again, _) = delete(&server, &token, id).await;
        assert_eq!(again.status(), StatusCode::CREATED, "{text}");
        assert!(exists(&server, &token, id).await);
    }
    verifies(&server, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_of_a_database_that_is_away_is_put_off() {
    let postgres = Postgres::start().await;
    let builder = Server::builder(Backend::Clustered);
    let server = builder
        .on_database(postgres.create_database().await)
        .await
        .start()
        .await;
    let token = owner(&server).await;
    records(&server, &token).await;
    postgres.crash().await;
    let (entity, id) = ("/api/admin/archived/backups", crate::harness::fresh_id());
    let archives = "/api/v3/oneprovider/archives";
    let asked = [
        (Method::GET, entity.to_owned()),
        (Method::GET, "/api/admin/archived/summary".to_owned()),
        (Method::GET, format!("{entity}/{id}")),
        (Method::GET, format!("{entity}/{id}/history")),
        (Method::GET, format!("{entity}/{id}/evidence")),
        (Method::POST, format!("{entity}/{id}/restore")),
        (Method::DELETE, format!("{entity}/{id}/purge")),
        (Method::GET, "/api/admin/audit/events".to_owned()),
        (Method::GET, "/api/admin/callbacks".to_owned()),
        (Method::GET, format!("/api/admin/callbacks/{id}")),
        (Method::POST, format!("/api/admin/callbacks/{id}/replay")),
        (Method::GET, "/api/admin/purges".to_owned()),
        (Method::POST, format!("/api/admin/purges/{id}/retry")),
        (Method::GET, "/api/ledger/checkpoint".to_owned()),
        (Method::GET, format!("/api/ledger/proofs/{id}")),
        (Method::GET, format!("{archives}/some")),
        (Method::POST, format!("{archives}/some/delete")),
    ];
    let answers = asked.into_iter().map(async |(method, path)| {
        let began = Instant::now();
        let request = server.request(method.clone(), &path, &token).timeout(SOON);
        let request = if method == Method::GET {
            request
        } else {
            request.json(&serde_json::json!({}))
        };
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{method} {path}: {text}");
        assert!(
            began.elapsed() < ANSWERED,
            "{method} {path}: {:?}",
            began.elapsed()
        );
    });
    futures::future::join_all(answers).await;
    postgres.restart().await;
    is_ready(&server).await;
    records(&server, &token).await;
}
