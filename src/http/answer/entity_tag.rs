//! Entity tags: a version, and a digest of what an answer tells beside it (`request/conditions.rs` says what they are for).

use super::error::ApiError;
use crate::merkle::sha256;
use http::HeaderValue;
use serde::Serialize;

/// How many characters show that a tag with a digest is one of ours.
pub(in crate::http) const MARK: usize = 8;

/// What shows that a tag which tells this is one of ours.
pub(in crate::http) fn mark_of(told: &str) -> String {
    hex::encode(&sha256(&[b"entity tag ", told.as_bytes()])[..MARK / 2])
}

/// A version as an entity tag.
///
/// # Errors
/// [`ApiError::Internal`].
pub fn entity_tag(version: u64) -> Result<HeaderValue, ApiError> {
    HeaderValue::from_str(&format!("\"{version}\"")).map_err(ApiError::internal)
}

/// The tag of an answer that tells `beside` as well, which may change while the version stays.
///
/// # Errors
/// [`ApiError::Internal`].
pub fn tag_with(version: u64, beside: &impl Serialize) -> Result<HeaderValue, ApiError> {
    let digest = sha256(&[&serde_json::to_vec(beside).map_err(ApiError::internal)?]);
    let told = format!("{version}-{}", hex::encode(&digest[..8]));
    HeaderValue::from_str(&format!("\"{told}{}\"", mark_of(&told))).map_err(ApiError::internal)
}
