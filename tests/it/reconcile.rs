//! The storage compared with the ledger: the real binary, its findings, and what `--fix` touches.

mod damaged;

use crate::harness::described::Told as _;
use crate::harness::emulators::{Azurite, GcsEmulator};
use crate::harness::ledger::change;
use crate::harness::s3::S3;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use aws_sdk_s3::types::ObjectLockLegalHoldStatus as Hold;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

fn fill(path: &Path, files: usize) {
    std::fs::create_dir_all(path).unwrap();
    for number in 0..files {
        std::fs::write(path.join(number.to_string()), "0123456789").unwrap();
    }
}

/// A service, its storage root, and the administrator's token.
struct Scene {
    server: Server,
    root: String,
    admin: String,
}

impl Scene {
    async fn start(backend: Backend, root: String, env: Vec<(String, String)>) -> Self {
        let server = Server::builder(backend)
            .envs(env)
            .env("ARCHIVE_LEDGER_STORAGE_ROOT", root.clone())
            .start()
            .await;
        let admin = server.token(&["--role", "admin"]).await;
        Self { server, root, admin }
    }

    /// Soft-deletes the backup of that number, which stores at these places below the root.
    async fn delete(&self, number: u8, places: &[&str]) -> String {
        let id = format!("00000000-0000-4000-8000-0000000000{number:02}");
        let storage: Vec<String> = places
            .iter()
            .map(|place| format!("{}/{place}", self.root))
            .collect();
        let body = json!({"id": id, "name": "n", "storage": storage});
        let answer = self
            .server
            .post("/api/admin/archived/backups", &self.admin, &body)
            .told()
            .await;
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        id
    }

    async fn purge(&self, id: &str) {
        let path = format!("/api/admin/archived/backups/{id}");
        let asked = self
            .server
            .delete(&format!("{path}/purge"), &self.admin)
            .told()
            .await;
        assert_eq!(asked.status(), 200);
    }

    async fn gone(&self, id: &str) {
        let path = format!("/api/admin/archived/backups/{id}");
        eventually("the entity is purged", SOON, || async {
            let answer = self.server.get(&path, &self.admin).told().await;
            (answer.status() == 404).then_some(())
        })
        .await;
    }

    async fn restore(&self, id: &str) {
        let path = format!("/api/admin/archived/backups/{id}/restore");
        let asked = self.server.post(&path, &self.admin, &json!({})).told().await;
        assert_eq!(asked.status(), 200);
    }

    async fn purged(&self, id: &str) {
        self.purge(id).await;
        self.gone(id).await;
    }

    async fn run(&self, args: &[&str]) -> Output {
        self.server.run_command(&[&["reconcile"], args].concat()).await
    }

    /// The findings, without the summary; the summary; the exit code.
    async fn told(&self, args: &[&str]) -> (Vec<Value>, Value, i32) {
        let output = self.run(&[&["--format", "ndjson"], args].concat()).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let summary = lines
            .pop()
            .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(summary["kind"], "summary");
        (lines, summary, output.status.code().unwrap())
    }

    /// Where `--fix` may run: an embedded ledger that nobody serves.
    async fn stop_if_embedded(&self) {
        match self.server.backend() {
            Backend::Embedded => assert_eq!(self.server.terminate().await, 0),
            Backend::Clustered => {}
        }
    }
}

/// The findings of one kind as (id, storage, uri below the root, objects).
fn of(kind: &str, root: &str, found: &[Value]) -> Vec<(String, u64, String, u64)> {
    let mut found: Vec<_> = found
        .iter()
        .filter(|finding| finding["kind"] == kind)
        .map(|finding| {
            let uri = finding["uri"].as_str().unwrap();
            let below = uri
                .strip_prefix(root)
                .unwrap_or_else(|| panic!("{uri} is not below {root}"));
            (
                finding["id"].as_str().unwrap_or("").to_owned(),
                finding["storage"].as_u64().unwrap_or(0),
                below.to_owned(),
                finding["objects"].as_u64().unwrap_or(0),
            )
        })
        .collect();
    found.sort();
    found
}

