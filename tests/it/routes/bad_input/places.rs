//! Bad headers, paths and queries.

use super::*;

pub(super) async fn every_header(api: &Api) {
    let tags = [
        "1",
        "\"1",
        "\"1\" \"2\"",
        "\"1 2\"",
        "w/\"1\"",
        "W/1",
        "",
        ",",
        "*, \"1\"",
        "**",
    ];
    let long = "x".repeat(256);
    let keys = ["", "a b", "\u{e9}", "a\tb", long.as_str()];
    for (method, path) in body_routes()
        .into_iter()
        .filter(|(_, path)| !path.contains("callbacks") && !path.ends_with("/retry"))
    {
        let body = if path == ARCHIVES {
            json!({"archiveId": ID, "datasetId": "d", "spaceId": "s"})
        } else if path.ends_with("backups") || path.ends_with("archives") {
            json!({"id": ID, "name": "n"})
        } else if path.ends_with("/force") {
            json!({"reason": "r"})
        } else {
            json!({})
        };
        let codes = ["", "a b", "a/b", "\u{e9}", "a,b", &long[..65]];
        for (header, values) in [
            ("If-Match", &tags[..]),
            ("If-None-Match", &tags[..]),
            ("Idempotency-Key", &keys[..]),
            ("X-Reason-Code", &codes[..]),
        ] {
            for value in values {
                let request = api.request(method, &path).json(&body);
                answer(request.header(header, value.as_bytes()))
                    .await
                    .bad("badData", header);
            }
            let twice = api.request(method, &path).json(&body);
            let twice = twice.header(header, "*").header(header, "\"1\"");
            answer(twice).await.bad("badData", header);
        }
    }
}

