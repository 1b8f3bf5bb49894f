//! A root that is used at one path, and later at another.

use super::{SOON, fill, uri};
use crate::harness::described::Told as _;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use serde_json::{Value, json};
use std::fs;

on_both_backends! {
    async fn whose_else_a_place_is_does_not_depend_on_the_path_that_its_root_was_used_at(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let (old, new, config) = (home.path().join("old"), home.path().join("new"), home.path().join("al.toml"));
        fill(&old.join("a b"), 2);
        fill(&old.join("free"), 1);
        let configure = |root| fs::write(&config, format!("storage_root = [{:?}]\n", uri(root))).unwrap();
        configure(&old);
        let server = Server::builder(backend).arg("--config").arg(config.clone()).start().await;
        let admin = server.token(&["--role", "admin"]).await;
        let ids = [1, 2, 3].map(|number| format!("00000000-0000-4000-8000-0000000000{number:02}"));
        let backup = |at: usize| format!("/api/admin/archived/backups/{}", ids[at]);
        let delete = async |at: usize, place: String| {
            let body = json!({"id": ids[at], "name": "n", "storage": [place]});
            let answer = server.post("/api/admin/archived/backups", &admin, &body).told().await;
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        };
        let shown = async |path: String| -> Value {
            server.get(&path, &admin).told().await.json().await.unwrap()
        };
        delete(0, format!("{}/a%20b", uri(&old))).await;
        assert_eq!(server.terminate().await, 0);
        fs::rename(&old, &new).unwrap();
        configure(&new);
        server.restart().await;
        delete(1, format!("{}/a%20b/0", uri(&new))).await;
        delete(2, format!("{}/free", uri(&new))).await;
        for (at, other) in [(0, 1), (1, 0)] {
            let one = shown(backup(at)).await;
            assert_eq!(one["storage_shared"], true, "{one}");
            assert_eq!(one["storage_shared_with"], json!([{"type": "backups", "id": ids[other]}]), "{one}");
        }
        assert!(shown(backup(2)).await.get("storage_shared").is_none());
        let asked = server.delete(&format!("{}/purge", backup(1)), &admin).told().await;
        assert_eq!(asked.status(), 200);
        let failed = eventually("the purge has failed", SOON, || async {
            let page = shown("/api/admin/purges?state=failed".to_owned()).await;
            page["items"].get(0).cloned()
        })
        .await;
        assert_eq!(failed["storage_shared_with"], json!([{"type": "backups", "id": ids[0]}]), "{failed}");
        // Given up, it is left over by its name at the new path, and still the other's by the one at the old path.
        let force = format!("/api/admin/purges/{}/force", failed["purge_id"].as_str().unwrap());
        let forced = server.post(&force, &admin, &json!({"reason": "it is somebody else's"})).told().await;
        assert_eq!(forced.status(), 200);
        if backend == Backend::Embedded {
            assert_eq!(server.terminate().await, 0);
        }
        let output = server.run_command(&["reconcile", "--fix", "--format", "ndjson", "--storage-root", &uri(&new)]).await;
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(!told.contains("leftover\",") && told.contains("\"objects\":3"), "{told}");
        assert!(new.join("a b/0").exists() && new.join("free/0").exists());
    }
}
