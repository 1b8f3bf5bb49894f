//! Writes of jobs that are dropped in the middle, as those of an attempt are that comes to its end meanwhile.

use super::world::{OPTIONS, World};
use crate::harness::on_both_backends;
use archive_ledger::clock::Clock;
use archive_ledger::store::cleanup_jobs::{Claim, Obligation, ObligationState};
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;
use uuid::Uuid;

/// Drives a future until it was asked so often, and drops it then; whether it came to its end before.
async fn asked<F: Future>(times: u32, work: F) -> bool {
    let mut work = Box::pin(work);
    for _ in 0..times {
        let ended = poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await;
        if ended {
            return true;
        }
        // Long enough for whatever it waits for, and short enough to be dropped in between too.
        tokio::time::sleep(Duration::from_micros(u64::from(times % 5) * 100)).await;
    }
    false
}

on_both_backends! {
    async fn a_write_that_is_dropped_anywhere_keeps_no_other_from_being_made(backend: Backend) {
        let world = World::start(backend).await;
        let key = world.archive(&[&world.folder("one", 1).1]).await;
        let purge_id = world.purge(&key).await;
        world.deliver().await;
        let now = world.clock.now();
        let claim = Claim { token: Uuid::from_u128(1), now, until: now + OPTIONS.lease, limit: 1, instance: Uuid::nil() };
        let job = world.jobs.claim_cleanup_jobs(&claim).await.unwrap().pop().unwrap();
        let mut dropped = 0;
        for round in 0..400_u32 {
            let of = |objects: u64| Obligation {
                objects,
                state: ObligationState::Owed,
                ..job.obligations[0].clone()
            };
            let first = of(1_000_000 + u64::from(round));
            // Where few questions are enough for a write, most rounds still drop it.
            let questions = if round % 2 == 0 { round / 2 % 5 } else { round % 40 };
            dropped += u32::from(!asked(questions, world.jobs.record_obligation(&job.lease, &first, now, claim.until)).await);
            let second = of(u64::from(round));
            assert!(world.jobs.record_obligation(&job.lease, &second, now, claim.until).await.unwrap(), "round {round}");
            let status = world.status(purge_id).await.job.unwrap();
            assert_eq!(status.obligations[0].objects, u64::from(round));
            // What records the log shares the file.
            if round % 50 == 0 {
                world.archive(&[]).await;
            }
        }
        assert!(dropped > 50, "{dropped} of 400 were dropped");
    }
}