pub(super) async fn every_path_and_query(api: &Api) {
    for entity_type in [
        "ships",
        "Backups",
        "backup",
        "backups%20",
        "%00",
        "backups%2f",
        "%ff",
        "archived",
        "..%2fusers",
    ] {
        for (method, rest) in [
            ("GET", String::new()),
            ("POST", String::new()),
            ("GET", format!("/{ID}")),
            ("GET", format!("/{ID}/history")),
            ("POST", format!("/{ID}/restore")),
            ("DELETE", format!("/{ID}/purge")),
        ] {
            let path = format!("{ARCHIVED}/{entity_type}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueNotAllowed", "entity_type");
        }
    }
    for id in [
        "x",
        "497f6eca62764993bfeb53cbbbba6f08",
        "%00",
        "%ff",
        "a%2fb",
        "497f6eca-6276-4993-bfeb-53cbbbba6f08%20",
        "%7B497f6eca-6276-4993-bfeb-53cbbbba6f08%7D",
    ] {
        for (method, rest) in [
            ("GET", ""),
            ("GET", "/history"),
            ("POST", "/restore"),
            ("DELETE", "/purge"),
        ] {
            let path = format!("{ARCHIVED}/backups/{id}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueIdentifier", "id");
        }
        for (method, rest) in [("GET", ""), ("POST", "/replay")] {
            let path = format!("/api/admin/callbacks/{id}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueIdentifier", "id");
        }
        let retry = api.request("POST", &format!("/api/admin/purges/{id}/retry"));
        answer(retry).await.bad("badValueIdentifier", "purge_id");
        let force = api.request("POST", &format!("/api/admin/purges/{id}/force"));
        answer(force.json(&json!({"reason": "r"})))
            .await
            .bad("badValueIdentifier", "purge_id");
        let proof = api.get(&format!("/api/ledger/proofs/{id}")).await;
        proof.bad("badValueIdentifier", "event_id");
    }
    for (query, id, key) in [
        ("", "missingRequiredValue", "from"),
        ("from=x", "badValueInteger", "from"),
        ("from=-1", "badValueInteger", "from"),
        ("from=99999999999999999999", "badValueInteger", "from"),
        ("from=9999999", "badValueNotInRange", "from"),
        ("from=0&to=9999999", "badValueNotInRange", "to"),
        ("from=0&from=0", "badData", "from"),
        ("from=0&form=1", "badData", "form"),
    ] {
        let path = format!("/api/ledger/consistency?{query}");
        api.get(&path).await.bad(id, key);
    }
    for path in [
        "tile/0/x",
        "tile/0/000.p/0",
        "tile/0/000.p/257",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/00x",
        "tile/entries/..",
        "tile/entries/0",
    ] {
        api.get(&format!("/api/ledger/{path}"))
            .await
            .refused(404, "notFound");
    }
    for (query, id, key) in [
        ("state=done", "badValueNotAllowed", "state"),
        ("limit=101", "badValueNotInRange", "limit"),
        ("cursor=x", "badData", "cursor"),
        ("state=all&state=all", "badData", "state"),
    ] {
        api.get(&format!("/api/admin/purges?{query}")).await.bad(id, key);
    }
    for id in ["a.b", "%00", "%ff", "a%20b", "a%2fb", "%c3%a9", &"x".repeat(129)] {
        for (method, rest) in [("GET", ""), ("POST", "/delete")] {
            let path = format!("{ARCHIVES}/{id}{rest}");
            answer(api.request(method, &path))
                .await
                .bad("badValueIdentifier", "archiveId");
        }
    }
    for (query, id, key) in [
        ("page=x", "badValueInteger", "page"),
        ("page=1.5", "badValueInteger", "page"),
        ("page=", "badValueInteger", "page"),
        ("page=%31%00", "badValueInteger", "page"),
        ("page=-1", "badValueNotInRange", "page"),
        ("page=9223372036854775807", "badValueNotInRange", "page"),
        ("page=99999999999999999999999", "badValueNotInRange", "page"),
        ("page=1&page=1", "badData", "page"),
        ("limit=x", "badValueInteger", "limit"),
        ("limit=-1", "badValueNotInRange", "limit"),
        ("limit=101", "badValueNotInRange", "limit"),
        ("limit=1&limit=2", "badData", "limit"),
        ("cursor=", "badData", "cursor"),
        ("cursor=x", "badData", "cursor"),
        ("cursor=x&page=1", "badData", "cursor"),
        ("cursor=%ff", "badData", "cursor"),
    ] {
        api.get(&format!("{ARCHIVED}/backups?{query}")).await.bad(id, key);
    }
    for (query, id, key) in [
        ("after=x", "badValueInteger", "after"),
        ("after=-1", "badValueInteger", "after"),
        ("after=", "badValueInteger", "after"),
        ("after=99999999999999999999", "badValueInteger", "after"),
        ("after=999999999999", "badValueTooHigh", "after"),
        ("after=0&after=0", "badData", "after"),
        ("entity_type=ships", "badValueNotAllowed", "entity_type"),
        ("event=deleted", "badValueNotAllowed", "event"),
        ("from=0", "badData", "from"),
    ] {
        api.get(&format!("/api/events?{query}")).await.bad(id, key);
    }
    // The ledger's number and a position, as the stream gives them out; a position alone is of another age.
    for last in [
        "",
        "x",
        "-1",
        "1.5",
        "1",
        "999999999999",
        "1-",
        "-1-1",
        "0-1",
        "1-1-1",
    ] {
        let request = api.request("GET", "/api/events").header("Last-Event-ID", last);
        answer(request).await.bad("badData", "Last-Event-ID");
    }
    let backwards = api
        .request("GET", "/api/events?after=2")
        .header("Last-Event-ID", "1-1");
    answer(backwards).await.bad("badData", "Last-Event-ID");
    for (query, id, key) in [
        ("actr=x", "badData", "actr"),
        ("actor=", "badValueEmpty", "actor"),
        ("actor=%00", "badData", "actor"),
        ("action=deleted", "badValueNotAllowed", "action"),
        ("entity_type=ships", "badValueNotAllowed", "entity_type"),
        ("entity_type=users&entity_id=x", "badValueIdentifier", "entity_id"),
        ("outcome=ok", "badValueNotAllowed", "outcome"),
        ("ip=localhost", "badData", "ip"),
        ("from=yesterday", "badData", "from"),
        ("pos_from=-1", "badValueInteger", "pos_from"),
        ("pos_to=99999999999999999999", "badValueInteger", "pos_to"),
        ("limit=1001", "badValueNotInRange", "limit"),
        ("order=newest", "badValueNotAllowed", "order"),
        ("cursor=", "badData", "cursor"),
    ] {
        api.get(&format!("/api/admin/audit/events?{query}"))
            .await
            .bad(id, key);
    }
    for (query, id, key) in [
        ("state=lost", "badValueNotAllowed", "state"),
        (
            "entity_type=ships&entity_id=x",
            "badValueNotAllowed",
            "entity_type",
        ),
        (
            "entity_type=backups&entity_id=x",
            "badValueIdentifier",
            "entity_id",
        ),
        ("entity_type=backups", "missingRequiredValue", "entity_id"),
        ("from=yesterday", "badData", "from"),
        ("limit=101", "badValueNotInRange", "limit"),
        ("cursor=x", "badData", "cursor"),
        ("host=%00", "badData", "host"),
    ] {
        api.get(&format!("/api/admin/callbacks?{query}"))
            .await
            .bad(id, key);
    }
}
