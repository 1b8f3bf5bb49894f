//! A small server that speaks the few calls of GCS and of Azure that a purge makes, and fails on order.

use archive_ledger::storage::azure::{AzureOptions, AzureStore};
use archive_ledger::storage::backoff::Backoff;
use archive_ledger::storage::blobs::Blobs;
use archive_ledger::storage::deletion::{BlobError, Cleaned};
use archive_ledger::storage::gcs::{GcsOptions, GcsStore};
use archive_ledger::storage::roots::StorageRoots;
use archive_ledger::storage::uri::Cloud;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use percent_encoding::percent_decode_str;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const BUCKET: &str = "archive";
pub const CLOUDS: [Cloud; 2] = [Cloud::Gcs, Cloud::Azure];
/// A key for the signatures, which this server does not check (Azurite does).
const KEY: &str = "a2V5";
/// Small, so that a few objects are many pages.
const PAGE: usize = 7;

/// What the server does wrong.
#[derive(Default)]
pub struct Faults {
    /// So many requests are answered with 503 first.
    pub throttle: u32,
    /// So many answers are cut off in the middle.
    pub cut: u32,
    /// Every listing is refused with this status and code.
    pub refuse_lists: Option<(u16, &'static str)>,
    /// The deletion of these names is refused: how often, the status and the code.
    pub refuse: BTreeMap<String, (u32, u16, &'static str)>,
    /// Says that it deletes, and does not.
    pub lies: bool,
    /// Ignores the prefix of a listing.
    pub lists_everything: bool,
    /// So many objects are written by somebody else, one with each deletion.
    pub writes: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Snapshot,
    Older,
    Current,
}

#[derive(Default)]
pub struct Server {
    /// By name, kind and number, as a listing orders them.
    pub objects: BTreeMap<(String, Kind, u32), u64>,
    pub faults: Faults,
    pub requests: u32,
    /// The deletion of a current object leaves an older version.
    pub versioned: bool,
    numbers: u32,
}

impl Server {
    pub fn put(&mut self, name: &str, kind: Kind, bytes: u64) {
        self.numbers += 1;
        self.objects.insert((name.to_owned(), kind, self.numbers), bytes);
    }

    pub fn names(&self) -> Vec<&str> {
        self.objects.keys().map(|(name, _, _)| name.as_str()).collect()
    }
}

pub type Shared = Arc<Mutex<Server>>;

/// A server with objects of ten bytes, and the cleanup that uses it.
pub async fn start<'a>(
    cloud: Cloud,
    faults: Faults,
    names: impl IntoIterator<Item = &'a str>,
) -> (Shared, Blobs) {
    let mut server = Server {
        faults,
        ..Server::default()
    };
    for name in names {
        server.put(name, Kind::Current, 10);
    }
    let server = Arc::new(Mutex::new(server));
    let endpoint = serve(cloud, &server).await;
    (server, blobs(cloud, &endpoint))
}

/// Lets a server answer, and says where.
pub async fn serve(cloud: Cloud, server: &Shared) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = match cloud {
        Cloud::Gcs => Router::new().fallback(gcs),
        Cloud::Azure => Router::new().fallback(azure),
        Cloud::S3 => panic!("S3 has a server of its own"),
    };
    let app = app.with_state(Arc::clone(server));
    tokio::spawn(async move { axum::serve(listener, app).await });
    endpoint
}

pub fn blobs(cloud: Cloud, endpoint: &str) -> Blobs {
    let quick = Backoff {
        first: Duration::from_millis(5),
        cap: Duration::from_millis(20),
        attempts: 5,
    };
    let roots = StorageRoots::parse(&[format!("{}://{BUCKET}/root", cloud.scheme())]).unwrap();
    connected(cloud, endpoint, roots, quick)
}

/// The cleanup of these roots, in the cloud that is served there.
pub fn connected(cloud: Cloud, endpoint: &str, roots: StorageRoots, backoff: Backoff) -> Blobs {
    let blobs = Blobs::with_stores(roots, None);
    let endpoint = Some(endpoint.parse().unwrap());
    if cloud == Cloud::Gcs {
        let store = GcsStore::connect(GcsOptions { endpoint }, BUCKET).unwrap();
        return blobs.with_gcs(store.with_backoff(backoff));
    }
    let options = AzureOptions {
        account: Some("tests".to_owned()),
        endpoint,
    };
    let store = AzureStore::with_access_key(options, KEY, BUCKET).unwrap();
    blobs.with_azure(store.with_backoff(backoff))
}

