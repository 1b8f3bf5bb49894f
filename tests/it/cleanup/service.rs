//! The storage cleanup as an operator meets it: the real binary, its routes, its end and its restart.

use super::world::{SOON, fill};
use crate::harness::described::Told as _;
use crate::harness::roots::entries;
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};
use reqwest::Method;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use uuid::Uuid;

on_both_backends! {
    async fn an_operator_sees_what_is_owed_and_retries_it(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let (root, outside) = (home.path().join("root"), home.path().join("outside"));
        fill(&root.join("kept"), 1);
        fill(&root.join("one"), 2);
        fill(&outside, 3);
        let server = Server::builder(backend)
            .storage_root(format!("file://{}", root.display()))
            .start()
            .await;
        let admin = server.token(&["--role", "admin"]).await;
        let reader = server.token(&["--role", "auditor"]).await;
        let id = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
        let uris = ["one", "two"].map(|name| format!("file://{}/{name}", root.display()));
        let body = json!({"id": id, "name": "a backup", "storage": uris});
        let answer = server.post("/api/admin/archived/backups", &admin, &body).told().await;
        assert_eq!(answer.status(), 201);
        symlink(&outside, root.join("two")).unwrap();
        let purge = format!("/api/admin/archived/backups/{id}/purge");
        assert_eq!(server.delete(&purge, &admin).told().await.status(), 200);

        let listed = async |query: &str| -> Value {
            let path = format!("/api/admin/purges{query}");
            let answer = server.get(&path, &reader).told().await;
            assert_eq!(answer.status(), 200, "{query}");
            answer.json().await.unwrap()
        };
        let failed = eventually("the purge has failed", SOON, || async {
            // The log knows a moment before the job has ended.
            let failed = listed("?state=failed").await["items"].get(0).cloned();
            failed.filter(|purge| purge["last_error"].is_string())
        })
        .await;
        assert_eq!((&failed["type"], &failed["id"], &failed["state"]), (&json!("backups"), &json!(id), &json!("purge_failed")));
        assert_eq!(failed["obligations"][0]["objects"], 2);
        assert_eq!(failed["obligations"][1]["state"], "failed");
        let error = failed["last_error"].as_str().unwrap();
        assert!(error.starts_with("storage 2 of 2: "), "{error}");
        assert_eq!(listed("?state=purging").await["items"], json!([]));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 3);
        let restore = format!("/api/admin/archived/backups/{id}/restore");
        assert_eq!(server.post(&restore, &admin, &json!({})).told().await.status(), 409);

        std::fs::remove_file(root.join("two")).unwrap();
        fill(&root.join("two"), 1);
        let retry = format!("/api/admin/purges/{}/retry", failed["purge_id"].as_str().unwrap());
        let retried = |token: String| server.request(Method::POST, &retry, &token).send();
        assert_eq!(retried(reader.clone()).await.unwrap().status(), 403);
        assert_eq!(retried(admin.clone()).await.unwrap().status(), 202);
        assert_eq!(retried(admin.clone()).await.unwrap().status(), 404);
        eventually("the purge is done", SOON, || async {
            (listed("").await["items"] == json!([])).then_some(())
        })
        .await;
        assert!(!root.join("one").exists() && !root.join("two").exists());
        assert!(root.join("kept").exists());
        let one = format!("/api/admin/archived/backups/{id}");
        assert_eq!(server.get(&one, &admin).told().await.status(), 404);
        let metrics = server.client().get(server.url("/metrics")).told().await.text().await.unwrap();
        assert!(metrics.contains("archive_ledger_cleanup_objects_total 3"), "{metrics}");
        assert!(!server.log().contains(&root.join("one").display().to_string()), "a path in the log");
    }

    async fn a_service_killed_while_it_cleans_goes_on_after_its_restart(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        std::fs::create_dir(&root).unwrap();
        let server = Server::builder(backend)
            .storage_root(format!("file://{}", root.display()))
            .start()
            .await;
        let admin = server.token(&["--role", "admin"]).await;
        let ids: Vec<String> = (1..=6).map(|number| Uuid::from_u128(number).to_string()).collect();
        for id in &ids {
            fill(&root.join(id), 300);
            let body = json!({"id": id, "name": "a backup", "storage": [format!("file://{}/{id}", root.display())]});
            let answer = server.post("/api/admin/archived/backups", &admin, &body).told().await;
            assert_eq!(answer.status(), 201);
        }
        fill(&root.join("kept"), 1);
        for id in &ids {
            let purge = format!("/api/admin/archived/backups/{id}/purge");
            assert_eq!(server.delete(&purge, &admin).told().await.status(), 200);
        }
        server.kill9().await;
        server.restart().await;
        for id in &ids {
            let one = format!("/api/admin/archived/backups/{id}");
            eventually("the entity is purged", 2 * SOON, || async {
                let answer = server.get(&one, &admin).told().await;
                (answer.status() == 404).then_some(())
            })
            .await;
        }
        assert_eq!(entries(&root), ["kept"]);
    }
}
