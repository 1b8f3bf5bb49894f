//! Storage cleanup from the purge request to its outcome: jobs, leases, crashes, and what must never be touched.

mod answers;
mod dropped;
mod failed_place;
mod faults;
mod force;
mod instances;
mod killed;
mod service;
mod sharing;
mod world;

use crate::harness::eventually;
use crate::harness::on_both_backends;
use crate::harness::roots::entries;
use crate::harness::s3::S3;
use archive_ledger::bus::Handler;
use archive_ledger::clock::Clock;
use archive_ledger::ledger::LedgerError;
use archive_ledger::ledger::writer::CommandError;
use archive_ledger::purge::CleanupOptions;
use archive_ledger::purge::operator::{PurgeFilter, Retried, RetryError};
use archive_ledger::storage::s3::{Backoff, S3Store};
use archive_ledger::store::cleanup_jobs::{Claim, NewCleanupJob, Obligation, ObligationState};
use archive_ledger_domain::{Rejection, State};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use faults::{Side, Stepwise};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use uuid::Uuid;
use world::{OPTIONS, SOON, World, context, fill, run};

fn s3_store(endpoint: &str) -> S3Store {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(endpoint)
        .force_path_style(true);
    S3Store::from_config(config)
}

/// An S3 store that asks a server once and no more.
fn impatient(endpoint: &str) -> S3Store {
    let once = Backoff {
        attempts: 1,
        ..Backoff::default()
    };
    s3_store(endpoint).with_backoff(once)
}

fn states(obligations: &[Obligation]) -> Vec<ObligationState> {
    obligations.iter().map(|obligation| obligation.state).collect()
}

