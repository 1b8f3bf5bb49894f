//! Storage that more than one entity names: whoever is purged takes nothing from the others.

use super::s3_store;
use super::world::{OPTIONS, SOON, World, context, fill, run};
use crate::harness::described::Told as _;
use crate::harness::emulators::{Azurite, GcsEmulator};
use crate::harness::receiver::Receiver;
use crate::harness::s3::S3;
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::purge::CleanupOptions;
use archive_ledger::purge::operator::{Retried, RetryError};
use archive_ledger::store::claims::Whom;
use archive_ledger_domain::{EntityKey, State};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpListener;

const ONE_OTHER: &str = "1 other claims a place in, around or at it";

/// What lies in a folder, save for the mark that tells a storage root.
fn files(folder: &Path) -> usize {
    let others = |entry: &std::io::Result<std::fs::DirEntry>| {
        entry
            .as_ref()
            .is_ok_and(|entry| entry.file_name() != ".archive-ledger-root")
    };
    std::fs::read_dir(folder).map_or(0, |entries| entries.filter(others).count())
}

/// Asks for the purge again, until it is over.
async fn retried(world: &World, key: &EntityKey) {
    let owed = world.ledger.load(key).await.unwrap().0.purge_id().unwrap();
    let again = world.cleanup().purges().retry(owed, context()).await.unwrap();
    assert!(matches!(again, Retried::RequestedAgain(_)), "{again:?}");
    world.deliver().await;
    world.reaches(key, State::Purged).await;
    world.idle().await;
}

