//! Answers to deletions: whatever they say, what counts is what the next listing shows.

use super::scene::{OBJECTS, Scene};
use crate::cleanup::world::{OPTIONS, run};
use crate::harness::meddler::Meddling;
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger::storage::uri::Cloud;
use archive_ledger_domain::State;
use axum::http::Method;

/// What may be answered to the deletion of a single object by somebody else than the storage.
const OF_NOBODY: [(u16, &str); 14] = [
    (200, "<html>Welcome</html>"),
    (302, ""),
    (400, "<html></html>"),
    (400, "<Error><Code></Code></Error>"),
    (403, ""),
    (403, "<html></html>"),
    (403, "{\"message\":\"Forbidden\"}"),
    (404, "<html></html>"),
    (405, ""),
    (407, ""),
    (409, ""),
    (412, "<html></html>"),
    (418, ""),
    (501, "<html></html>"),
];

/// Has so many single deletions answered so. Bulk deletions are not taken.
fn meddle(scene: &Scene, status: u16, body: &'static str, times: u32) {
    let mut left = times;
    scene.meddler.meddle(move |method, _| {
        if method == Method::POST {
            return Meddling::Instead(501, Vec::new());
        }
        if method != Method::DELETE || left == 0 {
            return Meddling::Nothing;
        }
        left -= 1;
        Meddling::Instead(status, body.as_bytes().to_vec())
    });
}

async fn deletions_are_made_again(backend: Backend, cloud: Cloud) {
    let scene = Scene::new(backend, cloud).await;
    let worker = run(&scene.world.cleanup());
    for (status, body) in OF_NOBODY {
        for times in [1, 4] {
            let about = format!("{cloud:?}: {status} {body} ({times})");
            let (folder, key, purge_id) = scene.purging().await;
            meddle(&scene, status, body, times);
            scene.world.deliver().await;
            scene.ends_purged(&about, &folder, &key, purge_id).await;
            scene.world.idle().await;
        }
        let about = format!("{cloud:?}: {status} {body}");
        let (folder, key, purge_id) = scene.purging().await;
        meddle(&scene, status, body, u32::MAX);
        scene.world.deliver().await;
        let outcome = scene.world.outcome(&key, purge_id).await;
        assert_eq!(outcome, State::PurgeFailed, "{about}");
        assert_eq!(scene.storage.count(&folder), OBJECTS, "{about}");
        assert_eq!(scene.world.removed(&key).await.0, 0, "{about}");
        let job = scene.world.status(purge_id).await.job.unwrap();
        assert_eq!(job.begun, OPTIONS.attempts, "{about}: {:?}", job.last_error);
        scene.world.idle().await;
    }
    worker.end().await;
}

/// A body for the names of a folder.
type Body = fn(&str) -> String;

fn each(folder: &str, of: impl Fn(String) -> String) -> String {
    let parts: String = (0..OBJECTS)
        .map(|object| of(format!("{folder}{object}")))
        .collect();
    format!("<DeleteResult>{parts}</DeleteResult>")
}

