//! The headers of commands. What reads them is also what the API's description says of them.

use super::conditions::Conditions;
use super::conditions::TAGS_PATTERN;
use super::describe::{in_header, text_like};
use crate::http::answer::error::ApiError;
use crate::ledger::writer::VersionCondition;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

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

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = single(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")? else {
        return Ok(None);
    };
    let fits = (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len());
    if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::bad_data(
            "Idempotency-Key",
            format!("must be 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters"),
        ));
    }
    Ok(Some(text.to_owned()))
}

fn reason_code(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = single(headers, &X_REASON_CODE, "X-Reason-Code")? else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=REASON_CODE_MAX).contains(&text.len()) || !text.bytes().all(plain) {
        return Err(ApiError::bad_data(
            "X-Reason-Code",
            format!("must be 1 to {REASON_CODE_MAX} of A-Z, a-z, 0-9, '.', '_' and '-'"),
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

/// What the headers of a command say.
#[derive(Debug)]
pub struct CommandHeaders {
    /// Which version the entity must have.
    pub condition: Option<VersionCondition>,
    /// How to recognize the command when it is sent again.
    pub idempotency_key: Option<String>,
    /// Why, in a code that outlives a purge.
    pub reason_code: Option<String>,
}

impl CommandHeaders {
    /// Reads them.
    ///
    /// # Errors
    /// [`ApiError::BadData`] naming `If-Match`, `If-None-Match`, `Idempotency-Key` or `X-Reason-Code`.
    pub fn read(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self {
            condition: Conditions::of(headers)?.on_version(),
            idempotency_key: idempotency_key(headers)?,
            reason_code: reason_code(headers)?,
        })
    }
}

impl IntoParams for CommandHeaders {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let key =
            format!("Makes the request safe to repeat: 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters");
        let pattern = format!("^[!-~]{{1,{IDEMPOTENCY_KEY_MAX}}}$");
        let mut all = vec![in_header("Idempotency-Key", key, text_like(&pattern))];
        all.extend(ConditionHeaders::into_params(place));
        all
    }
}

/// Those of a command that happens once by itself, as the API's description shows them.
#[derive(Debug, Clone, Copy)]
pub struct ConditionHeaders;

impl IntoParams for ConditionHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let code = format!(
            "Why, as a code that outlives a purge: 1 to {REASON_CODE_MAX} of A-Z, a-z, 0-9, `.`, `_` and `-`"
        );
        let pattern = format!("^[A-Za-z0-9._-]{{1,{REASON_CODE_MAX}}}$");
        vec![
            in_header(
                "If-Match",
                "The `ETag` that the entity must have; `*`: it must exist",
                text_like(TAGS_PATTERN),
            ),
            in_header(
                "If-None-Match",
                "`*`: only if the entity does not exist; or `ETag`s that it must not have",
                text_like(TAGS_PATTERN),
            ),
            in_header("X-Reason-Code", code, text_like(&pattern)),
        ]
    }
}