/// Purges the place `name` below the bucket.
pub async fn purge(blobs: &Blobs, cloud: Cloud, name: &str) -> Result<Cleaned, BlobError> {
    let uri = format!("{}://{BUCKET}/{name}", cloud.scheme());
    blobs.purge(&uri, &|_| {}).await
}

/// What goes wrong with any request.
fn fault(server: &mut Server, is_list: bool) -> Option<(u16, &'static str)> {
    server.requests += 1;
    if server.faults.throttle > 0 {
        server.faults.throttle -= 1;
        return Some((503, ""));
    }
    is_list.then_some(server.faults.refuse_lists).flatten()
}

fn cut(server: &mut Server) -> Option<Response> {
    server.faults.cut = server.faults.cut.checked_sub(1)?;
    let half = futures::stream::iter([Ok(Bytes::from("{\"items")), Err(std::io::Error::other("cut"))]);
    Some(Body::from_stream(half).into_response())
}

fn query(uri: &Uri) -> HashMap<String, String> {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect()
}

fn segments(uri: &Uri) -> Vec<String> {
    let decode = |segment| percent_decode_str(segment).decode_utf8().unwrap().into_owned();
    uri.path().split('/').skip(1).map(decode).collect()
}

type Found = ((String, Kind, u32), u64);

/// One page from `from` on, and where the next begins.
fn page(server: &Server, prefix: &str, from: Option<&String>) -> (Vec<Found>, Option<String>) {
    let from: u32 = from.map_or(0, |from| from.parse().unwrap());
    let all = server.objects.iter().filter(|((name, _, number), _)| {
        *number > from && (server.faults.lists_everything || name.starts_with(prefix))
    });
    // Pages by number, each in the order of names: what is deleted between two of them shifts nothing.
    let mut rest: Vec<Found> = all.map(|(key, bytes)| (key.clone(), *bytes)).collect();
    rest.sort_by_key(|((_, _, number), _)| *number);
    let more = rest.len() > PAGE;
    rest.truncate(PAGE);
    let next = rest
        .last()
        .filter(|_| more)
        .map(|((_, _, last), _)| last.to_string());
    rest.sort();
    (rest, next)
}

/// Deletes one, or says why not.
fn delete(
    server: &mut Server,
    name: &str,
    kind: Kind,
    number: Option<u32>,
) -> Result<(), (u16, &'static str)> {
    if let Some((left, status, code)) = server.faults.refuse.get_mut(name)
        && *left > 0
    {
        *left -= 1;
        return Err((*status, *code));
    }
    if server.faults.writes > 0 {
        server.faults.writes -= 1;
        let late = format!("root/entity/late/{}", server.faults.writes);
        server.put(&late, Kind::Current, 10);
    }
    let found = server.objects.keys().find(|(of, of_kind, of_number)| {
        of == name && *of_kind == kind && number.is_none_or(|number| number == *of_number)
    });
    let Some(found) = found.cloned() else {
        return Err((404, "BlobNotFound"));
    };
    if server.faults.lies {
        return Ok(());
    }
    let bytes = server.objects.remove(&found).unwrap();
    if server.versioned && kind == Kind::Current && number.is_none() {
        server.objects.insert((found.0, Kind::Older, found.2), bytes);
    }
    Ok(())
}

