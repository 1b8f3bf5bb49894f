//! Local storage roots as the service meets them: two that are one, one that is not mounted, one that is somebody else's, and
//! mounts inside them.

mod first_use;
mod inside;
mod moved;
mod reach;

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::roots::{Bind, MARKER, entries};
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::storage::roots::known::{KnownRoot, Numbers};
use archive_ledger_domain::EntityType;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(60);

fn fill(path: &Path, files: usize) {
    fs::create_dir_all(path).unwrap();
    for number in 0..files {
        fs::write(path.join(number.to_string()), "0123456789").unwrap();
    }
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// A service with the storage root `root` in a directory of its own.
struct Scene {
    server: Server,
    home: TempDir,
    admin: String,
}

impl Scene {
    async fn start(backend: Backend) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("root")).unwrap();
        Self::start_in(backend, home, &[]).await
    }

    async fn start_in(backend: Backend, home: TempDir, args: &[&str]) -> Self {
        let mut builder =
            Server::builder(backend).env("ARCHIVE_LEDGER_STORAGE_ROOT", uri(&home.path().join("root")));
        for arg in args {
            builder = builder.arg(*arg);
        }
        let server = builder.start().await;
        let admin = server.token(&["--role", "admin"]).await;
        Self { server, home, admin }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn id(number: u8) -> String {
        format!("00000000-0000-4000-8000-0000000000{number:02}")
    }

    /// Soft-deletes the backup of that number, which stores at that place below the root; the answer's status.
    async fn delete(&self, number: u8, place: &str) -> u16 {
        let body =
            json!({"id": Self::id(number), "name": "n", "storage": [uri(&self.path("root").join(place))]});
        let answer = self
            .server
            .post("/api/admin/archived/backups", &self.admin, &body)
            .send()
            .await
            .unwrap();
        if answer.status() == 503 {
            assert!(answer.headers().contains_key("retry-after"));
            let body: Value = answer.json().await.unwrap();
            assert_eq!(body["error"]["id"], "temporaryFailure");
            return 503;
        }
        answer.status().as_u16()
    }

    async fn register(&self, id: &str, place: &str) -> u16 {
        let body = json!({"archiveId": id, "datasetId": "d", "spaceId": "s", "description": "",
            "storage": [uri(&self.path("root").join(place))]});
        let path = "/api/v3/oneprovider/archives";
        self.server
            .post(path, &self.admin, &body)
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    }

    async fn purge(&self, number: u8) {
        let path = format!("/api/admin/archived/backups/{}/purge", Self::id(number));
        assert_eq!(
            self.server
                .delete(&path, &self.admin)
                .send()
                .await
                .unwrap()
                .status(),
            200
        );
    }

    /// The one purge that is owed.
    async fn owed(&self) -> Option<Value> {
        let page = self
            .server
            .get("/api/admin/purges", &self.admin)
            .send()
            .await
            .unwrap();
        let page: Value = page.json().await.unwrap();
        page["items"].get(0).cloned()
    }

    async fn failed(&self) -> Value {
        eventually("the purge has failed", SOON, || async {
            let purge = self.owed().await?;
            (purge["state"] == "purge_failed" && purge["last_error"].is_string()).then_some(purge)
        })
        .await
    }

    async fn waits(&self) -> Value {
        eventually("the purge waits for its root", SOON, || async {
            let purge = self.owed().await?;
            let waits = purge["last_error"]
                .as_str()?
                .contains("the storage root is unavailable");
            waits.then_some(purge)
        })
        .await
    }

    async fn retry(&self, purge: &Value) {
        let path = format!("/api/admin/purges/{}/retry", purge["purge_id"].as_str().unwrap());
        let answer = self
            .server
            .request(Method::POST, &path, &self.admin)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
    }

    /// Waits until the purge is done; how many objects the log says it removed.
    async fn purged(&self, number: u8) -> u64 {
        let path = format!("/api/admin/archived/backups/{}", Self::id(number));
        eventually("the entity is purged", 2 * SOON, || async {
            (self.server.get(&path, &self.admin).send().await.unwrap().status() == 404).then_some(())
        })
        .await;
        let history = self
            .server
            .get(&format!("{path}/history"), &self.admin)
            .send()
            .await
            .unwrap();
        let history: Value = history.json().await.unwrap();
        let last = history["items"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["event"], "purged", "{history}");
        last["facts"]["objects"].as_u64().unwrap()
    }

    async fn readiness(&self) -> Value {
        let answer = self
            .server
            .client()
            .get(self.server.url("/readyz"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    async fn storage_is(&self, word: &str) {
        eventually("/readyz and /metrics show the root", SOON, || async {
            let metrics = self
                .server
                .client()
                .get(self.server.url("/metrics"))
                .send()
                .await
                .unwrap();
            let gauge = format!(
                "archive_ledger_storage_root_available{{root=\"1\"}} {}",
                u8::from(word == "ok")
            );
            let told = metrics.text().await.unwrap().contains(&gauge);
            (told && self.readiness().await["storage"] == word).then_some(())
        })
        .await;
    }

    async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.server.run_command(args).await;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    /// The answer of a start with these roots, which does not come to anything.
    async fn refused(&self, roots: &[String]) -> String {
        let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
        args.extend(roots.iter().flat_map(|root| ["--storage-root", root]));
        let (code, _, told) = self.run(&args).await;
        assert_eq!(code, 2, "{told}");
        told
    }
}

on_both_backends! {
    async fn roots_that_are_one_place_by_two_names_are_refused_at_start(backend: Backend) {
        let place = Place::new(backend).await;
        let home = tempfile::tempdir().unwrap();
        let path = |below: &str| home.path().join(below);
        fill(&path("a/b"), 1);
        symlink(path("a"), path("link")).unwrap();
        symlink("a/b", path("inner")).unwrap();
        let at = |below: &str| uri(&path(below));
        let mut pairs = vec![
            [at("a"), at("a")],
            [at("a"), format!("{}/", at("a"))],
            [at("a"), at("link")],
            [at("link"), at("inner")],
            [at("a"), at("a/b")],
            [at("a/b"), at("a")],
            ["s3://bucket/x".into(), "s3://bucket/x/".into()],
            ["s3://bucket".into(), "s3://bucket/x/y".into()],
            ["gs://bucket/x/y".into(), "gs://bucket/x".into()],
            ["az://container".into(), "az://container/".into()],
        ];
        fs::create_dir(path("again")).unwrap();
        let same = Bind::new(&path("a"), &path("again"));
        let below = Bind::new(&path("a/b"), &path("below"));
        if same.is_some() && below.is_some() {
            pairs.extend([[at("a"), at("again")], [at("below"), at("a")], [at("again"), at("below")]]);
        }
        for pair in pairs {
            let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
            args.extend(pair.iter().flat_map(|root| ["--storage-root", root]));
            let output = place.run(&args).await;
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{pair:?}: {told}");
            let last = told.lines().last().unwrap();
            assert!(last.contains("--storage-root"), "{told}");
            for root in &pair {
                assert!(last.contains(root.trim_end_matches('/')), "{root} is not named: {told}");
            }
        }
        assert!(!path("a").join(MARKER).exists() && !path("a/b").join(MARKER).exists());
    }

    async fn one_bucket_by_two_endpoints_is_refused_at_start(backend: Backend) {
        let place = Place::new(backend).await;
        for (more, roots) in [
            (vec!["--s3-endpoint", "https://storage.googleapis.com"], ["s3://bucket/x", "gs://bucket/x"]),
            (vec!["--s3-endpoint", "https://bucket.storage.googleapis.com"], ["gs://bucket/x", "s3://bucket"]),
            (vec!["--s3-endpoint", "http://127.0.0.1:9", "--gcs-endpoint", "http://127.0.0.1:9/"], ["s3://bucket/x/y", "gs://bucket/x"]),
        ] {
            let mut args = vec!["serve", "--listen", "127.0.0.1:0"];
            args.extend(&more);
            args.extend(roots.iter().flat_map(|root| ["--storage-root", *root]));
            let output = place.run(&args).await;
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{told}");
            let last = told.lines().last().unwrap();
            assert!(roots.iter().all(|root| last.contains(root)) && last.contains("--storage-root"), "{told}");
        }
    }

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

    async fn a_comparison_takes_no_root_into_use(backend: Backend) {
        let scene = Scene::start(backend).await;
        let other = scene.path("other");
        fill(&other, 1);
        let (code, _, told) = scene.run(&["reconcile", "--storage-root", &uri(&other)]).await;
        assert_eq!(code, 2, "{told}");
        assert!(told.contains("never used") && told.contains(&uri(&other)), "{told}");
        assert!(!other.join(MARKER).exists());
    }

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
            let known = opened.0.store.storage_roots().storage_roots().await.unwrap();
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
            assert_eq!(store.storage_roots().await.unwrap(), [stands]);
        }
        let other = KnownRoot { uri: "file:///srv/b%20c".into(), ..root(6, others) };
        store.remember_storage_root(&other, now).await.unwrap();
        assert_eq!(store.storage_roots().await.unwrap(), [root(3, None), other]);
        opened.close().await.unwrap();
    }
}
