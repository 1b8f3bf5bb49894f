//! Mounts inside an entity's folder, and the ledger's own files in it: no purge goes there.

use super::{Scene, fill};
use crate::harness::on_both_backends;
use crate::harness::roots::{Bind, entries};
use std::fs;

on_both_backends! {
    async fn a_purge_stops_at_whatever_is_mounted_inside_its_folder(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, outside) = (scene.path("root"), scene.path("outside"));
        fill(&root.join("one"), 2);
        fill(&root.join("one/deep/er"), 2);
        fill(&root.join("neighbour"), 1);
        fill(&outside, 3);
        fs::write(scene.path("file"), "precious").unwrap();
        let data = scene.server.data_dir();
        let binds: Vec<Option<Bind>> = [
            (outside.clone(), "one/deep/mount"),
            (root.join("neighbour"), "one/neighbour"),
            (data.clone(), "one/deep/er/data"),
            (scene.path("file"), "one/file"),
        ]
        .iter()
        .map(|(from, to)| Bind::new(from, &root.join(to)))
        .collect();
        if binds.iter().any(Option::is_none) {
            return;
        }
        let own = entries(&data);
        assert_eq!(scene.delete(1, "one").await, 201);
        scene.purge(1).await;
        let failed = scene.failed().await;
        let error = failed["last_error"].as_str().unwrap();
        assert!(error.contains("another file system is mounted at or inside the folder"), "{error}");
        assert_eq!((entries(&outside).len(), entries(&root.join("neighbour")).len()), (3, 1));
        assert_eq!(fs::read_to_string(scene.path("file")).unwrap(), "precious");
        assert!(own.iter().all(|file| data.join(file).exists() || file.contains("-")), "{own:?}");
        drop(binds);
        scene.retry(&failed).await;
        scene.purged(1).await;
        assert_eq!(entries(&root), ["neighbour"]);
        assert_eq!((entries(&outside).len(), entries(&root.join("neighbour")).len()), (3, 1));
    }

    async fn a_folder_that_is_itself_a_mount_is_refused_before_anything_is_deleted(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, outside) = (scene.path("root"), scene.path("outside"));
        fill(&outside.join("below"), 3);
        for (at, place) in [("one", "one"), ("two", "two/below")] {
            let number = 1 + u8::from(at == "two");
            assert_eq!(scene.delete(number, place).await, 201);
            let Some(bind) = Bind::new(&outside, &root.join(at)) else { return };
            scene.purge(number).await;
            let failed = scene.failed().await;
            let error = failed["last_error"].as_str().unwrap();
            assert!(error.contains("another file system is mounted"), "{error}");
            assert_eq!(failed["obligations"][0]["objects"], 0);
            assert_eq!(entries(&outside.join("below")).len(), 3);
            drop(bind);
            scene.retry(&failed).await;
            assert_eq!(scene.purged(number).await, 0);
        }
        assert_eq!(entries(&outside.join("below")).len(), 3);
    }

    async fn the_ledgers_own_files_stay_by_whatever_path_they_lie_in_the_folder(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let (keys, seen) = (home.path().join("root/one/keys"), home.path().join("seen"));
        fill(&keys, 2);
        let Some(_bind) = Bind::new(&keys, &seen) else { return };
        let files = ["keyring", "ledger-key"].map(|name| seen.join(name).display().to_string());
        let args = ["--keyring-file", &files[0], "--ledger-key-file", &files[1]];
        let scene = Scene::start_in(backend, home, &args).await;
        let keyring = fs::read(keys.join("keyring")).unwrap();
        // No path of theirs leads through the folder.
        assert_eq!(scene.delete(1, "one").await, 201);
        scene.purge(1).await;
        let failed = scene.failed().await;
        let error = failed["last_error"].as_str().unwrap();
        assert!(error.contains("the ledger's own data"), "{error}");
        assert_eq!(fs::read(keys.join("keyring")).unwrap(), keyring);
        assert!(keys.join("ledger-key").exists());
    }

    async fn a_mount_far_below_stays_where_it_is(backend: Backend) {
        let scene = Scene::start(backend).await;
        let (root, outside) = (scene.path("root"), scene.path("outside"));
        fill(&outside, 3);
        let deep = root.join("one").join(vec!["d"; 40].join("/"));
        fill(&deep, 2);
        let Some(bind) = Bind::new(&outside, &deep.join("mount")) else { return };
        assert_eq!(scene.delete(1, "one").await, 201);
        scene.purge(1).await;
        let failed = scene.failed().await;
        assert!(failed["last_error"].as_str().unwrap().contains("another file system is mounted"), "{failed}");
        assert_eq!(entries(&deep.join("mount")).len(), 3);
        drop(bind);
        scene.retry(&failed).await;
        scene.purged(1).await;
        assert_eq!((entries(&root), entries(&outside).len()), (vec![], 3));
    }
}