async fn gcs(State(server): State<Shared>, method: Method, uri: Uri) -> Response {
    let mut server = server.lock().unwrap();
    let refuse = |(status, reason): (u16, &str)| {
        let body = json!({"error": {"code": status, "message": "no", "errors": [{"reason": reason}]}});
        (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response()
    };
    if let Some(fault) = fault(&mut server, method == Method::GET) {
        return refuse(fault);
    }
    let (segments, query) = (segments(&uri), query(&uri));
    assert_eq!(segments[..5], ["storage", "v1", "b", BUCKET, "o"]);
    if method == Method::DELETE {
        let number = query["generation"].parse().unwrap();
        let kind = [Kind::Older, Kind::Current]
            .into_iter()
            .find(|kind| server.objects.contains_key(&(segments[5].clone(), *kind, number)));
        return match delete(
            &mut server,
            &segments[5],
            kind.unwrap_or(Kind::Current),
            Some(number),
        ) {
            Ok(()) => StatusCode::NO_CONTENT.into_response(),
            Err(refusal) => refuse(refusal),
        };
    }
    if let Some(cut) = cut(&mut server) {
        return cut;
    }
    assert_eq!(query["versions"], "true");
    let (found, next) = page(&server, &query["prefix"], query.get("pageToken"));
    let items: Vec<_> = found
        .into_iter()
        .map(|((name, kind, number), size)| {
            let mut item = json!({"bucket": BUCKET, "name": name, "generation": number.to_string(), "size": size.to_string()});
            if kind == Kind::Older {
                item["timeDeleted"] = json!("2026-01-01T00:00:00Z");
            }
            item
        })
        .collect();
    let mut answer = json!({"kind": "storage#objects", "items": items});
    if let Some(next) = next {
        answer["nextPageToken"] = json!(next);
    }
    answer.to_string().into_response()
}

async fn azure(State(server): State<Shared>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let mut server = server.lock().unwrap();
    let refuse = |(status, code): (u16, &'static str)| {
        let status = StatusCode::from_u16(status).unwrap();
        (status, [("x-ms-error-code", code)], "<Error/>").into_response()
    };
    if let Some(fault) = fault(&mut server, method == Method::GET) {
        return refuse(fault);
    }
    assert!(
        headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("SharedKey tests:")
    );
    let (segments, query) = (segments(&uri), query(&uri));
    assert_eq!(segments[0], BUCKET);
    if method == Method::DELETE {
        let name = &segments[1];
        let (kind, number) = match (query.get("snapshot"), query.get("versionid")) {
            (Some(number), _) => (Kind::Snapshot, number.parse().ok()),
            (None, Some(number)) => (Kind::Older, number.parse().ok()),
            (None, None) => (Kind::Current, None),
        };
        if kind == Kind::Current {
            let is_snapshot = |(of, kind, _): &&(String, Kind, u32)| of == name && *kind == Kind::Snapshot;
            let snapshots: Vec<_> = server.objects.keys().filter(is_snapshot).cloned().collect();
            if !snapshots.is_empty() && !headers.contains_key("x-ms-delete-snapshots") {
                return refuse((409, "SnapshotsPresent"));
            }
            for snapshot in snapshots {
                server.objects.remove(&snapshot);
            }
        }
        return match delete(&mut server, name, kind, number) {
            Ok(()) => StatusCode::ACCEPTED.into_response(),
            Err(refusal) => refuse(refusal),
        };
    }
    if let Some(cut) = cut(&mut server) {
        return cut;
    }
    assert_eq!(query["include"], "snapshots,versions");
    let (found, next) = page(&server, &query["prefix"], query.get("marker"));
    let mut blobs = String::new();
    for ((name, kind, number), size) in found {
        let edition = match kind {
            Kind::Snapshot => format!("<Snapshot>{number}</Snapshot>"),
            Kind::Older => format!("<VersionId>{number}</VersionId>"),
            Kind::Current if server.versioned => {
                format!("<VersionId>{number}</VersionId><IsCurrentVersion>true</IsCurrentVersion>")
            }
            Kind::Current => String::new(),
        };
        let name = if name.contains('\u{1}') {
            let encoded = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            format!("<Name Encoded=\"true\">{encoded}</Name>")
        } else {
            let escaped = name.replace('&', "&amp;").replace('<', "&lt;");
            format!("<Name>{escaped}</Name>")
        };
        blobs += &format!(
            "<Blob>{name}{edition}<Properties><Etag>0x8</Etag><Content-Length>{size}</Content-Length>\
             <BlobType>BlockBlob</BlobType></Properties><OrMetadata /></Blob>"
        );
    }
    let next = next.unwrap_or_default();
    let prefix = &query["prefix"];
    format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"http://tests/\" \
         ContainerName=\"{BUCKET}\"><Prefix>{prefix}</Prefix><MaxResults>1000</MaxResults><Blobs>{blobs}</Blobs>\
         <NextMarker>{next}</NextMarker></EnumerationResults>"
    )
    .into_response()
}
