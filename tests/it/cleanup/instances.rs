//! Instances whose storage roots differ, as during a change of configuration that reaches one after the other.

use super::world::{OPTIONS, SOON, World, context, fill, run};
use crate::harness::roots::{MARKER, entries, used};
use crate::harness::server::{Backend, Server};
use crate::harness::{eventually, on_both_backends};
use archive_ledger::clock::Clock;
use archive_ledger::purge::operator::Retried;
use archive_ledger::storage::roots::StorageRoots;
use archive_ledger::storage::roots::known::KnownRoot;
use archive_ledger::store::cleanup_jobs::{Claim, CleanupJob, NextAttempt, ObligationState};
use archive_ledger_domain::State;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const NO_INSTANCE: &str = "storage 1 of 1: no instance has its storage root";

/// These folders as an instance's storage roots.
fn roots(world: &World, folders: &[&str]) -> StorageRoots {
    let uri = |folder: &&str| format!("file://{}/{folder}", world.home().display());
    used(&folders.iter().map(uri).collect::<Vec<_>>())
}

/// The folder `root` as an instance sees it that does not have it mounted.
fn unmounted(world: &World) -> StorageRoots {
    StorageRoots::parse(&[format!("file://{}/root", world.home().display())]).unwrap()
}

async fn claim(world: &World, instance: u128) -> Vec<CleanupJob> {
    let now = world.clock.now();
    let claim = Claim {
        token: world.clock.new_id(),
        now,
        until: now + OPTIONS.lease,
        limit: 10,
        instance: Uuid::from_u128(instance),
    };
    world.jobs.claim_cleanup_jobs(&claim).await.unwrap()
}

