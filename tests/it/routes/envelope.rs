//! Whatever fails, and wherever: one body (seed 004's `ErrorJson`), and the headers that belong to the status.

use serde_json::json;

use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, answer, new_id};
use crate::harness::on_both_backends;

/// Every route, with the methods that it has.
pub const ROUTES: [(&str, &str); 33] = [
    ("/api/admin/archived/summary", "GET"),
    ("/api/admin/archived/{entity_type}", "GET,POST"),
    ("/api/admin/archived/{entity_type}/{id}", "GET"),
    ("/api/admin/archived/{entity_type}/{id}/history", "GET"),
    ("/api/admin/archived/{entity_type}/{id}/restore", "POST"),
    ("/api/admin/archived/{entity_type}/{id}/purge", "DELETE"),
    ("/api/admin/archived/{entity_type}/{id}/evidence", "GET"),
    ("/api/admin/audit/events", "GET"),
    ("/api/admin/audit/export", "GET"),
    ("/api/admin/audit/export/manifest", "GET"),
    ("/api/admin/purges", "GET"),
    ("/api/admin/purges/{purge_id}/retry", "POST"),
    ("/api/admin/purges/{purge_id}/force", "POST"),
    ("/api/ledger/checkpoint", "GET"),
    ("/api/ledger/vkey", "GET"),
    ("/api/ledger/fork", "GET"),
    ("/api/ledger/tile/entries/{number}", "GET"),
    ("/api/ledger/tile/{level}/{number}", "GET"),
    ("/api/ledger/proofs/{event_id}", "GET"),
    ("/api/ledger/consistency", "GET"),
    ("/api/admin/callbacks", "GET"),
    ("/api/admin/callbacks/replay", "POST"),
    ("/api/admin/callbacks/{id}", "GET"),
    ("/api/admin/callbacks/{id}/replay", "POST"),
    ("/api/v3/oneprovider/archives", "POST"),
    ("/api/v3/oneprovider/archives/{aid}", "GET"),
    ("/api/v3/oneprovider/archives/{aid}/delete", "POST"),
    ("/api/events", "GET"),
    ("/asyncapi.json", "GET"),
    ("/schemas/events/{event}/{file}", "GET"),
    ("/healthz", "GET"),
    ("/readyz", "GET"),
    ("/metrics", "GET"),
];

/// A path that fits the pattern.
pub fn example(pattern: &str) -> String {
    let id = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
    pattern
        .replace("{entity_type}", "backups")
        .replace("{event}", "purged")
        .replace("{file}", "1.json")
        .replace("{level}", "0")
        .replace("{number}", "000")
        .replace("{id}", id)
        .replace("{aid}", id)
        .replace("{event_id}", id)
        .replace("{purge_id}", id)
}

