//! What no purge may reach although it lies below a root: other file systems, and the ledger's own files.

use super::{Scene, fill, uri};
use crate::harness::described::Told as _;
use crate::harness::on_both_backends;
use crate::harness::roots::Bind;
use serde_json::json;
use std::fs;

on_both_backends! {
    async fn storage_on_what_is_mounted_below_a_root_is_refused_when_it_is_named(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, outside) = (scene.path("root"), scene.path("outside"));
        fill(&outside.join("x"), 1);
        fs::write(scene.path("single"), "").unwrap();
        let Some(volume) = Bind::new(&outside, &root.join("vol")) else { return };
        let Some(file) = Bind::new(&scene.path("single"), &root.join("single")) else { return };
        for place in ["vol", "vol/x", "vol/x/0", "vol/absent", "single"] {
            assert_eq!(scene.delete(1, place).await, 400, "{place}");
            assert_eq!(scene.register("archive", place).await, 400, "{place}");
        }
        let body = json!({"id": Scene::id(1), "name": "n", "storage": [uri(&root.join("vol/x"))]});
        let answer = scene.server.post("/api/admin/archived/backups", &scene.admin, &body).told().await;
        let told = answer.text().await.unwrap();
        assert!(told.contains("storage") && told.contains("another file system is mounted at or above it"), "{told}");
        drop((volume, file));
        assert_eq!(scene.delete(1, "vol/x").await, 201);
    }

    async fn the_configuration_and_the_mark_of_the_used_key_are_out_of_reach(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        let (config, key) = (root.join("conf/al.toml"), root.join("keys/ledger.key"));
        fill(&root.join("conf"), 1);
        fill(&root.join("keys"), 1);
        fs::write(&config, "log = \"info\"\n").unwrap();
        let (config, key) = (config.display().to_string(), key.display().to_string());
        let args = ["--config", &config, "--ledger-key-file", &key];
        let scene = Scene::start_in(backend, home, &args).await;
        assert!(root.join("keys/ledger.key.used").exists());
        for place in ["conf", "conf/al.toml", "keys", "keys/ledger.key", "keys/ledger.key.used"] {
            assert_eq!(scene.delete(1, place).await, 400, "{place}");
        }
        assert_eq!(scene.delete(1, "conf/0").await, 201);
    }
}