on_both_backends! {
    async fn each_instance_cleans_what_its_roots_hold_and_leaves_the_rest_to_the_others(backend: Backend) {
        let world = World::with_roots(backend, &["root", "other"], None).await;
        let mut keys = Vec::new();
        for number in 0..8 {
            let (_, one) = world.folder_in("root", &number.to_string(), 1);
            let (_, two) = world.folder_in("other", &number.to_string(), 2);
            let (_, three) = world.folder_in("root", &format!("{number}-more"), 3);
            keys.push((world.archive(&[&one]).await, 1));
            keys.push((world.archive(&[&two, &three]).await, 5));
        }
        for (key, _) in &keys {
            world.purge(key).await;
        }
        world.deliver().await;
        // One after the other: the second finds what the first has left, at once, on a clock that stands still.
        let first = run(&world.instance(roots(&world, &["root"])));
        for (key, _) in keys.iter().step_by(2) {
            world.reaches(key, State::Purged).await;
        }
        let second = run(&world.instance(roots(&world, &["other"])));
        for (key, objects) in &keys {
            eventually("the entity is purged", SOON, || async {
                world.advance(Duration::from_millis(50));
                (world.state(key).await == State::Purged).then_some(())
            })
            .await;
            assert_eq!(world.purged(key).await, [(*objects, 10 * objects)]);
            assert_eq!(world.failures(key).await, [""; 0]);
        }
        for worker in [first, second] {
            worker.end().await;
        }
        assert_eq!(entries(&world.home().join("root")), [""; 0]);
        assert_eq!(entries(&world.home().join("other")), [""; 0]);
    }

    async fn a_root_that_no_instance_has_fails_the_purge_after_the_schedule_of_retries(backend: Backend) {
        let world = World::with_roots(backend, &["root", "other"], None).await;
        let (path, uri) = world.folder_in("other", "one", 2);
        let key = world.archive(&[&uri]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let begun = world.clock.now();
        let worker = run(&world.instance(roots(&world, &["root"])));
        let mut last = begun;
        while world.clock.now() < begun + Duration::from_secs(3) {
            let job = eventually("it is left for later", SOON, || async {
                let job = world.status(purge_id).await.job.unwrap();
                (job.next_attempt_at > last && job.leased_until.is_none()).then_some(job)
            })
            .await;
            assert_eq!((job.attempts, job.obligations[0].state), (0, ObligationState::Owed));
            assert_eq!(job.last_error.as_deref(), Some(NO_INSTANCE));
            assert_eq!(world.state(&key).await, State::Purging);
            last = job.next_attempt_at;
            world.advance((last - world.clock.now()).to_std().unwrap());
        }
        world.reaches(&key, State::PurgeFailed).await;
        world.idle().await;
        assert_eq!(world.failures(&key).await, [NO_INSTANCE]);
        assert!(path.exists());
        let purges = world.cleanup().purges();
        assert!(matches!(purges.retry(purge_id, context()).await.unwrap(), Retried::RequestedAgain(_)));
        world.deliver().await;
        let second = run(&world.instance(roots(&world, &["other"])));
        world.reaches(&key, State::Purged).await;
        assert_eq!(world.purged(&key).await, [(2, 20)]);
        for worker in [worker, second] {
            worker.end().await;
        }
    }

    async fn what_another_instance_has_the_root_of_waits_for_it_however_busy_that_is(backend: Backend) {
        let world = World::with_roots(backend, &["root", "other"], None).await;
        let (_, uri) = world.folder_in("other", "one", 2);
        let key = world.archive(&[&uri]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let other = [format!("file://{}/other", world.home().display())];
        let (busy, now) = (Uuid::from_u128(9), world.clock.now());
        world.holders.hold_storage_roots(busy, &other, now, now).await.unwrap();
        let worker = run(&world.instance(roots(&world, &["root"])));
        let mut last = now;
        // Far longer than the schedule of retries, and for as long as what it said is believed.
        while world.clock.now() < now + Duration::from_secs(3 * 3_600) {
            let job = eventually("it is left for later", SOON, || async {
                let job = world.status(purge_id).await.job.unwrap();
                (job.next_attempt_at > last && job.leased_until.is_none()).then_some(job)
            })
            .await;
            let waits = "storage 1 of 1: it waits for an instance that has its storage root";
            assert_eq!(job.last_error.as_deref(), Some(waits));
            last = job.next_attempt_at;
            world.advance(Duration::from_secs(1_200));
        }
        assert_eq!(world.state(&key).await, State::Purging);
        // It is gone without a word.
        eventually("the purge has failed", SOON, || async {
            world.advance(Duration::from_secs(1));
            (world.state(&key).await == State::PurgeFailed).then_some(())
        })
        .await;
        worker.end().await;
        assert_eq!(world.failures(&key).await, [NO_INSTANCE]);
    }

    async fn a_root_that_one_instance_lacks_the_mount_of_is_cleaned_by_another_at_once(backend: Backend) {
        let world = World::start(backend).await;
        let (path, uri) = world.folder("one", 2);
        let key = world.archive(&[&uri]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let first = run(&world.instance(unmounted(&world)));
        eventually("it is left for later", SOON, || async {
            let job = world.status(purge_id).await.job.unwrap();
            (job.begun == 1 && job.leased_until.is_none()).then_some(())
        })
        .await;
        assert!(path.exists());
        let second = run(&world.instance(roots(&world, &["root"])));
        // The clock stands still: nobody's pause runs out.
        world.reaches(&key, State::Purged).await;
        assert_eq!(world.purged(&key).await, [(2, 20)]);
        for worker in [first, second] {
            worker.end().await;
        }
    }

    async fn what_was_named_below_the_old_path_of_a_root_that_moved_is_claimed_at_the_new_one(backend: Backend) {
        let world = World::with_roots(backend, &["root", "old"], None).await;
        let worker = world.run();
        let marker = std::fs::read_to_string(world.home().join("root").join(MARKER)).unwrap();
        let moved = KnownRoot {
            uri: format!("file://{}/old", world.home().display()),
            root_id: marker.lines().nth(1).unwrap().parse().unwrap(),
            numbers: None,
        };
        world.holders.remember_storage_root(&moved, world.clock.now()).await.unwrap();
        let (path, uri) = world.folder("tenant/a b", 2);
        let uri = uri.replace(' ', "%20");
        let (_, elsewhere) = world.folder("other", 1);
        let (purged, free) = (world.archive(&[&uri]).await, world.archive(&[&elsewhere]).await);
        let kept = world.archive(&[&format!("{}/tenant/a%20b/0", moved.uri)]).await;
        for key in [&purged, &free] {
            world.purge(key).await;
        }
        world.deliver().await;
        world.reaches(&free, State::Purged).await;
        world.reaches(&purged, State::PurgeFailed).await;
        let claimed = "storage 1 of 1: 1 other claims a place in, around or at it";
        assert_eq!(world.failures(&purged).await, [claimed]);
        assert_eq!((entries(&path).len(), world.state(&kept).await), (2, State::Archived));
        worker.end().await;
    }

    async fn a_job_that_an_instance_left_waits_for_that_instance_alone(backend: Backend) {
        let world = World::start(backend).await;
        let key = world.archive(&[&world.folder("one", 1).1]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let leave = async |job: &CleanupJob, left_by: Option<u128>| {
            let next = NextAttempt {
                at: world.clock.now() + Duration::from_secs(10),
                attempts: 0,
                last_error: None,
                left_by: left_by.map(Uuid::from_u128),
            };
            assert!(world.jobs.reschedule_cleanup_job(&job.lease, &next).await.unwrap());
        };
        let taken = async |instance| claim(&world, instance).await.pop();
        let job = taken(1).await.unwrap();
        assert!(taken(2).await.is_none(), "somebody is at it");
        leave(&job, Some(1)).await;
        assert!(taken(1).await.is_none());
        let job = taken(2).await.unwrap();
        leave(&job, Some(2)).await;
        assert!(taken(1).await.is_none() && taken(2).await.is_none());
        let job = taken(3).await.unwrap();
        leave(&job, Some(3)).await;
        // An operator does not want to wait.
        assert!(world.jobs.hasten_cleanup_job(job.lease.event_id, world.clock.now()).await.unwrap());
        let job = taken(1).await.unwrap();
        leave(&job, Some(1)).await;
        world.advance(Duration::from_secs(10));
        // It is due again, for everybody; what was left before is forgotten.
        let job = taken(2).await.unwrap();
        leave(&job, Some(2)).await;
        let job = taken(1).await.unwrap();
        // The pause of a storage that fails holds for all.
        leave(&job, None).await;
        for instance in 1..=4 {
            assert!(taken(instance).await.is_none());
        }
        assert_eq!(world.status(purge_id).await.job.unwrap().begun, 6);
    }

    async fn an_instance_that_ends_withdraws_its_roots_and_one_that_is_killed_does_not(backend: Backend) {
        let world = World::start(backend).await;
        let cleanup = world.instance(roots(&world, &["root"]));
        let held = async || world.holders.held_storage_roots(Uuid::nil(), world.clock.now()).await.unwrap().len();
        let shows = async |count| {
            eventually("its roots are known", SOON, || async { (held().await == count).then_some(()) }).await;
        };
        let other = Uuid::from_u128(9);
        let now = world.clock.now();
        world.holders.hold_storage_roots(other, &["file:///other".to_owned()], now, now).await.unwrap();
        let worker = run(&cleanup);
        shows(2).await;
        worker.end().await;
        assert_eq!(held().await, 1);
        let worker = run(&cleanup);
        shows(2).await;
        worker.kill().await;
        assert_eq!(held().await, 2);
    }

    async fn a_lease_that_a_clock_which_ran_ahead_has_taken_is_over(backend: Backend) {
        let world = World::start(backend).await;
        let key = world.archive(&[&world.folder("one", 1).1]).await;
        world.purge(&key).await;
        world.deliver().await;
        for (begun, ahead) in (1..).zip([Duration::from_secs(3_600), Duration::from_secs(600), Duration::ZERO]) {
            let ahead = chrono::TimeDelta::from_std(ahead).unwrap();
            world.clock.advance(ahead);
            let claimed = claim(&world, begun).await;
            world.clock.advance(-ahead);
            assert_eq!(claimed.iter().map(|job| u128::from(job.begun)).collect::<Vec<_>>(), [begun]);
        }
        assert_eq!(claim(&world, 4).await.len(), 0, "the last one was taken just now");
    }

    async fn an_instance_is_believed_to_have_its_roots_for_a_while(backend: Backend) {
        let world = World::start(backend).await;
        let (one, two, now) = (Uuid::from_u128(1), Uuid::from_u128(2), world.clock.now());
        let second = Duration::from_secs(1);
        let roots = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let hold = async |instance, names: &[&str], at| {
            world.holders.hold_storage_roots(instance, &roots(names), at, now).await.unwrap();
        };
        hold(one, &["file:///a", "s3://b/%C3%BC"], now).await;
        hold(two, &["file:///a"], now + second).await;
        let held = async |except, since| {
            let mut held = world.holders.held_storage_roots(except, since).await.unwrap();
            held.sort();
            held
        };
        assert_eq!(held(two, now).await, ["file:///a", "s3://b/%C3%BC"]);
        assert_eq!(held(one, now).await, ["file:///a"]);
        assert_eq!(held(Uuid::nil(), now + second).await, ["file:///a"]);
        hold(one, &["s3://b/%C3%BC"], now + second).await;
        assert_eq!(held(Uuid::nil(), now + second).await, ["file:///a", "s3://b/%C3%BC"]);
        world.holders.hold_storage_roots(two, &[], now + second, now + second).await.unwrap();
        assert_eq!(held(Uuid::nil(), now).await, ["file:///a", "s3://b/%C3%BC"]);
        world.holders.hold_storage_roots(two, &[], now + second, now + 2 * second).await.unwrap();
        assert_eq!(held(Uuid::nil(), now).await, [""; 0]);
    }
}

#[tokio::test]
async fn two_instances_with_other_roots_purge_all_that_either_can() {
    let home = tempfile::tempdir().unwrap();
    let folders = ["one", "two"].map(|name| home.path().join(name));
    for folder in &folders {
        std::fs::create_dir(folder).unwrap();
    }
    let uri = |at: usize, below: &str| format!("file://{}/{below}", folders[at].display());
    let root = |at| ("ARCHIVE_LEDGER_STORAGE_ROOT", uri(at, ""));
    let (name, value) = root(0);
    let first = Server::builder(Backend::Clustered).env(name, value).start().await;
    let (name, value) = root(1);
    let second = first.another().env(name, value).start().await;
    let servers = [&first, &second];
    let admin = first.token(&["--role", "admin"]).await;
    let ids: Vec<String> = (0..60)
        .map(|number| Uuid::from_u128(number + 1).to_string())
        .collect();
    for (number, id) in ids.iter().enumerate() {
        let at = usize::from(number % 5 < 2);
        fill(&folders[at].join(id), 2);
        let body = json!({"id": id, "name": "a backup", "storage": [uri(at, id)]});
        let answer = servers[at]
            .post("/api/admin/archived/backups", &admin, &body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 201);
    }
    for id in &ids {
        let purge = format!("/api/admin/archived/backups/{id}/purge");
        assert_eq!(first.delete(&purge, &admin).send().await.unwrap().status(), 200);
    }
    for id in &ids {
        let one = format!("/api/admin/archived/backups/{id}");
        eventually("the entity is purged", 2 * SOON, || async {
            let answer = first.get(&one, &admin).send().await.unwrap();
            (answer.status() == 404).then_some(())
        })
        .await;
        let history = first.get(&format!("{one}/history"), &admin).send().await.unwrap();
        let history: Value = history.json().await.unwrap();
        let last = history["items"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&last["event"], &last["facts"]["objects"]),
            (&json!("purged"), &json!(2)),
            "{history}"
        );
        assert!(!history.to_string().contains("purge_failed"), "{history}");
    }
    for folder in &folders {
        assert_eq!(entries(folder), [""; 0]);
    }
}
