//! `Idempotency-Key`: the same request gets the same answer, byte for byte, and happens once.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sqlx::Connection;

use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, HELD, answer, configured, new_id};
use crate::harness::on_both_backends;
use crate::harness::server::Backend;

/// One command.
#[derive(Clone)]
struct Command {
    method: &'static str,
    path: String,
    body: Option<Value>,
}

impl Command {
    fn new(method: &'static str, path: String, body: Option<Value>) -> Self {
        Self { method, path, body }
    }

    async fn send(&self, api: &Api, key: &str) -> Answer {
        let request = api
            .request(self.method, &self.path)
            .header("idempotency-key", key);
        answer(match &self.body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }
}

/// What must be the same in every answer.
fn told(answer: &Answer) -> (u16, Vec<u8>, [Option<String>; 3]) {
    let header = |name| answer.header(name).map(str::to_owned);
    let headers = [header("etag"), header("location"), header("content-type")];
    (answer.status, answer.body.clone(), headers)
}

/// An error without the time that it was made at.
fn told_error(answer: &Answer) -> (u16, Value) {
    let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
    body["error"]["ctx"]["timestamp"] = json!(0);
    (answer.status, body)
}

fn almighty(api: &mut Api) {
    let grant = Grant::default()
        .role(archive_ledger::http::auth::rights::Role::Admin)
        .privileges(&["space_manage_datasets", "space_remove_archives"]);
    api.admin = api.token(grant);
}

/// Each command once, in an order in which all succeed, on one entity and one archive.
fn commands(entity: &str, archive: &str) -> [Command; 5] {
    let one = format!("{ARCHIVED}/backups/{entity}");
    let body =
        json!({"id": entity, "name": "the name", "metadata": {"b": [1.0, 2], "a": "ü"}, "reason": "why"});
    let register = json!({"archiveId": archive, "datasetId": "d", "spaceId": "s"});
    [
        Command::new("POST", format!("{ARCHIVED}/backups"), Some(body)),
        Command::new("DELETE", format!("{one}/purge"), None),
        Command::new("POST", ARCHIVES.to_owned(), Some(register)),
        Command::new("POST", format!("{ARCHIVES}/{archive}/delete"), None),
        Command::new("POST", format!("{ARCHIVED}/backups/{}/restore", entity), None),
    ]
}

on_both_backends! {
    async fn a_repetition_gets_the_same_answer_and_records_nothing(backend: Backend) {
        let mut api = Api::shared(backend).await;
        almighty(&mut api);
        let (entity, archive) = (new_id(), new_id());
        let commands = commands(&entity, &archive);
        let mut first = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            let told_first = command.send(&api, &format!("{entity}-{index}")).await;
            assert_eq!(told_first.status, [201, 200, 201, 204, 404][index], "{}", told_first.text());
            first.push(told_first);
        }
        let events = (api.events("backups", &entity).await, api.events("archives", &archive).await);
        for _ in 0..2 {
            for (index, command) in commands.iter().enumerate() {
                let again = command.send(&api, &format!("{entity}-{index}")).await;
                if again.status < 400 {
                    assert_eq!(told(&again), told(&first[index]), "{} {}", command.method, command.path);
                } else {
                    assert_eq!(told_error(&again), told_error(&first[index]));
                }
            }
        }
        assert_eq!(events, (api.events("backups", &entity).await, api.events("archives", &archive).await));
        // Without the key, the same requests are new ones.
        let again = &commands[0];
        answer(api.request(again.method, &again.path).json(again.body.as_ref().unwrap()))
            .await
            .refused(409, "entityPurged");
    }

    async fn the_key_of_another_request_is_refused(backend: Backend) {
        let mut api = Api::shared(backend).await;
        almighty(&mut api);
        let (entity, archive) = (new_id(), new_id());
        let commands = commands(&entity, &archive);
        let key = format!("{entity}-key");
        assert_eq!(commands[0].send(&api, &key).await.status, 201);
        for (field, value) in [
            ("name", json!("another")),
            ("metadata", json!({"b": [1.0, 2], "a": "u"})),
            ("metadata", json!({"b": [1, 2], "a": "ü"})),
            ("reason", json!("another")),
            ("parent", json!("p")),
            ("deleted_at", json!("2024-01-01T00:00:00Z")),
            ("storage", json!([HELD])),
            ("id", json!(new_id())),
        ] {
            let mut other = commands[0].clone();
            other.body.as_mut().unwrap()[field] = value;
            other.send(&api, &key).await.refused(422, "idempotencyKeyReused");
        }
        for other in &commands[1..] {
            other.send(&api, &key).await.refused(422, "idempotencyKeyReused");
        }
        let conditional = api.request("POST", &commands[0].path).header("idempotency-key", &key);
        let conditional = conditional.header("if-match", "\"1\"").json(commands[0].body.as_ref().unwrap());
        answer(conditional).await.refused(422, "idempotencyKeyReused");
        // The same request in other words is the same request.
        let mut same = commands[0].clone();
        same.body = Some(json!({"reason": "why", "metadata": {"a": "ü", "b": [1.0, 2]}, "name": "the name", "id": entity.to_uppercase(), "parent": null}));
        assert_eq!(same.send(&api, &key).await.status, 201);
        assert_eq!(api.events("backups", &entity).await, ["soft_deleted"]);
    }

