//! What a purge makes of an S3 server that fails on order.

use super::config;
use super::fake::{BUCKET, Faults, entity, start};
use archive_ledger::storage::blobs::Blobs;
use archive_ledger::storage::deletion::{BlobError, BlobErrorKind, Cleaned};
use archive_ledger::storage::roots::StorageRoots;
use archive_ledger::storage::s3::{Backoff, S3Store};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::time::Duration;

async fn purge(store: S3Store) -> Result<Cleaned, BlobError> {
    let roots = StorageRoots::parse(&[format!("s3://{BUCKET}/root")]).unwrap();
    Blobs::with_stores(roots, Some(store))
        .purge(&format!("s3://{BUCKET}/root/entity"), &|_| {})
        .await
}

#[tokio::test]
async fn a_throttled_purge_slows_down_and_finishes() {
    let (server, store) = start(
        Faults {
            slow_down: 4,
            ..Faults::default()
        },
        entity(10),
    )
    .await;
    assert_eq!(
        purge(store).await.unwrap(),
        Cleaned {
            objects: 10,
            bytes: 100
        }
    );
    assert!(server.lock().unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_server_that_throttles_for_good_is_a_retryable_error_after_a_bounded_number_of_requests() {
    let (server, store) = start(
        Faults {
            slow_down: u32::MAX,
            ..Faults::default()
        },
        entity(10),
    )
    .await;
    let error = purge(store).await.unwrap_err();
    assert!(
        matches!(error.kind, BlobErrorKind::Throttled) && error.retryable,
        "{error}"
    );
    assert_eq!(server.lock().unwrap().requests, 5);
}

#[tokio::test]
async fn answers_that_are_cut_off_are_asked_for_again() {
    let (server, store) = start(
        Faults {
            cut: 4,
            ..Faults::default()
        },
        entity(10),
    )
    .await;
    assert_eq!(purge(store).await.unwrap().objects, 10);
    assert!(server.lock().unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_dead_server_is_a_retryable_error() {
    let store = S3Store::from_config(config("http://127.0.0.1:1")).with_backoff(Backoff {
        first: Duration::from_millis(1),
        cap: Duration::from_millis(1),
        attempts: 3,
    });
    let error = purge(store).await.unwrap_err();
    assert!(
        matches!(error.kind, BlobErrorKind::Unavailable) && error.retryable,
        "{error}"
    );
}

#[derive(Debug)]
struct Nothing;

impl ProvideCredentials for Nothing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("none")))
    }
}

#[tokio::test]
async fn missing_credentials_are_named_as_such() {
    let store = S3Store::from_config(config("http://127.0.0.1:1").credentials_provider(Nothing));
    let error = purge(store).await.unwrap_err();
    assert_eq!(error.to_string(), "there are no credentials for the storage");
}

#[tokio::test]
async fn single_keys_that_fail_inside_a_good_answer_are_deleted_again() {
    let keys = BTreeMap::from([
        ("root/entity/0000003".to_owned(), (3, "InternalError")),
        ("root/entity/0000004".to_owned(), (1, "SlowDown")),
        ("root/entity/0001500".to_owned(), (2, "ServiceUnavailable")),
    ]);
    let (server, store) = start(
        Faults {
            keys,
            ..Faults::default()
        },
        entity(2_500),
    )
    .await;
    assert_eq!(
        purge(store).await.unwrap(),
        Cleaned {
            objects: 2_500,
            bytes: 25_000
        }
    );
    assert!(server.lock().unwrap().objects.is_empty());
}

#[tokio::test]
async fn a_key_that_fails_for_good_is_a_retryable_error_that_counts_the_rest() {
    let keys = BTreeMap::from([("root/entity/0000003".to_owned(), (u32::MAX, "InternalError"))]);
    let (server, store) = start(
        Faults {
            keys,
            ..Faults::default()
        },
        entity(10),
    )
    .await;
    let error = purge(store).await.unwrap_err();
    assert!(
        matches!(error.kind, BlobErrorKind::Unavailable) && error.retryable,
        "{error}"
    );
    assert_eq!(
        error.done,
        Cleaned {
            objects: 9,
            bytes: 90
        }
    );
    assert_eq!(server.lock().unwrap().objects.len(), 1);
}

#[tokio::test]
async fn a_key_that_may_not_be_deleted_is_a_terminal_error_and_keeps_no_other_alive() {
    for (code, text) in [
        ("AccessDenied", "permission denied"),
        ("ObjectLocked", "objects are under Object Lock: 1 remain"),
        ("InvalidTag", "the storage answered InvalidTag"),
    ] {
        let keys = BTreeMap::from([("root/entity/0000003".to_owned(), (u32::MAX, code))]);
        let (server, store) = start(
            Faults {
                keys,
                ..Faults::default()
            },
            entity(2_500),
        )
        .await;
        // A server that answers a HEAD with a 200 tells of no lock.
        let error = purge(store).await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(!error.retryable);
        assert_eq!(error.done.objects, 2_499);
        assert_eq!(server.lock().unwrap().objects.len(), 1);
    }
}

