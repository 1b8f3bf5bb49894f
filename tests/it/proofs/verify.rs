//! `archive-ledger verify` and `export`, as an auditor runs them.

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger::ledger::{Purge, SoftDelete};
use archive_ledger_domain::EntityType;
use serde_json::json;
use std::process::Output;

/// A log of deletions, a restore and a purge.
async fn fill(place: &Place, entities: u128) {
    let opened = place.open().await;
    let delete = |n: u128| {
        let request = SoftDelete {
            name: format!("Ada's {n}"),
            reason: Some("she left".into()),
            ..deletion(entity(EntityType::Backups, n))
        };
        opened.ledger.soft_delete(request, context())
    };
    for answer in futures::future::join_all((0..entities).map(delete)).await {
        answer.unwrap();
    }
    let restored = entity(EntityType::Backups, 1);
    opened.ledger.restore(restored.clone(), context()).await.unwrap();
    opened
        .ledger
        .soft_delete(deletion(restored), context())
        .await
        .unwrap();
    let purged = entity(EntityType::Backups, 2);
    opened
        .ledger
        .purge(purged, Purge::default(), context())
        .await
        .unwrap();
    opened.close().await.unwrap();
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

async fn verify(place: &Place, args: &[&str]) -> (Option<i32>, String, String) {
    texts(&place.run(&[&["verify"], args].concat()).await)
}

/// Exports to `NAME`; the verifier key is then in `NAME/vkey`.
async fn export(place: &Place, name: &str) {
    let (code, _, error) = texts(
        &place
            .run(&["export", "--dir", name, "--payloads", "payloads.ndjson"])
            .await,
    );
    assert_eq!(code, Some(0), "{error}");
}

on_both_backends! {
    async fn a_sound_ledger_is_found_sound_exported_and_in_its_database(backend: Backend) {
        let place = Place::new(backend).await;
        fill(&place, 300).await;
        export(&place, "out").await;
        let since = place.home().join("old.checkpoint");
        std::fs::copy(place.home().join("out/checkpoint"), &since).unwrap();
        fill_more(&place).await;
        export(&place, "out").await;
        for args in [
            &["--dir", "out", "--since", "old.checkpoint", "--payloads", "payloads.ndjson"][..],
            &["--since", "old.checkpoint", "--payloads", "payloads.ndjson"],
        ] {
            let (code, said, error) = verify(&place, &[args, &["--vkey", "out/vkey"]].concat()).await;
            assert_eq!(code, Some(0), "{args:?}: {error}");
            assert!(said.contains("sound: localhost/ledger/1, 309 events in 305 streams"), "{said}");
            assert!(said.contains("payloads: 309"), "{said}");
            if !args.contains(&"--dir") {
                assert!(said.contains("309 rows") && said.contains("sealed details opened"), "{said}");
            }
        }
    }

    async fn whatever_is_changed_in_the_database_is_named_with_its_first_position(backend: Backend) {
        let place = Place::new(backend).await;
        fill(&place, 20).await;
        export(&place, "out").await;
        // PostgreSQL writes JSON with spaces.
        let payload = |from: u8, to: u8| match backend {
            Backend::Embedded => format!(
                "UPDATE events SET payload = replace(payload, '\"storage_count\":{from}', '\"storage_count\":{to}')
                 WHERE position = 7"
            ),
            Backend::Clustered => format!(
                "UPDATE events SET payload = replace(payload::text, '\"storage_count\": {from}', '\"storage_count\": {to}')::json
                 WHERE position = 7"
            ),
        };
        for (change, undo, said) in [
            (payload(0, 1), payload(1, 0),
             "tampered at position 7: the row's payload"),
            ("UPDATE events SET actor = 'somebody else' WHERE position = 5".to_owned(),
             "UPDATE events SET actor = 'tests' WHERE position = 5".to_owned(),
             "tampered at position 5: the row's actor"),
            ("UPDATE archived_summary SET count = count + 1".to_owned(),
             "UPDATE archived_summary SET count = count - 1".to_owned(),
             "archived_summary"),
            ("UPDATE ledger_head SET position = position + 1".to_owned(),
             "UPDATE ledger_head SET position = position - 1".to_owned(),
             "tampered at position 25: the row is missing"),
            ("UPDATE checkpoints SET size = size + 1 WHERE size = 24".to_owned(),
             "UPDATE checkpoints SET size = size - 1 WHERE size = 25".to_owned(),
             "the stored checkpoint of 25 entries was changed"),
            ("UPDATE events SET correlation_id = 'x' WHERE position = 9".to_owned(),
             "UPDATE events SET correlation_id = NULL WHERE position = 9".to_owned(),
             "tampered at position 9: the row's request id"),
        ] {
            assert!(place.tamper(&change).await > 0, "{change}");
            let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
            assert_eq!(code, Some(2), "{change}: {error}");
            assert!(error.contains(said), "{change}: {error}");
            place.tamper(&undo).await;
        }
        let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
        assert_eq!(code, Some(0), "{error}");
        place.tamper("UPDATE events SET sealed = NULL WHERE position = 9").await;
        let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("position 9: the sealed details are gone"), "{error}");
        place.tamper("DELETE FROM events WHERE position = 11").await;
        let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("11"), "{error}");
    }

    async fn a_served_log_and_its_evidence_are_verified_by_their_address(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let auditor = server.token(&["--role", "auditor"]).await;
        let ids = [uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2)];
        for id in ids {
            let body = json!({"id": id, "name": "Ada", "metadata": {"n": 18_446_744_073_709_551_615_u64}, "reason": "r"});
            let answer = server.post("/api/admin/archived/users", &token, &body).send().await.unwrap();
            assert_eq!(answer.status(), 201);
        }
        let purge = format!("/api/admin/archived/users/{}/purge", ids[1]);
        assert!(server.delete(&purge, &token).send().await.unwrap().status().is_success());
        let vkey = server.get("/api/ledger/vkey", &auditor).send().await.unwrap().text().await.unwrap();
        let mut evidence = Vec::new();
        for id in ids {
            let path = format!("/api/admin/archived/users/{id}/evidence");
            let answer = server.get(&path, &auditor).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            evidence.push(answer.text().await.unwrap());
        }
        let (vkey, url) = (vkey.trim(), server.url("/"));
        let (code, said, error) =
            texts(&server.run_command(&["verify", "--url", &url, "--token", &auditor, "--vkey", vkey]).await);
        assert_eq!(code, Some(0), "{error}");
        assert!(said.contains("4 events in 2 streams"), "{said}");
        let (code, _, error) = texts(&server.run_command(&["verify", "--url", &url, "--vkey", vkey]).await);
        assert_eq!(code, Some(3), "{error}");
        // Beside live traffic.
        let (code, _, error) = texts(&server.run_command(&["verify", "--vkey", vkey]).await);
        assert_eq!(code, Some(0), "{error}");
        for (name, (text, events)) in ["kept", "purged"].into_iter().zip(evidence.iter().zip([1, 3])) {
            let file = server.home().join(name);
            let path = file.display().to_string();
            std::fs::write(&file, text).unwrap();
            let (code, said, error) =
                texts(&server.run_command(&["verify", "--bundle", &path, "--vkey", vkey]).await);
            assert_eq!(code, Some(0), "{error}");
            assert!(said.contains(&format!("{events} events of one stream, all of users/")), "{said}");
            for (change, expected) in evidence_changes(text) {
                std::fs::write(&file, &change).unwrap();
                let (code, out, error) =
                    texts(&server.run_command(&["verify", "--bundle", &path, "--vkey", vkey]).await);
                assert_eq!(code, Some(expected), "{change}: {out}{error}");
            }
            assert_eq!(said.contains("erased"), name == "purged", "{said}");
            for (from, to) in [("soft_deleted", "soft_delete"), ("\"actor\":\"", "\"actor\":\"x"), ("\"erased\":", "\"erased\":!")] {
                let changed = text.replacen(from, &to.replace('!', if name == "kept" { "true,\"x\":" } else { "false,\"x\":" }), 1);
                std::fs::write(&file, changed).unwrap();
                let (code, _, error) =
                    texts(&server.run_command(&["verify", "--bundle", &path, "--vkey", vkey]).await);
                assert_eq!(code, Some(2), "{from}: {error}");
            }
        }
    }
}

