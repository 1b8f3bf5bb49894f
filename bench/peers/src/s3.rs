//! A stand-in for S3 that keeps names in memory: as much of the protocol as deleting needs, one bucket without versioning.
//!
//! `PUT /-/objects?prefix=…&count=N` makes objects, `GET /-/objects` tells how many there are. Signatures are not checked.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What S3 gives and takes at once.
const PAGE: usize = 1_000;

const SIZE: u64 = 4_096;

type Objects = Arc<Mutex<BTreeSet<String>>>;
type Wanted = Query<HashMap<String, String>>;

pub fn routes() -> Router {
    let bucket = get(list).post(delete);
    Router::new()
        .route("/", get(|| async {}))
        .route("/-/objects", put(make).get(count))
        .route("/{bucket}", bucket.clone())
        .route("/{bucket}/", bucket)
        .with_state(Objects::default())
}

fn held(objects: &Objects) -> MutexGuard<'_, BTreeSet<String>> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn make(State(objects): State<Objects>, Query(wanted): Wanted) -> StatusCode {
    let (Some(prefix), Some(count)) = (wanted.get("prefix"), wanted.get("count")) else {
        return StatusCode::BAD_REQUEST;
    };
    let Ok(count) = count.parse::<u64>() else {
        return StatusCode::BAD_REQUEST;
    };
    held(&objects).extend((0..count).map(|number| format!("{prefix}part-{number:09}.bin")));
    StatusCode::OK
}

async fn count(State(objects): State<Objects>) -> String {
    held(&objects).len().to_string()
}

fn xml(body: String) -> Response {
    ([(CONTENT_TYPE, "application/xml")], body).into_response()
}

/// The names with a prefix, after another one; and whether more follow.
fn page(objects: &Objects, wanted: &HashMap<String, String>, after: &str) -> (Vec<String>, bool) {
    let prefix = wanted.get("prefix").map_or("", String::as_str);
    let limit = wanted
        .get("max-keys")
        .and_then(|text| text.parse().ok())
        .unwrap_or(PAGE)
        .min(PAGE);
    let from = if after.is_empty() {
        Bound::Included(prefix)
    } else {
        Bound::Excluded(after)
    };
    let objects = held(objects);
    let mut names = objects
        .range::<str, _>((from, Bound::Unbounded))
        .take_while(|name| name.starts_with(prefix));
    let found: Vec<String> = names.by_ref().take(limit).cloned().collect();
    (found, names.next().is_some())
}

async fn list(State(objects): State<Objects>, Query(wanted): Wanted) -> Response {
    let text = |name: &str| wanted.get(name).map_or("", String::as_str);
    let mut body = String::from(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    // Names are of the stand-in's own making: nothing in them needs escaping.
    if wanted.contains_key("uploads") {
        body.push_str(
            "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>",
        );
    } else if wanted.contains_key("versions") {
        let (names, more) = page(&objects, &wanted, text("key-marker"));
        let _ = write!(body, "<ListVersionsResult><IsTruncated>{more}</IsTruncated>");
        if let Some(last) = names.last().filter(|_| more) {
            let _ = write!(
                body,
                "<NextKeyMarker>{last}</NextKeyMarker><NextVersionIdMarker>null</NextVersionIdMarker>"
            );
        }
        for name in names {
            let _ = write!(
                body,
                "<Version><Key>{name}</Key><VersionId>null</VersionId><IsLatest>true</IsLatest>\
                 <LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>\
                 <Size>{SIZE}</Size><StorageClass>STANDARD</StorageClass></Version>"
            );
        }
        body.push_str("</ListVersionsResult>");
    } else {
        let (names, more) = page(&objects, &wanted, text("continuation-token"));
        let _ = write!(
            body,
            "<ListBucketResult><IsTruncated>{more}</IsTruncated><KeyCount>{}</KeyCount>",
            names.len()
        );
        if let Some(last) = names.last().filter(|_| more) {
            let _ = write!(body, "<NextContinuationToken>{last}</NextContinuationToken>");
        }
        for name in names {
            let _ = write!(
                body,
                "<Contents><Key>{name}</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>\
                 <ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>{SIZE}</Size>\
                 <StorageClass>STANDARD</StorageClass></Contents>"
            );
        }
        body.push_str("</ListBucketResult>");
    }
    xml(body)
}

async fn delete(State(objects): State<Objects>, Query(wanted): Wanted, body: Bytes) -> Response {
    let Ok(body) = std::str::from_utf8(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if !wanted.contains_key("delete") {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    let names = body
        .split("<Key>")
        .skip(1)
        .filter_map(|rest| rest.split("</Key>").next());
    let mut objects = held(&objects);
    for name in names {
        objects.remove(name);
    }
    xml("<DeleteResult></DeleteResult>".to_owned())
}
