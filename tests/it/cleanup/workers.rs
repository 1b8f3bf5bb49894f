//! Workers that die, stop or lose their lease: a job is one worker's at a time, and is never forgotten.

use super::*;

on_both_backends! {
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
}
