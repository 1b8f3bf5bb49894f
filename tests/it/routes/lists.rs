//! Counts and lists: exact after every command, in one order, by number and by cursor, whatever goes on beside.
//!
//! Each test here has an entity type to itself on the shared service.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{ARCHIVED, Api, answer, new_id};
use crate::harness::on_both_backends;

async fn counts(api: &Api, entity_type: &str) -> (u64, u64) {
    let summary = api.get(&format!("{ARCHIVED}/summary")).await.json(200);
    let list = api
        .get(&format!("{ARCHIVED}/{entity_type}?limit=1"))
        .await
        .json(200);
    (
        summary[entity_type].as_u64().unwrap(),
        list["total_count"].as_u64().unwrap(),
    )
}

async fn delete_at(api: &Api, entity_type: &str, id: &str, deleted_at: &str) {
    let body = json!({"id": id, "name": "n", "deleted_at": deleted_at});
    let item = api
        .post(&format!("{ARCHIVED}/{entity_type}"), &body)
        .await
        .json(201);
    assert_eq!(item["deleted_at"], deleted_at);
}

fn ids(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().to_owned())
        .collect()
}

/// All pages from the first on, by cursor.
async fn walk(api: &Api, entity_type: &str, limit: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut query = format!("limit={limit}");
    loop {
        let page = api
            .get(&format!("{ARCHIVED}/{entity_type}?{query}"))
            .await
            .json(200);
        let ids = ids(&page);
        assert!(ids.len() <= limit);
        found.extend(ids);
        assert_eq!(
            page["has_more"].as_bool().unwrap(),
            page["next_cursor"].is_string()
        );
        let Some(cursor) = page["next_cursor"].as_str() else {
            return found;
        };
        query = format!("limit={limit}&cursor={cursor}");
    }
}

