//! `GET /api/v3/oneprovider/archives/{aid}`: one archive with its state.

use super::{VIEW_PRIVILEGES, state_name};
use crate::http::answer::entity_tag::{entity_tag, tag_with};
use crate::http::answer::error::ApiError;
use crate::http::answer::fields::is_false;
use crate::http::answer::names;
use crate::http::answer::success::tagged;
use crate::http::api::head::RequestHead;
use crate::http::api::{Api, SharedApi};
use crate::http::archived::purge_progress::so_far;
use crate::http::archived::shared_storage::{NAMED_OTHERS, Shared, Sharer, sharing};
use crate::http::auth::rights::{Principal, Right};
use crate::http::request::path::{ArchivePath, Segments};
use archive_ledger_domain::{EntityKey, EntityType};
use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// An archive, with Onedata's field names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Archive {
    /// The archive's id.
    pub archive_id: String,
    /// The data set that it preserves.
    #[schema(required = true)]
    pub dataset_id: Option<String>,
    /// The space that it belongs to.
    #[schema(required = true)]
    pub space_id: Option<String>,
    /// `preserved`, `archived`, `purging` or `purge_failed`.
    #[schema(value_type = names::ArchiveState)]
    pub state: &'static str,
    /// What it is.
    #[schema(required = true)]
    pub description: Option<String>,
    /// Where its objects are.
    pub storage: Vec<String>,
    /// True when others who are not purged name storage in, around or at the same places: it is not deleted as long as any of
    /// them is not being purged too. Absent when nobody does; null while that is still being found out after an upgrade.
    #[serde(rename = "storage_shared", skip_serializing_if = "Shared::is_no")]
    #[schema(value_type = Option<bool>)]
    pub storage_shared: Shared,
    /// Some of those others that the caller may see, 20 at the most; absent when there are none.
    #[serde(rename = "storage_shared_with", skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub storage_shared_with: Vec<Sharer>,
    /// When it was registered, in seconds since 1970 UTC.
    pub creation_time: i64,
    /// Only where it is true: description or storage cannot be opened, and are left out.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
    /// The objects or folders that its purge failed at, or the places where it could not list; without any encoding. Absent where
    /// none did.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(nullable = false, required = false)]
    pub failed_at: Vec<String>,
}

impl Archive {
    /// The tag of all that it tells.
    fn tag(&self, version: u64) -> Result<HeaderValue, ApiError> {
        let beside = (
            &self.storage_shared,
            &self.storage_shared_with,
            &self.failed_at,
            self.unreadable,
        );
        let nothing = self.storage_shared.is_no() && self.storage_shared_with.is_empty();
        if nothing && self.failed_at.is_empty() && !self.unreadable {
            return entity_tag(version);
        }
        tag_with(version, &beside)
    }
}

/// Of how many others it is looked whether the caller may see them.
const LOOKED_AT_OTHERS: usize = 100;

/// Whether a caller may see an archive of this space.
fn may_see(principal: &Principal, space: Option<&str>) -> bool {
    let in_space = |names: &[&str]| names.iter().all(|name| principal.has_privilege(space, name));
    principal.has(Right::ArchivedRead) || in_space(&VIEW_PRIVILEGES) || in_space(&super::DELETE_PRIVILEGES)
}

/// Of the others who share an archive's storage those that the caller may see: archives of its spaces, or all.
async fn visible(api: &Api, principal: &Principal, others: &[EntityKey]) -> Result<Vec<Sharer>, ApiError> {
    let mut seen = Vec::new();
    for key in others {
        if seen.len() >= NAMED_OTHERS {
            break;
        }
        let everywhere = principal.has(Right::ArchivedRead);
        let visible = everywhere
            || (key.entity_type() == EntityType::Archives
                && may_see(principal, api.ledger.load(key).await?.0.space_id()));
        if visible {
            seen.push(Sharer::from(key));
        }
    }
    Ok(seen)
}

/// 404 for what never existed and for what was purged alike.
///
/// # Errors
/// [`ApiError`]: 400, 401, 403, 404, 503.
#[utoipa::path(
    get, path = "/api/v3/oneprovider/archives/{aid}", operation_id = "getArchive", tag = "archives",
    summary = "Show an archive",
    description = "404 for what never existed and for what was purged alike.",
    params(ArchivePath),
    responses(
        (status = 200, description = "The archive", body = Archive,
            headers(("ETag" = String, description = "The entity's version"))),
        (status = 401, description = "No valid token"),
        (status = 403, description = "No right `archived:read`, nor the privilege space_view_archives in the space"),
        (status = 404, description = "Archive not found"),
    )
)]
pub async fn handler(
    State(api): State<SharedApi>,
    path: Segments<String>,
    request: Request,
) -> Result<Response, ApiError> {
    let mut caller = api.identify(RequestHead::of(&request), true).await?;
    let principal = Arc::clone(&caller.principal);
    let everywhere = principal.has(Right::ArchivedRead);
    if !everywhere
        && !principal.any_space_with(&VIEW_PRIVILEGES)
        && !principal.any_space_with(&super::DELETE_PRIVILEGES)
    {
        return Err(ApiError::Forbidden);
    }
    caller.knows_parameters()?;
    let key = ArchivePath::read(path)?;
    let view = api.ledger.entity(&key).await?;
    let space = match &view {
        Some(view) => view.space_id.clone(),
        // Its log tells which space a purged archive was in.
        None => api.ledger.load(&key).await?.0.space_id().map(ToOwned::to_owned),
    };
    // Whether it exists is told only to whom may see it: an unknown archive is in no space.
    if !may_see(&principal, space.as_deref()) {
        return Err(ApiError::Forbidden);
    }
    let view = view.ok_or(ApiError::NotFound)?;
    let failed_at = so_far(&api, &view)
        .await?
        .map_or_else(Vec::new, |purge| purge.failed_at);
    let sharing = sharing(&api, &view.key, &view.details.storage, LOOKED_AT_OTHERS).await?;
    let others = visible(&api, &principal, &sharing.others).await?;
    let version = view.version;
    let archive = Archive {
        failed_at,
        archive_id: view.key.id().to_owned(),
        dataset_id: view.dataset_id,
        space_id: view.space_id,
        state: state_name(view.state),
        description: view.details.description,
        storage: view.details.storage,
        storage_shared: sharing.shared,
        storage_shared_with: others,
        creation_time: view.created_at.timestamp(),
        unreadable: view.unreadable,
    };
    let etag = archive.tag(version)?;
    Ok(tagged(etag, archive))
}
