//! Local storage roots as the service meets them: two that are one, one that is not mounted, one that is somebody else's, and
//! mounts inside them.

mod away;
mod first_use;
mod inside;
mod marker;
mod mounts;
mod moved;
mod names;
mod reach;
mod shared;

use crate::harness::eventually;
use crate::harness::server::{Backend, Server};
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

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