/// What somebody might make of a bundle, and the exit code that it gets.
fn evidence_changes(text: &str) -> Vec<(String, i32)> {
    let sound: serde_json::Value = serde_json::from_str(text).unwrap();
    let mut changes = Vec::new();
    let mut change = |expected: i32, how: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = sound.clone();
        how(&mut changed);
        if changed != sound {
            changes.push((changed.to_string(), expected));
        }
    };
    let events = |bundle: &mut serde_json::Value| bundle["events"].as_array().unwrap().clone();
    change(2, &|bundle| {
        bundle["events"].as_array_mut().unwrap().pop();
    });
    change(2, &|bundle| {
        bundle["events"].as_array_mut().unwrap().remove(0);
    });
    change(2, &|bundle| bundle["events"].as_array_mut().unwrap().reverse());
    change(2, &|bundle| {
        let mut twice = events(bundle);
        twice.extend(events(bundle));
        bundle["events"] = twice.into();
    });
    change(2, &|bundle| bundle["entity_type"] = "servers".into());
    change(2, &|bundle| {
        bundle["id"] = uuid::Uuid::from_u128(77).to_string().into()
    });
    change(2, &|bundle| {
        if bundle["events"][0].get("details").is_some() {
            bundle["events"][0]["details"] = serde_json::Value::Null;
        }
    });
    change(2, &|bundle| {
        bundle["events"][0]["details"] = serde_json::Value::Null;
        bundle["events"][0]["unreadable"] = true.into();
        bundle["events"][0]["erased"] = false.into();
    });
    change(2, &|bundle| bundle["events"][0]["proof"] = json!(["AAAA"]));
    change(2, &|bundle| {
        let statement = bundle["statement"]
            .as_str()
            .unwrap()
            .replacen("events ", "events 1", 1);
        bundle["statement"] = statement.into();
    });
    change(2, &|bundle| bundle["statement"] = bundle["checkpoint"].clone());
    change(2, &|bundle| bundle["checkpoint"] = bundle["statement"].clone());
    // Without the statement nothing contradicts; it does not prove completeness then, and says so.
    change(3, &|bundle| {
        bundle.as_object_mut().unwrap().remove("statement");
    });
    changes
}

