//! A root that is not there, or not the root: what names it waits, and nothing is deleted.

use super::{Scene, fill, uri};
use crate::harness::on_both_backends;
use crate::harness::roots::{Bind, MARKER, entries};
use crate::harness::server::Backend;
use serde_json::json;
use std::fs;

on_both_backends! {
    async fn a_root_that_is_not_mounted_keeps_purges_waiting_and_refuses_what_names_it(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, away) = (scene.path("root"), scene.path("away"));
        fill(&root.join("one"), 3);
        fill(&root.join("two"), 2);
        for (number, place) in [(1, "one"), (2, "two")] {
            assert_eq!(scene.delete(number, place).await, 201);
        }
        assert_eq!(scene.readiness().await["storage"], "ok");
        // The folder that it is mounted at, which is empty or holds something else.
        for stray in [false, true] {
            fs::rename(&root, &away).unwrap();
            fs::create_dir(&root).unwrap();
            if stray {
                fs::write(root.join("stray"), "").unwrap();
            }
            let number = 1 + u8::from(stray);
            assert_eq!(scene.delete(9, "new").await, 503);
            assert_eq!(scene.register("archive", "new").await, 503);
            scene.purge(number).await;
            let purge = scene.waits().await;
            assert_eq!(purge["state"], "purging", "{purge}");
            // Attempts that were begun are counted; the schedule's own count stays where it is, as the cleanup's tests see.
            assert!(purge["attempts"].as_u64().unwrap() >= 1, "{purge}");
            assert_eq!(purge["obligations"][0]["state"], "owed", "{purge}");
            scene.storage_is("unavailable").await;
            let (code, found, told) = scene.run(&["reconcile", "--format", "ndjson", "--unclaimed"]).await;
            assert_eq!((code, found.as_str()), (2, ""), "{told}");
            assert!(told.contains("--storage-root") && told.contains(&uri(&root)), "{told}");
            fs::remove_dir_all(&root).unwrap();
            assert_eq!(scene.delete(9, "new").await, 503);
            fs::rename(&away, &root).unwrap();
            assert_eq!(scene.purged(number).await, if stray { 2 } else { 3 });
            scene.storage_is("ok").await;
        }
        assert_eq!(entries(&root), [""; 0]);
        assert_eq!(scene.delete(9, "new").await, 201);
        // In a root that is whole, what is not there is gone.
        scene.purge(9).await;
        assert_eq!(scene.purged(9).await, 0);
        let log = scene.server.log();
        assert!(log.contains("is unavailable: ") && log.contains("is available again"), "{log}");
    }

    async fn a_service_whose_root_is_not_mounted_starts_and_waits(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, away) = (scene.path("root"), scene.path("away"));
        fill(&root.join("one"), 3);
        assert_eq!(scene.delete(1, "one").await, 201);
        assert_eq!(scene.server.terminate().await, 0);
        fs::rename(&root, &away).unwrap();
        for empty in [false, true] {
            if empty {
                fs::create_dir(&root).unwrap();
            }
            scene.server.restart().await;
            assert_eq!(scene.delete(2, "two").await, 503);
            scene.storage_is("unavailable").await;
        }
        scene.purge(1).await;
        scene.waits().await;
        assert!(!root.join(MARKER).exists(), "the folder below the mount was marked");
        fs::remove_dir(&root).unwrap();
        fs::rename(&away, &root).unwrap();
        assert_eq!(scene.purged(1).await, 3);
        assert_eq!(scene.delete(2, "two").await, 201);
    }

    async fn a_file_system_that_comes_and_goes_is_the_root_only_while_it_is_there(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let (root, volume) = (home.path().join("root"), home.path().join("volume"));
        fill(&volume.join("one"), 3);
        fill(&volume.join("two"), 2);
        let Some(bind) = Bind::new(&volume, &root) else { return };
        let scene = Scene::start_in(backend, home, &[]).await;
        for (number, place) in [(1, "one"), (2, "two")] {
            assert_eq!(scene.delete(number, place).await, 201);
        }
        drop(bind);
        assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
        scene.purge(1).await;
        scene.waits().await;
        // Another volume of this ledger, or of another one, at the same path is not it.
        let stranger = scene.path("stranger");
        fill(&stranger.join("one"), 1);
        let strange = Bind::new(&stranger, &root).unwrap();
        assert_eq!(scene.delete(3, "x").await, 503);
        scene.waits().await;
        drop(strange);
        let bind = Bind::new(&volume, &root).unwrap();
        assert_eq!(scene.purged(1).await, 3);
        assert_eq!(entries(&stranger.join("one")).len(), 1);
        // Hidden by something that is mounted over it, while the service holds on to nothing.
        let over = Bind::new(&stranger, &root).unwrap();
        scene.purge(2).await;
        scene.waits().await;
        drop(over);
        assert_eq!(scene.purged(2).await, 2);
        drop(bind);
    }

    async fn an_import_says_which_lines_name_a_root_that_is_away(backend: Backend) {
        let scene = Scene::start(backend).await;
        if backend == Backend::Embedded {
            assert_eq!(scene.server.terminate().await, 0);
        }
        let (root, away) = (scene.path("root"), scene.path("away"));
        fs::rename(&root, &away).unwrap();
        let line = |number: u8, storage: &[String]| {
            json!({"entity_type": "backups", "id": Scene::id(number), "name": "n", "storage": storage}).to_string()
        };
        let lines = format!("{}\n{}\n", line(1, &[uri(&root.join("one"))]), line(2, &[]));
        fs::write(scene.path("lines"), lines).unwrap();
        let file = scene.path("lines").display().to_string();
        let (code, _, told) = scene.run(&["import", &file]).await;
        assert_eq!(code, 1, "{told}");
        assert!(told.contains("line 1: storage[0] is refused: the storage root is unavailable at the moment"), "{told}");
        assert!(told.contains("imported 1, already there 0, rejected 1"), "{told}");
        fs::rename(&away, &root).unwrap();
        let (code, _, told) = scene.run(&["import", &file]).await;
        assert!(code == 0 && told.contains("imported 1, already there 1, rejected 0"), "{told}");
    }
}
