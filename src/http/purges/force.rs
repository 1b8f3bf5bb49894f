//! `POST /api/admin/purges/{purge_id}/force`: an end, whatever is owed.

use super::{admit, concerning, jobs, named};
use crate::http::answer::entity_tag::entity_tag;
use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::tagged;
use crate::http::api::SharedApi;
use crate::http::api::head::RequestHead;
use crate::http::archived::soft_delete;
use crate::http::auth::rights::Right;
use crate::http::request::body::EmptyBody;
use crate::http::request::fields::Text;
use crate::http::request::headers::CommandHeaders;
use crate::http::request::path::{Segments, segments, uuid};
use crate::purge::operator::RetryError;
use archive_ledger_domain::Action;
use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;
use uuid::Uuid;

/// A reason: as long as that of a soft-delete, and never left out.
const REASON: Text = Text::new(1, soft_delete::REASON.max);

/// A text without control characters that says something.
const NOT_BLANK: &str = "^[^\\u0000-\\u001F\\u007F-\\u009F]*[^\\s\\u0000-\\u001F\\u007F-\\u009F][^\\u0000-\\u001F\\u007F-\\u009F]*$";

fn reason_schema() -> Object {
    let mut schema = REASON.schema(
        "Why what is still owed is given up, kept sealed, and shown in the entity's history: not only spaces",
    );
    schema.pattern = Some(NOT_BLANK.to_owned());
    schema
}

/// Why a purge is forced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ForcePurgeRequest)]
pub struct ForceBody {
    /// Why what is still owed is given up. Kept sealed, and shown in the entity's history.
    #[schema(schema_with = reason_schema)]
    pub reason: String,
}

/// A purge that was forced.
#[derive(Debug, Serialize, ToSchema)]
pub struct ForcedPurge {
    /// What was done, for people.
    pub message: &'static str,
    /// The purge, which is over.
    pub purge_id: Uuid,
    /// The entity's type.
    #[serde(rename = "type")]
    #[schema(value_type = names::EntityType)]
    pub entity_type: &'static str,
    /// The entity's id: its history tells what was given up.
    pub id: String,
}

/// Gives up what a purge still owes and ends it: the entity's key and rows go, its objects may stay. 200 once that is
/// committed; its event `purge_forced` holds who, why and what was given up.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 409, 412, 422, 503.
#[utoipa::path(
    post, path = "/api/admin/purges/{purge_id}/force", operation_id = "forcePurge", tag = "purges",
    summary = "Give up what a purge still owes",
    description = "Ends the purge: the entity's key and rows go, its objects may stay. 200 once that is committed; its event `purge_forced` holds who, why and what was given up.",
    params(
        ("purge_id" = Uuid, Path, description = "The purge"),
        CommandHeaders,
    ),
    request_body = ForceBody,
    responses(
        (status = 200, description = "The purge is over, and objects may be left", body = ForcedPurge,
            headers(("ETag" = String, description = "The entity's version"))),
        (status = 400, description = "The reason is missing, empty or too long"),
        (status = 401, description = "No valid token"), (status = 403, description = "No right `archived:purge-force`"),
        (status = 404, description = "No purge of this id is owed: it never was, it is done, or another has taken its place"),
        (status = 409, description = "Every storage URI is clean already, and the purge ends by itself; or its rows in the database are damaged"),
        (status = 412, description = "Another version"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let caller = admit(
        &api,
        RequestHead::of(&request),
        named(&path),
        Right::ArchivedPurgeForce,
    )
    .await?;
    let audit = caller.audit.clone();
    let purge_id = uuid(&segments(path)?, "purge_id")?;
    concerning(&api, purge_id, &audit).await?;
    let context = caller.command()?;
    let mut fields = api.fields(request, EmptyBody::IsRefused).await?;
    let reason = fields.take_string("reason", REASON)?;
    fields.finish_strict()?;
    if reason.trim().is_empty() {
        return Err(ApiError::BadValueEmpty { key: "reason".into() });
    }
    let (key, receipt) = match api.purges.force(purge_id, reason, context).await {
        Ok(forced) => forced,
        Err(RetryError::NotOwed) => return Err(ApiError::NotFound),
        Err(RetryError::Jobs(error)) => return Err(jobs(error)),
        Err(RetryError::Ledger(error)) => return Err(refused(Action::ForcePurge, error)),
    };
    let etag = entity_tag(receipt.version)?;
    let answer = ForcedPurge {
        message: "the purge was forced: what it still owed was given up, and objects may be left",
        purge_id,
        entity_type: key.entity_type().as_str(),
        id: key.id().to_owned(),
    };
    Ok(tagged(etag, answer))
}
