//! Bodies that are refused, and what the refusal names.

use super::*;
use crate::http::request::testing::refused;
use axum::body::Body;
use futures::stream;
use std::convert::Infallible;

fn plenty() -> MemoryBudget {
    MemoryBudget::new(1 << 30, 1 << 20)
}

async fn read_body(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    super::read_body(request, limit, &plenty()).await
}

async fn read_fields(request: Request, limit: usize, empty: EmptyBody) -> Result<Fields, ApiError> {
    super::read_fields(request, limit, empty, &plenty()).await
}

fn request(content_type: Option<&str>, body: impl Into<Body>) -> Request {
    let mut builder = Request::builder().method("POST").uri("/");
    if let Some(content_type) = content_type {
        builder = builder.header(CONTENT_TYPE, content_type);
    }
    builder.body(body.into()).unwrap()
}

/// A body of `count` chunks of 1 KiB whose length nobody announces.
fn chunked(count: usize) -> Body {
    Body::from_stream(stream::iter(
        (0..count).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b' '; 1024]))),
    ))
}

#[tokio::test]
async fn json_is_read_whatever_harmless_parameters_its_type_has() {
    for content_type in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/json; version=1",
        "application/json;",
    ] {
        let body = read_body(request(Some(content_type), "{}"), 10).await.unwrap();
        assert_eq!(&body[..], b"{}", "{content_type}");
    }
}

#[tokio::test]
async fn a_body_of_another_type_or_charset_or_coding_is_unsupported() {
    let types = [
        None,
        Some(""),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some("application/problem+json"),
        Some("application/json; charset=latin1"),
        Some("application/json; Charset = utf-16"),
        Some("text/plain, application/json"),
    ];
    for content_type in types {
        refused(
            read_body(request(content_type, "{}"), 10).await,
            "unsupportedMediaType",
            "",
        );
    }
    let mut twice = request(Some("application/json"), "{}");
    twice
        .headers_mut()
        .append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    refused(read_body(twice, 10).await, "unsupportedMediaType", "");
    let mut gzip = request(Some("application/json"), "{}");
    gzip.headers_mut()
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    refused(read_body(gzip, 10).await, "unsupportedMediaType", "");
}

#[tokio::test]
async fn an_empty_body_needs_no_type_and_stands_for_an_empty_object_where_the_route_says_so() {
    assert!(read_body(request(None, ""), 10).await.unwrap().is_empty());
    read_fields(request(None, ""), 10, EmptyBody::IsEmptyObject)
        .await
        .unwrap()
        .finish_strict()
        .unwrap();
    refused(
        read_fields(request(None, ""), 10, EmptyBody::IsRefused).await,
        "malformedData",
        "",
    );
}

#[tokio::test]
async fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
    let json = Some("application/json");
    assert_eq!(
        read_body(request(json, vec![b' '; 2048]), 2048)
            .await
            .unwrap()
            .len(),
        2048
    );
    refused(
        read_body(request(json, vec![b' '; 2049]), 2048).await,
        "payloadTooLarge",
        "",
    );
    assert_eq!(
        read_body(request(json, chunked(2)), 2048).await.unwrap().len(),
        2048
    );
    refused(
        read_body(request(json, chunked(3)), 2048).await,
        "payloadTooLarge",
        "",
    );
}

#[tokio::test]
async fn an_announced_length_beyond_the_limit_is_refused_before_anything_is_read() {
    let unread = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let mut announced = request(Some("application/json"), unread);
    announced
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("1000"));
    refused(read_body(announced, 10).await, "payloadTooLarge", "");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_without_being_read_to_its_end() {
    let json = Some("application/json");
    let endless = stream::iter(std::iter::repeat_with(|| {
        Ok::<_, Infallible>(Bytes::from_static(&[b' '; 1024]))
    }));
    refused(
        read_body(request(json, Body::from_stream(endless)), DEFAULT_LIMIT).await,
        "payloadTooLarge",
        "",
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_malformed() {
    let parts = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))];
    let broken = request(Some("application/json"), Body::from_stream(stream::iter(parts)));
    refused(read_body(broken, 10).await, "malformedData", "");
}