async fn fill_more(place: &Place) {
    let opened = place.open().await;
    for n in 1000..1005 {
        let request = deletion(entity(EntityType::Users, n));
        opened.ledger.soft_delete(request, context()).await.unwrap();
    }
    opened.close().await.unwrap();
}

#[tokio::test]
async fn every_exit_code_is_what_the_help_says() {
    let place = Place::new(Backend::Embedded).await;
    fill(&place, 300).await;
    export(&place, "out").await;
    let home = place.home();
    for args in [
        &["--dir", "out"][..],
        &["--dir", "out", "--vkey", "no such file"],
        &["--dir", "out", "--vkey", "a+b+c"],
        &["--dir", "out", "--url", "http://localhost", "--vkey", "out/vkey"],
        &["--url", "ftp://x", "--vkey", "out/vkey"],
        &["--dir", "out", "--vkey", "out/vkey", "--since", "nowhere"],
        &["--dir", "out", "--vkey", "out/vkey", "--payloads", "out/vkey"],
        &["--data-dir", "nowhere", "--vkey", "out/vkey"],
        &["--vkey", "out/vkey", "--listen", "nowhere"],
        &["--no-such-option"],
    ] {
        let (code, _, error) = verify(&place, args).await;
        assert_eq!(code, Some(4), "{args:?}: {error}");
        assert_eq!(error.matches('\n').count(), 1, "{error}");
    }
    let other = "localhost/ledger/1+e4ee0b2a+AdjH3IuRDiRuTHrkpbZXbEc1wJGuzQVxjNYVRfgoyJ8P";
    for (change, code, said) in [
        ("", 0, "sound"),
        ("rm out/tile/entries/000", 3, "tile/entries/000 is missing"),
        ("rm out/tile/1/000.p/1", 3, "tile/1/000.p/1 is missing"),
        ("rm out/checkpoint", 3, "there is no checkpoint"),
        ("printf x >> out/tile/entries/000", 2, "tampered"),
        ("printf x >> out/tile/1/000.p/1", 2, "tampered"),
        ("truncate -s -1 out/tile/0/000", 2, "tampered at position 256"),
        (
            "truncate -s -1 out/tile/entries/000",
            2,
            "tampered at position 256",
        ),
        (
            "sed -i 's/\"rev\":1/\"rev\":2/' out/tile/entries/001.p/48",
            2,
            "tampered at position 257",
        ),
        ("sed -i 's/^304$/303/' out/checkpoint", 2, "checkpoint"),
        (
            "sed -i 's/soft_deleted/soft_delete/2' payloads.ndjson; sed -i '3s/tests/testz/' payloads.ndjson",
            2,
            "position 3: the disclosed payload",
        ),
    ] {
        let copy =
            format!("rm -rf out payloads.ndjson; cp -r kept out; cp kept.ndjson payloads.ndjson; {change}");
        let setup = if change.is_empty() {
            "cp -r out kept; cp payloads.ndjson kept.ndjson".to_owned()
        } else {
            copy
        };
        let shell = std::process::Command::new("sh")
            .args(["-c", &setup])
            .current_dir(home)
            .status()
            .unwrap();
        assert!(shell.success(), "{setup}");
        let args = [
            "--dir",
            "out",
            "--vkey",
            "kept/vkey",
            "--payloads",
            "payloads.ndjson",
        ];
        let (actual, out, error) = verify(&place, &args).await;
        assert_eq!(actual, Some(code), "{change}: {out}{error}");
        assert!(format!("{out}{error}").contains(said), "{change}: {out}{error}");
    }
    let (code, _, error) = verify(&place, &["--dir", "kept", "--vkey", other]).await;
    assert!(matches!(code, Some(2 | 4)), "{error}");
    let (code, _, error) = verify(&place, &["--url", "http://127.0.0.1:9", "--vkey", "kept/vkey"]).await;
    assert_eq!(code, Some(3), "{error}");
}

