//! What surrounds the service: the settings, encodings, roles and schemas of the database, and poolers before it.

mod connection;
mod nats;
mod nats_owner;
mod pooler;
mod process;
mod roles;
mod schema;
mod settings;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::eventually;
use crate::harness::receiver::Receiver;
use crate::harness::server::{Backend, Server, run_binary};

const SOON: Duration = Duration::from_secs(60);

/// Texts that neither ASCII nor Latin-1 holds, with what SQL and its escapes take to be special.
const NAME: &str = "Ærø — 李 🦀 \\ ' \" $1 \\x41 %";
const ACTOR: &str = "Jürgen \\ — 李";

/// A service on this database, and what a life needs: a place for objects and a receiver of callbacks.
struct World {
    server: Server,
    receiver: Receiver,
    home: tempfile::TempDir,
}

impl World {
    async fn on(url: impl Into<String>) -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("root")).unwrap();
        let server = Server::builder(Backend::Clustered)
            .on_database(url.into())
            .await
            .storage_root(format!("file://{}/root", home.path().display()))
            .callbacks_to_loopback()
            .start()
            .await;
        Self {
            server,
            receiver: Receiver::start().await,
            home,
        }
    }

    /// Stores an object, and returns its folder's URI.
    fn object(&self, name: &str) -> String {
        let folder = self.home.path().join("root").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("object"), name).unwrap();
        format!("file://{}", folder.display())
    }

    /// Runs a subcommand that must succeed.
    async fn succeeds(&self, args: &[&str]) -> String {
        let output = self.server.run_command(args).await;
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Deletes, lists, restores, purges with objects and a callback, and reads all of it back.
    async fn live(&self) {
        let server = &self.server;
        let privileges = [
            "--privilege",
            "space_manage_datasets",
            "--privilege",
            "space_remove_archives",
        ];
        let admin = server
            .token(&[&["--role", "admin", "--subject", ACTOR], &privileges[..]].concat())
            .await;
        let id = uuid::Uuid::from_u128(7).to_string();
        let entity = format!("/api/admin/archived/users/{id}");
        let stored = self.object("users");
        let deletion = json!({
            "id": id, "name": NAME, "reason": NAME, "metadata": {NAME: [NAME, 1, null]}, "storage": [stored],
        });
        for _ in 0..2 {
            let answer = server
                .post("/api/admin/archived/users", &admin, &deletion)
                .header("Idempotency-Key", "key-1")
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        }
        let list = self.get("/api/admin/archived/users", &admin).await;
        assert_eq!(
            (&list["total_count"], &list["items"][0]["name"]),
            (&json!(1), &json!(NAME))
        );
        assert_eq!(self.get("/api/admin/archived/summary", &admin).await["users"], 1);
        self.done(Method::POST, &format!("{entity}/restore"), &admin, &json!({}))
            .await;
        let list = self.get("/api/admin/archived/users", &admin).await;
        assert_eq!(list["total_count"], 0);
        self.done(Method::POST, "/api/admin/archived/users", &admin, &deletion)
            .await;
        let history = self.get(&format!("{entity}/history"), &admin).await;
        assert!(
            history.to_string().contains(&json!(ACTOR).to_string()),
            "{history}"
        );
        self.done(Method::DELETE, &format!("{entity}/purge"), &admin, &json!({}))
            .await;

        let archive = json!({
            "archiveId": "a-1", "datasetId": NAME, "spaceId": "space-1", "description": NAME,
            "storage": [self.object("archives")],
        });
        self.done(Method::POST, "/api/v3/oneprovider/archives", &admin, &archive)
            .await;
        let callback = json!({"deletedCallback": self.receiver.url("/done")});
        self.done(
            Method::POST,
            "/api/v3/oneprovider/archives/a-1/delete",
            &admin,
            &callback,
        )
        .await;
        let told = self.receiver.wait_for(1, SOON).await;
        assert_eq!(
            told[0].json(),
            json!({"archiveId": "a-1", "datasetId": NAME, "error": null})
        );
        let left = || ["users", "archives"].map(|name| self.home.path().join("root").join(name).exists());
        eventually("everything is purged", SOON, || async {
            let owed = self.get("/api/admin/purges", &admin).await;
            (owed["items"] == json!([]) && left() == [false; 2]).then_some(())
        })
        .await;
        let delivered = eventually("the delivery is recorded", SOON, || async {
            let page = self.get("/api/admin/callbacks?state=delivered", &admin).await;
            page["items"].as_array().unwrap().first().cloned()
        })
        .await;
        assert_eq!(delivered["attempt_count"], 1);
        // What was refused is part of the audit.
        let again = server
            .post(&format!("{entity}/restore"), &admin, &json!({}))
            .send()
            .await
            .unwrap();
        assert_eq!(again.status(), 404);
        eventually("the refusal is recorded", SOON, || async {
            let events = self.get("/api/admin/audit/events?limit=100", &admin).await;
            (events["items"].as_array().unwrap().len() > 8).then_some(())
        })
        .await;
        eventually("the log is signed", SOON, || async {
            let answer = server.get("/api/ledger/checkpoint", &admin).send().await.unwrap();
            let note = answer.text().await.unwrap();
            (note.lines().nth(1) == Some("8")).then_some(())
        })
        .await;
    }

    /// What the command line does beside the service.
    async fn inspect(&self) {
        let admin = self.server.token(&["--role", "admin"]).await;
        let vkey = self.server.get("/api/ledger/vkey", &admin).send().await.unwrap();
        let vkey = vkey.text().await.unwrap();
        let told = self.succeeds(&["verify", "--vkey", vkey.trim()]).await;
        assert!(told.contains("8 events in 2 streams"), "{told}");
        let root = format!("file://{}/root", self.home.path().display());
        self.succeeds(&["reconcile", "--storage-root", &root]).await;
        let path = |name| self.home.path().join(name).display().to_string();
        self.succeeds(&["export", "--dir", &path("log"), "--payloads", &path("payloads")])
            .await;
        self.succeeds(&[
            "export",
            "--format",
            "ndjson",
            "--details",
            "--out",
            &path("events"),
        ])
        .await;
        let events = std::fs::read_to_string(path("events")).unwrap();
        assert!(events.contains(&json!(ACTOR).to_string()), "{events}");
    }

    async fn get(&self, path: &str, token: &str) -> Value {
        let answer = self.server.get(path, token).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn done(&self, method: Method, path: &str, token: &str, body: &Value) {
        let answer = self
            .server
            .request(method, path, token)
            .json(body)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        assert!(
            status.is_success(),
            "{path}: {status} {}",
            answer.text().await.unwrap()
        );
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command on this database that must be refused in one line, with exit code 2, and returns what it says.
async fn refused(args: &[&str], url: &str, home: &Path) -> String {
    let env = [("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), url.to_owned())];
    let output = run_binary(args, &env, home).await;
    let lines = said(&output);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {lines}");
    let last = lines.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("archive-ledger: --d"), "{args:?}: {lines}");
    assert!(!lines.contains("panicked"), "{args:?}: {lines}");
    last
}
