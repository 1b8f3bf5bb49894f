//! Something that everybody needs runs out, or a server stands still for a while: nothing ends, nothing that was acknowledged is lost,
//! callers are told, and what passes is got over.

mod bus;
mod connections;
mod disk;
mod files;
mod memory;

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::eventually;
use crate::harness::server::Server;

/// How long a service may take to get on again: its pauses are seconds.
const HEALED_WITHIN: Duration = Duration::from_secs(60);

/// Asks for one soft-delete; `None` where there was no answer at all.
async fn delete(server: &Server, token: &str) -> (Uuid, Option<StatusCode>) {
    let id = crate::harness::fresh_id();
    let body = json!({"id": id, "name": "n", "metadata": {}});
    let answer = server
        .post("/api/admin/archived/backups", token, &body)
        .send()
        .await;
    (id, answer.ok().map(|answer| answer.status()))
}

/// What `/readyz` says.
async fn readiness(server: &Server) -> Option<(StatusCode, Value)> {
    let answer = server.client().get(server.url("/readyz")).send().await.ok()?;
    let status = answer.status();
    Some((status, answer.json().await.ok()?))
}

/// The row of a task in `/readyz`.
fn row<'a>(readiness: &'a Value, task: &str) -> &'a Value {
    let rows = readiness["tasks"].as_array().unwrap();
    let row = rows.iter().find(|row| row["task"] == task);
    row.unwrap_or_else(|| panic!("no task {task}: {readiness}"))
}

/// Waits until the service is ready, every task gets on, nothing is warned of, and a command is taken; returns what that recorded.
async fn healed(server: &Server, token: &str) -> Uuid {
    eventually("the service gets on", HEALED_WITHIN, || async {
        let (status, said) = readiness(server).await?;
        let rows = said["tasks"].as_array()?;
        let gets_on = status == StatusCode::OK
            && said["warnings"] == json!([])
            && !rows.is_empty()
            && rows
                .iter()
                .all(|row| row["state"] == "running" && row.get("error").is_none());
        let (id, answered) = if gets_on {
            delete(server, token).await
        } else {
            return None;
        };
        (answered == Some(StatusCode::CREATED)).then_some(id)
    })
    .await
}

/// Everything that was acknowledged is there, and the log is what was signed.
async fn nothing_is_lost(server: &Server, token: &str, acknowledged: &[Uuid]) {
    assert_eq!(server.exit_code(), None, "{}", server.log());
    assert!(!acknowledged.is_empty());
    for id in acknowledged {
        let path = format!("/api/admin/archived/backups/{id}");
        let answer = server.get(&path, token).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{id}");
    }
    let vkey = server.home().join("vkey");
    let key = server.get("/api/ledger/vkey", token).send().await.unwrap();
    std::fs::write(&vkey, key.text().await.unwrap()).unwrap();
    let verified = server
        .run_command(&["verify", "--vkey", &vkey.display().to_string()])
        .await;
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success(), "{said}");
}
