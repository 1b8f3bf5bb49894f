//! Storage cleanup in Google Cloud Storage and Azure: on emulators of them, and (`fake`) on a server that misbehaves on
//! order. Every test runs on both clouds.

pub mod fake;

use crate::harness::emulators::{Azurite, GcsEmulator};
use archive_ledger::storage::deletion::{BlobErrorKind, Cleaned};
use archive_ledger::storage::uri::Cloud;
use fake::{BUCKET, CLOUDS, Faults, Kind, blobs, purge, start};
use std::collections::BTreeMap;
use std::sync::Mutex;

fn cleaned(objects: u64) -> Cleaned {
    Cleaned {
        objects,
        bytes: objects * 10,
    }
}

fn entity(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("root/entity/{i:04}")).collect()
}

fn names(owned: &[String]) -> impl Iterator<Item = &str> {
    owned.iter().map(String::as_str)
}

/// What lies around the entity, and what looks like it.
const OTHERS: [&str; 8] = [
    "entity/a",
    "root/entit",
    "root/entity-2/a",
    "root/entity0",
    "root/entity1/a",
    "root/entitz/a",
    "root/other/../entity/x",
    "z",
];

/// Keys that a client which normalises names cannot delete.
const ODD: [&str; 12] = [
    "root/entity/",
    "root/entity//",
    "root/entity/a//b",
    "root/entity/a/./b",
    "root/entity/a/../../other/x",
    "root/entity/..",
    "root/entity/a b+c%2Fd%",
    "root/entity/é&<>\"'",
    "root/entity/?x=1#y",
    "root/entity/a/",
    "root/entity/\u{1}",
    "root/entity/a\\b",
];

#[tokio::test]
async fn a_purge_takes_the_object_and_the_folder_of_that_name_and_nothing_beside_them() {
    for cloud in CLOUDS {
        let (server, blobs) = start(cloud, Faults::default(), OTHERS).await;
        for name in names(&entity(40)).chain(["root/entity"]).chain(ODD) {
            server.lock().unwrap().put(name, Kind::Current, 10);
        }
        let told = Mutex::new(Vec::new());
        let uri = format!("{}://{BUCKET}/root/entity", cloud.scheme());
        let outcome = blobs
            .purge(&uri, &|so_far| told.lock().unwrap().push(so_far.objects))
            .await;
        assert_eq!(outcome.unwrap(), cleaned(41 + ODD.len() as u64), "{cloud:?}");
        assert_eq!(server.lock().unwrap().names(), OTHERS, "{cloud:?}");
        let told = told.into_inner().unwrap();
        assert!(told.is_sorted() && told.len() > 5, "{told:?}");
        assert_eq!(purge(&blobs, cloud, "root/entity").await.unwrap(), cleaned(0));
    }
}

#[tokio::test]
async fn a_folder_alone_is_not_the_object_of_its_name() {
    for cloud in CLOUDS {
        let (server, blobs) = start(
            cloud,
            Faults::default(),
            ["root/bk-1", "root/bk-1/", "root/bk-1/a", "root/bk-10/a"],
        )
        .await;
        assert_eq!(purge(&blobs, cloud, "root/bk-1/").await.unwrap(), cleaned(2));
        assert_eq!(server.lock().unwrap().names(), ["root/bk-1", "root/bk-10/a"]);
        assert_eq!(purge(&blobs, cloud, "root/bk-1").await.unwrap(), cleaned(1));
        assert_eq!(server.lock().unwrap().names(), ["root/bk-10/a"]);
    }
}

#[tokio::test]
async fn older_versions_and_snapshots_go_too() {
    for cloud in CLOUDS {
        let (server, blobs) = start(cloud, Faults::default(), []).await;
        {
            let mut server = server.lock().unwrap();
            server.versioned = true;
            server.put("root/entity/a", Kind::Older, 10);
            server.put("root/entity/a", Kind::Older, 10);
            server.put("root/entity/a", Kind::Current, 10);
            server.put("root/entity/b", Kind::Older, 10);
            server.put("root/other", Kind::Older, 10);
            if cloud == Cloud::Azure {
                server.put("root/entity/a", Kind::Snapshot, 10);
            }
        }
        purge(&blobs, cloud, "root/entity").await.unwrap();
        assert_eq!(server.lock().unwrap().names(), ["root/other"], "{cloud:?}");
    }
}

#[tokio::test]
async fn a_throttled_purge_slows_down_and_finishes() {
    for cloud in CLOUDS {
        for (throttle, cut) in [(4, 0), (0, 4)] {
            let faults = Faults {
                throttle,
                cut,
                ..Faults::default()
            };
            let (server, blobs) = start(cloud, faults, names(&entity(30))).await;
            assert_eq!(purge(&blobs, cloud, "root/entity").await.unwrap(), cleaned(30));
            assert_eq!(server.lock().unwrap().names(), Vec::<&str>::new());
        }
    }
}

