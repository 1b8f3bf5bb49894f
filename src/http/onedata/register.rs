//! `POST /api/v3/oneprovider/archives`: takes up an archive that is alive.

use super::{CREATE_PRIVILEGES, DELETE_PRIVILEGES, VIEW_PRIVILEGES};
use crate::http::answer::error::ApiError;
use crate::http::answer::refusal::refused;
use crate::http::answer::success::created;
use crate::http::api::head::RequestHead;
use crate::http::api::{Api, SharedApi};
use crate::http::archived::purge::CALLBACK;
use crate::http::archived::soft_delete::{STORAGE_ITEMS_MAX, STORAGE_URI, storage_schema};
use crate::http::auth::rights::{Principal, Right};
use crate::http::request::body::EmptyBody;
use crate::http::request::fields::{Fields, Text};
use crate::http::request::headers::CommandHeaders;
use crate::http::request::path::archive_key;
use crate::ledger::{CommandContext, Register};
use archive_ledger_domain::{Action, EntityKey, State as EntityState};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

/// The id of an archive, a data set or a space.
const ID: Text = Text::new(1, 128);

/// A description.
const DESCRIPTION: Text = Text::new(0, 2_000);

fn dataset_schema() -> Object {
    ID.schema("The data set that it preserves")
}

fn space_schema() -> Object {
    ID.schema("The space that it belongs to")
}

fn description_schema() -> Object {
    DESCRIPTION.optional_schema("What it is")
}

fn callback_schema() -> Object {
    CALLBACK.optional_schema("Called when a purge ends, unless the request to delete names another")
}

/// The body. Fields that are not named here are ignored, as Onedata does.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = RegisterArchiveRequest)]
#[serde(rename_all = "camelCase")]
pub struct RegisterBody {
    /// The archive's id, 1 to 128 of `A-Za-z0-9_-`; made when absent.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,128}$")]
    pub archive_id: Option<String>,
    /// The data set that it preserves.
    #[schema(schema_with = dataset_schema)]
    pub dataset_id: String,
    /// The space that it belongs to.
    #[schema(schema_with = space_schema)]
    pub space_id: String,
    /// What it is.
    #[schema(schema_with = description_schema)]
    pub description: Option<String>,
    /// Where its objects are: URIs below a storage root.
    #[schema(schema_with = storage_schema)]
    pub storage: Option<Vec<String>>,
    /// Called when a purge ends, unless the request to delete names another.
    #[schema(schema_with = callback_schema)]
    pub deleted_callback: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredArchive {
    /// The archive's id.
    pub archive_id: String,
}

/// 201 once the registration is committed.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 409, 413, 415, 422, 503.
#[utoipa::path(
    post, path = "/api/v3/oneprovider/archives", operation_id = "registerArchive", tag = "archives",
    summary = "Register an archive",
    description = "201 once the registration is committed.",
    params(
        CommandHeaders,
    ),
    request_body = RegisterBody,
    responses(
        (status = 201, description = "Registered", body = RegisteredArchive, headers(("Location" = String, description = "The archive"))),
        (status = 400, description = "A field is wrong; the error names it"),
        (status = 401, description = "No valid token"),
        (status = 403, description = "No right `archived:write`, nor the privileges space_manage_datasets and space_create_archives in the space"),
        (status = 409, description = "There is such an archive, or there was one"),
    )
)]
pub async fn handler(State(api): State<SharedApi>, request: Request) -> Result<Response, ApiError> {
    let mut caller = api.identify(RequestHead::of(&request), true).await?;
    let audit = caller.audit.clone();
    let everywhere = caller.principal.has(Right::ArchivedWrite);
    let admitted = if everywhere || caller.principal.any_space_with(&CREATE_PRIVILEGES) {
        caller.knows_parameters()
    } else {
        Err(ApiError::Forbidden)
    };
    if let Err(error) = admitted {
        api.tell_named(request, &audit, key_of).await;
        return Err(error);
    }
    let mut fields = api.fields(request, EmptyBody::IsRefused).await?;
    if let Some(key) = key_of(&fields) {
        audit.concerns(&key);
    }
    let archive_id = fields.take_optional_string("archiveId", ID)?;
    let dataset_id = fields.take_string("datasetId", ID)?;
    let space_id = fields.take_string("spaceId", ID)?;
    let description = fields.take_optional_string("description", DESCRIPTION)?;
    let storage = fields.take_string_list("storage", STORAGE_URI, STORAGE_ITEMS_MAX)?;
    let deleted_callback = fields.take_optional_string("deletedCallback", CALLBACK)?;
    fields.finish_lenient();
    let in_space = |name: &&str| caller.principal.has_privilege(Some(&space_id), name);
    if !everywhere && !CREATE_PRIVILEGES.iter().all(in_space) {
        return Err(ApiError::Forbidden);
    }
    let principal = Arc::clone(&caller.principal);
    let conditions_fail = caller.conditions()?.fail_on_what_is_hidden();
    let context = caller.command()?;
    let archive_id = archive_id.unwrap_or_else(|| made_id(&api, &context));
    let key = archive_key(&archive_id)?;
    audit.concerns(&key);
    let register = Register {
        key: key.clone(),
        dataset_id: Some(dataset_id),
        space_id: Some(space_id),
        description,
        storage,
        deleted_callback,
    };
    if let Err(error) = api.ledger.register(register, context).await {
        let told = refused(Action::Register, error);
        return Err(if may_know_of(&api, &principal, &key).await? {
            told
        } else {
            of_a_foreign_space(told, conditions_fail)
        });
    }
    let location = format!("/api/v3/oneprovider/archives/{archive_id}");
    Ok(created(location, None, RegisteredArchive { archive_id }))
}

