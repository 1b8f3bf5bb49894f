//! Cursors that nobody gave out, and times that no database holds: 400 that names them, on every route that takes one.

use serde_json::{Value, json};
use std::time::Duration;

use super::{ARCHIVED, Answer, Api, answer, configured, new_id};
use crate::harness::{eventually, on_both_backends};

const SOON: Duration = Duration::from_secs(60);

/// The reads that take a cursor, each without one. Their pages must not end with the list.
const READS: [&str; 5] = [
    "/api/admin/archived/backups?limit=1",
    "/api/admin/audit/events?limit=1",
    "/api/admin/audit/events?limit=1&order=asc",
    "/api/admin/purges?limit=1",
    "/api/admin/callbacks?limit=1",
];

/// Each list, with what chooses its rows or their order.
const CHOSEN: [(&str, &[&str]); 3] = [
    (
        "/api/admin/callbacks",
        &[
            "",
            "&state=due",
            "&host=127.0.0.1:9",
            "&from=2000-01-01T00:00:00Z",
            "&until=9000-01-01T00:00:00Z",
            "&state=due&host=127.0.0.1:9",
        ],
    ),
    ("/api/admin/purges", &["", "&state=purging", "&state=failed"]),
    (
        "/api/admin/audit/events",
        &[
            "",
            "&order=asc",
            "&entity_type=backups",
            "&from=2000-01-01T00:00:00Z",
        ],
    ),
];

const REPLAY: &str = "/api/admin/callbacks/replay";

/// Texts of the form that cursors have had, and of no form.
const MADE_UP: [&str; 24] = [
    "",
    "x",
    "0",
    "-1",
    "41",
    "1-41",
    "1-9223372036854775807",
    "1-9223372036854775808",
    "1.1750762637248123.497f6eca627649939bfeb53cbbbba6f0",
    "1.-211813488000000001.00000000000000000000000000000000",
    "-211813488000000001.00000000000000000000000000000000",
    "1.9223372036854775807.497f6eca627649939bfeb53cbbbba6f0",
    "1.253402300800000000.497f6eca627649939bfeb53cbbbba6f0",
    "99999999999999999999.1.497f6eca627649939bfeb53cbbbba6f0",
    "eyJ2IjoxLCJsZWRnZXIiOjEsImxpc3QiOiJjYWxsYmFja3MiLCJhdCI6WzEsIngiXX0",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "null",
    "{}",
    "%00",
    "%ff",
    "%F0%9F%92%A5",
    "' OR 1=1 --",
    "../..",
    "=",
];

/// That an answer refuses the cursor, or says why the text is none.
fn refused(answer: &Answer, what: &str) {
    let error = match answer.status {
        400 => answer.json(400),
        status => panic!("{what}: {status} {}", answer.text()),
    };
    assert_eq!(error["error"]["details"]["key"], "cursor", "{what}: {error}");
}

/// What is close to a cursor that was given out.
fn near(cursor: &str) -> Vec<String> {
    let mut near = vec![
        cursor[1..].to_owned(),
        cursor[..cursor.len() - 1].to_owned(),
        format!("{cursor}A"),
        format!("{cursor}="),
        format!("{cursor}{cursor}"),
        cursor.chars().rev().collect(),
        cursor.to_uppercase(),
    ];
    // One character after the other, each another one of the alphabet.
    for place in (0..cursor.len()).step_by(3) {
        let other = if &cursor[place..=place] == "A" { "B" } else { "A" };
        near.push(format!("{}{other}{}", &cursor[..place], &cursor[place + 1..]));
    }
    near.retain(|text| text != cursor);
    near
}

