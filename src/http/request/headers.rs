//! The headers of commands.

use crate::http::answer::error::ApiError;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// The header that makes a command safe to send again.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that says why, in a code that outlives a purge.
pub const X_REASON_CODE: HeaderName = HeaderName::from_static("x-reason-code");

/// The longest such code, in characters.
const REASON_CODE_MAX: usize = 64;

/// The one value of a header.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    key: &'static str,
) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| ApiError::bad_data(key, "must be visible ASCII")),
        (Some(_), Some(_)) => Err(ApiError::bad_data(key, "given more than once")),
    }
}

/// The key that makes a command safe to send again.
///
/// # Errors
/// [`ApiError::BadData`].
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = single(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")? else {
        return Ok(None);
    };
    let fits = (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len());
    if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::bad_data(
            "Idempotency-Key",
            "must be 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// Why, in a code that outlives a purge.
///
/// # Errors
/// [`ApiError::BadData`].
pub fn reason_code(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = single(headers, &X_REASON_CODE, "X-Reason-Code")? else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=REASON_CODE_MAX).contains(&text.len()) || !text.bytes().all(plain) {
        return Err(ApiError::bad_data(
            "X-Reason-Code",
            "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// The longest user agent that is recorded, in characters.
const USER_AGENT_MAX: usize = 256;

/// The caller's program, as far as it is recorded.
pub(in crate::http) fn user_agent(headers: &HeaderMap) -> Option<String> {
    headers.get(USER_AGENT).and_then(recorded_agent)
}

/// As much of a caller's program as is recorded.
pub fn recorded_agent(agent: &HeaderValue) -> Option<String> {
    let agent = agent.to_str().ok()?;
    Some(agent.chars().take(USER_AGENT_MAX).collect())
}