#[tokio::test]
async fn a_refused_request_is_a_terminal_error() {
    for (status, code, text, requests) in [
        (StatusCode::FORBIDDEN, "AccessDenied", "permission denied", 1),
        // Others may have taken the place of these credentials: once more, with those that are found now.
        (
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "permission denied",
            2,
        ),
        (
            StatusCode::NOT_FOUND,
            "NoSuchBucket",
            "the bucket of the storage root does not exist",
            1,
        ),
        (
            StatusCode::BAD_REQUEST,
            "Invalid/root/entity",
            "the storage answered Invalidrootentity",
            1,
        ),
    ] {
        let (server, store) = start(
            Faults {
                refuse: Some((status, code)),
                ..Faults::default()
            },
            entity(3),
        )
        .await;
        let error = purge(store).await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(!error.retryable);
        assert_eq!(server.lock().unwrap().requests, requests, "{code}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_code_of_the_storage_passes() {
    for status in [307, 400, 401, 403, 404, 405, 407, 409, 412, 418, 421, 423, 499] {
        let faults = Faults {
            refuse: Some((StatusCode::from_u16(status).unwrap(), "")),
            ..Faults::default()
        };
        let (server, store) = start(faults, entity(3)).await;
        let text = format!("a refusal is not believed to be the storage's own: status{status}");
        let roots = StorageRoots::parse(&[format!("s3://{BUCKET}/root")]).unwrap();
        let probed = Blobs::with_stores(roots, Some(store.clone())).probe().await;
        assert_eq!(
            probed.unwrap_err().to_string(),
            format!("storage root s3://{BUCKET}/root cannot be listed: {text}")
        );
        let error = purge(store).await.unwrap_err();
        // Unfinished uploads are listed first, and not every server has them.
        let text = if status == 405 {
            "unfinished uploads may be left: s3:ListBucketMultipartUploads is not granted"
        } else {
            text.as_str()
        };
        assert_eq!(error.to_string(), text);
        assert!(error.retryable, "{status}");
        assert_eq!(server.lock().unwrap().objects.len(), 3, "{status}");
    }
}

#[tokio::test]
async fn a_server_without_versions_or_bulk_deletion_is_served() {
    let odd = ["a b", "a+b", "a%2Fb", "a//b", "é", "a&b"].map(|key| format!("root/entity/{key}"));
    for (no_versions, no_bulk) in [(true, false), (false, true), (true, true)] {
        let objects = entity(1_500).chain(no_bulk.then_some(odd.clone()).into_iter().flatten());
        let faults = Faults {
            no_versions,
            no_bulk,
            ..Faults::default()
        };
        let (server, store) = start(faults, objects).await;
        let cleaned = purge(store).await.unwrap();
        assert_eq!(cleaned.objects, 1_500 + if no_bulk { 6 } else { 0 });
        assert!(server.lock().unwrap().objects.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_only_says_that_it_deletes_is_not_believed() {
    let (_server, store) = start(
        Faults {
            lies: true,
            ..Faults::default()
        },
        entity(10),
    )
    .await;
    let error = purge(store).await.unwrap_err();
    assert!(
        matches!(error.kind, BlobErrorKind::NotEmpty) && error.retryable,
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_lists_more_than_it_was_asked_for_is_not_believed_and_loses_nothing() {
    let siblings = ["a", "root/entity-sibling", "root/entitz", "z"].map(str::to_owned);
    let faults = Faults {
        lists_everything: true,
        ..Faults::default()
    };
    let (server, store) = start(faults, entity(10).chain(siblings)).await;
    let error = purge(store.clone()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the storage's answer is not believed: it has names that were not asked for"
    );
    assert!(error.retryable);
    assert_eq!(server.lock().unwrap().objects.len(), 14);
    server.lock().unwrap().faults.lists_everything = false;
    assert_eq!(purge(store).await.unwrap().objects, 10);
    assert_eq!(server.lock().unwrap().objects.len(), 4);
}

#[tokio::test]
async fn a_page_goes_in_several_requests_at_the_same_time() {
    let (server, store) = start(Faults::default(), entity(12_345)).await;
    assert_eq!(
        purge(store).await.unwrap(),
        Cleaned {
            objects: 12_345,
            bytes: 123_450
        }
    );
    let server = server.lock().unwrap();
    assert!(server.objects.is_empty());
    assert_eq!(server.largest_batch, 250);
    assert!(
        (2..=4).contains(&server.most_in_flight),
        "{}",
        server.most_in_flight
    );
}
