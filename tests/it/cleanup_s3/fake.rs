//! A small S3 server that fails on order.

use super::config;
use archive_ledger::storage::s3::{Backoff, S3Store};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const BUCKET: &str = "archive";

/// What the server does wrong.
#[derive(Default)]
pub struct Faults {
    /// So many requests are answered 503 SlowDown first.
    pub slow_down: u32,
    /// So many requests are cut in the middle of the answer.
    pub cut: u32,
    /// Error codes for single keys in bulk deletions: how often, and which.
    pub keys: BTreeMap<String, (u32, &'static str)>,
    /// Every request is refused with this status and code.
    pub refuse: Option<(StatusCode, &'static str)>,
    /// Without the versioning API.
    pub no_versions: bool,
    /// Without bulk deletion.
    pub no_bulk: bool,
    /// Says that it deletes, and does not.
    pub lies: bool,
    /// Ignores the prefix of a listing.
    pub lists_everything: bool,
}

#[derive(Default)]
pub struct Server {
    /// By name, byte for byte.
    pub objects: BTreeMap<Vec<u8>, u64>,
    pub faults: Faults,
    pub requests: u32,
    pub largest_batch: usize,
    pub most_in_flight: usize,
    pub in_flight: usize,
}

pub type Shared = Arc<Mutex<Server>>;

/// A server with objects of ten bytes, and a client that is quick to try again.
pub async fn start(faults: Faults, objects: impl IntoIterator<Item = String>) -> (Shared, S3Store) {
    let (server, endpoint) = serve(faults, objects).await;
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

/// A server with objects of ten bytes, and where it listens.
pub async fn serve(faults: Faults, objects: impl IntoIterator<Item = String>) -> (Shared, String) {
    let objects = objects.into_iter().map(|key| (key.into_bytes(), 10)).collect();
    let server = Arc::new(Mutex::new(Server {
        objects,
        faults,
        ..Server::default()
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(Arc::clone(&server));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (server, endpoint)
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
        let key: Vec<u8> = percent_encoding::percent_decode_str(&key).collect();
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
    let keys: Vec<String> = body
        .split("<Key>")
        .skip(1)
        .filter_map(|rest| rest.split("</Key>").next())
        .map(|key| {
            key.replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&amp;", "&")
        })
        .collect();
    server.largest_batch = server.largest_batch.max(keys.len());
    let mut answer = "<DeleteResult>".to_owned();
    for key in keys {
        match server.faults.keys.get_mut(&key) {
            Some((times, code)) if *times > 0 => {
                *times -= 1;
                answer += &format!("<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>");
                continue;
            }
            _ if server.faults.lies => {}
            _ => {
                server.objects.remove(key.as_bytes());
            }
        }
        let key = key.replace('&', "&amp;").replace('<', "&lt;");
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
    // A token is a key in hexadecimal.
    let after = if versions {
        after.as_bytes().to_vec()
    } else {
        hex::decode(after).unwrap()
    };
    let after = &after;
    let mut found = server
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(prefix.as_bytes()) && (after.is_empty() || *key > after));
    let page: Vec<_> = found.by_ref().take(1_000).collect();
    let more = found.next().is_some();
    let encode = |key: &[u8]| url::form_urlencoded::byte_serialize(key).collect::<String>();
    let mut answer = format!(
        "<{root}><Name>{BUCKET}</Name><Prefix>{}</Prefix><EncodingType>url</EncodingType><IsTruncated>{more}</IsTruncated>",
        encode(of("prefix").as_bytes())
    );
    if !versions {
        answer += &format!("<KeyCount>{}</KeyCount>", page.len());
    }
    if let Some((last, _)) = page.last().filter(|_| more) {
        answer += &if versions {
            format!(
                "<NextKeyMarker>{}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>",
                encode(last)
            )
        } else {
            format!(
                "<NextContinuationToken>{}</NextContinuationToken>",
                hex::encode(last)
            )
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

pub fn entity(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|i| format!("root/entity/{i:07}"))
}
