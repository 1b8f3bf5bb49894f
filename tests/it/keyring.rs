//! The keyring: every key of it is checked at the start, and one entity that cannot be opened concerns nobody else.

use crate::harness::ledger::{Place, change, context, deletion, entity};
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger::app;
use archive_ledger::ledger::{Purge, Register, SoftDelete};
use archive_ledger::store::ListPage;
use archive_ledger_domain::{EntityKey, EntityType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::PathBuf;

fn keyring_file(place: &Place) -> PathBuf {
    place.home().join("data/keyring.json")
}

fn read_keyring(place: &Place) -> Value {
    serde_json::from_slice(&std::fs::read(keyring_file(place)).unwrap()).unwrap()
}

fn write_keyring(place: &Place, keyring: &Value) {
    std::fs::write(keyring_file(place), serde_json::to_vec(keyring).unwrap()).unwrap();
}

/// The same key with another last bit.
fn changed(key: &Value) -> Value {
    let mut bytes = STANDARD.decode(key.as_str().unwrap()).unwrap();
    bytes[31] ^= 1;
    STANDARD.encode(bytes).into()
}

async fn record(place: &Place, number: u128) {
    let opened = place.open().await;
    let request = deletion(entity(EntityType::Users, number));
    opened.ledger.soft_delete(request, context()).await.unwrap();
    opened.close().await.unwrap();
}

/// Why the ledger does not open.
async fn refusal(place: &Place) -> String {
    app::open(&place.config()).await.unwrap_err().to_string()
}

async fn names(place: &Place) -> Vec<Option<String>> {
    let opened = place.open().await;
    let page = ListPage::Offset(0);
    let list = opened.ledger.list(EntityType::Users, &page, 100).await.unwrap();
    opened.close().await.unwrap();
    list.items.into_iter().map(|item| item.name).collect()
}

/// With a second key that wraps from now on.
fn rotated(keyring: &Value, id: &str) -> Value {
    let mut rotated = keyring.clone();
    rotated["keks"][id] = STANDARD.encode([id.len() as u8; 32]).into();
    rotated["active"] = id.into();
    rotated
}

on_both_backends! {
    async fn a_changed_bit_in_any_key_of_the_file_is_refused_at_the_start_by_the_keys_name(backend: Backend) {
        let place = Place::new(backend).await;
        record(&place, 1).await;
        let sound = read_keyring(&place);
        write_keyring(&place, &rotated(&sound, "2"));
        record(&place, 2).await;
        let sound = read_keyring(&place);
        for (pointer, named) in [
            ("/keks/1", "the key \"1\""),
            ("/keks/2", "the key \"2\""),
            ("/pseudonym_key", "pseudonym_key"),
            ("/service_key", "service_key"),
        ] {
            let mut wrong = sound.clone();
            let key = wrong.pointer_mut(pointer).unwrap();
            *key = changed(key);
            write_keyring(&place, &wrong);
            for args in [
                &["serve", "--listen", "127.0.0.1:0"][..],
                &["export", "--format", "ndjson", "--details"],
                &["reconcile", "--storage-root", "file:///tmp"],
                &["import", "-"],
            ] {
                let output = place.run(args).await;
                let told = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(2), "{pointer} {args:?}: {told}");
                let line = told.lines().last().unwrap();
                assert!(line.starts_with("archive-ledger: --keyring-file: "), "{told}");
                assert!(line.contains(named), "{pointer} {args:?}: {told}");
            }
        }
        write_keyring(&place, &sound);
        assert_eq!(names(&place).await.len(), 2);
    }

    async fn an_older_copy_that_lacks_a_key_in_use_is_refused_and_one_that_lacks_an_unused_one_is_not(backend: Backend) {
        let place = Place::new(backend).await;
        record(&place, 1).await;
        let oldest = read_keyring(&place);
        write_keyring(&place, &rotated(&oldest, "second"));
        record(&place, 2).await;
        let older = read_keyring(&place);
        // Known from one start on, and not yet used.
        write_keyring(&place, &rotated(&older, "third"));
        place.open().await.close().await.unwrap();
        write_keyring(&place, &older);
        assert_eq!(names(&place).await, [Some("a name".to_owned()), Some("a name".to_owned())]);
        write_keyring(&place, &oldest);
        let told = refusal(&place).await;
        assert!(told.starts_with("--keyring-file: ") && told.contains("\"second\"") && told.contains("1 entities"), "{told}");
        // Another key under a name that the ledger knows is no new key.
        write_keyring(&place, &{
            let mut other = older.clone();
            other["keks"]["third"] = STANDARD.encode([9; 32]).into();
            other
        });
        let told = refusal(&place).await;
        assert!(told.contains("\"third\""), "{told}");
        // What is lost for good is given up by its name, and the rest goes on.
        write_keyring(&place, &{
            let mut given_up = oldest.clone();
            given_up["retired"] = json!(["second"]);
            given_up
        });
        let mut names = names(&place).await;
        names.sort();
        assert_eq!(names, [None, Some("a name".to_owned())]);
    }

    async fn a_ledger_without_fingerprints_gets_them_once_each_key_has_opened_something(backend: Backend) {
        let place = Place::new(backend).await;
        let opened = place.open().await;
        let archive = EntityKey::new(EntityType::Archives, "a1").unwrap();
        let register = Register {
            key: archive,
            dataset_id: None,
            space_id: None,
            description: Some("d".into()),
            storage: Vec::new(),
            deleted_callback: Some("https://example.org/done".into()),
        };
        opened.ledger.register(register, context()).await.unwrap();
        opened.close().await.unwrap();
        let sound = read_keyring(&place);
        let forget = "DELETE FROM ledger_meta WHERE name LIKE 'keyring/%'";
        assert_eq!(place.tamper(forget).await, 2);
        for (pointer, named) in [("/keks/1", "\"1\""), ("/service_key", "service_key")] {
            let mut wrong = sound.clone();
            let key = wrong.pointer_mut(pointer).unwrap();
            *key = changed(key);
            write_keyring(&place, &wrong);
            let told = refusal(&place).await;
            assert!(told.contains(named), "{told}");
            assert_eq!(place.tamper(forget).await, 0, "a wrong key was remembered");
        }
        write_keyring(&place, &sound);
        place.open().await.close().await.unwrap();
        assert_eq!(place.tamper(forget).await, 2);
    }

    async fn a_ledger_that_is_sealed_gets_no_new_keyring_even_when_it_forgot_the_old_one(backend: Backend) {
        let place = Place::new(backend).await;
        record(&place, 1).await;
        place.tamper("DELETE FROM ledger_meta WHERE name LIKE 'keyring%'").await;
        std::fs::rename(keyring_file(&place), place.home().join("aside")).unwrap();
        let told = refusal(&place).await;
        assert!(told.contains("does not exist"), "{told}");
        assert!(!keyring_file(&place).exists());
        std::fs::rename(place.home().join("aside"), keyring_file(&place)).unwrap();
        assert_eq!(names(&place).await.len(), 1);
    }

    async fn one_unreadable_entity_is_shown_as_such_everywhere_and_takes_nothing_with_it(server: Server) {
        let admin = server.token(&["--role", "admin"]).await;
        let data_dir = server.data_dir();
        // The key: gone, changed, of another wrapping key; the bytes: gone, damaged.
        let hex = |backend| match backend {
            Backend::Embedded => "x'00'",
            Backend::Clustered => "'\\x00'",
        };
        let blank = hex(server.backend());
        let damages = [
            "UPDATE entities SET key_id = NULL, kek_id = NULL, wrapped = NULL WHERE aggregate_id = 'users:@'".to_owned(),
            format!("UPDATE entities SET wrapped = {blank} WHERE aggregate_id = 'users:@'"),
            "UPDATE entities SET kek_id = 'lost' WHERE aggregate_id = 'users:@'".to_owned(),
            "UPDATE entities SET key_id = '00000000-0000-0000-0000-000000000007' WHERE aggregate_id = 'users:@'".to_owned(),
            "UPDATE events SET sealed = NULL WHERE aggregate_id = 'users:@'".to_owned(),
            format!("UPDATE events SET sealed = {blank} WHERE aggregate_id = 'users:@'"),
        ];
        let mut damaged = Vec::new();
        for number in 0..20_u128 {
            let id = uuid::Uuid::from_u128(number + 1);
            let body = json!({"id": id, "name": format!("user {number}"), "metadata": {"n": 1}, "reason": "r"});
            let answer = server.post("/api/admin/archived/users", &admin, &body).send().await.unwrap();
            assert_eq!(answer.status(), 201);
        }
        for (number, damage) in (1_u128..).step_by(3).zip(&damages) {
            let id = uuid::Uuid::from_u128(number);
            let statement = damage.replace('@', &id.to_string());
            assert_eq!(change(server.database_url(), &data_dir, &statement).await, 1, "{statement}");
            damaged.push(id.to_string());
        }
        let get = async |path: String| {
            let answer = server.get(&path, &admin).send().await.unwrap();
            assert_eq!(answer.status(), 200, "{path}: {}", answer.text().await.unwrap());
            answer.json::<Value>().await.unwrap()
        };
        let list = get("/api/admin/archived/users?limit=100".into()).await;
        assert_eq!(list["total_count"], 20);
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 20);
        for item in items {
            let id = item["id"].as_str().unwrap().to_owned();
            let fields = item.as_object().unwrap();
            if damaged.contains(&id) {
                assert_eq!((&item["name"], &item["metadata"], &item["unreadable"]), (&Value::Null, &json!({}), &json!(true)), "{item}");
                assert_eq!(fields.len(), 6, "{item}");
            } else {
                assert!(item["name"].as_str().unwrap().starts_with("user "), "{item}");
                assert_eq!(fields.len(), 5, "{item}");
            }
        }
        for id in &damaged {
            let one = get(format!("/api/admin/archived/users/{id}")).await;
            assert_eq!((&one["state"], &one["name"], &one["unreadable"]), (&json!("archived"), &Value::Null, &json!(true)), "{one}");
            let past = get(format!("/api/admin/archived/users/{id}?as_of=20")).await;
            assert_eq!((&past["unreadable"], &past["as_of"]["erased"]), (&json!(true), &json!(false)), "{past}");
            let history = get(format!("/api/admin/archived/users/{id}/history")).await;
            let event = &history["items"][0];
            assert_eq!((&event["details"], &event["erased"], &event["unreadable"]), (&Value::Null, &json!(false), &json!(true)), "{event}");
            let diff = get(format!("/api/admin/archived/users/{id}/history?diff=0..1")).await;
            assert_eq!(diff["unreadable"], json!(true), "{diff}");
            assert!(!diff["changes"].as_array().unwrap().iter().any(|change| change["field"] == "name"), "{diff}");
        }
        let search = get("/api/admin/audit/events?entity_type=users&limit=100".into()).await;
        assert!(search["items"].as_array().unwrap().len() >= 20, "{search}");
        // Exports of details are signed a moment later.
        let export = crate::harness::eventually("the export is covered", std::time::Duration::from_secs(30), || async {
            let answer = server.get("/api/admin/audit/export?format=ndjson&details=true&pos_to=20", &admin).send().await.unwrap();
            (answer.status() == 200).then_some(answer)
        }).await;
        let lines = export.text().await.unwrap();
        assert_eq!(lines.lines().count(), 20, "{lines}");
        for line in lines.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let lost = damaged.iter().any(|id| line["entity_id"] == id.as_str());
            assert_eq!((line["details"].is_null(), &line["erased"], &line["unreadable"]), (lost, &json!(false), &json!(lost)), "{line}");
        }
        // A command that needs the key is refused for itself alone.
        let commands = [&damaged[1], &uuid::Uuid::from_u128(2).to_string()].map(|id| {
            server.request(http::Method::POST, &format!("/api/admin/archived/users/{id}/restore"), &admin).send()
        });
        let answers = futures::future::join_all(commands).await;
        let statuses: Vec<u16> = answers.into_iter().map(|answer| answer.unwrap().status().as_u16()).collect();
        assert_eq!(statuses, [409, 200]);
        // What cannot be opened can be purged all the same.
        let purge = format!("/api/admin/archived/users/{}/purge", damaged[2]);
        assert!(server.delete(&purge, &admin).send().await.unwrap().status().is_success());
        let history = get(format!("/api/admin/archived/users/{}/history", damaged[2])).await;
        assert_eq!(history["items"][0]["erased"], json!(true), "{history}");
        // It is told once for each.
        let log = server.log();
        for id in &damaged {
            assert_eq!(log.lines().filter(|line| line.contains("shown as unreadable") && line.contains(&format!("users:{id} "))).count(), 1, "{id}: {log}");
        }
        let metrics = server.get("/metrics", &admin).send().await.unwrap().text().await.unwrap();
        assert!(metrics.lines().any(|line| line.starts_with("archive_ledger_unreadable_total ")), "{metrics}");
    }
}

#[tokio::test]
async fn storage_that_cannot_be_opened_is_never_taken_for_cleaned() {
    let mut place = Place::new(Backend::Embedded).await;
    let root = place.home().join("objects");
    std::fs::create_dir(&root).unwrap();
    let storage = format!("file://{}", root.display());
    place.set("ARCHIVE_LEDGER_STORAGE_ROOT", &storage);
    let opened = place.open().await;
    let key = entity(EntityType::Users, 1);
    let request = SoftDelete {
        storage: vec![format!("{storage}/x")],
        ..deletion(key.clone())
    };
    opened.ledger.soft_delete(request, context()).await.unwrap();
    place
        .tamper("UPDATE entities SET kek_id = 'lost' WHERE wrapped IS NOT NULL")
        .await;
    let receipt = opened
        .ledger
        .purge(key.clone(), Purge::default(), context())
        .await
        .unwrap();
    let order = opened.ledger.purge_order(&key, receipt.purge_id.unwrap()).await;
    assert!(order.is_err(), "{order:?}");
    let view = opened.ledger.entity(&key).await.unwrap().unwrap();
    assert!(view.unreadable && view.details.storage.is_empty());
    opened.close().await.unwrap();
}
