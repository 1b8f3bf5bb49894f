//! The page that shows the API. Its files are compressed within the program, and go out so to whoever takes them so.

use crate::http::answer::error::ApiError;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use flate2::read::GzDecoder;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use std::io::{self, Read};
use std::sync::Arc;
use utoipa_swagger_ui::{Config, SwaggerFile, serve};

/// The page and the document. The page asks no other host for anything: without the validator's badge it has no reason to.
pub fn router() -> Router {
    let document = Arc::new(super::document());
    let config = Config::new(["/openapi.json"]).validator_url("none");
    Router::new()
        .route("/docs", get(|| async { Redirect::to("/docs/") }))
        .route("/docs/", get(file))
        .route("/docs/{*path}", get(file))
        .route(
            "/openapi.json",
            get(async move || Json(Arc::clone(&document)).into_response()),
        )
        .with_state(Arc::new(config))
}

/// One of the page's files.
async fn file(
    State(config): State<Arc<Config<'static>>>,
    path: Option<Path<String>>,
    headers: HeaderMap,
) -> Response {
    let path = path.map_or_else(String::new, |Path(path)| path);
    match serve(&path, config) {
        Ok(Some(file)) => answer(file, takes_gzip(&headers)),
        Ok(None) => ApiError::NotFound.into_response(),
        Err(error) => {
            ApiError::internal(format!("the page's file {path} cannot be made: {error}")).into_response()
        }
    }
}

fn answer(file: SwaggerFile<'static>, takes_gzip: bool) -> Response {
    let headers = [
        (CONTENT_TYPE, file.content_type),
        (VARY, ACCEPT_ENCODING.to_string()),
    ];
    match (file.gzpipped, takes_gzip) {
        (true, true) => (headers, [(CONTENT_ENCODING, "gzip")], file.bytes).into_response(),
        (true, false) => match unpacked(&file.bytes) {
            Ok(bytes) => (headers, bytes).into_response(),
            Err(error) => ApiError::internal(error).into_response(),
        },
        (false, _) => (headers, file.bytes).into_response(),
    }
}

fn unpacked(packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the client named gzip (RFC 9110, 12.5.3): one that says nothing gets plain text, to read it with any tool.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(ACCEPT_ENCODING).into_iter();
    codings
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight
                .trim()
                .strip_prefix("q=")
                .map_or(Ok(1.0), str::parse::<f32>);
            name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
        })
}

#[cfg(test)]
mod tests {
    use super::takes_gzip;
    use http::header::ACCEPT_ENCODING;
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn gzip_goes_to_those_who_name_it() {
        for (value, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("br;q=1.0, gzip ; q=0.001", true),
            ("gzip;q=0", false),
            ("gzip;q=much", false),
            ("identity, *", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), takes, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
