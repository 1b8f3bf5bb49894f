//! Query parameters that a route does not know: refused by name before anything is done.

use serde_json::json;

use super::envelope::{ROUTES, example};
use super::{ARCHIVED, ARCHIVES, Api, Grant, answer, new_id};
use crate::harness::on_both_backends;
use archive_ledger::http::auth::rights::Role;

/// The reads that existing clients may send more to than the seed shows.
const SEED_READS: [&str; 2] = ["/api/admin/archived/summary", "/api/admin/archived/{entity_type}"];

on_both_backends! {
    async fn what_a_route_does_not_know_is_refused_by_name(backend: Backend) {
        let mut api = Api::shared(backend).await;
        let grant = Grant::default().role(Role::Admin);
        api.admin = api.token(grant.privileges(&["space_manage_datasets", "space_remove_archives"]));
        for (pattern, methods) in ROUTES {
            for method in methods.split(',') {
                if method == "GET" && SEED_READS.contains(&pattern) {
                    continue;
                }
                let path = example(pattern);
                for (query, key) in [
                    ("dry_run=true", "dry_run"),
                    ("DryRun", "DryRun"),
                    ("x%5B%5D=1&y=2", "x[]"),
                    ("=1", ""),
                    ("utm_source=x", "utm_source"),
                ] {
                    let told = answer(api.request(method, &format!("{path}?{query}"))).await;
                    let error = told.refused(400, "badData");
                    assert_eq!(error["details"]["key"], key, "{method} {pattern}?{query}");
                    assert_eq!(error["details"]["hint"], "unknown parameter");
                }
                if method == "GET" {
                    let head = answer(api.request("HEAD", &format!("{path}?x=1"))).await;
                    assert_eq!(head.status, 400, "HEAD {pattern}");
                }
                // Who may not is told nothing else.
                if pattern.starts_with("/api") {
                    answer(api.bare(method, &format!("{path}?x=1"))).await.refused(401, "unauthorized");
                    let nobody = api.bare(method, &format!("{path}?x=1")).bearer_auth(api.token(Grant::default()));
                    answer(nobody).await.refused(403, "forbidden");
                }
            }
        }
        answer(api.bare("GET", "/openapi.json?x=1")).await.bad("badData", "x");
    }

    async fn a_purge_that_is_asked_to_be_a_trial_is_none(backend: Backend) {
        let mut api = Api::shared(backend).await;
        let grant = Grant::default().role(Role::Admin);
        api.admin = api.token(grant.privileges(&["space_manage_datasets", "space_remove_archives"]));
        let (id, archive, held) = (new_id(), new_id(), new_id());
        api.soft_delete("backups", &id).await;
        api.register(&archive, "s1").await;
        api.post(&format!("{ARCHIVED}/backups"), &json!({"id": held, "name": "n", "storage": [crate::routes::held(&held)]})).await.json(201);
        assert_eq!(api.purge("backups", &held).await.status, 200);
        let shown = api.get(&format!("{ARCHIVED}/backups/{held}")).await.json(200);
        let purge_id = shown["purge_id"].as_str().unwrap();
        let register = json!({"archiveId": new_id(), "datasetId": "d", "spaceId": "s"});
        for (method, path, body) in [
            ("DELETE", format!("{ARCHIVED}/backups/{id}/purge"), json!({})),
            ("POST", format!("{ARCHIVED}/backups/{id}/restore"), json!({})),
            ("POST", format!("{ARCHIVED}/backups"), json!({"id": new_id(), "name": "n"})),
            ("POST", ARCHIVES.to_owned(), register),
            ("POST", format!("{ARCHIVES}/{archive}/delete"), json!({})),
            ("POST", format!("/api/admin/purges/{purge_id}/retry"), json!({})),
            ("POST", format!("/api/admin/purges/{purge_id}/force"), json!({"reason": "r"})),
            ("POST", "/api/admin/callbacks/replay".to_owned(), json!({"dry_run": true})),
        ] {
            for query in ["dry_run=true", "force=1", "page=1", "deletedCallback=https://example.org/"] {
                let key = query.split('=').next().unwrap();
                let request = api.request(method, &format!("{path}?{query}")).json(&body);
                answer(request).await.bad("badData", key);
            }
        }
        assert_eq!(api.events("backups", &id).await, ["soft_deleted"]);
        assert_eq!(api.events("archives", &archive).await, ["registered"]);
        assert_eq!(api.events("backups", &held).await, ["soft_deleted", "purge_requested"]);
    }

    async fn the_seeds_reads_ignore_what_means_nothing_here_and_refuse_what_does(backend: Backend) {
        let api = Api::shared(backend).await;
        for path in [format!("{ARCHIVED}/summary"), format!("{ARCHIVED}/backups")] {
            for query in ["utm=1", "utm=1&utm=2", "_=1750762637", "include=all", "Name=x", "x[]=1"] {
                assert_eq!(api.get(&format!("{path}?{query}")).await.status, 200, "{path}?{query}");
            }
            for name in ["name", "state", "entity_id", "deleted_at", "from", "actor", "dry_run", "as_of", "order", "n%61me"] {
                let told = api.get(&format!("{path}?utm=1&{name}=x")).await;
                told.bad("badData", &name.replace("%61", "a"));
            }
        }
        api.get(&format!("{ARCHIVED}/summary?page=1")).await.bad("badData", "page");
        assert_eq!(api.get(&format!("{ARCHIVED}/backups?page=1&limit=1&utm=1")).await.status, 200);
    }
}
