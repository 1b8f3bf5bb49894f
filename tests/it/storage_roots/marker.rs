//! What a root is recognized by: its marker, or its folder's numbers.

use super::{Scene, fill, uri};
use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::on_both_backends;
use crate::harness::roots::{Bind, MARKER, entries};
use crate::harness::server::Backend;
use archive_ledger::storage::roots::known::{KnownRoot, Numbers};
use archive_ledger_domain::EntityType;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use uuid::Uuid;

on_both_backends! {
    async fn a_root_of_another_ledger_is_refused_at_start_and_unavailable_to_a_running_service(backend: Backend) {
        let scene = Scene::start(backend).await;
        let root = scene.path("root");
        fill(&root.join("one"), 1);
        assert_eq!(scene.delete(1, "one").await, 201);
        let other = Place::new(backend).await;
        let serve = ["serve", "--listen", "127.0.0.1:0", "--storage-root", &uri(&root)];
        let output = other.run(&serve).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        let last = told.lines().last().unwrap();
        assert!(last.contains(&uri(&root)) && last.contains("another ledger") && last.contains(MARKER), "{told}");

        let ours = fs::read_to_string(root.join(MARKER)).unwrap();
        let ledger = ours.lines().next().unwrap();
        assert!(told.contains(ledger), "{told}");
        let theirs = ours.replace(ledger, "6ba7b810-9dad-41d1-80b4-00c04fd430c8");
        for content in [&theirs, "", "6ba7b810-9dad-41d1-80b4-00c04fd430c8"] {
            fs::write(root.join(MARKER), content).unwrap();
            assert_eq!(scene.delete(2, "two").await, 503, "{content:?}");
        }
        fs::remove_file(root.join(MARKER)).unwrap();
        assert_eq!(scene.delete(2, "two").await, 503);
        symlink("one/0", root.join(MARKER)).unwrap();
        scene.purge(1).await;
        scene.waits().await;
        assert_eq!(entries(&root.join("one")), ["0"]);
        fs::remove_file(root.join(MARKER)).unwrap();
        fs::write(root.join(MARKER), &theirs).unwrap();
        if backend == Backend::Embedded {
            assert_eq!(scene.server.terminate().await, 0);
        }
        assert!(scene.refused(&[uri(&root)]).await.contains("another ledger"));
        fs::write(root.join(MARKER), &ours).unwrap();
        if backend == Backend::Embedded {
            scene.server.restart().await;
        }
        assert_eq!(scene.purged(1).await, 1);
    }

    async fn the_marker_is_no_object_and_cannot_be_named(backend: Backend) {
        let scene = Scene::start(backend).await;
        let root = scene.path("root");
        for place in [MARKER, ".ARCHIVE-LEDGER-ROOT", "%2Earchive-ledger-root", ".archive-ledger-root/x"] {
            assert_eq!(scene.delete(1, place).await, 400, "{place}");
        }
        fill(&root.join("one"), 1);
        assert_eq!(scene.delete(1, "one").await, 201);
        let (code, found, told) = scene.run(&["reconcile", "--format", "ndjson", "--unclaimed"]).await;
        assert_eq!(code, 0, "{told}");
        let summary: Value = serde_json::from_str(found.trim()).unwrap();
        assert_eq!((&summary["objects"], &summary["unclaimed"]), (&json!(1), &json!(0)), "{summary}");
    }

    async fn a_comparison_takes_no_root_into_use(backend: Backend) {
        let scene = Scene::start(backend).await;
        let other = scene.path("other");
        fill(&other, 1);
        let (code, _, told) = scene.run(&["reconcile", "--storage-root", &uri(&other)]).await;
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("never used") && told.contains(&uri(&other)), "{told}");
        assert!(!other.join(MARKER).exists());
    }

    async fn a_root_that_takes_no_marker_is_recognized_by_its_folder(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let (root, volume) = (home.path().join("root"), home.path().join("volume"));
        fill(&volume.join("one"), 3);
        let Some(bind) = Bind::read_only(&volume, &root) else { return };
        let scene = Scene::start_in(backend, home, &[]).await;
        assert!(!root.join(MARKER).exists());
        assert_eq!(scene.delete(1, "one").await, 201);
        drop(bind);
        assert_eq!(scene.delete(2, "two").await, 503);
        scene.purge(1).await;
        scene.waits().await;
        let bind = Bind::read_only(&volume, &root).unwrap();
        let failed = scene.failed().await;
        assert_eq!(entries(&root.join("one")).len(), 3);
        drop(bind);
        let bind = Bind::new(&volume, &root).unwrap();
        scene.retry(&failed).await;
        assert_eq!(scene.purged(1).await, 3);
        // From the next start on it has a marker, and that alone counts.
        scene.server.restart().await;
        let marker = fs::read_to_string(root.join(MARKER)).unwrap();
        fs::remove_file(root.join(MARKER)).unwrap();
        assert_eq!(scene.delete(2, "two").await, 503);
        fs::write(root.join(MARKER), marker).unwrap();
        assert_eq!(scene.delete(2, "two").await, 201);
        assert_eq!(scene.server.terminate().await, 0);
        drop(bind);
    }

    async fn instances_that_use_a_root_first_at_once_recognize_the_same(backend: Backend) {
        let mut place = Place::new(backend).await;
        let root = place.home().join("root");
        fs::create_dir(&root).unwrap();
        place.set("ARCHIVE_LEDGER_STORAGE_ROOT", &uri(&root));
        // Key files are another matter.
        place.open().await.close().await.unwrap();
        // What the ledger knows to be there shows that the folder is the root.
        fill(&root.join("one"), 1);
        for round in 0..5 {
            fs::remove_file(root.join(MARKER)).unwrap();
            place.tamper("DELETE FROM storage_roots").await;
            let opened = tokio::join!(place.open(), place.open(), place.open());
            let known = opened.0.store.storage_roots().storage_roots().await.unwrap().whole;
            let marker = fs::read_to_string(root.join(MARKER)).unwrap();
            assert_eq!((known.len(), marker), (1, format!("{}\n{}\n", opened.0.ledger_id, known[0].root_id)));
            for (number, opened) in [opened.0, opened.1, opened.2].into_iter().enumerate() {
                let key = entity(EntityType::Backups, 10 * round + number as u128);
                let mut request = deletion(key);
                request.storage = vec![uri(&root.join("one"))];
                opened.ledger.soft_delete(request, context()).await.unwrap();
                opened.close().await.unwrap();
            }
            assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
        }
    }

    async fn what_a_root_is_recognized_by_is_remembered_once_and_a_marker_takes_the_place_of_numbers(backend: Backend) {
        let place = Place::new(backend).await;
        let opened = place.open().await;
        let (store, now) = (opened.store.storage_roots(), opened.clock.now());
        let root = |id, numbers| KnownRoot { uri: "file:///srv/a".into(), root_id: Uuid::from_u128(id), numbers };
        let numbers = Some(Numbers { device: u64::MAX, inode: 1 << 63, born: Some(-1) });
        let others = Some(Numbers { device: 1, inode: 2, born: None });
        let steps = [
            (root(1, numbers), root(1, numbers)),
            (root(2, others), root(1, numbers)),
            (root(3, None), root(3, None)),
            (root(4, None), root(3, None)),
            (root(5, numbers), root(3, None)),
        ];
        for (told, stands) in steps {
            store.remember_storage_root(&told, now).await.unwrap();
            assert_eq!(store.storage_roots().await.unwrap().whole, [stands]);
        }
        let other = KnownRoot { uri: "file:///srv/b%20c".into(), ..root(6, others) };
        store.remember_storage_root(&other, now).await.unwrap();
        assert_eq!(store.storage_roots().await.unwrap().whole, [root(3, None), other]);
        opened.close().await.unwrap();
    }
}
