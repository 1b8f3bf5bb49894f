//! Giving up what a purge still owes: beside a worker, across crashes, and as an operator meets it.

use super::faults::{Side, Stepwise};
use super::world::{OPTIONS, SOON, World, context, fill, run};
use crate::harness::described::Told as _;
use crate::harness::receiver::Receiver;
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};
use archive_ledger::clock::Clock;
use archive_ledger::ledger::writer::CommandError;
use archive_ledger::ledger::{CommandContext, LedgerError};
use archive_ledger::purge::operator::RetryError;
use archive_ledger::store::cleanup_jobs::{Claim, ObligationState};
use archive_ledger_domain::{CleanupOutcome, EntityKey, Event, PurgeForced, State};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// The event that gave a purge up, and whether the end that follows says so.
async fn forced(world: &World, key: &EntityKey) -> (PurgeForced, bool) {
    let events = world.reads.stream(key).await.unwrap().unwrap().events;
    let [.., before, last] = &events[..] else {
        panic!("{key} has too few events");
    };
    match (&before.event, &last.event) {
        (Event::PurgeForced(facts), Event::Purged(end)) => (facts.clone(), end.forced && end.skipped > 0),
        other => panic!("{key} ends with {other:?}"),
    }
}

/// A place that cannot be cleaned: a link where the folder was.
fn stuck(world: &World, path: &Path) {
    let aside = world.home().join("aside");
    std::fs::rename(path, &aside).unwrap();
    symlink(&aside, path).unwrap();
}

