//! `ETag` and `If-Match`: a command goes through on the version that its sender has seen, or not at all.

use serde_json::{Value, json};

use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, answer, held, new_id};
use crate::harness::on_both_backends;

async fn send(api: &Api, method: &str, path: &str, if_match: &str, body: Option<Value>) -> Answer {
    let request = api.request(method, path).header("if-match", if_match);
    answer(match body {
        Some(body) => request.json(&body),
        None => request,
    })
    .await
}

on_both_backends! {
    async fn every_command_answers_with_the_version_that_the_next_one_may_name(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let one = format!("{ARCHIVED}/backups/{id}");
        let list = format!("{ARCHIVED}/backups");
        let body = || Some(json!({"id": id, "name": "n"}));
        let first = answer(api.request("POST", &list).json(&body().unwrap())).await;
        assert_eq!((first.status, first.header("etag")), (201, Some("\"1\"")));
        assert_eq!(first.header("location"), Some(one.as_str()));
        let shown = api.get(&one).await;
        assert_eq!((shown.header("etag"), &shown.json(200)["version"]), (Some("\"1\""), &json!(1)));

        for wrong in ["\"0\"", "\"2\"", "\"18446744073709551615\""] {
            send(&api, "POST", &format!("{one}/restore"), wrong, None).await.refused(412, "preconditionFailed");
            send(&api, "DELETE", &format!("{one}/purge"), wrong, None).await.refused(412, "preconditionFailed");
            send(&api, "POST", &list, wrong, body()).await.refused(412, "preconditionFailed");
        }
        assert_eq!(api.events("backups", &id).await, ["soft_deleted"]);

        let restored = send(&api, "POST", &format!("{one}/restore"), "\"1\"", None).await;
        assert_eq!((restored.status, restored.header("etag")), (200, Some("\"2\"")));
        let deleted = send(&api, "POST", &list, "\"2\"", body()).await;
        assert_eq!((deleted.status, deleted.header("etag")), (201, Some("\"3\"")));
        let purged = send(&api, "DELETE", &format!("{one}/purge"), "\"3\"", None).await;
        assert_eq!((purged.status, purged.header("etag")), (200, Some("\"5\"")));
    }

    async fn an_asterisk_demands_that_the_entity_exists(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let one = format!("{ARCHIVED}/backups/{id}");
        let body = || Some(json!({"id": id, "name": "n"}));
        let list = format!("{ARCHIVED}/backups");
        send(&api, "POST", &list, "*", body()).await.refused(412, "preconditionFailed");
        send(&api, "POST", &format!("{one}/restore"), "*", None).await.refused(404, "notFound");
        let register = || Some(json!({"archiveId": id, "datasetId": "d", "spaceId": "s"}));
        send(&api, "POST", ARCHIVES, "*", register()).await.refused(412, "preconditionFailed");
        assert!(api.events("backups", &id).await.is_empty() && api.events("archives", &id).await.is_empty());
        // Version 0 is what does not exist yet.
        assert_eq!(send(&api, "POST", &list, "\"0\"", body()).await.status, 201);
        assert_eq!(send(&api, "POST", &format!("{one}/restore"), "*", None).await.status, 200);
        assert_eq!(send(&api, "POST", &list, "*", body()).await.status, 201);
        assert_eq!(send(&api, "DELETE", &format!("{one}/purge"), "*", None).await.status, 200);
    }

    async fn onedatas_delete_takes_conditions_too(backend: Backend) {
        let mut api = Api::shared(backend).await;
        let role = archive_ledger::http::rights::Role::Admin;
        let privileges = ["space_manage_datasets", "space_remove_archives"];
        api.admin = api.token(Grant::default().role(role).privileges(&privileges));
        let id = new_id();
        let body = json!({"archiveId": id, "datasetId": "d", "spaceId": "s", "storage": [held(&id)]});
        api.post(ARCHIVES, &body).await.json(201);
        let delete = format!("{ARCHIVES}/{id}/delete");
        send(&api, "POST", &delete, "\"2\"", None).await.refused(412, "preconditionFailed");
        assert_eq!(send(&api, "POST", &delete, "\"1\"", None).await.status, 204);
        assert_eq!(api.events("archives", &id).await[..2], ["registered", "purge_requested"]);
    }

    async fn of_two_that_saw_the_same_version_one_goes_through(backend: Backend) {
        let api = Api::shared(backend).await;
        for _ in 0..5 {
            let id = new_id();
            api.soft_delete("backups", &id).await;
            let one = format!("{ARCHIVED}/backups/{id}");
            let (restore, purge) = (format!("{one}/restore"), format!("{one}/purge"));
            let (restored, purged) = tokio::join!(
                send(&api, "POST", &restore, "\"1\"", None),
                send(&api, "DELETE", &purge, "\"1\"", None)
            );
            let events = api.events("backups", &id).await;
            match (restored.status, purged.status) {
                (200, 412) => assert_eq!(events, ["soft_deleted", "restored"]),
                (412, 200) => assert_eq!(events, ["soft_deleted", "purge_requested", "purged"]),
                other => panic!("{other:?}: {} {}", restored.text(), purged.text()),
            }
        }
    }
}