/// The archive that a body names, whatever else is in it.
fn key_of(fields: &Fields) -> Option<EntityKey> {
    archive_key(fields.text("archiveId")?).ok()
}

/// The id of an archive that its registration does not name.
fn made_id(api: &Api, context: &CommandContext) -> String {
    match context.bound_idempotency_key() {
        // The same request has to name the same archive, or its repetition would be another request.
        Some(bound) => hex::encode(&api.ledger.keyring().keyed_hash("archive-id", bound.as_bytes())[..16]),
        None => api.ledger.clock().new_id().simple().to_string(),
    }
}

/// Whether the caller may know that there is such an archive: where it may do anything with it.
async fn may_know_of(api: &Api, principal: &Principal, key: &EntityKey) -> Result<bool, ApiError> {
    if principal.has(Right::ArchivedWrite) || principal.has(Right::ArchivedRead) {
        return Ok(true);
    }
    let (archive, _) = api.ledger.load(key).await?;
    let all = |names: &[&str]| {
        names
            .iter()
            .all(|name| principal.has_privilege(archive.space_id(), name))
    };
    Ok(archive.state() == EntityState::Unknown
        || all(&CREATE_PRIVILEGES)
        || all(&VIEW_PRIVILEGES)
        || all(&DELETE_PRIVILEGES))
}

/// What is told where the archive is one of a space that the caller has no business in: that its id is taken, as a registration
/// finds out in any case; but nothing of its state, and nothing at all to a request that can only have been made to find out.
fn of_a_foreign_space(told: ApiError, conditions_fail: bool) -> ApiError {
    let conflict = matches!(
        told,
        ApiError::AlreadyExists
            | ApiError::EntityPurged
            | ApiError::EntityUnreadable
            | ApiError::PurgeInProgress
            | ApiError::PreconditionFailed
    );
    match (conflict, conditions_fail) {
        (true, true) => ApiError::PreconditionFailed,
        (true, false) => ApiError::AlreadyExists,
        (false, _) => told,
    }
}
