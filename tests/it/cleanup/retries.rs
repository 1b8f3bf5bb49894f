//! Storage that is away or resists: what is waited for, what fails, and what is tried again.

use super::*;

on_both_backends! {
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
}
