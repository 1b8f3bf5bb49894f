//! The two APIs of the seeds, to the letter: an existing client changes only the host and the token.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ARCHIVED, ARCHIVES, Api, Grant, answer, held, keys, new_id};
use crate::harness::on_both_backends;
use crate::harness::receiver::Receiver;

/// The request that curl makes of a command line of seed 000.
fn curl(api: &Api, method: &str, path: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nAuthorization: Bearer {}\r\n\
         Connection: close\r\n\r\n",
        api.host, api.admin
    )
    .into_bytes()
}

on_both_backends! {
    async fn the_curl_lines_of_seed_000_work_as_they_are_printed(backend: Backend) {
        let api = Api::shared(backend).await;
        let (first, second) = (new_id(), new_id());
        for id in [&first, &second] {
            let item = api.soft_delete("backups", id).await;
            assert_eq!(keys(&item), ["deleted_at", "id", "metadata", "name", "type"]);
            assert_eq!(
                (&item["id"], &item["type"], &item["metadata"]),
                (&json!(id), &json!("backups"), &json!({"of": id}))
            );
        }

        let summary = api.raw(&curl(&api, "GET", "/api/admin/archived/summary")).await.json(200);
        assert!(summary.as_object().unwrap().values().all(Value::is_u64), "{summary}");
        assert!(summary["backups"].as_u64().unwrap() >= 2);

        let list = api
            .raw(&curl(&api, "GET", "/api/admin/archived/backups?page=0&limit=0"))
            .await
            .json(200);
        assert!(list["total_count"].as_u64().unwrap() >= 2);
        let items = list["items"].as_array().unwrap();
        assert!(!items.is_empty() && items.len() <= 20);
        for item in items {
            assert_eq!(keys(item), ["deleted_at", "id", "metadata", "name", "type"]);
            assert!(["deleted_at", "id", "name", "type"].iter().all(|key| item[key].is_string()));
            assert!(item["metadata"].is_object());
        }

        let restored = api
            .raw(&curl(&api, "POST", &format!("/api/admin/archived/backups/{first}/restore")))
            .await
            .json(200);
        assert_eq!(keys(&restored), ["message"]);
        let purged = api
            .raw(&curl(&api, "DELETE", &format!("/api/admin/archived/backups/{second}/purge")))
            .await
            .json(200);
        assert_eq!(keys(&purged), ["message"]);
        assert!(restored["message"].is_string() && purged["message"].is_string());
        assert_eq!(api.events("backups", &first).await, ["soft_deleted", "restored"]);
        assert_eq!(
            api.events("backups", &second).await,
            ["soft_deleted", "purge_requested", "purged"]
        );
    }

    async fn every_type_of_seed_000_is_listed_and_counted(backend: Backend) {
        let api = Api::shared(backend).await;
        for entity_type in [
            "backups", "environments", "instances", "projects", "organizations", "servers", "domains", "users",
        ] {
            let list = api.get(&format!("{ARCHIVED}/{entity_type}")).await.json(200);
            assert!(list["items"].is_array() && list["total_count"].is_u64());
        }
    }

    async fn the_curl_line_of_seed_004_works_as_it_is_printed(backend: Backend) {
        let api = Api::shared(backend).await;
        let receiver = Receiver::start().await;
        let id = new_id();
        api.register(&id, "space-1").await;
        let grant = Grant::default().privileges(&["space_manage_datasets", "space_remove_archives"]);
        let url = receiver.url("/deleted_archives");
        let body = format!("{{\n    \"deletedCallback\": \"{url}\"\n}}");
        let request = format!(
            "POST /api/v3/oneprovider/archives/{id}/delete HTTP/1.1\r\nHost: {}\r\nUser-Agent: curl/8.5.0\r\n\
             Accept: */*\r\nX-Auth-Token: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            api.host,
            api.token(grant),
            body.len()
        );
        let answer = api.raw(request.as_bytes()).await;
        assert_eq!((answer.status, answer.text()), (204, ""));
        assert_eq!(answer.header("content-type"), None);

        let received = receiver.wait_for(1, Duration::from_secs(30)).await;
        assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("POST", "/deleted_archives"));
        assert_eq!(received[0].header("content-type"), Some("application/json"));
        assert_eq!(
            received[0].json(),
            json!({"archiveId": id, "datasetId": "d1", "error": null})
        );
        // Asked again, the archive is not there any more.
        let again = api.raw(request.as_bytes()).await;
        again.refused(404, "notFound");
    }

    async fn an_archive_is_shown_by_its_state_until_it_is_purged(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let path = format!("{}/{id}", ARCHIVES);
        let body = json!({"archiveId": id, "datasetId": "d1", "spaceId": "s1", "description": "kept", "storage": [held(&id)]});
        let registered = api.post(ARCHIVES, &body).await;
        assert_eq!(registered.header("location"), Some(path.as_str()));
        assert_eq!(registered.json(201), json!({"archiveId": id}));

        let shown = api.get(&path).await;
        assert_eq!(shown.header("etag"), Some("\"1\""));
        let archive = shown.json(200);
        assert_eq!(
            keys(&archive),
            ["archiveId", "creationTime", "datasetId", "description", "spaceId", "state", "storage"]
        );
        assert_eq!((&archive["state"], &archive["description"]), (&json!("preserved"), &json!("kept")));

        let grant = Grant::default().privileges(&["space_manage_datasets", "space_remove_archives"]);
        let token = api.token(grant);
        let delete = |body: &'static str| {
            let request = api.bare("POST", &format!("{path}/delete")).header("x-auth-token", &token);
            answer(request.header("content-type", "application/json").body(body))
        };
        // Without a body, with an empty object, and with a field that nobody knows: the archive goes on being purged.
        for body in ["", "{}", r#"{"deletedCallback":null,"force":true}"#] {
            let answer = delete(body).await;
            assert_eq!((answer.status, answer.text()), (204, ""));
        }
        assert_eq!(api.get(&path).await.json(200)["state"], "purging");
        let events = api.events("archives", &id).await;
        assert_eq!(events[..2], ["registered", "purge_requested"]);
        assert_eq!(events.iter().filter(|event| *event == "purge_requested").count(), 1);
    }

    async fn a_purge_is_the_point_of_no_return(backend: Backend) {
        let api = Api::shared(backend).await;
        let held = new_id();
        api.soft_delete_held("backups", &held).await;
        let purging = api.purge("backups", &held).await.json(200);
        assert!(purging["message"].as_str().unwrap().contains("is being purged"));
        api.restore("backups", &held).await.refused(409, "purgeInProgress");
        api.purge("backups", &held).await.refused(409, "purgeInProgress");
        let body = json!({"id": held, "name": "again"});
        api.post(&format!("{ARCHIVED}/backups"), &body).await.refused(409, "purgeInProgress");
        let shown = api.get(&format!("{ARCHIVED}/backups/{held}")).await.json(200);
        assert_eq!(shown["state"], "purging");

        let gone = new_id();
        api.soft_delete("backups", &gone).await;
        assert_eq!(api.purge("backups", &gone).await.status, 200);
        for again in [api.restore("backups", &gone).await, api.purge("backups", &gone).await] {
            again.refused(404, "notFound");
        }
        api.get(&format!("{ARCHIVED}/backups/{gone}")).await.refused(404, "notFound");
        let body = json!({"id": gone, "name": "again"});
        api.post(&format!("{ARCHIVED}/backups"), &body).await.refused(409, "entityPurged");
    }

    async fn a_wrong_state_is_a_conflict_with_a_name(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        for unknown in [api.restore("backups", &id).await, api.purge("backups", &id).await] {
            unknown.refused(404, "notFound");
        }
        api.soft_delete("backups", &id).await;
        let body = json!({"id": id, "name": "again"});
        api.post(&format!("{ARCHIVED}/backups"), &body).await.refused(409, "alreadyExists");
        assert_eq!(api.restore("backups", &id).await.status, 200);
        api.restore("backups", &id).await.refused(409, "alreadyExists");
        let live = api.purge("backups", &id).await.refused(409, "entityNotArchived");
        assert_eq!(live["details"]["state"], "live");
        api.soft_delete("backups", &id).await;
        let archive = new_id();
        api.register(&archive, "s1").await;
        let body = json!({"archiveId": archive, "datasetId": "d", "spaceId": "s"});
        api.post(ARCHIVES, &body).await.refused(409, "alreadyExists");
    }
}
