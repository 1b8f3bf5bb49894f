//! Answers of a storage that are not whole, or not to what was asked, on their way through the worker: none of them gives
//! `purged` while objects are there, and none keeps a purge from its end once the storage answers as it should.

mod azure;
mod case;
mod deletions;
mod gcs;
mod s3;
mod scene;

use super::world::{OPTIONS, context, run};
use crate::harness::meddler::Meddling;
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger::purge::operator::Retried;
use archive_ledger::storage::uri::Cloud;
use archive_ledger_domain::State;
use axum::http::Method;
use case::Case;
use scene::{OBJECTS, Scene, Storage};
use std::sync::atomic::Ordering;

async fn nothing_bad_is_believed(backend: Backend, cloud: Cloud, cases: Vec<Case>) {
    let scene = Scene::new(backend, cloud).await;
    let worker = run(&scene.world.cleanup());
    for case in cases {
        let about = format!("{cloud:?}: {}", case.name);
        let (folder, key, purge_id) = scene.purging().await;
        let done = scene.meddle(&case, u32::MAX);
        scene.world.deliver().await;
        assert_eq!(
            scene.world.outcome(&key, purge_id).await,
            State::PurgeFailed,
            "{about}"
        );
        assert!(done.load(Ordering::Relaxed), "{about}: nothing was wrong");
        assert_eq!(scene.storage.count(&folder), OBJECTS, "{about}");
        // Nothing of the sort is taken for the storage's last word.
        let job = scene.world.status(purge_id).await.job.unwrap();
        assert_eq!(job.begun, OPTIONS.attempts, "{about}: {:?}", job.last_error);
        let failures = scene.world.failures(&key).await;
        assert!(
            failures.len() == 1 && failures[0].starts_with("storage 1 of 1: "),
            "{about}: {failures:?}"
        );
        scene.world.idle().await;
        scene.meddler.stop();
        let again = scene
            .world
            .cleanup()
            .purges()
            .retry(purge_id, context())
            .await
            .unwrap();
        let Retried::RequestedAgain(receipt) = again else {
            panic!("{about}: {again:?}")
        };
        scene.world.deliver().await;
        scene
            .ends_purged(&about, &folder, &key, receipt.purge_id.unwrap())
            .await;
    }
    worker.end().await;
}

async fn what_passes_is_waited_for(backend: Backend, cloud: Cloud, cases: Vec<Case>) {
    let scene = Scene::new(backend, cloud).await;
    let worker = run(&scene.world.cleanup());
    for case in cases {
        // Once within one attempt, and beyond it.
        for times in [1, 3] {
            let about = format!("{cloud:?}: {} ({times})", case.name);
            let (folder, key, purge_id) = scene.purging().await;
            let done = scene.meddle(&case, times);
            scene.world.deliver().await;
            scene.ends_purged(&about, &folder, &key, purge_id).await;
            assert!(done.load(Ordering::Relaxed), "{about}: nothing was wrong");
            assert_eq!(scene.world.failures(&key).await, [""; 0], "{about}");
            assert_eq!(scene.world.removed(&key).await, (OBJECTS, false), "{about}");
            scene.world.idle().await;
        }
    }
    worker.end().await;
}

on_both_backends! {
    async fn no_bad_answer_of_s3_gives_purged(backend: Backend) {
        nothing_bad_is_believed(backend, Cloud::S3, s3::cases()).await;
    }

    async fn no_bad_answer_of_gcs_gives_purged(backend: Backend) {
        nothing_bad_is_believed(backend, Cloud::Gcs, gcs::cases()).await;
    }

    async fn no_bad_answer_of_azure_gives_purged(backend: Backend) {
        nothing_bad_is_believed(backend, Cloud::Azure, azure::cases()).await;
    }

    async fn a_purge_ends_well_when_s3_answers_as_it_should_again(backend: Backend) {
        what_passes_is_waited_for(backend, Cloud::S3, s3::cases()).await;
    }

    async fn a_purge_ends_well_when_gcs_answers_as_it_should_again(backend: Backend) {
        what_passes_is_waited_for(backend, Cloud::Gcs, gcs::cases()).await;
    }

    async fn a_purge_ends_well_when_azure_answers_as_it_should_again(backend: Backend) {
        what_passes_is_waited_for(backend, Cloud::Azure, azure::cases()).await;
    }

    async fn versions_that_may_be_there_and_cannot_be_listed_fail_the_purge(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        let denied = "<Error><Code>AccessDenied</Code></Error>";
        let busy = "<VersioningConfiguration>busy</VersioningConfiguration>";
        let lower = "<VersioningConfiguration><status>Enabled</status></VersioningConfiguration>";
        let kept = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
        for (versions, versioning, text) in [
            ((403, denied), (403, denied), "nor s3:GetBucketVersioning"),
            ((405, ""), (403, denied), "nor s3:GetBucketVersioning"),
            ((501, ""), (405, ""), "nor s3:GetBucketVersioning"),
            ((403, denied), (200, kept), "s3:ListBucketVersions is not granted"),
            ((405, ""), (200, kept), "s3:ListBucketVersions is not granted"),
            ((403, denied), (405, ""), "nor s3:GetBucketVersioning"),
            ((403, denied), (404, "<html></html>"), "a refusal is not believed to be the storage's own: status404"),
            ((403, denied), (200, busy), "the storage's answer is not believed"),
            ((403, denied), (200, lower), "the storage's answer is not believed"),
            ((501, ""), (200, busy), "the storage's answer is not believed"),
        ] {
            let about = format!("{versions:?} {versioning:?}");
            let (folder, key, purge_id) = scene.purging().await;
            scene.meddler.meddle(move |method, target| {
                let (status, body) = match target.split_once('?') {
                    Some((_, query)) if query.starts_with("versioning") || query.contains("&versioning") => versioning,
                    Some((_, query)) if query.contains("versions") => versions,
                    _ => return Meddling::Nothing,
                };
                assert_eq!(method, Method::GET);
                Meddling::Instead(status, body.as_bytes().to_vec())
            });
            scene.world.deliver().await;
            assert_eq!(scene.world.outcome(&key, purge_id).await, State::PurgeFailed, "{about}");
            assert_eq!(scene.storage.count(&folder), OBJECTS, "{about}");
            let failures = scene.world.failures(&key).await;
            assert!(failures[0].contains(text), "{about}: {failures:?}");
            scene.world.idle().await;
        }
        worker.end().await;
    }

    async fn names_that_xml_cannot_carry_go_by_their_bytes(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        let (folder, key, purge_id) = scene.purging().await;
        let Storage::S3(server) = &scene.storage else { unreachable!() };
        let odd: [&[u8]; 8] = [b"\x01", b"a\x0bb", b"\xff\xfe", b"caf\xe9", b"\xef\xbf\xbf", b"a&b<c>", b"%41", b"\r\n"];
        for name in odd {
            server.lock().unwrap().objects.insert([folder.as_bytes(), name].concat(), 10);
        }
        let neighbours = ["root/e0\u{1}", "root/e1/\u{1}", "root/e"];
        for name in neighbours {
            scene.storage.put(name);
        }
        scene.world.deliver().await;
        assert_eq!(scene.world.outcome(&key, purge_id).await, State::Purged);
        assert_eq!((scene.storage.count(&folder), scene.storage.count("")), (0, 3));
        assert_eq!(scene.world.removed(&key).await, (OBJECTS + odd.len() as u64, false));
        worker.end().await;
    }
}