#[tokio::test]
async fn a_server_that_throttles_for_good_is_a_retryable_error_after_a_bounded_number_of_requests() {
    for cloud in CLOUDS {
        let faults = Faults {
            throttle: u32::MAX,
            ..Faults::default()
        };
        let (server, blobs) = start(cloud, faults, ["root/entity/a"]).await;
        let error = purge(&blobs, cloud, "root/entity").await.unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::Throttled) && error.retryable,
            "{error}"
        );
        assert_eq!(server.lock().unwrap().requests, 5);
    }
}

#[tokio::test]
async fn a_list_that_fails_is_never_an_empty_one() {
    for cloud in CLOUDS {
        // What has no code may come from anything in between, and passes.
        let foreign = |code: &str| format!("a refusal is not believed to be the storage's own: {code}");
        let [nobodys_403, nobodys_404, nobodys_405, nobodys_409, nobodys_418] =
            ["status403", "status404", "status405", "status409", "status418"].map(foreign);
        for (status, code, text, retryable) in [
            (403, "forbidden", "permission denied", false),
            (403, "", nobodys_403.as_str(), true),
            (404, "", &nobodys_404, true),
            (405, "", &nobodys_405, true),
            (
                401,
                "",
                "the storage does not accept the credentials: status401",
                true,
            ),
            (511, "", "the storage cannot be reached", true),
            (
                404,
                "ContainerNotFound",
                "the bucket of the storage root does not exist",
                false,
            ),
            (400, "invalid", "the storage answered invalid", false),
            (409, "", &nobodys_409, true),
            (418, "", &nobodys_418, true),
            (500, "", "the storage cannot be reached", true),
            (429, "", "the storage is throttling", true),
        ] {
            let faults = Faults {
                refuse_lists: Some((status, code)),
                ..Faults::default()
            };
            let (server, blobs) = start(cloud, faults, names(&entity(3))).await;
            let error = purge(&blobs, cloud, "root/entity").await.unwrap_err();
            assert_eq!(
                (error.to_string().as_str(), error.retryable),
                (text, retryable),
                "{cloud:?}"
            );
            assert_eq!(server.lock().unwrap().objects.len(), 3);
            let probed = blobs.probe().await.unwrap_err().to_string();
            let root = format!("storage root {}://{BUCKET}/root", cloud.scheme());
            assert_eq!(probed, format!("{root} cannot be listed: {text}"));
        }
        let error = purge(&blobs(cloud, "http://127.0.0.1:1"), cloud, "root/entity")
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::Unavailable) && error.retryable,
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_object_that_may_not_be_deleted_fails_the_purge_and_keeps_no_other_alive() {
    let (locked, denied) = ("objects are under Object Lock: 1 remain", "permission denied");
    for (cloud, status, code, text) in [
        (Cloud::Gcs, 403, "retentionPolicyNotMet", locked),
        (Cloud::Gcs, 403, "objectUnderActiveHold", locked),
        (Cloud::Gcs, 403, "forbidden", denied),
        (
            Cloud::Gcs,
            412,
            "conditionNotMet",
            "the storage answered conditionNotMet",
        ),
        (Cloud::Azure, 409, "BlobImmutableDueToPolicy", locked),
        (Cloud::Azure, 403, "AuthorizationPermissionMismatch", denied),
        (
            Cloud::Azure,
            412,
            "LeaseIdMissing",
            "the storage answered LeaseIdMissing",
        ),
    ] {
        let faults = Faults {
            refuse: BTreeMap::from([("root/entity/0003".to_owned(), (u32::MAX, status, code))]),
            ..Faults::default()
        };
        let (server, blobs) = start(cloud, faults, names(&entity(30))).await;
        let error = purge(&blobs, cloud, "root/entity").await.unwrap_err();
        assert_eq!(error.to_string(), text, "{cloud:?}");
        assert!(!error.retryable);
        assert_eq!(error.done, cleaned(29));
        assert_eq!(server.lock().unwrap().names(), ["root/entity/0003"]);
    }
}

#[tokio::test]
async fn single_deletions_that_are_too_busy_are_made_again() {
    for (cloud, status, code) in [
        (Cloud::Gcs, 429, "rateLimitExceeded"),
        (Cloud::Gcs, 403, "userRateLimitExceeded"),
        (Cloud::Gcs, 403, "quotaExceeded"),
        (Cloud::Gcs, 403, "dailyLimitExceeded"),
        (Cloud::Gcs, 412, ""),
        (Cloud::Azure, 409, "ConcurrentOperations"),
        (Cloud::Azure, 409, "AccountBeingCreated"),
        (Cloud::Azure, 409, "ContainerBeingDeleted"),
        (Cloud::Azure, 412, ""),
        (Cloud::Gcs, 502, ""),
        (Cloud::Azure, 503, "ServerBusy"),
        (Cloud::Azure, 500, "OperationTimedOut"),
    ] {
        let faults = Faults {
            refuse: BTreeMap::from([("root/entity/0003".to_owned(), (3, status, code))]),
            ..Faults::default()
        };
        let (server, blobs) = start(cloud, faults, names(&entity(10))).await;
        assert_eq!(purge(&blobs, cloud, "root/entity").await.unwrap(), cleaned(10));
        assert!(server.lock().unwrap().objects.is_empty());
    }
}

#[tokio::test]
async fn the_place_is_listed_again_until_it_is_empty() {
    for cloud in CLOUDS {
        let faults = Faults {
            writes: 25,
            ..Faults::default()
        };
        let (server, blobs) = start(cloud, faults, names(&entity(10))).await;
        assert_eq!(purge(&blobs, cloud, "root/entity").await.unwrap(), cleaned(35));
        assert!(server.lock().unwrap().objects.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_only_says_that_it_deletes_is_not_believed() {
    for cloud in CLOUDS {
        let faults = Faults {
            lies: true,
            ..Faults::default()
        };
        let (_server, blobs) = start(cloud, faults, names(&entity(10))).await;
        let error = purge(&blobs, cloud, "root/entity").await.unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::NotEmpty) && error.retryable,
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_server_that_lists_more_than_it_was_asked_for_is_not_believed_and_loses_nothing() {
    for cloud in CLOUDS {
        let faults = Faults {
            lists_everything: true,
            ..Faults::default()
        };
        let (server, blobs) = start(cloud, faults, OTHERS).await;
        for name in names(&entity(10)) {
            server.lock().unwrap().put(name, Kind::Current, 10);
        }
        let error = purge(&blobs, cloud, "root/entity").await.unwrap_err();
        assert!(
            matches!(error.kind, BlobErrorKind::Doubtful { .. }) && error.retryable,
            "{error}"
        );
        assert_eq!(server.lock().unwrap().objects.len(), 10 + OTHERS.len());
        server.lock().unwrap().faults.lists_everything = false;
        assert_eq!(purge(&blobs, cloud, "root/entity").await.unwrap(), cleaned(10));
        assert_eq!(server.lock().unwrap().names(), OTHERS);
    }
}

#[tokio::test]
async fn azurite_takes_the_signatures_and_keeps_nothing() {
    let azurite = Azurite::start().await;
    azurite.create_container(BUCKET).await;
    for name in [
        "root/bk-1",
        "root/bk-1/a",
        "root/bk-1/a b%+é",
        "root/bk-1/a//b",
        "root/bk-10/a",
    ] {
        azurite.put(BUCKET, name, b"0123456789").await;
    }
    let blobs = azurite.blobs(&format!("az://{BUCKET}/root"));
    blobs.probe().await.unwrap();
    assert_eq!(
        purge(&blobs, Cloud::Azure, "root/bk-1").await.unwrap(),
        cleaned(4)
    );
    assert_eq!(
        purge(&blobs, Cloud::Azure, "root/bk-1").await.unwrap(),
        cleaned(0)
    );
    assert_eq!(
        purge(&blobs, Cloud::Azure, "root/bk-10").await.unwrap(),
        cleaned(1)
    );
    let elsewhere = azurite.blobs("az://no-such-container/root");
    assert_eq!(
        elsewhere.probe().await.unwrap_err().to_string(),
        "storage root az://no-such-container/root cannot be listed: the bucket of the storage root does not exist"
    );
}

#[tokio::test]
async fn a_foreign_emulator_of_gcs_is_emptied() {
    let gcs = GcsEmulator::start(BUCKET).await;
    for name in [
        "root/bk-1",
        "root/bk-1/a",
        "root/bk-1/a b%+é",
        "root/bk-1/a//b",
        "root/bk-10/a",
    ] {
        gcs.put(BUCKET, name, b"0123456789").await;
    }
    let blobs = blobs(Cloud::Gcs, &gcs.endpoint());
    blobs.probe().await.unwrap();
    assert_eq!(purge(&blobs, Cloud::Gcs, "root/bk-1").await.unwrap(), cleaned(4));
    assert_eq!(purge(&blobs, Cloud::Gcs, "root/bk-1").await.unwrap(), cleaned(0));
    assert_eq!(purge(&blobs, Cloud::Gcs, "root/bk-10").await.unwrap(), cleaned(1));
}