#[tokio::test]
async fn a_log_that_was_rolled_back_or_replaced_does_not_go_on_from_an_old_checkpoint() {
    let place = Place::new(Backend::Embedded).await;
    fill(&place, 10).await;
    export(&place, "short").await;
    fill_more(&place).await;
    export(&place, "long").await;
    let (code, _, error) = verify(
        &place,
        &[
            "--dir",
            "short",
            "--vkey",
            "long/vkey",
            "--since",
            "long/checkpoint",
        ],
    )
    .await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("position 15: the log ends here"), "{error}");
    let other = Place::new(Backend::Embedded).await;
    for name in ["ledger.key", "keyring.json"] {
        let (from, to) = (
            place.home().join("data").join(name),
            other.home().join("data").join(name),
        );
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
    // Nobody is told that the key was used.
    std::fs::write(other.home().join("data/ledger.key.new"), "").unwrap();
    fill(&other, 30).await;
    export(&other, "other").await;
    let since = place.home().join("long/checkpoint").display().to_string();
    let (code, _, error) = verify(
        &other,
        &["--dir", "other", "--vkey", "other/vkey", "--since", &since],
    )
    .await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("root of the old checkpoint"), "{error}");
}

on_both_backends! {
    async fn what_the_log_implies_of_every_table_beside_it_is_checked(backend: Backend) {
        let mut place = Place::new(backend).await;
        let root = place.home().join("objects");
        std::fs::create_dir(&root).unwrap();
        let storage = format!("file://{}", root.display());
        place.set("ARCHIVE_LEDGER_STORAGE_ROOT", &storage);
        fill(&place, 70).await;
        let opened = place.open().await;
        let owed = entity(EntityType::Users, 500);
        let request = SoftDelete { storage: vec![format!("{storage}/x")], ..deletion(owed.clone()) };
        opened.ledger.soft_delete(request, context()).await.unwrap();
        opened.ledger.purge(owed, Purge::default(), context()).await.unwrap();
        let jobs = opened.store.cleanup_jobs();
        assert_eq!(jobs.insert_owed_cleanup_jobs(opened.clock.now()).await.unwrap(), 1);
        let audit = opened.store.audit();
        let head = audit.audit_snapshot().await.unwrap().position;
        while archive_ledger::store::audit::blocks::index_next(&*audit, head, 1).await.unwrap() {}
        opened.close().await.unwrap();
        export(&place, "out").await;
        let [purged, kept] = [2, 3].map(|number| entity(EntityType::Backups, number).stream_id());
        let (far, blank, uuid) = match backend {
            Backend::Embedded => ("4000000000000000", "x'00'", "'00000000-0000-0000-0000-000000000001'"),
            Backend::Clustered => ("'2096-10-02T07:06:40Z'", "'\\x00'", "'00000000-0000-0000-0000-000000000001'::uuid"),
        };
        for (table, change, said) in [
            ("entities", "UPDATE entities SET erased_at = NULL".to_owned(), "its fence is gone"),
            ("entities", "UPDATE entities SET erased_at = erased_at + 1".to_owned(), "names another position"),
            ("entities", format!("UPDATE entities SET erased_at = 3, key_id = NULL, kek_id = NULL, wrapped = NULL WHERE aggregate_id = '{kept}'"), "key is gone"),
            ("entities", format!("UPDATE entities SET erased_at = NULL, key_id = {uuid}, kek_id = 'k', wrapped = {blank} WHERE aggregate_id = '{purged}'"), "is still there, and the entity was purged"),
            ("entities", format!("INSERT INTO entities SELECT 'users:nobody', first_position, key_id, kek_id, wrapped, erased_at FROM entities WHERE aggregate_id = '{kept}'"), "belongs to nothing"),
            ("entities", format!("DELETE FROM entities WHERE aggregate_id = '{kept}'"), "key is gone"),
            ("entities", format!("DELETE FROM entities WHERE aggregate_id = '{purged}'"), "row is gone"),
            ("entities", format!("UPDATE entities SET first_position = first_position + 1 WHERE aggregate_id = '{kept}'"), "begin elsewhere"),
            ("entities", format!("UPDATE entities SET key_id = NULL, kek_id = NULL, wrapped = NULL WHERE aggregate_id = '{kept}'"), "key is gone"),
            ("entities", format!("UPDATE entities SET key_id = {uuid} WHERE aggregate_id = '{kept}'"), "another one than the entry names"),
            ("entities", format!("UPDATE entities SET wrapped = {blank} WHERE aggregate_id = '{kept}'"), "cannot be opened"),
            ("ledger_head", format!("UPDATE ledger_head SET recorded_at = {far}"), "recording time"),
            ("ledger_head", "UPDATE ledger_head SET recorded_at = NULL".to_owned(), "recording time"),
            ("ledger_head", format!("UPDATE ledger_head SET root = {blank}"), "tampered"),
            ("ledger_head", format!("UPDATE ledger_head SET frontier = {blank}"), "tampered"),
            ("ledger_head", "DELETE FROM ledger_head".to_owned(), "tampered"),
            ("audit_blocks", "DELETE FROM audit_blocks".to_owned(), "audit_blocks"),
            ("audit_blocks", "DELETE FROM audit_blocks WHERE block = 1".to_owned(), "audit_blocks"),
            ("audit_blocks", "INSERT INTO audit_blocks VALUES (7, 0)".to_owned(), "audit_blocks"),
            ("audit_indexed", "UPDATE audit_indexed SET blocks = blocks + 1".to_owned(), "audit_blocks"),
            ("tree_hashes", format!("INSERT INTO tree_hashes VALUES (1, 0, {blank})"), "tree_hashes"),
            ("checkpoints", "UPDATE checkpoints SET ledger = 7".to_owned(), "7"),
            ("cursors", "INSERT INTO cursors VALUES ('reader', 100000)".to_owned(), "behind its end"),
            ("cleanup_jobs", "UPDATE cleanup_jobs SET state = 'done'".to_owned(), "cleanup job is over"),
            ("cleanup_jobs", "UPDATE cleanup_jobs SET state = 'failed'".to_owned(), "cleanup job is over"),
            ("cleanup_jobs", format!("UPDATE cleanup_jobs SET purge_id = {uuid}"), "did not order"),
            ("cleanup_jobs", "UPDATE cleanup_jobs SET position = 1".to_owned(), "did not order"),
            ("cleanup_obligations", "DELETE FROM cleanup_obligations".to_owned(), "other obligations"),
            ("archived_entries", "DELETE FROM archived_entries".to_owned(), "archived_entries"),
            ("archived_summary", "UPDATE archived_summary SET count = 0".to_owned(), "archived_summary"),
            ("purge_work", "DELETE FROM purge_work".to_owned(), "purge_work"),
            ("archived_pages", "UPDATE archived_pages SET count = count + 1".to_owned(), "archived_pages"),
        ] {
            for statement in [&format!("CREATE TABLE aside AS SELECT * FROM {table}"), &change] {
                place.tamper(statement).await;
            }
            let (code, out, error) = verify(&place, &["--vkey", "out/vkey"]).await;
            // Without its last checkpoint a ledger lacks something, and nobody can say that it was changed.
            let expected = if table == "checkpoints" { vec![2, 3] } else { vec![2] };
            assert!(expected.contains(&code.unwrap()), "{change}: {out}{error}");
            assert!(table == "checkpoints" || error.contains(said), "{change}: {error}");
            for statement in [format!("DELETE FROM {table}"), format!("INSERT INTO {table} SELECT * FROM aside"), "DROP TABLE aside".to_owned()] {
                let restorable = table != "cleanup_jobs" || change.starts_with("UPDATE");
                if restorable && !(table == "cleanup_jobs" && statement.starts_with("DELETE")) {
                    place.tamper(&match (table, statement.starts_with("INSERT")) {
                        ("cleanup_jobs", true) => "UPDATE cleanup_jobs SET (state, purge_id, position) = (SELECT state, purge_id, position FROM aside)".to_owned(),
                        ("archived_pages", true) if backend == Backend::Clustered => {
                            statement.replacen(" SELECT", " OVERRIDING SYSTEM VALUE SELECT", 1)
                        }
                        _ => statement,
                    }).await;
                }
            }
            let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
            assert_eq!(code, Some(0), "undone: {change}: {error}");
        }
        // A search misses nothing for long: the index is built again by `rebuild`, and by the service itself.
        place.tamper("DELETE FROM audit_blocks").await;
        let output = place.run(&["rebuild", "--check"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(place.run(&["rebuild"]).await.status.success());
        let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
        assert_eq!(code, Some(0), "{error}");
        // The guard.
        let guard = place.home().join("data/checkpoint.guard");
        let sound = std::fs::read_to_string(&guard).unwrap();
        for ruined in ["", "x", &sound[..sound.len() / 2], &sound.replacen("localhost", "elsewhere", 1), &sound.replacen('\n', "\n9", 1)] {
            std::fs::write(&guard, ruined).unwrap();
            let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
            assert_eq!(code, Some(2), "{ruined:?}: {error}");
            assert!(error.contains("guard"), "{error}");
        }
        std::fs::remove_file(&guard).unwrap();
        let (code, said, error) = verify(&place, &["--vkey", "out/vkey"]).await;
        assert_eq!(code, Some(0), "{error}");
        assert!(said.contains("no guard file"), "{said}");
        // Positions begin at 1.
        let payloads = std::fs::read_to_string(place.home().join("payloads.ndjson")).unwrap();
        let line = payloads.lines().next().unwrap().replacen("\"position\":1,", "\"position\":0,", 1);
        std::fs::write(place.home().join("zero.ndjson"), line).unwrap();
        let (code, _, error) = verify(&place, &["--vkey", "out/vkey", "--payloads", "zero.ndjson"]).await;
        assert_eq!(code, Some(4), "{error}");
        // A key that the keyring lacks is missing, and nothing was tampered with.
        let file = place.home().join("data/keyring.json");
        let mut keyring: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let lost = keyring["keks"].as_object_mut().unwrap().remove("1").unwrap();
        keyring["keks"]["other"] = lost;
        keyring["active"] = "other".into();
        std::fs::write(&file, serde_json::to_vec(&keyring).unwrap()).unwrap();
        let (code, _, error) = verify(&place, &["--vkey", "out/vkey"]).await;
        assert_eq!(code, Some(3), "{error}");
        assert!(error.contains("\"1\"") && !error.contains("tampered"), "{error}");
    }
}