on_both_backends! {
    async fn the_summary_and_the_total_are_exact_after_every_command(backend: Backend) {
        let api = Api::shared(backend).await;
        let entity_type = "instances";
        let (one, two, three) = (new_id(), new_id(), new_id());
        assert_eq!(counts(&api, entity_type).await, (0, 0));
        api.soft_delete(entity_type, &one).await;
        assert_eq!(counts(&api, entity_type).await, (1, 1));
        let again = json!({"id": one, "name": "n"});
        api.post(&format!("{ARCHIVED}/{entity_type}"), &again).await.refused(409, "alreadyExists");
        assert_eq!(counts(&api, entity_type).await, (1, 1));
        api.soft_delete(entity_type, &two).await;
        api.soft_delete_held(entity_type, &three).await;
        assert_eq!(counts(&api, entity_type).await, (3, 3));
        assert_eq!(api.restore(entity_type, &one).await.status, 200);
        assert_eq!(counts(&api, entity_type).await, (2, 2));
        assert_eq!(api.restore(entity_type, &one).await.status, 409);
        assert_eq!(counts(&api, entity_type).await, (2, 2));
        assert_eq!(api.purge(entity_type, &two).await.status, 200);
        assert_eq!(counts(&api, entity_type).await, (1, 1));
        // What is being purged cannot be restored, so it is archived no more.
        assert_eq!(api.purge(entity_type, &three).await.status, 200);
        assert_eq!(counts(&api, entity_type).await, (0, 0));
        api.soft_delete(entity_type, &one).await;
        assert_eq!(counts(&api, entity_type).await, (1, 1));
        let item = &api.get(&format!("{ARCHIVED}/{entity_type}")).await.json(200)["items"][0];
        assert_eq!(item["id"], json!(one));
    }

    async fn commands_at_once_are_all_counted(backend: Backend) {
        let api = Api::shared(backend).await;
        let entity_type = "organizations";
        let all: Vec<String> = (0..60).map(|_| new_id()).collect();
        futures::future::join_all(all.iter().map(|id| api.soft_delete(entity_type, id))).await;
        assert_eq!(counts(&api, entity_type).await, (60, 60));
        let restored = futures::future::join_all(all[..20].iter().map(|id| api.restore(entity_type, id))).await;
        assert!(restored.iter().all(|answer| answer.status == 200));
        let purged = futures::future::join_all(all[10..40].iter().map(|id| api.purge(entity_type, id))).await;
        assert_eq!(purged.iter().filter(|answer| answer.status == 200).count(), 20);
        assert_eq!(counts(&api, entity_type).await, (20, 20));
        let left: BTreeSet<String> = walk(&api, entity_type, 7).await.into_iter().collect();
        assert_eq!(left, all[40..].iter().cloned().collect());
    }

    async fn the_newest_deletion_comes_first_then_the_id_by_number_and_by_cursor(backend: Backend) {
        let api = Api::shared(backend).await;
        let entity_type = "projects";
        let times = [
            "2024-01-01T00:00:00Z",
            "2024-01-01T00:00:00.000001Z",
            "2023-12-31T23:59:59.999999Z",
            "2024-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999Z",
            "2024-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
            "0001-01-01T00:00:00Z",
        ];
        let mut expected = Vec::new();
        for time in times {
            let id = new_id();
            delete_at(&api, entity_type, &id, time).await;
            expected.push((time.parse::<chrono::DateTime<chrono::Utc>>().unwrap(), id));
        }
        expected.sort_by(|(one_time, one), (other_time, other)| other_time.cmp(one_time).then_with(|| one.cmp(other)));
        let expected: Vec<String> = expected.into_iter().map(|(_, id)| id).collect();
        for limit in [1, 2, 3, 7, 8, 100] {
            assert_eq!(walk(&api, entity_type, limit).await, expected, "by cursor, {limit} at a time");
            let mut numbered = Vec::new();
            for number in 1..=expected.len().div_ceil(limit) {
                let path = format!("{ARCHIVED}/{entity_type}?page={number}&limit={limit}");
                let page = api.get(&path).await.json(200);
                assert_eq!(page["total_count"], json!(expected.len()));
                assert_eq!(page["has_more"], json!(number * limit < expected.len()));
                numbered.extend(ids(&page));
            }
            assert_eq!(numbered, expected, "by number, {limit} at a time");
        }
        // The first page may be asked for in several ways, and behind the last there is nothing.
        for query in ["", "?page=0&limit=0", "?page=1", "?limit=20", "?unknown=%ff&x"] {
            assert_eq!(ids(&api.get(&format!("{ARCHIVED}/{entity_type}{query}")).await.json(200)), expected);
        }
        for page in ["2", "92233720368547758"] {
            let path = format!("{ARCHIVED}/{entity_type}?page={page}&limit=100");
            let beyond = api.get(&path).await.json(200);
            assert_eq!(
                (&beyond["items"], &beyond["has_more"], &beyond["total_count"]),
                (&json!([]), &json!(false), &json!(expected.len()))
            );
        }
        let page = api.get(&format!("{ARCHIVED}/{entity_type}?limit=2")).await.json(200);
        let cursor = page["next_cursor"].as_str().unwrap();
        for (path, key) in [
            (format!("{ARCHIVED}/users?cursor={cursor}"), "cursor"),
            (format!("{ARCHIVED}/{entity_type}?cursor={cursor}&page=1"), "cursor"),
            (format!("{ARCHIVED}/{entity_type}?cursor={cursor}A"), "cursor"),
            (format!("{ARCHIVED}/{entity_type}?cursor={}", &cursor[1..]), "cursor"),
            (format!("{ARCHIVED}/{entity_type}?cursor={cursor}&cursor={cursor}"), "cursor"),
        ] {
            api.get(&path).await.bad("badData", key);
        }
    }

    async fn a_walk_by_cursor_sees_each_entity_that_stays_exactly_once(backend: Backend) {
        let api = Api::shared(backend).await;
        let entity_type = "domains";
        let mut staying = BTreeSet::new();
        for minute in 0..24 {
            let id = new_id();
            delete_at(&api, entity_type, &id, &format!("2024-01-01T00:{minute:02}:00Z")).await;
            if minute % 6 == 5 {
                // Goes away during the walk.
                let path = format!("{ARCHIVED}/{entity_type}/{id}/restore");
                assert_eq!(answer(api.request("POST", &path)).await.status, 200);
            } else {
                staying.insert(id);
            }
        }
        let changes = async {
            for minute in 0..24 {
                let (newer, between) = (new_id(), new_id());
                api.soft_delete(entity_type, &newer).await;
                delete_at(&api, entity_type, &between, &format!("2024-01-01T00:{minute:02}:30Z")).await;
                assert_eq!(api.restore(entity_type, &newer).await.status, 200);
            }
        };
        let walks = async {
            let mut walks = Vec::new();
            for _ in 0..3 {
                walks.push(walk(&api, entity_type, 3).await);
            }
            walks
        };
        let ((), walks) = tokio::join!(changes, walks);
        for seen in walks {
            let staying_seen: Vec<&String> = seen.iter().filter(|id| staying.contains(*id)).collect();
            assert_eq!(staying_seen.len(), staying.len());
            let distinct: BTreeSet<&String> = seen.iter().collect();
            assert_eq!(distinct.len(), seen.len(), "an entity was seen twice");
        }
    }
}
