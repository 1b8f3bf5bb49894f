//! `GET /api/ledger/consistency?from=&to=`: the proof that nothing was changed between two sizes of the log.

use super::last_checkpoint;
use crate::http::answer::error::ApiError;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::auth::rights::Right;
use crate::http::request::describe::{in_query, must_be_in_query, position};
use crate::store::Hash;
use axum::Json;
use axum::extract::{Request, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::{IntoParams, ToSchema};

/// A consistency proof (RFC 6962, 2.1.2). Hashes are base64.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConsistencyProof {
    /// The size of the smaller tree.
    pub from: u64,
    /// The root of the smaller tree.
    pub from_root: String,
    /// The size of the larger tree.
    pub to: u64,
    /// The root of the larger tree.
    pub to_root: String,
    /// The hashes that connect them.
    pub proof: Vec<String>,
    /// The last checkpoint, which covers both.
    pub checkpoint: String,
}

/// The two sizes.
struct Sizes;

impl IntoParams for Sizes {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let to = "How many to go on to; those of the last checkpoint when absent";
        vec![
            must_be_in_query("from", "How many events the auditor knows", position()),
            in_query("to", to, position()),
        ]
    }
}

/// Proves that the log of `to` events begins with the log of `from` events.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/ledger/consistency", operation_id = "ledgerConsistency", tag = "ledger",
    summary = "Prove consistency of two sizes",
    description = "Proves that the log of `to` events begins with the log of `from` events.",
    params(
        Sizes,
    ),
    responses(
        (status = 200, description = "The proof", body = ConsistencyProof),
        (status = 400, description = "No numbers, or beyond the last checkpoint, or in the wrong order"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    request: Request,
) -> Result<Json<ConsistencyProof>, ApiError> {
    let query = request.uri().query().map(ToOwned::to_owned);
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let (from, to) = sizes(query.as_deref())?;
    let checkpoint = last_checkpoint(&api).await?;
    let from = from.ok_or(ApiError::MissingRequiredValue { key: "from".into() })?;
    let to = to.unwrap_or(checkpoint.size);
    in_range("to", to, 0, checkpoint.size)?;
    in_range("from", from, 0, to)?;
    let proof = api.proofs.consistency(from, to).await?;
    let encode = |hash: &Hash| STANDARD.encode(hash);
    Ok(Json(ConsistencyProof {
        from,
        from_root: encode(&proof.from_root),
        to,
        to_root: encode(&proof.to_root),
        proof: proof.hashes.iter().map(encode).collect(),
        checkpoint: checkpoint.note,
    }))
}

fn in_range(key: &'static str, value: u64, low: u64, high: u64) -> Result<(), ApiError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    let signed = |value| i64::try_from(value).unwrap_or(i64::MAX);
    Err(ApiError::BadValueNotInRange {
        key: key.into(),
        low: signed(low),
        high: signed(high),
    })
}

/// The two sizes of a query. An unknown parameter is an error: a misspelt one would prove something else.
fn sizes(query: Option<&str>) -> Result<(Option<u64>, Option<u64>), ApiError> {
    let (mut from, mut to) = (None, None);
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        let (key, slot) = match &*name {
            "from" => ("from", &mut from),
            "to" => ("to", &mut to),
            other => {
                return Err(ApiError::bad_data(
                    other.chars().take(64).collect::<String>(),
                    "unknown parameter",
                ));
            }
        };
        let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let number = Some(&*value)
            .filter(|_| plain)
            .and_then(|digits| digits.parse::<u64>().ok());
        let number = number.ok_or(ApiError::BadValueInteger { key: key.into() })?;
        if slot.replace(number).is_some() {
            return Err(ApiError::bad_data(key, "given more than once"));
        }
    }
    Ok((from, to))
}