    async fn a_key_belongs_to_its_actor(backend: Backend) {
        let mut api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete("backups", &id).await;
        let restore = Command::new("POST", format!("{ARCHIVED}/backups/{id}/restore"), None);
        assert_eq!(restore.send(&api, &id).await.status, 200);
        let role = archive_ledger::http::auth::rights::Role::Admin;
        api.admin = api.token(Grant::default().role(role).subject("somebody else"));
        restore.send(&api, &id).await.refused(409, "alreadyExists");
    }

    async fn duplicates_at_once_happen_once(backend: Backend) {
        let mut api = Api::shared(backend).await;
        almighty(&mut api);
        let (entity, archive) = (new_id(), new_id());
        for (index, command) in commands(&entity, &archive)[..4].iter().enumerate() {
            let key = format!("{entity}-{index}");
            let answers = futures::future::join_all((0..12).map(|_| command.send(&api, &key))).await;
            let mut recorded = BTreeSet::new();
            for one in answers {
                if one.status == 409 {
                    one.refused(409, "operationInProgress");
                } else {
                    recorded.insert(told(&one));
                }
            }
            assert_eq!(recorded.len(), 1, "{recorded:?}");
            let settled = told(&command.send(&api, &key).await);
            assert_eq!(Some(&settled), recorded.first());
        }
        assert_eq!(api.events("backups", &entity).await, ["soft_deleted", "purge_requested", "purged"]);
        assert_eq!(api.events("archives", &archive).await, ["registered", "purge_requested", "purged"]);
    }

    async fn an_archive_without_an_id_is_registered_once(backend: Backend) {
        let api = Api::shared(backend).await;
        let body = json!({"datasetId": "d", "spaceId": "s"});
        let register = Command::new("POST", ARCHIVES.to_owned(), Some(body));
        let key = new_id();
        let first = register.send(&api, &key).await;
        assert_eq!(told(&first), told(&register.send(&api, &key).await));
        let id = first.json(201)["archiveId"].as_str().unwrap().to_owned();
        assert_eq!(api.events("archives", &id).await, ["registered"]);
        let other = register.send(&api, &new_id()).await.json(201);
        assert_ne!(other["archiveId"], json!(id));
        let without = api.post(ARCHIVES, register.body.as_ref().unwrap()).await.json(201);
        assert_ne!(without["archiveId"], other["archiveId"]);
    }

    async fn a_failed_precondition_is_not_remembered(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete("backups", &id).await;
        let key = new_id();
        let restore = || {
            let request = api.request("POST", &format!("{ARCHIVED}/backups/{id}/restore"));
            answer(request.header("idempotency-key", &key).header("if-match", "\"3\""))
        };
        restore().await.refused(412, "preconditionFailed");
        api.restore("backups", &id).await;
        api.soft_delete("backups", &id).await;
        assert_eq!(restore().await.status, 200);
        assert_eq!(restore().await.status, 200);
    }

    async fn answers_are_repeated_after_a_purge_and_a_restart_without_keeping_what_was_erased(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        let (id, key) = (new_id(), new_id());
        let marker = "Hildegard-of-Bingen";
        let body = json!({
            "id": id, "name": format!("{marker} name"), "metadata": {"m": marker}, "reason": format!("{marker} reason"),
        });
        let soft_delete = Command::new("POST", format!("{ARCHIVED}/backups"), Some(body));
        let first = soft_delete.send(&api, &key).await;
        assert!(first.text().contains(marker));
        assert_eq!(told(&first), told(&soft_delete.send(&api, &key).await));
        assert_eq!(api.purge("backups", &id).await.status, 200);
        assert_eq!(told(&first), told(&soft_delete.send(&api, &key).await));
        assert_eq!(server.terminate().await, 0);
        server.restart().await;
        let api = Api::of(&server);
        assert_eq!(told(&first), told(&soft_delete.send(&api, &key).await));
        assert_eq!(api.events("backups", &id).await, ["soft_deleted", "purge_requested", "purged"]);
        match backend {
            Backend::Embedded => {
                for file in std::fs::read_dir(server.data_dir()).unwrap() {
                    let bytes = std::fs::read(file.unwrap().path()).unwrap();
                    let found = bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
                    assert!(!found, "erased data is still on disk");
                }
            }
            Backend::Clustered => {
                let mut connection = sqlx::PgConnection::connect(server.database_url().unwrap()).await.unwrap();
                let answers: Vec<String> = sqlx::query_scalar("SELECT answer::text AS answer FROM idempotency_answers")
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                assert!(!answers.is_empty());
                assert!(answers.iter().all(|answer| !answer.contains(marker)));
            }
        }
        assert!(!server.log().contains(marker));
    }
}
