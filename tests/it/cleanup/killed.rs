//! Purges of a bucket by the real binary: killed in the middle, and answered badly.

use super::world::SOON;
use crate::cleanup_s3::fake::{self, Faults};
use crate::harness::described::Told as _;
use crate::harness::meddler::{Meddler, Meddling};
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use axum::http::Method;
use serde_json::{Value, json};

const ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
const MANY: u64 = 20_000;

async fn serve(backend: Backend, endpoint: &str) -> (Server, String) {
    let env = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let server = Server::builder(backend)
        .storage_root("s3://archive/root")
        .envs(env)
        .start()
        .await;
    let admin = server.token(&["--role", "admin"]).await;
    let body = json!({"id": ID, "name": "a backup", "storage": ["s3://archive/root/entity"]});
    let answer = server
        .post("/api/admin/archived/backups", &admin, &body)
        .told()
        .await;
    assert_eq!(answer.status(), 201);
    (server, admin)
}

async fn purge(server: &Server, admin: &str) {
    let purge = format!("/api/admin/archived/backups/{ID}/purge");
    assert_eq!(server.delete(&purge, admin).told().await.status(), 200);
}

/// Waits until the purge is done; what the log says of it, and how often one failed before.
async fn purged(server: &Server, admin: &str) -> (Value, usize) {
    let path = format!("/api/admin/archived/backups/{ID}");
    eventually("the entity is purged", 4 * SOON, || async {
        (server.get(&path, admin).send().await.ok()?.status() == 404).then_some(())
    })
    .await;
    let history = server.get(&format!("{path}/history"), admin).told().await;
    let history: Value = history.json().await.unwrap();
    let items = history["items"].as_array().unwrap();
    let failed = items
        .iter()
        .filter(|item| item["event"] == "purge_failed")
        .count();
    let last = items.last().unwrap();
    assert_eq!(last["event"], "purged", "{history}");
    (last["facts"].clone(), failed)
}

on_both_backends! {
    async fn a_purge_of_many_objects_that_is_killed_counts_them_right_or_says_that_it_is_a_lower_bound(backend: Backend) {
        let objects = fake::entity(usize::try_from(MANY).unwrap());
        let (storage, endpoint) = fake::serve(Faults::default(), objects).await;
        let (server, admin) = serve(backend, &endpoint).await;
        purge(&server, &admin).await;
        for left in [15_000, 6_000] {
            eventually("some of it is gone", SOON, || async {
                (storage.lock().unwrap().objects.len() < left).then_some(())
            })
            .await;
            server.kill9().await;
            assert!(!storage.lock().unwrap().objects.is_empty(), "it was faster than the kill");
            server.restart().await;
        }
        let (facts, failed) = purged(&server, &admin).await;
        assert_eq!((storage.lock().unwrap().objects.len(), failed), (0, 0));
        let (objects, bytes) = (facts["objects"].as_u64().unwrap(), facts["bytes"].as_u64().unwrap());
        let at_least = facts["at_least"].as_bool().unwrap_or(false);
        assert_eq!(bytes, 10 * objects, "{facts}");
        assert!(objects <= MANY && (objects == MANY || at_least), "{facts}");
        // What was saved with each batch is not lost.
        assert!(objects > MANY / 2, "{facts}");
    }

    async fn a_service_that_is_answered_badly_says_purged_only_when_it_is(backend: Backend) {
        let (storage, upstream) = fake::serve(Faults::default(), fake::entity(3)).await;
        let meddler = Meddler::before(&upstream).await;
        let (server, admin) = serve(backend, meddler.endpoint()).await;
        meddler.meddle(|method, target| {
            if method != Method::GET || !target.contains("versions") {
                return Meddling::Nothing;
            }
            Meddling::Edit(Box::new(|body| {
                let body = String::from_utf8(body).unwrap();
                let (start, end) = (body.find("<Version>").unwrap(), body.rfind("</Version>").unwrap());
                // Whole, but for the word whether more follows.
                let body = format!("{}{}", &body[..start], &body[end + "</Version>".len()..]);
                (200, body.replace("<IsTruncated>false</IsTruncated>", "").into_bytes())
            }))
        });
        purge(&server, &admin).await;
        let waiting = eventually("the first attempt has failed", 2 * SOON, || async {
            let page = server.get("/api/admin/purges", &admin).told().await;
            let page: Value = page.json().await.unwrap();
            let purge = page["items"].get(0)?.clone();
            purge["last_error"].is_string().then_some(purge)
        })
        .await;
        let error = waiting["last_error"].as_str().unwrap();
        assert!(error.contains("it does not say whether more follows"), "{error}");
        assert_eq!((&waiting["state"], storage.lock().unwrap().objects.len()), (&json!("purging"), 3));
        meddler.stop();
        let (facts, failed) = purged(&server, &admin).await;
        assert_eq!((&facts["objects"], failed), (&json!(3), 0), "{facts}");
        assert!(storage.lock().unwrap().objects.is_empty());
    }
}
