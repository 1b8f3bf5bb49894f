//! `GET /api/admin/audit/export`: the log's events as a file.

use super::query::{FilterParameters, filters};
use crate::audit_export::{Encoding, Export, ExportError, Request as Wanted, Source};
use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::api::head::RequestHead;
use crate::http::api::{Api, SharedApi};
use crate::http::auth::rights::Right;
use crate::http::ledger::RETRY_AFTER;
use crate::http::request::describe::{in_query, must_be_in_query, word};
use crate::ledger::LedgerError;
use crate::memory_budget;
use crate::telemetry;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, LINK};
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{Object, Type};

/// How many exports an instance serves at a time: what bounds their memory and their share of the database.
pub const MAX_EXPORTS: usize = 4;

/// How long the last part of an export that is not whole has to leave, before the answer is cut off.
const BEFORE_THE_CUT: Duration = Duration::from_secs(1);

/// The last position of the snapshot.
const SNAPSHOT: HeaderName = HeaderName::from_static("archive-ledger-snapshot");

/// How an export is written.
pub(super) struct ExportParameters;

impl IntoParams for ExportParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let details = "Whether sealed details are opened; what was erased is said to be";
        vec![
            must_be_in_query("format", "How it is written", word::<names::ExportFormat>()),
            in_query("details", details, Object::with_type(Type::Boolean)),
        ]
    }
}

/// Streamed, whatever its size. `Archive-Ledger-Snapshot` names the last position that it looks at: the same request with it as
/// `pos_to` gives the same bytes again, and `Link` leads to their manifest. An export that breaks off is cut off: a whole one
/// ends as HTTP says that it does. Rows that cannot be read are left out, and it is cut off at its end; the manifest counts them.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 503.
#[utoipa::path(
    get, path = "/api/admin/audit/export", operation_id = "exportEvents", tag = "audit",
    summary = "Export the log's events",
    description = "Streamed, whatever its size. `Archive-Ledger-Snapshot` names the last position that it looks at: the same request \
        with it as `pos_to` gives the same bytes again, and `Link` leads to their manifest. An export that breaks off is cut off: a \
        whole one ends as HTTP says that it does. Rows that cannot be read are left out, and it is cut off at its end; the manifest \
        counts them.",
    params(
        ExportParameters,
        FilterParameters,
    ),
    responses(
        (status = 200, description = "The events, oldest first", content(
            (String = "application/x-ndjson"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet"))),
        (status = 400, description = "A parameter is wrong or unknown, or no checkpoint covers `pos_to` yet"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `audit:read`"),
        (status = 503, description = "Too many exports, or nothing is signed yet"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    let (export, permit) = begin(&api, request).await?;
    let wanted = export.request();
    let header = |value: String| HeaderValue::try_from(value).map_err(ApiError::internal);
    let encoding = wanted.encoding;
    let file = format!(
        "attachment; filename=\"events-{}.{}\"",
        export.pos_to(),
        encoding.as_str()
    );
    let manifest = format!(
        "</api/admin/audit/export/manifest?{}>; rel=\"describedby\"; type=\"application/json\"",
        wanted.query()
    );
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(encoding.media_type())),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_DISPOSITION, header(file)?),
        (SNAPSHOT, HeaderValue::from(export.pos_to())),
        (LINK, header(manifest)?),
    ];
    // What it holds of the memory is held until its end.
    let held = (permit, memory_budget::held());
    let chunks = stream::unfold(Some((export, held)), |state| async move {
        let (mut export, permit) = state?;
        match export.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some((export, permit)))),
            // All that can be read was sent; that it is not whole is told as HTTP does.
            Ok(None) if export.unreadable() > 0 => {
                let error = ExportError::Unreadable(export.unreadable());
                tracing::error!(error = %telemetry::chain(&error), "an export is not whole");
                // An error takes along what is not on its way yet.
                tokio::time::sleep(BEFORE_THE_CUT).await;
                Some((Err(error), None))
            }
            Ok(None) => None,
            Err(error) => {
                tracing::error!(error = %telemetry::chain(&error), "an export broke off");
                Some((Err(error), None))
            }
        }
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

pub(super) async fn begin(api: &Api, request: Request) -> Result<(Export, OwnedSemaphorePermit), ApiError> {
    let query = request.uri().query().map(ToOwned::to_owned);
    api.admit(RequestHead::of(&request), Right::AuditRead).await?;
    let wanted = wanted(query.as_deref())?;
    let permit = Arc::clone(&api.exports).try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::TemporaryFailure {
        retry_after: RETRY_AFTER,
        cause: Some("too many exports".into()),
    })?;
    let source = Source {
        store: api.proofs.shared_store(),
        ledger: api.proofs.identity().ledger(),
        vkey: api.proofs.identity().verifier().to_string(),
        keyring: Some(Arc::clone(api.ledger.keyring())),
    };
    Ok((Export::begin(source, wanted).await?, permit))
}

/// What is asked for.
fn wanted(query: Option<&str>) -> Result<Wanted, ApiError> {
    let (mut encoding, mut details) = (None, None);
    let filter = filters(query, |name, value| {
        let twice = match name {
            "format" => encoding.replace(format(&value)?).is_some(),
            "details" => details.replace(flag(&value)?).is_some(),
            _ => return Ok(false),
        };
        if twice {
            return Err(ApiError::bad_data(name.to_owned(), "given more than once"));
        }
        Ok(true)
    })?;
    Ok(Wanted {
        encoding: encoding.ok_or(ApiError::MissingRequiredValue { key: "format".into() })?,
        details: details.unwrap_or(false),
        filter,
    })
}

fn format(value: &str) -> Result<Encoding, ApiError> {
    value.parse().map_err(|_| ApiError::BadValueNotAllowed {
        key: "format".into(),
        allowed: Encoding::ALL.map(Encoding::as_str).to_vec(),
    })
}

fn flag(value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| ApiError::BadValueNotAllowed {
        key: "details".into(),
        allowed: vec!["true", "false"],
    })
}

impl From<ExportError> for ApiError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Store(error) => LedgerError::Store(error).into(),
            ExportError::Proof(error) => error.into(),
            ExportError::Unsigned => Self::TemporaryFailure {
                retry_after: RETRY_AFTER,
                cause: Some("the first checkpoint is not signed yet".into()),
            },
            ExportError::NotCovered { signed, .. } => Self::BadValueTooHigh {
                key: "pos_to".into(),
                limit: i64::try_from(signed).unwrap_or(i64::MAX),
            },
            error @ (ExportError::NoKeyring
            | ExportError::Keyring(_)
            | ExportError::Row(_)
            | ExportError::Unreadable(_)
            | ExportError::Encode(_)
            | ExportError::Reader(_)) => Self::internal(error),
        }
    }
}