on_both_backends! {
    async fn a_forced_purge_tells_what_was_cleaned_and_what_was_given_up(backend: Backend) {
        let world = World::start(backend).await;
        let (one, two) = (world.folder("one", 3), world.folder("two", 2));
        let key = world.archive(&[&one.1, &two.1]).await;
        stuck(&world, &two.0);
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        world.reaches(&key, State::PurgeFailed).await;
        world.idle().await;
        let purges = world.cleanup().purges();
        let (told, receipt) = purges.force(purge_id, "the bucket is gone".into(), context()).await.unwrap();
        assert_eq!((&told, receipt.state), (&key, State::Purged));
        let (facts, said) = forced(&world, &key).await;
        let owed: Vec<_> = facts.obligations.iter().map(|one| (one.ordinal, one.skipped, one.objects, one.bytes)).collect();
        assert_eq!(owed, [(1, false, 3, 30), (2, true, 0, 0)]);
        assert!(said);
        assert_eq!(world.purged(&key).await, [(3, 30)]);
        let history = world.ledger.history(&key).await.unwrap().unwrap();
        let shown = &history[history.len() - 2];
        assert_eq!(shown.details.as_ref().unwrap().reason.as_deref(), Some("the bucket is gone"));
        assert!(!shown.erased);
        // Nothing more happens to it, and nothing more can.
        let again = purges.force(purge_id, "again".into(), context()).await;
        assert!(matches!(again, Err(RetryError::NotOwed)), "{again:?}");
        let retried = purges.retry(purge_id, context()).await;
        assert!(matches!(retried, Err(RetryError::NotOwed)), "{retried:?}");
        world.advance_past_leases();
        world.idle().await;
        worker.end().await;
        assert_eq!(std::fs::read_dir(world.home().join("aside")).unwrap().count(), 2);
    }

    async fn a_worker_that_is_overtaken_by_a_forced_purge_changes_nothing_any_more(backend: Backend) {
        let world = World::start(backend).await;
        // Every write of the worker, on both sides: claim, two writes per storage URI, the end.
        for (step, side) in (1..=6).flat_map(|step| [(step, Side::Before), (step, Side::After)]) {
            let (path, uri) = world.folder(&format!("{step}{side:?}/a"), 2);
            let (_, other) = world.folder(&format!("{step}{side:?}/b"), 1);
            let key = world.archive(&[&uri, &other]).await;
            let purge_id = world.purge(&key).await;
            world.deliver().await;
            let jobs = Stepwise::new(world.jobs.clone(), step, side);
            let worker = run(&world.cleanup_over(jobs.clone(), OPTIONS));
            let reached = tokio::time::timeout(Duration::from_secs(30), jobs.reached.notified()).await;
            assert!(reached.is_ok(), "{side:?} step {step} was not reached");
            let over = world.state(&key).await == State::Purged;
            let outcome = world.cleanup().purges().force(purge_id, "stuck".into(), context()).await;
            let before = world.reads.head().await.unwrap().position;
            jobs.resume.notify_one();
            let what = format!("{side:?} step {step}: {outcome:?}");
            match outcome {
                Ok(_) => {
                    let (facts, said) = forced(&world, &key).await;
                    assert!(said && !over, "{what}");
                    // Whatever was told as cleaned is gone.
                    assert!(facts.obligations[0].skipped || !path.exists(), "{what}");
                    assert_eq!(world.purged(&key).await.len(), 1, "{what}");
                }
                // The purge had ended by itself, or had nothing left that could be given up.
                Err(RetryError::NotOwed) => assert!(over, "{what}"),
                Err(RetryError::Ledger(LedgerError::Command(CommandError::Rejected(_)))) => {
                    assert!(!over && step >= 5, "{what}");
                    world.reaches(&key, State::Purged).await;
                }
                Err(error) => panic!("{what} {error}"),
            }
            world.idle().await;
            worker.end().await;
            let late = CleanupOutcome::Failed { objects: 9, bytes: 9, at_least: false, error: "late".into() };
            world.ledger.record_cleanup(key.clone(), purge_id, late, Uuid::from_u128(9)).await.unwrap();
            let events = world.reads.log_after(before, &[], 10).await.unwrap();
            assert!(events.iter().all(|event| over || matches!(event.event, Event::Purged(_))), "{what}");
            assert!(world.failures(&key).await.is_empty(), "{what}");
        }
    }

    async fn a_force_that_is_refused_leaves_the_purge_to_its_worker(backend: Backend) {
        let world = World::start(backend).await;
        let (path, uri) = world.folder("one", 2);
        let key = world.archive(&[&uri]).await;
        let purge_id = world.purge(&key).await;
        let stale = CommandContext { expected_version: Some(1.into()), ..context() };
        let refused = world.cleanup().purges().force(purge_id, "r".into(), stale).await;
        let Err(RetryError::Ledger(LedgerError::Command(CommandError::VersionMismatch { actual }))) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(actual, 2);
        let worker = world.run();
        world.reaches(&key, State::Purged).await;
        worker.end().await;
        assert!(!path.exists());
        assert_eq!(world.purged(&key).await, [(2, 20)]);
    }

    async fn a_service_that_dies_within_a_force_leaves_either_a_purge_or_a_forced_one(backend: Backend) {
        let world = World::start(backend).await;
        // Noting what the URI names, and the end of the job, which comes after the commit.
        for (step, side) in [(1, Side::Before), (1, Side::After), (2, Side::Before), (2, Side::After)] {
            let (path, uri) = world.folder(&format!("{step}{side:?}"), 2);
            let key = world.archive(&[&uri]).await;
            let purge_id = world.purge(&key).await;
            let jobs = Stepwise::new(world.jobs.clone(), step, side);
            let purges = world.cleanup_over(jobs.clone(), OPTIONS).purges();
            let dying = tokio::spawn(async move { purges.force(purge_id, "r".into(), context()).await });
            jobs.reached.notified().await;
            dying.abort();
            let _ = dying.await;
            let committed = world.state(&key).await == State::Purged;
            assert_eq!(committed, step == 2, "{side:?} step {step}");
            // Held until the lease has run out.
            let claim = Claim {
                token: Uuid::from_u128(7), now: world.clock.now(), until: world.clock.now(), limit: 10, instance: Uuid::nil(),
            };
            assert!(world.jobs.claim_cleanup_jobs(&claim).await.unwrap().is_empty(), "{side:?} step {step}");
            world.advance_past_leases();
            let worker = world.run();
            world.reaches(&key, State::Purged).await;
            world.idle().await;
            worker.end().await;
            assert_eq!(path.exists(), committed, "{side:?} step {step}");
        }
    }

    async fn what_a_storage_uri_names_is_noted_before_anything_of_it_is_deleted(backend: Backend) {
        let world = World::start(backend).await;
        let (one, two) = (world.folder("one", 1), world.folder("two", 1));
        let key = world.archive(&[&one.1, &two.1]).await;
        stuck(&world, &two.0);
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        world.reaches(&key, State::PurgeFailed).await;
        world.idle().await;
        worker.end().await;
        let job = world.status(purge_id).await.job.unwrap();
        let noted: Vec<_> = job.obligations.iter().map(|one| (one.state, one.storage_hash)).collect();
        let hash = |uri: &str| world.ledger.storage_hash(uri);
        assert_eq!(noted, [(ObligationState::Done, hash(&one.1)), (ObligationState::Failed, hash(&two.1))]);
        assert_ne!(noted[0].1, noted[1].1);
        assert_eq!(hash(&format!("{}/", one.1)), noted[0].1, "another spelling of the same folder");
    }

    async fn an_operator_with_the_right_gives_up_what_cannot_be_cleaned(backend: Backend) {
        const REASON: &str = "Widersprochen: die Platte ist verschrottet";
        let home = tempfile::tempdir().unwrap();
        let (root, outside) = (home.path().join("root"), home.path().join("outside"));
        fill(&root.join("one"), 2);
        fill(&outside, 3);
        let receiver = Receiver::start().await;
        let server = Server::builder(backend)
            .storage_root(format!("file://{}", root.display()))
            .callbacks_to_loopback()
            .start()
            .await;
        let owner = server.token(&[
            "--role", "admin", "--privilege", "space_manage_datasets", "--privilege", "space_remove_archives",
        ]).await;
        let storage = ["one", "two"].map(|name| format!("file://{}/{name}", root.display()));
        let archive = json!({
            "archiveId": "arch-1", "datasetId": "data-1", "spaceId": "space-1", "description": "d",
            "storage": storage,
        });
        let archives = "/api/v3/oneprovider/archives";
        assert_eq!(server.post(archives, &owner, &archive).told().await.status(), 201);
        symlink(&outside, root.join("two")).unwrap();
        let delete = json!({"deletedCallback": receiver.url("/done")});
        let asked = server.post(&format!("{archives}/arch-1/delete"), &owner, &delete).told().await;
        assert_eq!(asked.status(), 204);
        let failed = eventually("the purge has failed", SOON, || async {
            let page: Value = server.get("/api/admin/purges?state=failed", &owner).told().await.json().await.unwrap();
            page["items"].get(0).cloned().filter(|purge| purge["last_error"].is_string())
        })
        .await;
        let heard = receiver.wait_for(1, SOON).await;
        assert!(heard[0].json()["error"].as_str().unwrap().starts_with("storage 2 of 2: "));

        let purge_id = failed["purge_id"].as_str().unwrap();
        let force = format!("/api/admin/purges/{purge_id}/force");
        let body = json!({"reason": REASON});
        let may = server.token(&["--right", "archived:purge-force", "--subject", "grace"]).await;
        for args in [
            &["--role", "operator"][..],
            &["--role", "auditor"],
            &["--right", "archived:purge"],
            &["--right", "archived:read", "--right", "archived:write"],
        ] {
            let other = server.token(args).await;
            for path in [&force, &format!("/api/admin/purges/{}/force", Uuid::nil())] {
                assert_eq!(server.post(path, &other, &body).told().await.status(), 403, "{args:?}");
            }
        }
        let send = |key: &'static str, body: Value| {
            let request = server.post(&force, &may, &body).header("idempotency-key", key);
            async move {
                let answer = request.told().await;
                (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
            }
        };
        let first = send("k1", body.clone()).await;
        assert_eq!((first.0, &first.1["purge_id"], &first.1["id"]), (200, &json!(purge_id), &json!("arch-1")), "{first:?}");
        assert_eq!(send("k1", body.clone()).await, first);
        assert_eq!(send("k1", json!({"reason": "another"})).await.0, 422);
        assert_eq!(send("k2", body.clone()).await.0, 404);
        assert_eq!(server.post(&force, &may, &body).told().await.status(), 404);

        let told = receiver.wait_for(2, SOON).await;
        let text = "the purge was forced: 1 storage location was given up, and objects may remain there";
        assert_eq!(told[1].json(), json!({"archiveId": "arch-1", "datasetId": "data-1", "error": text}));
        let history = "/api/admin/archived/archives/arch-1/history";
        let shown: Value = server.get(history, &owner).told().await.json().await.unwrap();
        let events = shown["items"].as_array().unwrap();
        let [.., forced, end] = &events[..] else { panic!("{shown}") };
        assert_eq!((&forced["event"], &forced["actor"], &forced["state"]), (&json!("purge_forced"), &json!("grace"), &json!("purging")));
        assert_eq!(forced["details"], json!({"reason": REASON}));
        assert_eq!(forced["facts"]["obligations"], json!([
            {"ordinal": 1, "skipped": false, "objects": 2, "bytes": 20},
            {"ordinal": 2, "skipped": true, "objects": 0, "bytes": 0},
        ]));
        assert_eq!((&end["facts"]["forced"], &end["facts"]["skipped"], &end["facts"]["objects"]), (&json!(true), &json!(1), &json!(2)));
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 3);
        assert!(!server.log().contains("Widersprochen"), "the reason in the log");
        let check = server.run_command(&["rebuild", "--check"]).await;
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

        server.kill9().await;
        let holds_reason = |path: &Path| {
            let content = std::fs::read(path).unwrap();
            content.windows(12).any(|part| part == b"Widersproche")
        };
        for file in std::fs::read_dir(server.data_dir()).unwrap() {
            let path = file.unwrap().path();
            assert!(!path.is_file() || !holds_reason(&path), "{} holds the reason", path.display());
        }
        server.restart().await;
        let after: Value = server.get(history, &owner).told().await.json().await.unwrap();
        assert_eq!(after, shown);
    }
}
