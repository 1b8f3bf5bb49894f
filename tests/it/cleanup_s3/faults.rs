//! A small S3 server that fails on order, and what a purge makes of it.

use super::config;
use archive_ledger::cleanup::blob::{BlobError, BlobErrorKind, Blobs, Cleaned};
use archive_ledger::cleanup::roots::StorageRoots;
use archive_ledger::cleanup::s3::{Backoff, S3Store};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BUCKET: &str = "archive";

/// What the server does wrong.
#[derive(Default)]
struct Faults {
    /// So many requests are answered 503 SlowDown first.
    slow_down: u32,
    /// So many requests are cut in the middle of the answer.
    cut: u32,
    /// Error codes for single keys in bulk deletions: how often, and which.
    keys: BTreeMap<String, (u32, &'static str)>,
    /// Every request is refused with this status and code.
    refuse: Option<(StatusCode, &'static str)>,
    /// Without the versioning API.
    no_versions: bool,
    /// Without bulk deletion.
    no_bulk: bool,
    /// Says that it deletes, and does not.
    lies: bool,
    /// Ignores the prefix of a listing.
    lists_everything: bool,
}

#[derive(Default)]
struct Server {
    objects: BTreeMap<String, u64>,
    faults: Faults,
    requests: u32,
    largest_batch: usize,
    most_in_flight: usize,
    in_flight: usize,
}

type Shared = Arc<Mutex<Server>>;

async fn start(faults: Faults, objects: impl IntoIterator<Item = String>) -> (Shared, S3Store) {
    let objects = objects.into_iter().map(|key| (key, 10)).collect();
    let server = Arc::new(Mutex::new(Server {
        objects,
        faults,
        ..Server::default()
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&server));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let quick = Backoff {
        first: Duration::from_millis(5),
        cap: Duration::from_millis(20),
        attempts: 5,
    };
    (
        server,
        S3Store::from_config(config(&endpoint)).with_backoff(quick),
    )
}

fn error(status: StatusCode, code: &str) -> Response {
    (
        status,
        format!("<Error><Code>{code}</Code><Message>no</Message></Error>"),
    )
        .into_response()
}

async fn answer(State(server): State<Shared>, method: Method, uri: Uri, body: Bytes) -> Response {
    let deletes = method == Method::POST;
    if deletes {
        let mut server = server.lock().unwrap();
        server.in_flight += 1;
        server.most_in_flight = server.most_in_flight.max(server.in_flight);
    }
    if deletes {
        // Long enough for the next batches to arrive, should the client send them.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut server = server.lock().unwrap();
    if deletes {
        server.in_flight -= 1;
    }
    server.requests += 1;
    if let Some((status, code)) = server.faults.refuse {
        return error(status, code);
    }
    if server.faults.slow_down > 0 {
        server.faults.slow_down -= 1;
        return error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
    }
    if server.faults.cut > 0 {
        server.faults.cut -= 1;
        let half = futures::stream::iter([Ok(Bytes::from("<ListBuck")), Err(std::io::Error::other("cut"))]);
        return Body::from_stream(half).into_response();
    }
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    if method == Method::DELETE {
        let key = uri.path().trim_start_matches(&format!("/{BUCKET}/")).to_owned();
        let key = percent_encoding::percent_decode_str(&key)
            .decode_utf8()
            .unwrap()
            .into_owned();
        server.objects.remove(&key);
        return StatusCode::NO_CONTENT.into_response();
    }
    if deletes {
        return delete(&mut server, str::from_utf8(&body).unwrap());
    }
    if query.contains_key("uploads") {
        return format!(
            "<ListMultipartUploadsResult><Bucket>{BUCKET}</Bucket><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"
        )
        .into_response();
    }
    if query.contains_key("versions") && server.faults.no_versions {
        return error(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    }
    if query.contains_key("versioning") {
        return "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>"
            .into_response();
    }
    list(&server, &query)
}

fn delete(server: &mut Server, body: &str) -> Response {
    if server.faults.no_bulk {
        return error(StatusCode::NOT_IMPLEMENTED, "NotImplemented");
    }
    let keys: Vec<&str> = body
        .split("<Key>")
        .skip(1)
        .filter_map(|rest| rest.split("</Key>").next())
        .collect();
    server.largest_batch = server.largest_batch.max(keys.len());
    let mut answer = "<DeleteResult>".to_owned();
    for key in keys {
        match server.faults.keys.get_mut(key) {
            Some((times, code)) if *times > 0 => {
                *times -= 1;
                answer += &format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>");
                continue;
            }
            _ if server.faults.lies => {}
            _ => {
                server.objects.remove(key);
            }
        }
        answer += &format!("<Deleted><Key>{key}</Key></Deleted>");
    }
    (answer + "</DeleteResult>").into_response()
}

fn list(server: &Server, query: &HashMap<String, String>) -> Response {
    let of = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    let versions = query.contains_key("versions");
    let (root, item) = if versions {
        ("ListVersionsResult", "Version")
    } else {
        ("ListBucketResult", "Contents")
    };
    let prefix = if server.faults.lists_everything {
        ""
    } else {
        of("prefix")
    };
    let after = if versions {
        of("key-marker")
    } else {
        of("continuation-token")
    };
    let mut found = server
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after);
    let page: Vec<_> = found.by_ref().take(1_000).collect();
    let more = found.next().is_some();
    let encode = |key: &str| url::form_urlencoded::byte_serialize(key.as_bytes()).collect::<String>();
    let mut answer = format!(
        "<{root}><Name>{BUCKET}</Name><Prefix>{}</Prefix><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>",
        encode(of("prefix"))
    );
    if let Some((last, _)) = page.last().filter(|_| more) {
        answer += &if versions {
            format!(
                "<NextKeyMarker>{}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>",
                encode(last)
            )
        } else {
            format!("<NextContinuationToken>{last}</NextContinuationToken>")
        };
    }
    for (key, size) in page {
        let version = if versions {
            "<VersionId>null</VersionId>"
        } else {
            ""
        };
        answer += &format!(
            "<{item}><Key>{}</Key>{version}<Size>{size}</Size></{item}>",
            encode(key)
        );
    }
    (answer + &format!("</{root}>")).into_response()
}

fn entity(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| format!("root/entity/{i:07}"))
}

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
        (StatusCode::FORBIDDEN, "", "permission denied", 1),
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
