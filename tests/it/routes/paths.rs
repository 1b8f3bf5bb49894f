//! Paths as clients write them: encoded, too long, with a slash too many; and the methods that HTTP adds by itself.

use serde_json::json;

use super::envelope::{ROUTES, example};
use super::{ARCHIVED, ARCHIVES, Api, answer, new_id};
use crate::harness::on_both_backends;

on_both_backends! {
    async fn head_answers_as_get_does_without_the_body(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete("backups", &id).await;
        api.register(&id, "s1").await;
        let paths = [
            format!("{ARCHIVED}/backups/{id}"),
            format!("{ARCHIVED}/backups/{id}/history"),
            format!("{ARCHIVES}/{id}"),
            format!("{ARCHIVED}/backups/{}", new_id()),
            format!("{ARCHIVED}/backups?limit=x"),
            "/healthz".to_owned(),
            "/readyz".to_owned(),
            "/openapi.json".to_owned(),
        ];
        for path in paths {
            let get = api.get(&path).await;
            let head = answer(api.request("HEAD", &path)).await;
            assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
            for name in ["content-type", "etag", "content-length"] {
                if name == "content-length" && get.status >= 400 {
                    // The errors' timestamps and ids differ, their lengths need not be the same.
                    continue;
                }
                assert_eq!(head.header(name), get.header(name), "{name} of {path}");
            }
        }
        for path in [format!("{ARCHIVED}/summary"), format!("{ARCHIVED}/backups")] {
            assert_eq!(answer(api.request("HEAD", &path)).await.status, 200);
            assert_eq!(answer(api.bare("HEAD", &path)).await.status, 401);
        }
    }

    async fn a_slash_too_many_is_another_path(backend: Backend) {
        let api = Api::shared(backend).await;
        for (pattern, methods) in ROUTES {
            let method = methods.split(',').next().unwrap();
            answer(api.request(method, &format!("{}/", example(pattern)))).await.refused(404, "notFound");
            api.raw((api.head(&format!("{method} /{}", example(pattern))) + "\r\n").as_bytes())
                .await
                .refused(404, "notFound");
        }
    }

    async fn dots_in_a_path_are_not_resolved(backend: Backend) {
        let api = Api::shared(backend).await;
        for (path, status, id) in [
            ("/api/admin/archived/../archived/summary", 404, "notFound"),
            ("/api/admin/archived/backups/../summary", 404, "notFound"),
            ("/api/admin/archived/backups/..", 400, "badValueIdentifier"),
            ("/api/admin/./archived/summary", 404, "notFound"),
            ("/docs/../openapi.json", 404, "notFound"),
            ("/docs/..%2fopenapi.json", 404, "notFound"),
            ("/docs/%2e%2e/%2e%2e/etc/passwd", 404, "notFound"),
        ] {
            let answer = api.raw((api.head(&format!("GET {path}")) + "\r\n").as_bytes()).await;
            assert!(answer.refused(status, id).is_object(), "{path}");
        }
    }

    async fn an_encoded_segment_and_an_upper_case_uuid_name_the_same_entity(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let upper = id.to_uppercase();
        let item = api.soft_delete("backups", &upper).await;
        assert_eq!(item["id"], json!(id));
        let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            format!("{ARCHIVED}/backups/{upper}"),
            format!("{ARCHIVED}/back%75ps/{id}"),
            format!("/api/%61dmin/archived/backups/{id}"),
            format!("{ARCHIVED}/backups/{encoded}"),
        ] {
            let shown = api.get(&path).await;
            // Only the segments that a route leaves open are decoded.
            if path.contains("%61dmin") {
                shown.refused(404, "notFound");
            } else {
                assert_eq!(shown.json(200)["id"], json!(id));
            }
        }
        api.post(&format!("{ARCHIVED}/backups"), &json!({"id": id, "name": "n"})).await.refused(409, "alreadyExists");
        assert_eq!(api.restore("backups", &upper).await.status, 200);
        let parent = json!({"id": new_id(), "name": "n", "parent": {"type": "projects", "id": upper}});
        let child = api.post(&format!("{ARCHIVED}/backups"), &parent).await.json(201);
        let shown = api.get(&format!("{ARCHIVED}/backups/{}", child["id"].as_str().unwrap())).await.json(200);
        assert_eq!(shown["parent"], json!({"type": "projects", "id": id}));
    }

    async fn archives_of_both_apis_are_the_same_and_their_ids_are_opaque(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = format!("A_{}", new_id().to_uppercase());
        api.register(&id, "s1").await;
        let shown = api.get(&format!("{ARCHIVED}/archives/{id}")).await.json(200);
        assert_eq!((&shown["id"], &shown["state"]), (&json!(id), &json!("live")));
        api.get(&format!("{ARCHIVES}/{}", id.to_lowercase())).await.refused(404, "notFound");
        api.soft_delete("archives", &id).await;
        assert_eq!(api.get(&format!("{ARCHIVES}/{id}")).await.json(200)["state"], "archived");
        assert_eq!(api.purge("archives", &id).await.status, 200);
        api.get(&format!("{ARCHIVES}/{id}")).await.refused(404, "notFound");
    }

    async fn long_paths_and_heads_are_refused_and_the_service_goes_on(backend: Backend) {
        let api = Api::shared(backend).await;
        let long = "x".repeat(60_000);
        api.get(&format!("/{long}")).await.refused(404, "notFound");
        api.get(&format!("{ARCHIVED}/backups/{long}")).await.bad("badValueIdentifier", "id");
        api.get(&format!("{ARCHIVED}/{long}")).await.bad("badValueNotAllowed", "entity_type");
        api.get(&format!("{ARCHIVES}/{long}")).await.bad("badValueIdentifier", "archiveId");
        assert_eq!(api.get(&format!("{ARCHIVED}/backups?x={long}")).await.status, 200);
        // Beyond these, the request is no request for the HTTP library, and is refused before any route sees it.
        for request in [
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000)),
            format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1_000_000)),
            "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n".to_owned(),
            "GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "GET / HTTP/9.9\r\n\r\n".to_owned(),
        ] {
            let status = api.raw(request.as_bytes()).await.status;
            assert!([400, 414, 431].contains(&status), "{status}");
        }
        assert_eq!(api.get("/healthz").await.status, 200);
    }

    async fn the_start_page_leads_to_the_documentation(backend: Backend) {
        let api = Api::shared(backend).await;
        let start = answer(api.bare("GET", "/")).await;
        assert_eq!((start.status, start.header("location")), (307, Some("/docs/")));
        let ready = answer(api.bare("GET", "/readyz")).await.json(200);
        assert_eq!(
            (&ready["status"], &ready["store"], &ready["bus"], ready.get("jwks")),
            (&json!("ready"), &json!("ok"), &json!("ok"), None)
        );
        let metrics = answer(api.bare("GET", "/metrics")).await;
        assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
        assert!(metrics.text().contains("archive_ledger_http_requests_total"));
    }
}