on_both_backends! {
    async fn a_cursor_that_was_not_given_out_for_a_list_is_refused_by_name_and_nothing_else_happens(backend: Backend) {
        let server = configured(backend).start().await;
        let api = Api::of(&server);
        for number in 0..3 {
            let (held, gone) = (new_id(), new_id());
            api.soft_delete_held("backups", &held).await;
            api.soft_delete("backups", &new_id()).await;
            assert_eq!(api.purge("backups", &held).await.status, 200);
            api.soft_delete("users", &gone).await;
            let path = format!("{ARCHIVED}/users/{gone}/purge");
            let callback = json!({"deletedCallback": format!("http://127.0.0.1:9/{number}")});
            assert_eq!(answer(api.request("DELETE", &path).json(&callback)).await.status, 200);
        }
        eventually("three callbacks are owed", SOON, || async {
            let page = api.get("/api/admin/callbacks").await.json(200);
            (page["items"].as_array()?.len() == 3).then_some(())
        })
        .await;
        let mut given_out = Vec::new();
        for path in READS {
            let page = api.get(path).await.json(200);
            given_out.push((path, page["next_cursor"].as_str().unwrap_or_else(|| panic!("{path}: {page}")).to_owned()));
        }
        for (path, cursor) in &given_out {
            assert_eq!(api.get(&format!("{path}&cursor={cursor}")).await.status, 200, "{path}");
            for text in MADE_UP {
                refused(&api.get(&format!("{path}&cursor={text}")).await, &format!("{path} {text}"));
            }
            refused(&api.get(&format!("{path}&cursor={}", "A".repeat(5_000))).await, path);
            for text in near(cursor) {
                refused(&api.get(&format!("{path}&cursor={text}")).await, &format!("{path} {text}"));
            }
            for (other, foreign) in given_out.iter().filter(|(other, _)| other != path) {
                refused(&api.get(&format!("{path}&cursor={foreign}")).await, &format!("{path}, of {other}"));
            }
        }
        for (list, chosen) in CHOSEN {
            let mut walks = Vec::new();
            for choice in chosen {
                let page = api.get(&format!("{list}?limit=1{choice}")).await.json(200);
                if let Some(cursor) = page["next_cursor"].as_str() {
                    walks.push((*choice, cursor.to_owned()));
                }
            }
            assert!(walks.len() > 1, "{list}: {walks:?}");
            for (given, cursor) in &walks {
                let goes_on = api.get(&format!("{list}?limit=2{given}&cursor={cursor}")).await;
                assert_eq!(goes_on.status, 200, "{list}{given}: {}", goes_on.text());
                for other in chosen.iter().filter(|other| *other != given) {
                    let told = api.get(&format!("{list}?limit=1{other}&cursor={cursor}")).await;
                    refused(&told, &format!("{list} {given} {other}"));
                    assert!(told.text().contains("other filters"), "{}", told.text());
                }
            }
        }
        // In a body, where a replay would go on.
        let body = |cursor: &str| json!({"dry_run": false, "filter": {"state": "delivered"}, "cursor": cursor});
        for text in MADE_UP {
            refused(&api.post(REPLAY, &body(text)).await, text);
        }
        for (path, cursor) in &given_out {
            // Also that of the list of all deliveries: a replay has filters of its own.
            refused(&api.post(REPLAY, &body(cursor)).await, path);
            for text in near(cursor) {
                refused(&api.post(REPLAY, &body(&text)).await, &text);
            }
        }
        for value in [json!(1), json!(["x"]), json!({}), json!(true)] {
            let body = json!({"dry_run": true, "cursor": value});
            refused(&api.post(REPLAY, &body).await, &value.to_string());
        }
    }

    async fn a_time_is_of_the_years_1_to_9999_wherever_it_comes_in(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete("backups", &id).await;
        let routes = [
            ("/api/admin/audit/events?from={}", "from"),
            ("/api/admin/audit/events?to={}", "to"),
            ("/api/admin/audit/export?format=ndjson&from={}", "from"),
            ("/api/admin/callbacks?from={}", "from"),
            ("/api/admin/callbacks?until={}", "until"),
        ];
        let shown = format!("{ARCHIVED}/backups/{id}");
        let beyond = [
            "0000-01-01T00:00:00Z",
            "0000-12-31T23:59:59.999999Z",
            "-0001-01-01T00:00:00Z",
            "-4713-11-24T00:00:00Z",
            "0001-01-01T00:00:00%2B00:01",
            "9999-12-31T23:59:59-00:01",
            "10000-01-01T00:00:00Z",
            "%2B10000-01-01T00:00:00Z",
            "294277-01-01T00:00:00Z",
            "253402300800",
            "infinity",
            "-infinity",
        ];
        let within = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0001-01-01T00:01:00%2B00:01"];
        for (route, key) in routes {
            for time in beyond {
                let told = api.get(&route.replace("{}", time)).await;
                assert_eq!(told.json(400)["error"]["details"]["key"], key, "{route} {time}");
            }
            for time in within {
                let told = api.get(&route.replace("{}", time)).await;
                assert_eq!(told.status, 200, "{route} {time}: {}", told.text());
            }
        }
        for time in beyond {
            let told = api.get(&format!("{shown}?as_of={time}")).await;
            assert!([400, 404].contains(&told.status), "{time}: {}", told.text());
        }
        for time in within {
            let told = api.get(&format!("{shown}?as_of={time}")).await;
            assert!(told.status < 500, "{time}: {}", told.text());
        }
        for time in beyond.map(|time| time.replace("%2B", "+")) {
            for key in ["from", "until"] {
                let body = json!({"dry_run": true, "filter": {key: time}});
                let told = api.post(REPLAY, &body).await.json(400);
                assert_eq!(told["error"]["details"]["key"], key, "{time}");
            }
            let body = json!({"id": new_id(), "name": "n", "deleted_at": time});
            let told: Value = api.post(&format!("{ARCHIVED}/backups"), &body).await.json(400);
            assert_eq!(told["error"]["details"]["key"], "deleted_at", "{time}");
        }
    }
}