on_both_backends! {
    async fn what_is_missing_and_what_is_left_is_told_and_only_what_is_left_is_deleted(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        for (place, files) in [("kept", 2), ("lost", 1), ("done", 3), ("around", 1), ("around/inside", 2), ("nobody", 4)] {
            fill(&root.join(place), files);
        }
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        scene.delete(1, &["kept"]).await;
        let lost = scene.delete(2, &["kept/0", "lost"]).await;
        let done = scene.delete(3, &["done", "done-two"]).await;
        let around = scene.delete(4, &["around"]).await;
        for id in [&done, &around] {
            scene.purge(id).await;
        }
        for id in [&done, &around] {
            scene.gone(id).await;
        }
        let (found, summary, code) = scene.told(&[]).await;
        assert_eq!((found, code), (Vec::new(), 0), "{summary}");
        assert_eq!((&summary["entities"], &summary["purged"], &summary["unclaimed"]), (&json!(2), &json!(3), &json!(4)));

        std::fs::remove_dir_all(root.join("lost")).unwrap();
        fill(&root.join("done/deep"), 2);
        fill(&root.join("done-sibling"), 1);
        fill(&root.join("around"), 1);
        fill(&root.join("around/inside"), 2);
        // Somebody stores inside a place that was purged.
        scene.delete(5, &["around/inside"]).await;

        let (found, summary, code) = scene.told(&["--unclaimed"]).await;
        assert_eq!(code, 3, "{summary}");
        assert_eq!(of("missing", &scene.root, &found), [(lost.clone(), 2, "/lost".to_owned(), 0)]);
        let leftovers = [(done.clone(), 1, "/done".to_owned(), 2), (around.clone(), 1, "/around".to_owned(), 1)];
        assert_eq!(of("leftover", &scene.root, &found), leftovers);
        let unclaimed = [("/done-sibling", 1), ("/nobody", 4)].map(|(place, count)| (String::new(), 0, place.to_owned(), count));
        assert_eq!(of("unclaimed", &scene.root, &found), unclaimed);
        let table = scene.run(&[]).await;
        let text = String::from_utf8(table.stdout).unwrap();
        assert_eq!(table.status.code(), Some(3));
        assert!(text.starts_with("KIND ") && text.contains(&format!("backups/{done}")) && text.lines().count() == 5, "{text}");

        if scene.server.backend() == Backend::Embedded {
            let refused = scene.run(&["--fix"]).await;
            let line = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(refused.status.code(), Some(2), "{line}");
            assert!(line.contains("another process serves this ledger"), "{line}");
            assert!(root.join("done/deep").exists());
        }
        scene.stop_if_embedded().await;
        let (found, summary, code) = scene.told(&["--fix"]).await;
        assert_eq!((code, &summary["fixed"], &summary["leftover"]), (1, &json!(1), &json!(1)), "{found:?}");
        let kept: Vec<&Value> = found.iter().filter(|finding| finding["fixed"] == false).collect();
        assert_eq!(kept[0]["error"], "an entity that is not purged stores there too");
        assert!(!root.join("done").exists());
        for (place, files) in [("kept", 2), ("done-sibling", 1), ("around", 2), ("around/inside", 2), ("nobody", 4)] {
            assert_eq!(std::fs::read_dir(root.join(place)).unwrap().count(), files, "{place}");
        }
        std::fs::remove_file(root.join("around/0")).unwrap();
        fill(&root.join("lost"), 1);
        let (found, _, code) = scene.told(&["--fix"]).await;
        assert_eq!((found, code), (Vec::new(), 0));
    }

    async fn an_entity_that_cannot_be_read_is_told_and_stops_nothing(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        let places = ["a", "b", "c", "d", "e", "f"];
        for place in places {
            fill(&root.join(place), 1);
        }
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let mut ids = Vec::new();
        for (number, place) in (1..).zip(places) {
            ids.push(scene.delete(number, &[place]).await);
        }
        scene.purged(&ids[4]).await;
        scene.stop_if_embedded().await;
        std::fs::remove_dir_all(root.join("d")).unwrap();
        fill(&root.join("e"), 2);
        let stream = |at: usize| format!("backups:{}", ids[at]);
        let blank = match backend {
            Backend::Embedded => "x'00'",
            Backend::Clustered => "'\\x00'",
        };
        for statement in [
            // Its key, its details, its history, its very name.
            format!("UPDATE entities SET wrapped = {blank} WHERE aggregate_id = '{}'", stream(0)),
            format!("UPDATE events SET sealed = {blank} WHERE aggregate_id = '{}'", stream(1)),
            format!("UPDATE events SET payload = '{{}}' WHERE aggregate_id = '{}'", stream(2)),
            format!("INSERT INTO entities SELECT 'ghosts:1', first_position, key_id, kek_id, wrapped, erased_at FROM entities WHERE aggregate_id = '{}'", stream(3)),
        ] {
            let changed = change(scene.server.database_url(), &scene.server.data_dir(), &statement).await;
            assert_eq!(changed, 1, "{statement}");
        }
        let expected: Vec<Value> = [Value::from("ghosts:1")].into_iter().chain(ids[..3].iter().map(|id| json!(id))).collect();
        let check = |found: &[Value]| {
            let mut told: Vec<Value> = found.iter().filter(|one| one["kind"] == "unchecked").map(|one| one["id"].clone()).collect();
            told.sort_by_key(|id| !id.as_str().unwrap().starts_with("ghosts"));
            assert_eq!(told, expected, "{found:?}");
            assert_eq!(of("missing", &scene.root, found), [(ids[3].clone(), 1, "/d".to_owned(), 0)]);
        };
        let (found, summary, code) = scene.told(&[]).await;
        check(&found);
        assert_eq!(of("leftover", &scene.root, &found), [(ids[4].clone(), 1, "/e".to_owned(), 2)]);
        assert_eq!((code, &summary["failed"]), (1, &json!(4)), "{summary}");
        // What could be told is put right all the same, and what nobody can tell is not touched.
        let (found, summary, code) = scene.told(&["--fix"]).await;
        check(&found);
        assert_eq!((code, &summary["fixed"]), (1, &json!(1)), "{found:?}");
        assert!(!root.join("e").exists());
        for place in ["a", "b", "c", "f"] {
            assert!(root.join(place).join("0").exists(), "{place}");
        }
    }

    async fn what_a_forced_purge_gave_up_is_recognized_and_can_be_removed_later(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let (root, aside) = (home.path().join("root"), home.path().join("aside"));
        fill(&root.join("stuck"), 3);
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let id = scene.delete(1, &["stuck"]).await;
        std::fs::rename(root.join("stuck"), &aside).unwrap();
        symlink(&aside, root.join("stuck")).unwrap();
        scene.purge(&id).await;
        let purge_id = eventually("the purge has failed", SOON, || async {
            let page = scene.server.get("/api/admin/purges?state=failed", &scene.admin).told().await;
            let page: Value = page.json().await.unwrap();
            page["items"][0]["purge_id"].as_str().map(str::to_owned)
        })
        .await;
        let force = format!("/api/admin/purges/{purge_id}/force");
        let forced = scene.server.post(&force, &scene.admin, &json!({"reason": "r"})).told().await;
        assert_eq!(forced.status(), 200);
        std::fs::remove_file(root.join("stuck")).unwrap();
        std::fs::rename(&aside, root.join("stuck")).unwrap();
        let (found, _, code) = scene.told(&[]).await;
        assert_eq!(of("leftover", &scene.root, &found), [(id, 1, "/stuck".to_owned(), 3)]);
        assert_eq!((code, &found[0]["given_up"], &found[0]["purge_id"]), (3, &json!(true), &json!(purge_id)));
        scene.stop_if_embedded().await;
        let (found, _, code) = scene.told(&["--fix"]).await;
        assert_eq!((code, &found[0]["fixed"]), (0, &json!(true)), "{found:?}");
        assert!(!root.join("stuck").exists());
    }

    async fn what_a_restore_left_is_told_and_never_deleted(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        for (place, files) in [("first", 2), ("second", 1), ("again", 1), ("lives", 1), ("old", 1), ("other", 1)] {
            fill(&root.join(place), files);
        }
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let moved = scene.delete(1, &["first"]).await;
        scene.restore(&moved).await;
        // Restored, and not deleted again: what it was deleted with is its own.
        let (found, summary, code) = scene.told(&[]).await;
        assert_eq!((found, code), (Vec::new(), 0), "{summary}");
        scene.delete(1, &["second"]).await;
        let again = scene.delete(2, &["again"]).await;
        scene.restore(&again).await;
        scene.delete(2, &["again"]).await;
        let lives = scene.delete(3, &["lives"]).await;
        scene.restore(&lives).await;
        let expected = [(moved.clone(), 0, "/first".to_owned(), 2)];
        let (found, summary, code) = scene.told(&[]).await;
        assert_eq!((of("left_by_restore", &scene.root, &found), found.len(), code), (expected.to_vec(), 1, 3), "{summary}");
        assert_eq!(found[0]["type"], "backups");

        // The entity's key is gone with its purge, and what it left is recognized all the same.
        for id in [&moved, &again] {
            scene.purged(id).await;
        }
        assert!(root.join("first").exists() && !root.join("second").exists() && !root.join("again").exists());
        fill(&root.join("again"), 1);
        let (found, summary, code) = scene.told(&[]).await;
        assert_eq!((of("left_by_restore", &scene.root, &found), code), (expected.to_vec(), 3), "{summary}");
        // What it was deleted with in the end, a purge has ordered to be deleted.
        assert_eq!(of("leftover", &scene.root, &found), [(again.clone(), 1, "/again".to_owned(), 1)]);
        let table = String::from_utf8(scene.run(&[]).await.stdout).unwrap();
        assert!(table.contains("left_by_restore") && table.contains("1 left by restores"), "{table}");

        // A purge before the restore has no say in what was left after it; one after it has.
        let before = scene.delete(4, &["old"]).await;
        scene.purged(&before).await;
        fill(&root.join("old"), 3);
        let later = scene.delete(5, &["old"]).await;
        scene.restore(&later).await;
        scene.delete(5, &["other"]).await;
        scene.purged(&later).await;
        scene.stop_if_embedded().await;
        let (found, summary, code) = scene.told(&["--fix"]).await;
        let left = [(moved.clone(), 0, "/first".to_owned(), 2), (later.clone(), 0, "/old".to_owned(), 3)];
        assert_eq!((of("left_by_restore", &scene.root, &found), code), (left.to_vec(), 3), "{summary}");
        assert_eq!((&summary["left_by_restore"], &summary["fixed"]), (&json!(2), &json!(1)));
        for (place, files) in [("first", 2), ("old", 3), ("lives", 1)] {
            assert_eq!(std::fs::read_dir(root.join(place)).unwrap().count(), files, "{place}");
        }
        scene.server.restart().await;
        let owner = scene.delete(6, &["first/"]).await;
        let (found, _, _) = scene.told(&[]).await;
        assert_eq!(of("left_by_restore", &scene.root, &found), left[1..]);
        scene.purged(&owner).await;
        fill(&root.join("first"), 1);
        let (found, _, _) = scene.told(&[]).await;
        assert_eq!(of("left_by_restore", &scene.root, &found), left[1..]);
        assert_eq!(of("leftover", &scene.root, &found), [(owner, 1, "/first".to_owned(), 1)]);
    }

    async fn a_root_that_is_away_is_trouble_and_not_an_empty_one(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fill(&root.join("kept"), 1);
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        scene.delete(1, &["kept"]).await;
        std::fs::rename(&root, home.path().join("away")).unwrap();
        let refused = scene.run(&[]).await;
        let line = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{line}");
        assert!(line.contains("--storage-root"), "{line}");
        assert!(refused.stdout.is_empty());
    }

    async fn objects_in_s3_are_compared_by_key_with_every_version(backend: Backend) {
        let s3 = S3::shared().await;
        let bucket = s3.create_versioned_bucket().await;
        for key in ["root/kept/1", "root/done", "root/done/1", "root/folder/1", "root/nobody/1"] {
            s3.put(&bucket, key, b"0123456789").await;
        }
        let scene = Scene::start(backend, format!("s3://{bucket}/root"), s3.env()).await;
        scene.delete(1, &["kept/"]).await;
        let lost = scene.delete(2, &["never"]).await;
        let done = scene.delete(3, &["done", "folder/"]).await;
        scene.purge(&done).await;
        scene.gone(&done).await;
        for key in ["root/done", "root/done/1", "root/done/1", "root/done-sibling", "root/folder/x/1", "root/folder"] {
            s3.put(&bucket, key, b"0123456789").await;
        }
        let (found, summary, code) = scene.told(&["--unclaimed"]).await;
        assert_eq!(code, 3, "{summary}");
        assert_eq!(of("missing", &scene.root, &found), [(lost, 1, "/never".to_owned(), 0)]);
        let leftovers = [(1, "/done", 1), (1, "/done", 2), (2, "/folder/", 1)];
        let leftovers = leftovers.map(|(storage, place, count)| (done.clone(), storage, place.to_owned(), count));
        assert_eq!(of("leftover", &scene.root, &found), leftovers);
        scene.stop_if_embedded().await;
        let (found, _, code) = scene.told(&["--fix"]).await;
        assert_eq!(code, 3, "{found:?}");
        assert!(found.iter().all(|finding| finding["kind"] == "missing" || finding["fixed"] == true), "{found:?}");
        let left = s3.keys(&bucket, "").await;
        assert_eq!(left, ["root/done-sibling", "root/folder", "root/kept/1", "root/nobody/1"]);
        assert_eq!(s3.versions(&bucket, "root/done/").await, 0);
    }

    async fn blobs_in_google_cloud_storage_and_azure_are_purged_and_compared_by_name(backend: Backend) {
        const BLOBS: [&str; 5] = ["root/kept/1", "root/done/1", "root/done/a//b", "root/done/a b%+é", "root/nobody/1"];
        const WRITTEN: [&str; 4] = ["root/done", "root/done/x//y", "root/done-sibling/1", "root/done/é"];
        let (gcs, azure) = (GcsEmulator::start("archive").await, Azurite::start().await);
        azure.create_container("archive").await;
        for cloud in ["gs", "az"] {
            let put = async |names: &[&str]| {
                for name in names {
                    match cloud {
                        "gs" => gcs.put("archive", name, b"0123456789").await,
                        _ => azure.put("archive", name, b"0123456789").await,
                    }
                }
            };
            put(&BLOBS).await;
            let env = if cloud == "gs" { gcs.env() } else { azure.env() };
            let scene = Scene::start(backend, format!("{cloud}://archive/root"), env).await;
            scene.delete(1, &["kept/"]).await;
            let lost = scene.delete(2, &["never"]).await;
            let done = scene.delete(3, &["done"]).await;
            scene.purge(&done).await;
            scene.gone(&done).await;
            put(&WRITTEN).await;
            let (found, summary, code) = scene.told(&["--unclaimed"]).await;
            assert_eq!(code, 3, "{cloud}: {summary}");
            assert_eq!(of("missing", &scene.root, &found), [(lost, 1, "/never".to_owned(), 0)], "{cloud}");
            let left = of("leftover", &scene.root, &found);
            let objects: u64 = left.iter().map(|(id, storage, _, objects)| {
                assert_eq!((id, *storage), (&done, 1), "{cloud}: {left:?}");
                objects
            }).sum();
            assert_eq!(objects, 3, "{cloud}: {left:?}");
            let unclaimed = ["/done-sibling", "/nobody"].map(|place| (String::new(), 0, place.to_owned(), 1));
            let told: Vec<_> = of("unclaimed", &scene.root, &found)
                .into_iter()
                .map(|(id, storage, place, objects)| (id, storage, place.trim_end_matches('/').to_owned(), objects))
                .collect();
            assert_eq!(told, unclaimed, "{cloud}");
            scene.stop_if_embedded().await;
            let (found, _, code) = scene.told(&["--fix"]).await;
            assert_eq!(code, 3, "{cloud}: {found:?}");
            assert!(found.iter().all(|finding| finding["kind"] == "missing" || finding["fixed"] == true), "{cloud}: {found:?}");
            let (found, summary, _) = scene.told(&["--unclaimed"]).await;
            assert_eq!(of("leftover", &scene.root, &found), [], "{cloud}");
            assert_eq!((&summary["unclaimed"], &summary["missing"]), (&json!(2), &json!(1)), "{cloud}: {summary}");
        }
    }

    async fn an_object_under_a_legal_hold_is_given_up_by_force_and_removed_once_the_hold_is_off(backend: Backend) {
        let s3 = S3::shared().await;
        let bucket = s3.create_lockable_bucket().await;
        for key in ["root/entity/free", "root/entity/held"] {
            s3.put(&bucket, key, b"0123456789").await;
        }
        s3.hold(&bucket, "root/entity/held", Hold::On).await;
        let scene = Scene::start(backend, format!("s3://{bucket}/root"), s3.env()).await;
        let id = scene.delete(1, &["entity"]).await;
        scene.purge(&id).await;
        let failed = eventually("the purge has failed", SOON, || async {
            let page = scene.server.get("/api/admin/purges?state=failed", &scene.admin).told().await;
            let page: Value = page.json().await.unwrap();
            page["items"].get(0).filter(|purge| purge["last_error"].is_string()).cloned()
        })
        .await;
        let error = failed["last_error"].as_str().unwrap();
        assert!(error.contains("objects are under Object Lock: 1 remain"), "{error}");
        let force = format!("/api/admin/purges/{}/force", failed["purge_id"].as_str().unwrap());
        let forced = scene.server.post(&force, &scene.admin, &json!({"reason": "held by the court"})).told().await;
        assert_eq!(forced.status(), 200);
        scene.gone(&id).await;
        let path = format!("/api/admin/archived/backups/{id}/history");
        let history: Value = scene.server.get(&path, &scene.admin).told().await.json().await.unwrap();
        let [.., event, end] = &history["items"].as_array().unwrap()[..] else { panic!("{history}") };
        let owed = json!([{"ordinal": 1, "skipped": true, "objects": 1, "bytes": 10}]);
        assert_eq!((&event["event"], &event["facts"]["obligations"]), (&json!("purge_forced"), &owed));
        assert_eq!((&end["facts"]["forced"], &end["facts"]["skipped"]), (&json!(true), &json!(1)));
        assert_eq!(s3.keys(&bucket, "").await, ["root/entity/held"]);

        scene.stop_if_embedded().await;
        let (found, _, code) = scene.told(&["--fix"]).await;
        assert_eq!((code, &found[0]["given_up"], &found[0]["fixed"]), (1, &json!(true), &json!(false)), "{found:?}");
        s3.hold(&bucket, "root/entity/held", Hold::Off).await;
        let (found, _, code) = scene.told(&["--fix"]).await;
        assert_eq!((code, &found[0]["fixed"]), (0, &json!(true)), "{found:?}");
        assert_eq!(s3.versions(&bucket, "").await, 0);
    }
}