/// A path of the route that would be refused if it were looked at.
fn spoilt(pattern: &str) -> String {
    let parts = pattern
        .split('/')
        .map(|part| if part.starts_with('{') { "%ff" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

on_both_backends! {
    async fn an_unknown_route_is_404_with_and_without_a_token(backend: Backend) {
        let api = Api::shared(backend).await;
        for path in [
            "/nowhere",
            "/api",
            "/api/admin",
            "/api/admin/archived",
            "/api/admin/archived/backups/497f6eca-6276-4993-bfeb-53cbbbba6f08/resurrect",
            "/api/v3/oneprovider/archives/x/y/z",
            "/api/v4/oneprovider/archives",
            "/healthz/x",
            "/%ff",
        ] {
            for method in ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "BREW"] {
                answer(api.request(method, path)).await.refused(404, "notFound");
            }
            answer(api.bare("GET", path)).await.refused(404, "notFound");
        }
    }

    async fn a_wrong_method_is_405_and_allow_names_the_right_ones(backend: Backend) {
        let api = Api::shared(backend).await;
        for (pattern, methods) in ROUTES {
            let methods: Vec<&str> = methods.split(',').collect();
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
                if methods.contains(&method) {
                    continue;
                }
                let refused = answer(api.request(method, &example(pattern))).await;
                refused.refused(405, "methodNotAllowed");
                let mut allowed: Vec<&str> = refused.header("allow").unwrap().split(',').map(str::trim).collect();
                allowed.retain(|method| *method != "HEAD");
                assert_eq!(allowed, methods, "{method} {pattern}");
            }
        }
    }

    async fn every_api_route_asks_for_a_token_before_anything_else(backend: Backend) {
        let api = Api::shared(backend).await;
        let expired = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ4IiwiZXhwIjoxfQ.AAAA";
        for (pattern, methods) in ROUTES.into_iter().filter(|(pattern, _)| pattern.starts_with("/api")) {
            for method in methods.split(',') {
                for path in [example(pattern), spoilt(pattern)] {
                    let request = || api.bare(method, &path).body("{not json");
                    let none = answer(request()).await;
                    let error = none.refused(401, "unauthorized");
                    assert_eq!(error["details"], json!({"authError": null}));
                    assert_eq!(
                        error["description"],
                        "You must authenticate yourself to perform this operation: no details available."
                    );
                    assert_eq!(none.header("www-authenticate"), Some("Bearer realm=\"archive-ledger\""));
                    for token in ["x", expired] {
                        let bad = answer(request().bearer_auth(token)).await;
                        let error = bad.refused(401, "unauthorized");
                        assert!(error["details"]["authError"]["id"].is_string());
                        assert_eq!(
                            bad.header("www-authenticate"),
                            Some("Bearer realm=\"archive-ledger\", error=\"invalid_token\"")
                        );
                    }
                    let basic = answer(request().basic_auth("admin", Some("admin"))).await;
                    basic.refused(401, "unauthorized");
                }
            }
        }
    }

    async fn x_auth_token_counts_on_onedatas_routes_only(backend: Backend) {
        let api = Api::shared(backend).await;
        for (pattern, methods) in ROUTES.into_iter().filter(|(pattern, _)| pattern.starts_with("/api")) {
            for method in methods.split(',') {
                let request = api.bare(method, &example(pattern)).header("x-auth-token", &api.admin);
                let status = answer(request.json(&json!({}))).await.status;
                assert_eq!(status == 401, !pattern.starts_with(ARCHIVES), "{method} {pattern}: {status}");
            }
        }
        let two = api.request("GET", &format!("{ARCHIVES}/x"));
        answer(two.header("x-auth-token", "another")).await.refused(401, "unauthorized");
        let same = api.request("GET", &format!("{ARCHIVES}/{}", new_id()));
        answer(same.header("x-auth-token", &api.admin)).await.refused(404, "notFound");
    }

    async fn every_status_has_the_texts_of_onedatas_catalogue(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let describe = |answer: Answer, status, id: &str| answer.refused(status, id)["description"].clone();
        let forbidden = api.bare("GET", &format!("{ARCHIVED}/summary")).bearer_auth(api.token(Grant::default()));
        assert_eq!(
            describe(answer(forbidden).await, 403, "forbidden"),
            "You are not authorized to perform this operation."
        );
        assert_eq!(
            describe(api.restore("backups", &id).await, 404, "notFound"),
            "The requested resource could not be found."
        );
        api.soft_delete("backups", &id).await;
        let again = api.post(&format!("{ARCHIVED}/backups"), &json!({"id": id, "name": "n"})).await;
        assert_eq!(describe(again, 409, "alreadyExists"), "The resource already exists.");
        let malformed = api.request("POST", &format!("{ARCHIVED}/backups")).header("content-type", "application/json");
        assert_eq!(
            describe(answer(malformed.body("{")).await, 400, "malformedData"),
            "Malformed data; the request data could not be understood by the server."
        );
        let list = api.get(&format!("{ARCHIVED}/ships")).await.refused(400, "badValueNotAllowed");
        assert_eq!(
            list["description"],
            "Bad value: provided \"entity_type\" must be one of: backups, environments, instances, projects, \
             organizations, servers, domains, users, archives."
        );
        let delete = api.post(&format!("{ARCHIVES}/x/delete"), &json!({"deletedCallback": 5})).await;
        delete.refused(403, "forbidden");
        let grant = Grant::default().privileges(&["space_manage_datasets", "space_remove_archives"]);
        let delete = api.bare("POST", &format!("{ARCHIVES}/x/delete")).bearer_auth(api.token(grant));
        assert_eq!(
            describe(answer(delete.json(&json!({"deletedCallback": 5}))).await, 400, "badValueString"),
            "Bad value: provided \"deletedCallback\" must be a string."
        );
    }

    async fn a_request_id_is_given_back_or_made_and_recorded_with_the_event(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        let request = api.request("POST", &format!("{ARCHIVED}/backups")).json(&json!({"id": id, "name": "n"}));
        let own = answer(request.header("x-request-id", "my-request-1")).await;
        assert_eq!((own.status, own.header("x-request-id")), (201, Some("my-request-1")));
        let history = api.get(&format!("{ARCHIVED}/backups/{id}/history")).await.json(200);
        assert_eq!(history["items"][0]["request_id"], "my-request-1");
        assert_eq!(history["items"][0]["actor"], "tester");

        let mut made = std::collections::BTreeSet::new();
        for odd in ["", "with space", "ümlaut", &"x".repeat(129)] {
            let request = api.bare("GET", "/healthz").header("x-request-id", odd.as_bytes());
            made.insert(answer(request).await.header("x-request-id").unwrap().to_owned());
        }
        assert_eq!(made.len(), 4, "an id that cannot be used is replaced by a fresh one: {made:?}");
        let failed = api.bare("GET", "/nowhere").header("x-request-id", "my-request-2");
        assert_eq!(answer(failed).await.header("x-request-id"), Some("my-request-2"));
    }
}