on_both_backends! {
    async fn a_purge_leaves_what_somebody_else_names_in_around_or_at_its_place(backend: Backend) {
        let world = World::start(backend).await;
        let worker = world.run();
        // The purged one's place, the other's, and where both have files.
        for (number, (mine, theirs)) in [
            ("same", "same"), ("same", "same/"), ("a b", "a%20b"), ("par", "par/child"), ("par/child", "par"),
            ("x/y/z/deep", "x"), ("%C3%BC", "ü/"),
        ].into_iter().enumerate() {
            let base = world.home().join("root").join(number.to_string());
            let plain = |name: &str| PathBuf::from(name.trim_end_matches('/').replace("%20", " ").replace("%C3%BC", "ü"));
            let (here, there) = (base.join(plain(mine)), base.join(plain(theirs)));
            fill(&here, 2);
            fill(&there, 2);
            let (before, sibling) = ((files(&here), files(&there)), base.join("sibling"));
            fill(&sibling, 3);
            let uri = |name: &str| format!("file://{}/{name}", base.display());
            let purged = world.archive(&[&uri("sibling"), &uri(mine)]).await;
            let other = world.archive(&[&uri(theirs)]).await;
            let purge_id = world.purge(&purged).await;
            world.deliver().await;
            world.reaches(&purged, State::PurgeFailed).await;
            world.idle().await;
            assert_eq!(world.failures(&purged).await, [format!("storage 2 of 2: {ONE_OTHER}")], "{mine} {theirs}");
            // What is nobody else's is gone, and the rest as it was.
            assert!(!sibling.exists() && (files(&here), files(&there)) == before, "{mine} {theirs}");
            let job = world.status(purge_id).await.job.unwrap();
            assert_eq!(job.obligations[1].last_error.as_deref(), Some(ONE_OTHER));
            assert_eq!(job.obligations[0].objects, 3);

            // The other one restored: it names nothing any more.
            world.ledger.restore(other.clone(), context()).await.unwrap();
            retried(&world, &purged).await;
            assert!(!here.exists(), "{mine} {theirs}");
            assert_eq!(world.state(&other).await, State::Live);
        }
        worker.end().await;
    }

    async fn the_last_one_that_is_purged_takes_the_objects_with_it(backend: Backend) {
        let world = World::start(backend).await;
        let worker = world.run();
        let (path, uri) = world.folder("same", 3);
        let keys = [world.archive(&[&uri]).await, world.archive(&[&uri]).await, world.archive(&[&uri]).await];
        for (number, key) in keys.iter().enumerate() {
            assert!(path.exists());
            world.purge(key).await;
            world.deliver().await;
            let last = number == 2;
            world.reaches(key, if last { State::Purged } else { State::PurgeFailed }).await;
        }
        world.idle().await;
        assert!(!path.exists());
        assert_eq!(world.failures(&keys[0]).await, ["storage 1 of 1: 2 others claim a place in, around or at it"]);
        // Those that are being purged themselves are in nobody's way.
        assert_eq!(world.failures(&keys[1]).await, [format!("storage 1 of 1: {ONE_OTHER}")]);
        for key in &keys[..2] {
            retried(&world, key).await;
            assert_eq!(world.purged(key).await, [(0, 0)]);
        }
        worker.end().await;
        let asked = world.ledger.claimants(&keys[0], &[uri], Whom::All, 9).await.unwrap();
        assert_eq!((asked.count, asked.complete), (0, true));
    }

    async fn purges_that_overlap_and_run_at_the_same_moment_all_end(backend: Backend) {
        let world = World::start(backend).await;
        let mut keys = Vec::new();
        for number in 0..12 {
            let (top, top_uri) = world.folder(&format!("{number}"), 60);
            for name in ["child", "child/deeper", "other"] {
                fill(&top.join(name), 60);
            }
            for inner in ["", "/", "/child", "/child/deeper", "/other/"] {
                keys.push(world.archive(&[&format!("{top_uri}{inner}")]).await);
            }
        }
        for key in &keys {
            world.purge(key).await;
        }
        let options = CleanupOptions { concurrency: 16, ..OPTIONS };
        let workers = [1, 2].map(|_| run(&world.cleanup_over(world.jobs.clone(), options)));
        world.deliver().await;
        join_all(keys.iter().map(|key| world.reaches(key, State::Purged))).await;
        world.idle().await;
        for worker in workers {
            worker.end().await;
        }
        assert_eq!(files(&world.home().join("root")), 0);
        for key in &keys {
            assert_eq!(world.failures(key).await, [""; 0]);
        }
    }

    async fn an_entity_is_not_in_its_own_way(backend: Backend) {
        let world = World::start(backend).await;
        let worker = world.run();
        let (path, uri) = world.folder("own", 2);
        fill(&path.join("inner"), 1);
        let key = world.archive(&[&uri, &format!("{uri}/"), &format!("{uri}/inner"), &uri]).await;
        // Named before, undone and named again.
        world.ledger.restore(key.clone(), context()).await.unwrap();
        world.archive_again(&key, &[&format!("{uri}/inner"), &uri]).await;
        world.purge(&key).await;
        world.deliver().await;
        world.reaches(&key, State::Purged).await;
        world.idle().await;
        worker.end().await;
        assert!(!path.exists());
        assert_eq!(world.purged(&key).await, [(3, 30)]);
    }

    async fn what_is_claimed_while_it_is_being_cleaned_is_let_alone_from_then_on(backend: Backend) {
        // Accepts connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let world = World::with_s3(backend, Some(("bucket", s3_store(&endpoint)))).await;
        let purged = world.archive(&["s3://bucket/root/a/b"]).await;
        world.purge(&purged).await;
        world.deliver().await;
        let options = CleanupOptions { heartbeat: Duration::from_millis(50), ..OPTIONS };
        let worker = run(&world.cleanup_over(world.jobs.clone(), options));
        silent.accept().await.unwrap();
        assert_eq!(world.state(&purged).await, State::Purging);
        world.archive(&["s3://bucket/root/a/b/c/d"]).await;
        world.reaches(&purged, State::PurgeFailed).await;
        worker.end().await;
        assert_eq!(world.failures(&purged).await, [format!("storage 1 of 1: {ONE_OTHER}")]);
    }

    async fn nothing_is_cleaned_as_long_as_nobody_can_say_what_is_claimed(backend: Backend) {
        let world = World::start(backend).await;
        let (path, uri) = world.folder("one", 2);
        let key = world.archive(&[&uri]).await;
        let kept = world.archive(&[&format!("{uri}/0")]).await;
        world.forget_claims().await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        eventually("the purge waits", SOON, || async {
            let job = world.status(purge_id).await.job.unwrap();
            (job.last_error.as_deref() == Some("it is not known yet what storage is claimed")).then_some(())
        })
        .await;
        assert_eq!((files(&path), world.state(&key).await), (2, State::Purging));
        archive_ledger::claims::complete(&*world.claims, &world.keyring).await.unwrap();
        world.advance(Duration::from_secs(10));
        world.reaches(&key, State::PurgeFailed).await;
        assert_eq!((files(&path), world.state(&kept).await), (2, State::Archived));
        worker.end().await;
    }

    async fn a_forced_purge_lets_go_of_what_it_shared(backend: Backend) {
        let world = World::start(backend).await;
        let worker = world.run();
        let (path, uri) = world.folder("same", 2);
        let (purged, kept) = (world.archive(&[&uri]).await, world.archive(&[&uri]).await);
        let purge_id = world.purge(&purged).await;
        world.deliver().await;
        world.reaches(&purged, State::PurgeFailed).await;
        world.idle().await;
        let forced = world.cleanup().purges().force(purge_id, "shared".into(), context()).await;
        forced.unwrap();
        assert!(matches!(
            world.cleanup().purges().retry(purge_id, context()).await,
            Err(RetryError::NotOwed)
        ));
        assert_eq!(files(&path), 2);
        let asked = world.ledger.claimants(&kept, std::slice::from_ref(&uri), Whom::All, 9).await.unwrap();
        assert_eq!(asked.count, 0);
        world.purge(&kept).await;
        world.deliver().await;
        world.reaches(&kept, State::Purged).await;
        worker.end().await;
        assert!(!path.exists());
    }

    async fn shared_objects_of_every_cloud_stay_as_long_as_somebody_has_them(backend: Backend) {
        let (s3, gcs, azure) = (S3::shared().await, GcsEmulator::start("archive").await, Azurite::start().await);
        azure.create_container("archive").await;
        let bucket = s3.create_versioned_bucket().await;
        for cloud in ["s3", "gs", "az"] {
            let (root, env) = match cloud {
                "s3" => (format!("s3://{bucket}/root"), s3.env()),
                "gs" => ("gs://archive/root".to_owned(), gcs.env()),
                _ => ("az://archive/root".to_owned(), azure.env()),
            };
            for key in ["root/k", "root/k/1", "root/k/in/2", "root/k-sibling/1"] {
                match cloud {
                    "s3" => s3.put(&bucket, key, b"0123456789").await,
                    "gs" => gcs.put("archive", key, b"0123456789").await,
                    _ => azure.put("archive", key, b"0123456789").await,
                }
            }
            let scene = Scene::start(backend, root.clone(), env).await;
            // `k` is the object and the folder, `k/` the folder only: whoever has one of them is in the other's way.
            let whole = scene.delete(1, &["k"]).await;
            let folder = scene.delete(2, &["%6B/"]).await;
            let inner = scene.delete(3, &["k/in"]).await;
            let sibling = scene.delete(4, &["k-sibling"]).await;
            for (id, others) in [(&whole, 2), (&folder, 2), (&inner, 2), (&sibling, 0)] {
                let shown = scene.shown(id).await;
                assert_eq!(shown.get("storage_shared"), (others > 0).then_some(&json!(true)), "{cloud}: {shown}");
                assert_eq!(shown["storage_shared_with"].as_array().map_or(0, Vec::len), others, "{cloud}: {shown}");
            }
            scene.purge(&sibling).await;
            scene.gone(&sibling).await;
            scene.purge(&inner).await;
            let failed = scene.failed(&inner).await;
            assert_eq!(failed["last_error"], "storage 1 of 1: 2 others claim a place in, around or at it", "{cloud}");
            assert!(failed["obligations"][0]["failed_at"].as_str().unwrap().ends_with("k/in"), "{cloud}: {failed}");
            scene.purge(&folder).await;
            let failed = scene.failed(&folder).await;
            assert_eq!(failed["last_error"], format!("storage 1 of 1: {ONE_OTHER}"), "{cloud}");
            assert_eq!(failed["storage_shared_with"], json!([{"type": "backups", "id": whole}]), "{cloud}");
            scene.purge(&whole).await;
            scene.gone(&whole).await;
            for id in [&folder, &inner] {
                let purge_id = scene.failed(id).await["purge_id"].as_str().unwrap().to_owned();
                let retry = format!("/api/admin/purges/{purge_id}/retry");
                let asked = scene.server.post(&retry, &scene.admin, &json!({})).told().await;
                assert_eq!(asked.status(), 202);
                scene.gone(id).await;
            }
            if cloud == "s3" {
                assert_eq!(s3.versions(&bucket, "root/").await, 0);
            }
        }
    }

    async fn whose_else_a_preserved_archive_is_is_told_to_who_may_see_them(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fill(&root.join("set"), 2);
        let receiver = Receiver::start().await;
        let server = Server::builder(backend)
            .storage_root(format!("file://{}", root.display()))
            .callbacks_to_loopback()
            .start()
            .await;
        let owner = server.token(&[
            "--role", "admin", "--privilege", "space_manage_datasets", "--privilege", "space_remove_archives",
        ]).await;
        let archives = "/api/v3/oneprovider/archives";
        for (id, space, place) in [("mine", "s1", "set"), ("near", "s1", "set/0"), ("far", "s2", "set/"), ("apart", "s1", "else")] {
            let uri = format!("file://{}/{place}", root.display());
            let body = json!({"archiveId": id, "datasetId": "d", "spaceId": space, "description": "x", "storage": [uri]});
            assert_eq!(server.post(archives, &owner, &body).told().await.status(), 201);
        }
        let backup = "00000000-0000-4000-8000-000000000001";
        let body = json!({"id": backup, "name": "n", "storage": [format!("file://{}/set", root.display())]});
        assert_eq!(server.post("/api/admin/archived/backups", &owner, &body).told().await.status(), 201);
        let shown = async |id: &str, token: &str| -> Value {
            let answer = server.get(&format!("{archives}/{id}"), token).told().await;
            assert_eq!(answer.status(), 200);
            answer.json().await.unwrap()
        };
        let ids = |shown: &Value| -> Vec<String> {
            let others = shown["storage_shared_with"].as_array().cloned().unwrap_or_default();
            others.iter().map(|other| format!("{}/{}", other["type"].as_str().unwrap(), other["id"].as_str().unwrap())).collect()
        };
        let all = shown("mine", &owner).await;
        assert_eq!((&all["storage_shared"], ids(&all)), (&json!(true), vec!["archives/far".into(), "archives/near".into(), format!("backups/{backup}")]));
        assert!(shown("apart", &owner).await.get("storage_shared").is_none());
        let guest = server.token(&["--space", "s1=space_view_archives"]).await;
        let some = shown("mine", &guest).await;
        assert_eq!((&some["storage_shared"], ids(&some)), (&json!(true), vec!["archives/near".to_owned()]));

        let delete = json!({"deletedCallback": receiver.url("/done")});
        let asked = server.post(&format!("{archives}/mine/delete"), &owner, &delete).told().await;
        assert_eq!(asked.status(), 204);
        let heard = receiver.wait_for(1, SOON).await;
        assert_eq!(heard[0].json()["error"], "storage 1 of 1: 3 others claim a place in, around or at it");
        assert_eq!((shown("mine", &owner).await["state"].clone(), files(&root.join("set"))), (json!("purge_failed"), 2));
        // Deleted as well, the others are in nobody's way.
        for id in ["near", "far"] {
            assert_eq!(server.post(&format!("{archives}/{id}/delete"), &owner, &json!({})).told().await.status(), 204);
        }
        let purge = format!("/api/admin/archived/backups/{backup}/purge");
        assert_eq!(server.request(Method::DELETE, &purge, &owner).told().await.status(), 200);
        eventually("the backup is purged", SOON, || async {
            let path = format!("/api/admin/archived/backups/{backup}");
            (server.get(&path, &owner).told().await.status() == 404).then_some(())
        })
        .await;
        assert!(!root.join("set").exists());
        let again = server.post(&format!("{archives}/mine/delete"), &owner, &delete).told().await;
        assert_eq!(again.status(), 204);
        let heard = receiver.wait_for(2, SOON).await;
        assert_eq!(heard[1].json()["error"], Value::Null);
    }

    async fn a_ledger_that_is_older_than_its_claims_computes_them_before_it_cleans(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fill(&root.join("same"), 2);
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let purged = scene.delete(1, &["same"]).await;
        let kept = scene.delete(2, &["same/0"]).await;
        scene.server.terminate().await;
        scene.tamper("DELETE FROM storage_claims").await;
        scene.tamper("UPDATE ledger_head SET claims_position = 0").await;
        scene.server.restart().await;
        scene.purge(&purged).await;
        let failed = scene.failed(&purged).await;
        assert_eq!(failed["last_error"], format!("storage 1 of 1: {ONE_OTHER}"));
        assert_eq!(scene.shown(&kept).await["storage_shared_with"], json!([{"type": "backups", "id": purged}]));
        assert_eq!(files(&root.join("same")), 2);
        let checked = scene.server.run_command(&["rebuild", "--check"]).await;
        let told = String::from_utf8(checked.stdout).unwrap();
        assert!(checked.status.success() && told.contains("storage_claims: as the log says"), "{told}");
    }

    async fn an_imported_deletion_claims_its_storage(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fill(&root.join("same"), 2);
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let purged = scene.delete(1, &["same"]).await;
        scene.server.terminate().await;
        let imported = "00000000-0000-4000-8000-000000000002";
        let line = json!({"type": "backups", "id": imported, "name": "n", "storage": [format!("{}/same/", scene.root)]});
        let file = home.path().join("lines.ndjson");
        std::fs::write(&file, format!("{line}\n")).unwrap();
        let output = scene.server.run_command(&["import", file.to_str().unwrap()]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        scene.server.restart().await;
        scene.purge(&purged).await;
        let failed = scene.failed(&purged).await;
        assert_eq!(failed["storage_shared_with"], json!([{"type": "backups", "id": imported}]));
        assert_eq!(files(&root.join("same")), 2);
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
        let request = self
            .server
            .post("/api/admin/archived/backups", &self.admin, &body);
        assert_eq!(request.told().await.status(), 201);
        id
    }

    async fn purge(&self, id: &str) {
        let path = format!("/api/admin/archived/backups/{id}/purge");
        let asked = self.server.delete(&path, &self.admin).told().await;
        assert_eq!(asked.status(), 200);
    }

    async fn shown(&self, id: &str) -> Value {
        let path = format!("/api/admin/archived/backups/{id}");
        let answer = self.server.get(&path, &self.admin).told().await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    async fn gone(&self, id: &str) {
        let path = format!("/api/admin/archived/backups/{id}");
        eventually("the entity is purged", SOON, || async {
            let answer = self.server.get(&path, &self.admin).told().await;
            (answer.status() == 404).then_some(())
        })
        .await;
    }

    /// The purge of that entity, once it has failed.
    async fn failed(&self, id: &str) -> Value {
        eventually("the purge has failed", SOON, || async {
            let path = "/api/admin/purges?state=failed&limit=100";
            let page: Value = self
                .server
                .get(path, &self.admin)
                .told()
                .await
                .json()
                .await
                .unwrap();
            let items = page["items"].as_array().unwrap().clone();
            items
                .into_iter()
                .find(|purge| purge["id"] == id && purge["last_error"].is_string())
        })
        .await
    }

    /// Changes the database behind the service's back.
    async fn tamper(&self, statement: &str) {
        match self.server.database_url() {
            Some(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                connection.execute(statement).await.unwrap();
            }
            None => {
                let path = self.server.data_dir().join("ledger.db");
                let options = SqliteConnectOptions::new().filename(path);
                let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                connection.execute(statement).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }
}