on_both_backends! {
    async fn a_purge_removes_what_its_entity_stored_and_nothing_else(backend: Backend) {
        let world = World::start(backend).await;
        let (one, one_uri) = world.folder("backups/one", 3);
        let (two, two_uri) = world.folder("backups/two", 4);
        let (sibling, _) = world.folder("backups/one-sibling", 2);
        let key = world.archive(&[&one_uri, &two_uri]).await;
        let other = world.archive(&[&world.folder("other", 1).1]).await;
        world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        world.reaches(&key, State::Purged).await;
        world.idle().await;
        worker.end().await;
        assert_eq!(world.purged(&key).await, [(7, 70)]);
        assert!(!one.exists() && !two.exists());
        assert_eq!(std::fs::read_dir(sibling).unwrap().count(), 2);
        assert!(world.home().join("root/other").exists());
        assert_eq!(world.state(&other).await, State::Archived);
    }

    async fn the_same_request_seen_again_makes_no_second_job(backend: Backend) {
        let world = World::start(backend).await;
        let nothing_stored = world.archive(&[]).await;
        world.purge(&nothing_stored).await;
        let key = world.archive(&[&world.folder("one", 1).1, &world.folder("two", 1).1]).await;
        world.purge(&key).await;
        let consumer = world.cleanup().consumer();
        for event in world.requests().await.iter().chain(&world.requests().await) {
            consumer.handle(event).await.unwrap();
        }
        world.deliver().await;
        assert_eq!(world.jobs.insert_owed_cleanup_jobs(world.clock.now()).await.unwrap(), 0);
        assert_eq!(world.jobs.count_cleanup_jobs(world.clock.now()).await.unwrap().due, 1);
        let listed = world.cleanup().purges().list(PurgeFilter::All, 0, 10).await.unwrap();
        let owed: Vec<_> = listed.rows.into_iter().map(|purge| (purge.key, purge.job.unwrap())).collect();
        assert_eq!(owed.len(), 1);
        assert_eq!(owed[0].0, key);
        assert_eq!(states(&owed[0].1.obligations), [ObligationState::Owed; 2]);
    }

    async fn a_purge_whose_message_was_lost_is_taken_up_from_the_log(backend: Backend) {
        let world = World::start(backend).await;
        let (path, uri) = world.folder("one", 2);
        let key = world.archive(&[&uri]).await;
        let purge_id = world.purge(&key).await;
        assert_eq!(world.status(purge_id).await.job, None);
        let worker = world.run();
        world.reaches(&key, State::Purged).await;
        world.idle().await;
        worker.end().await;
        assert!(!path.exists());
        assert_eq!(world.purged(&key).await, [(2, 20)]);
    }

    async fn nothing_is_deleted_that_the_log_does_not_order(backend: Backend) {
        let world = World::start(backend).await;
        let (path, uri) = world.folder("kept", 2);
        let archived = world.archive(&[&uri]).await;
        let failed = world.archive(&[&uri]).await;
        let first = world.purge(&failed).await;
        let job = |number: u128, key, purge_id| NewCleanupJob {
            event_id: Uuid::from_u128(number),
            position: 1,
            key,
            purge_id,
            storage_count: 1,
        };
        let outcome = archive_ledger_domain::CleanupOutcome::Failed { objects: 0, bytes: 0, at_least: false, error: "x".into() };
        world.ledger.record_cleanup(failed.clone(), first, outcome, Uuid::from_u128(9)).await.unwrap();
        let unknown = archive_ledger_domain::EntityKey::new(
            archive_ledger_domain::EntityType::Archives, "never-heard-of",
        ).unwrap();
        let jobs = [
            job(1, archived.clone(), Uuid::from_u128(7)),
            job(2, unknown, Uuid::from_u128(7)),
            // Ordered once, and given up since.
            job(3, failed.clone(), first),
        ];
        world.jobs.insert_cleanup_jobs(&jobs, world.clock.now()).await.unwrap();
        let worker = world.run();
        world.idle().await;
        // A job of an earlier purge, while the entity is being purged by a later one.
        let (later, later_uri) = world.folder("later", 1);
        let again = world.archive(&[&later_uri]).await;
        world.purge(&again).await;
        let stale = [job(4, again.clone(), Uuid::from_u128(7))];
        world.jobs.insert_cleanup_jobs(&stale, world.clock.now()).await.unwrap();
        world.idle().await;
        worker.end().await;
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
        assert!(later.exists());
        assert_eq!(world.state(&archived).await, State::Archived);
        assert_eq!(world.state(&failed).await, State::PurgeFailed);
        assert_eq!(world.state(&again).await, State::Purging);
    }

    async fn an_entity_whose_storage_is_being_cleaned_cannot_be_restored(backend: Backend) {
        let world = World::start(backend).await;
        let (path, uri) = world.folder("one", 1);
        let key = world.archive(&[&uri]).await;
        world.purge(&key).await;
        world.deliver().await;
        let refused = || async {
            matches!(
                world.ledger.restore(key.clone(), context()).await,
                Err(LedgerError::Command(CommandError::Rejected(
                    Rejection::WrongState { .. } | Rejection::Purged
                )))
            )
        };
        assert!(refused().await);
        let jobs = Stepwise::new(world.jobs.clone(), 3, Side::Before);
        let worker = run(&world.cleanup_over(jobs.clone(), OPTIONS));
        jobs.reached.notified().await;
        assert!(!path.exists());
        assert!(refused().await);
        worker.kill().await;
        world.advance_past_leases();
        let worker = world.run();
        world.reaches(&key, State::Purged).await;
        assert!(refused().await);
        worker.end().await;
    }

    async fn a_worker_that_dies_between_any_two_steps_is_taken_over(backend: Backend) {
        let world = World::start(backend).await;
        for (step, side) in (1..).flat_map(|step| [(step, Side::Before), (step, Side::After)]) {
            let names = ["a", "b", "c"].map(|name| format!("{step}{side:?}/{name}"));
            let folders = [(0, 1), (1, 2), (2, 3)].map(|(name, files)| world.folder(&names[name], files));
            let (sibling, _) = world.folder(&format!("{step}{side:?}/a-sibling"), 1);
            let key = world.archive(&folders.each_ref().map(|(_, uri)| uri.as_str())).await;
            world.purge(&key).await;
            world.deliver().await;
            let jobs = Stepwise::new(world.jobs.clone(), step, side);
            let worker = run(&world.cleanup_over(jobs.clone(), OPTIONS));
            let crashed = tokio::select! {
                () = jobs.reached.notified() => true,
                () = world.idle() => false,
            };
            worker.kill().await;
            world.advance_past_leases();
            let worker = world.run();
            world.reaches(&key, State::Purged).await;
            world.idle().await;
            worker.end().await;
            // What was deleted and not saved cannot be counted; everything else is.
            let lost = jobs.unsaved().map_or(0, |obligation| obligation.objects);
            assert_eq!(world.purged(&key).await, [(6 - lost, 60 - 10 * lost)], "{side:?} step {step}");
            assert!(folders.iter().all(|(path, _)| !path.exists()), "{side:?} step {step}");
            assert!(sibling.exists());
            if !crashed {
                // A claim, two writes per storage URI, the end.
                assert_eq!(step, 9, "{side:?}");
                break;
            }
        }
    }

    async fn a_failure_that_is_recorded_survives_the_worker(backend: Backend) {
        let world = World::start(backend).await;
        for (step, side) in (1..=5).flat_map(|step| [(step, Side::Before), (step, Side::After)]) {
            let (path, uri) = world.folder(&format!("{step}{side:?}"), 1);
            let key = world.archive(&[&uri]).await;
            std::fs::remove_dir_all(&path).unwrap();
            symlink(world.home(), &path).unwrap();
            world.purge(&key).await;
            world.deliver().await;
            let jobs = Stepwise::new(world.jobs.clone(), step, side);
            let worker = run(&world.cleanup_over(jobs.clone(), OPTIONS));
            tokio::select! {
                () = jobs.reached.notified() => {}
                () = world.idle() => {}
            }
            worker.kill().await;
            world.advance_past_leases();
            let worker = world.run();
            world.reaches(&key, State::PurgeFailed).await;
            world.idle().await;
            worker.end().await;
            assert_eq!(world.failures(&key).await.len(), 1, "{side:?} step {step}");
            assert!(world.home().join("root").exists());
        }
    }

    async fn two_workers_never_do_the_same_job(backend: Backend) {
        let world = World::start(backend).await;
        let mut keys = Vec::new();
        for number in 0..24 {
            let key = world.archive(&[&world.folder(&number.to_string(), 5).1]).await;
            world.purge(&key).await;
            keys.push(key);
        }
        let options = CleanupOptions { redrive: Duration::from_millis(30), ..OPTIONS };
        let workers = [
            run(&world.cleanup_over(world.jobs.clone(), options)),
            run(&world.cleanup_over(world.jobs.clone(), options)),
        ];
        world.deliver().await;
        for key in &keys {
            world.reaches(key, State::Purged).await;
            assert_eq!(world.purged(key).await, [(5, 50)]);
        }
        for worker in workers {
            worker.end().await;
        }
        assert_eq!(entries(&world.home().join("root")), [""; 0]);
    }

    async fn a_link_that_came_after_the_soft_delete_is_not_followed(backend: Backend) {
        let world = World::start(backend).await;
        let outside = world.home().join("outside");
        fill(&outside, 3);
        let (path, uri) = world.folder("tenant/one", 2);
        let key = world.archive(&[&uri]).await;
        std::fs::rename(path.parent().unwrap(), world.home().join("root/moved")).unwrap();
        std::fs::create_dir(outside.join("one")).unwrap();
        symlink(&outside, path.parent().unwrap()).unwrap();
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        world.reaches(&key, State::PurgeFailed).await;
        worker.end().await;
        let failures = world.failures(&key).await;
        assert_eq!(failures.len(), 1);
        assert!(failures[0].starts_with("storage 1 of 1: the storage URI is refused: "), "{failures:?}");
        assert!(!failures[0].contains("tenant"), "{failures:?}");
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 4);
        assert_eq!(world.status(purge_id).await.job.unwrap().last_error, Some(failures[0].clone()));
    }

    async fn a_purge_waits_without_end_for_a_root_that_is_away(backend: Backend) {
        let world = World::start(backend).await;
        let (_, uri) = world.folder("one", 2);
        let key = world.archive(&[&uri]).await;
        let (root, away) = (world.home().join("root"), world.home().join("away"));
        std::fs::rename(&root, &away).unwrap();
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let mut last = world.status(purge_id).await.job.unwrap().next_attempt_at;
        let worker = world.run();
        // More often than a purge is attempted whose storage fails.
        for round in 0..4 * OPTIONS.attempts {
            if round == OPTIONS.attempts {
                std::fs::create_dir(&root).unwrap();
            }
            let job = eventually("it is left for later", SOON, || async {
                let job = world.status(purge_id).await.job.unwrap();
                (job.next_attempt_at > last && job.leased_until.is_none()).then_some(job)
            })
            .await;
            assert_eq!((job.attempts, states(&job.obligations)), (0, vec![ObligationState::Owed]));
            assert!(job.last_error.unwrap().contains("the storage root is unavailable"));
            last = job.next_attempt_at;
            world.advance(Duration::from_secs(61));
        }
        assert_eq!(world.state(&key).await, State::Purging);
        std::fs::remove_dir(&root).unwrap();
        std::fs::rename(&away, &root).unwrap();
        // An attempt that saw no root yet may still be on its way to its next pause.
        assert_eq!(world.outcome(&key, purge_id).await, State::Purged);
        worker.end().await;
        assert_eq!((world.purged(&key).await, world.failures(&key).await), (vec![(2, 20)], vec![]));
    }

    async fn one_storage_that_resists_fails_the_purge_until_it_is_retried(backend: Backend) {
        let world = World::start(backend).await;
        let (one, one_uri) = world.folder("one", 1);
        let (two, two_uri) = world.folder("two", 2);
        let (three, three_uri) = world.folder("three", 3);
        let key = world.archive(&[&one_uri, &two_uri, &three_uri]).await;
        let aside = world.home().join("aside");
        std::fs::rename(&two, &aside).unwrap();
        symlink(&aside, &two).unwrap();
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        world.reaches(&key, State::PurgeFailed).await;
        world.idle().await;
        let failures = world.failures(&key).await;
        assert!(failures.len() == 1 && failures[0].starts_with("storage 2 of 3: "), "{failures:?}");
        assert!(!one.exists() && !three.exists());
        assert_eq!(std::fs::read_dir(&aside).unwrap().count(), 2);

        let purges = world.cleanup().purges();
        assert_eq!(purges.list(PurgeFilter::Purging, 0, 10).await.unwrap().rows, []);
        let failed = purges.list(PurgeFilter::Failed, 0, 10).await.unwrap().rows;
        assert_eq!(failed.len(), 1);
        assert_eq!((&failed[0].key, failed[0].purge_id), (&key, purge_id));
        let job = failed[0].job.clone().unwrap();
        use ObligationState::{Done, Failed};
        assert_eq!(states(&job.obligations), [Done, Failed, Done]);
        let counts: Vec<_> = job.obligations.iter().map(|one| (one.objects, one.bytes)).collect();
        assert_eq!(counts, [(1, 10), (0, 0), (3, 30)]);
        assert_eq!(purges.list(PurgeFilter::Failed, failed[0].position, 10).await.unwrap().rows, []);

        std::fs::remove_file(&two).unwrap();
        std::fs::rename(&aside, &two).unwrap();
        let Retried::RequestedAgain(receipt) = purges.retry(purge_id, context()).await.unwrap() else {
            panic!("the purge had failed");
        };
        assert_ne!(receipt.purge_id, Some(purge_id));
        assert!(matches!(purges.retry(purge_id, context()).await, Err(RetryError::NotOwed)));
        world.deliver().await;
        world.reaches(&key, State::Purged).await;
        world.idle().await;
        worker.end().await;
        assert!(!two.exists());
        // What the first purge removed stands in its own event.
        assert_eq!(world.purged(&key).await, [(2, 20)]);
        assert_eq!(purges.list(PurgeFilter::All, 0, 10).await.unwrap().rows, []);
    }

    async fn storage_that_is_away_is_waited_for_with_growing_pauses(backend: Backend) {
        let s3 = S3::start().await;
        let bucket = s3.create_bucket().await;
        let world = World::with_s3(backend, Some((&bucket, impatient(&s3.endpoint())))).await;
        let key = world.archive(&[&format!("s3://{bucket}/root/one")]).await;
        s3.stop().await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        let waiting = async |attempts: u32| {
            eventually("the attempt has failed", SOON, || async {
                let job = world.status(purge_id).await.job.unwrap();
                (job.attempts == attempts && job.leased_until.is_none()).then_some(job)
            })
            .await
        };
        let first = waiting(1).await;
        assert_eq!(first.next_attempt_at, world.clock.now() + Duration::from_secs(1));
        assert_eq!(states(&first.obligations), [ObligationState::Owed]);
        assert!(first.last_error.unwrap().starts_with("storage 1 of 1: "));
        world.advance(Duration::from_secs(1));
        let second = waiting(2).await;
        assert_eq!(second.next_attempt_at, world.clock.now() + Duration::from_secs(2));
        assert_eq!(world.state(&key).await, State::Purging);

        // The operator starts it again and does not want to wait.
        s3.restart().await;
        s3.client().create_bucket().bucket(&bucket).send().await.unwrap();
        s3.put(&bucket, "root/one/1", b"0123456789").await;
        let purges = world.cleanup().purges();
        assert_eq!(purges.retry(purge_id, context()).await.unwrap(), Retried::Hastened);
        world.reaches(&key, State::Purged).await;
        worker.end().await;
        assert_eq!(world.purged(&key).await, [(1, 10)]);
    }

    async fn storage_that_stays_away_fails_the_purge_after_the_last_attempt(backend: Backend) {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", gone.local_addr().unwrap());
        drop(gone);
        let world = World::with_s3(backend, Some(("bucket", impatient(&endpoint)))).await;
        let key = world.archive(&["s3://bucket/root/one"]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        eventually("the purge has failed", SOON, || async {
            world.advance(Duration::from_secs(1));
            (world.state(&key).await == State::PurgeFailed).then_some(())
        })
        .await;
        world.idle().await;
        worker.end().await;
        let job = world.status(purge_id).await.job.unwrap();
        assert_eq!((job.attempts, states(&job.obligations)), (2, vec![ObligationState::Failed]));
        assert_eq!(world.failures(&key).await, [job.last_error.unwrap()]);
    }

    async fn what_an_earlier_attempt_deleted_is_counted(backend: Backend) {
        let world = World::start(backend).await;
        let key = world.archive(&[&world.folder("one", 2).1, &world.folder("two", 1).1]).await;
        world.purge(&key).await;
        world.deliver().await;
        let now = world.clock.now();
        let claim = Claim { token: Uuid::from_u128(1), now, until: now + OPTIONS.lease, limit: 1, instance: Uuid::nil() };
        let job = world.jobs.claim_cleanup_jobs(&claim).await.unwrap().pop().unwrap();
        for (obligation, state) in job.obligations.into_iter().zip([ObligationState::Owed, ObligationState::Done]) {
            let progress = Obligation { objects: 5, bytes: 500, state, ..obligation };
            assert!(world.jobs.record_obligation(&job.lease, &progress, now, claim.until).await.unwrap());
        }
        world.advance_past_leases();
        let worker = world.run();
        world.reaches(&key, State::Purged).await;
        worker.end().await;
        assert_eq!(world.purged(&key).await, [(12, 1_020)]);
        // What was done counts as done: nobody looks there again.
        assert!(world.home().join("root/two").exists());
    }

    async fn a_worker_whose_job_was_taken_over_deletes_no_more(backend: Backend) {
        let world = World::start(backend).await;
        let (one, one_uri) = world.folder("one", 1);
        let (two, two_uri) = world.folder("two", 1);
        let key = world.archive(&[&one_uri, &two_uri]).await;
        world.purge(&key).await;
        world.deliver().await;
        // The worker sleeps for too long between the first storage and the second.
        let jobs = Stepwise::new(world.jobs.clone(), 4, Side::Before);
        // One place only, or it would take its own job over.
        let options = CleanupOptions { concurrency: 1, ..OPTIONS };
        let worker = run(&world.cleanup_over(jobs.clone(), options));
        jobs.reached.notified().await;
        world.advance_past_leases();
        let now = world.clock.now();
        let claim = Claim { token: Uuid::from_u128(1), now, until: now + OPTIONS.lease, limit: 1, instance: Uuid::nil() };
        let stolen = world.jobs.claim_cleanup_jobs(&claim).await.unwrap().pop().unwrap();
        jobs.resume.notify_one();
        assert_eq!(states(&stolen.obligations), [ObligationState::Done, ObligationState::Owed]);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!one.exists());
        assert!(two.exists());
        assert_eq!(world.state(&key).await, State::Purging);
        world.advance_past_leases();
        world.reaches(&key, State::Purged).await;
        worker.end().await;
        assert_eq!(world.purged(&key).await, [(2, 20)]);
    }

    async fn a_job_that_cannot_keep_its_lease_is_dropped(backend: Backend) {
        // Accepts connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let world = World::with_s3(backend, Some(("bucket", s3_store(&endpoint)))).await;
        let stuck = world.archive(&["s3://bucket/root/stuck"]).await;
        let purge_id = world.purge(&stuck).await;
        world.deliver().await;
        let options = CleanupOptions { concurrency: 1, heartbeat: Duration::from_millis(50), ..OPTIONS };
        let worker = run(&world.cleanup_over(world.jobs.clone(), options));
        let lease = || async { world.status(purge_id).await.job.unwrap().leased_until };
        eventually("the job is claimed", SOON, || async { lease().await }).await;
        // Heartbeats carry it past its first lease.
        world.advance(Duration::from_secs(40));
        let now = world.clock.now();
        eventually("the lease is extended", SOON, || async {
            (lease().await == Some(now + OPTIONS.lease)).then_some(())
        })
        .await;
        assert_eq!(world.cleanup().purges().retry(purge_id, context()).await.unwrap(), Retried::UnderWay);
        // Someone else gets it in the moment in which it runs out.
        let taken = eventually("the job is taken over", SOON, || async {
            world.advance_past_leases();
            let now = world.clock.now();
            let until = now + OPTIONS.lease;
            let claim = Claim { token: Uuid::from_u128(1), now, until, limit: 1, instance: Uuid::nil() };
            world.jobs.claim_cleanup_jobs(&claim).await.unwrap().pop()
        })
        .await;
        assert_eq!(taken.purge_id, purge_id);
        // The one place that the worker has is free for another job.
        let next = world.archive(&[&world.folder("next", 1).1]).await;
        world.purge(&next).await;
        world.deliver().await;
        world.reaches(&next, State::Purged).await;
        worker.end().await;
    }

    async fn a_worker_that_stops_gives_its_jobs_back(backend: Backend) {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let world = World::with_s3(backend, Some(("bucket", s3_store(&endpoint)))).await;
        let key = world.archive(&["s3://bucket/root/stuck"]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        eventually("the job is claimed", SOON, || async {
            world.status(purge_id).await.job.unwrap().leased_until
        })
        .await;
        let asked = Instant::now();
        worker.end().await;
        assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
        let job = world.status(purge_id).await.job.unwrap();
        assert_eq!((job.leased_until, job.attempts, job.next_attempt_at), (None, 0, world.clock.now()));
    }

    async fn objects_of_a_bucket_go_with_all_their_versions(backend: Backend) {
        let server = S3::shared().await;
        let bucket = server.create_versioned_bucket().await;
        let store = s3_store(&server.endpoint()).with_backoff(Backoff::default());
        let world = World::with_s3(backend, Some((&bucket, store))).await;
        for key in ["root/one/a", "root/one/a", "root/one/b//c", "root/one-sibling/a", "elsewhere/one/a"] {
            server.put(&bucket, key, b"0123456789").await;
        }
        let (path, local) = world.folder("one", 1);
        let key = world.archive(&[&format!("s3://{bucket}/root/one"), &local]).await;
        world.purge(&key).await;
        world.deliver().await;
        let worker = world.run();
        world.reaches(&key, State::Purged).await;
        worker.end().await;
        assert_eq!(world.purged(&key).await, [(4, 40)]);
        assert!(!path.exists());
        assert_eq!(server.versions(&bucket, "root/one/").await, 0);
        assert_eq!(server.keys(&bucket, "").await, ["elsewhere/one/a", "root/one-sibling/a"]);
    }
}