on_both_backends! {
    async fn a_single_deletion_that_nobody_knows_who_refused_is_made_again_in_s3(backend: Backend) {
        deletions_are_made_again(backend, Cloud::S3).await;
    }

    async fn a_single_deletion_that_nobody_knows_who_refused_is_made_again_in_gcs(backend: Backend) {
        deletions_are_made_again(backend, Cloud::Gcs).await;
    }

    async fn a_single_deletion_that_nobody_knows_who_refused_is_made_again_in_azure(backend: Backend) {
        deletions_are_made_again(backend, Cloud::Azure).await;
    }

    async fn a_bulk_deletion_that_s3_does_not_take_is_made_one_by_one(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        let coded = |status: u16, code: &str| (status, format!("<Error><Code>{code}</Code></Error>"));
        let plain = |status: u16, body: &str| (status, body.to_owned());
        for ((status, body), times) in [
            (coded(400, "InvalidArgument"), u32::MAX),
            (coded(400, "MalformedXML"), u32::MAX),
            (plain(405, ""), u32::MAX),
            (coded(501, "NotImplemented"), u32::MAX),
            (plain(403, "<html></html>"), u32::MAX),
            (plain(404, ""), u32::MAX),
            (coded(400, "BadDigest"), 2),
            (coded(400, "ExpiredToken"), 2),
            (coded(403, "RequestTimeTooSkewed"), 2),
            (coded(307, "TemporaryRedirect"), 2),
            (coded(400, "ServerBusy"), 2),
            (plain(200, ""), 2),
            (plain(200, "<html></html>"), 2),
            (plain(200, "<DeleteResult>"), 2),
            (plain(200, "<DeleteResult></DeleteResult>"), 2),
            (plain(500, ""), 2),
            (plain(511, ""), 2),
        ] {
            let about = format!("{status} {body}");
            let (folder, key, purge_id) = scene.purging().await;
            let mut left = times;
            scene.meddler.meddle(move |method, _| {
                if method != Method::POST || left == 0 {
                    return Meddling::Nothing;
                }
                left -= 1;
                Meddling::Instead(status, body.clone().into_bytes())
            });
            scene.world.deliver().await;
            scene.ends_purged(&about, &folder, &key, purge_id).await;
            assert_eq!(scene.world.removed(&key).await, (OBJECTS, false), "{about}");
            scene.world.idle().await;
        }
        worker.end().await;
    }

    async fn a_bulk_deletion_is_believed_of_nothing_that_is_listed_still(backend: Backend) {
        let scene = Scene::new(backend, Cloud::S3).await;
        let worker = run(&scene.world.cleanup());
        let bodies: [(&str, Body); 9] = [
            ("all deleted, and none is", |folder| {
                each(folder, |name| format!("<Deleted><Key>{name}</Key></Deleted>"))
            }),
            ("one of them", |folder| {
                format!("<DeleteResult><Deleted><Key>{folder}0</Key></Deleted></DeleteResult>")
            }),
            ("one of them, for each", |folder| {
                each(folder, |_| format!("<Deleted><Key>{folder}0</Key></Deleted>"))
            }),
            ("others", |_| each("root/other/", |name| format!("<Deleted><Key>{name}</Key></Deleted>"))),
            ("others are locked", |_| {
                each("root/other/", |name| {
                    format!("<Error><Key>{name}</Key><Code>AccessDenied</Code><Message>Object Lock</Message></Error>")
                })
            }),
            ("deleted and not deleted", |folder| {
                each(folder, |name| {
                    format!("<Deleted><Key>{name}</Key></Deleted><Error><Key>{name}</Key><Code>InternalError</Code></Error>")
                })
            }),
            ("refused without a code", |folder| each(folder, |name| format!("<Error><Key>{name}</Key></Error>"))),
            ("busy", |folder| {
                each(folder, |name| format!("<Error><Key>{name}</Key><Code>ServerBusy</Code></Error>"))
            }),
            ("not there", |folder| {
                each(folder, |name| format!("<Error><Key>{name}</Key><Code>NoSuchKey</Code></Error>"))
            }),
        ];
        for (name, body) in bodies {
            for times in [1, 4] {
                let about = format!("{name} ({times})");
                let (folder, key, purge_id) = scene.purging().await;
                let (mut left, body) = (times, body(&folder).into_bytes());
                scene.meddler.meddle(move |method, _| {
                    if method != Method::POST || left == 0 {
                        return Meddling::Nothing;
                    }
                    left -= 1;
                    Meddling::Instead(200, body.clone())
                });
                scene.world.deliver().await;
                scene.ends_purged(&about, &folder, &key, purge_id).await;
                scene.world.idle().await;
            }
        }
        worker.end().await;
    }
}
