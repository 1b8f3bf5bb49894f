//! Storage cleanup from the purge request to its outcome: jobs, leases, crashes, and what must never be touched.

mod answers;
mod dropped;
mod failed_place;
mod faults;
mod force;
mod instances;
mod killed;
mod retries;
mod service;
mod sharing;
mod workers;
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
