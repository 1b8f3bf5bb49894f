//! What a path names. A reader of a path is also what the API's description says of it.

use super::describe::{in_path, text_like, word};
use crate::http::answer::error::{ApiError, Key};
use crate::http::answer::names;
use archive_ledger_domain::{EntityKey, EntityType};
use axum::extract::Path;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::Object;
use uuid::Uuid;

/// The segments of a path as they were sent: a request learns what is wrong with its path only after it was admitted.
pub type Segments<T> = Result<Path<T>, PathRejection>;

/// The decoded segments of a path.
///
/// # Errors
/// [`ApiError::BadValueNotAllowed`] or [`ApiError::BadValueIdentifier`] for a segment that is no UTF-8 once it is decoded.
pub fn segments<T>(path: Segments<T>) -> Result<T, ApiError> {
    match path {
        Ok(Path(segments)) => Ok(segments),
        Err(PathRejection::FailedToDeserializePathParams(failure)) => Err(match failure.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } if key == "entity_type" => unknown_type(),
            ErrorKind::InvalidUtf8InPathParam { key } if key == "aid" => ApiError::BadValueIdentifier {
                key: Key::from("archiveId"),
            },
            ErrorKind::InvalidUtf8InPathParam { key } => ApiError::BadValueIdentifier { key: key.into() },
            other => ApiError::internal(other.to_string()),
        }),
        Err(other) => Err(ApiError::internal(other)),
    }
}

fn unknown_type() -> ApiError {
    ApiError::BadValueNotAllowed {
        key: Key::from("entity_type"),
        allowed: EntityType::ALL.into_iter().map(EntityType::as_str).collect(),
    }
}

/// The id of something of ours in a path: a UUID as answers write it, hyphenated, in either case.
///
/// # Errors
/// [`ApiError::BadValueIdentifier`] naming `key`.
pub fn uuid(text: &str, key: &'static str) -> Result<Uuid, ApiError> {
    Some(text)
        .filter(|text| text.len() == uuid::fmt::Hyphenated::LENGTH)
        .and_then(|text| Uuid::try_parse(text).ok())
        .ok_or_else(|| ApiError::BadValueIdentifier { key: key.into() })
}

/// The entity type of a path.
///
/// # Errors
/// [`ApiError::BadValueNotAllowed`].
pub fn entity_type(text: &str) -> Result<EntityType, ApiError> {
    text.parse().map_err(|_| unknown_type())
}

/// The ids of archives and of everything else, as a path takes them.
const ID_PATTERN: &str = "^[A-Za-z0-9_-]{1,128}$";

/// The id of something in a path or in a body, as the API's description shows it.
#[must_use]
pub fn id_schema() -> Object {
    text_like(ID_PATTERN)
}

fn entity_type_parameter() -> Parameter {
    in_path("entity_type", "The entity's type", word::<names::EntityType>())
}

/// `{entity_type}`: a type of entities.
#[derive(Debug, Clone, Copy)]
pub struct TypePath;

impl TypePath {
    /// The type that a path names.
    ///
    /// # Errors
    /// [`ApiError::BadValueNotAllowed`].
    pub fn read(path: Segments<String>) -> Result<EntityType, ApiError> {
        entity_type(&segments(path)?)
    }
}

impl IntoParams for TypePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![entity_type_parameter()]
    }
}

/// `{entity_type}/{id}`: an entity.
#[derive(Debug, Clone, Copy)]
pub struct EntityPath;

impl EntityPath {
    /// The entity that a path names.
    ///
    /// # Errors
    /// [`ApiError::BadValueNotAllowed`], [`ApiError::BadValueIdentifier`].
    pub fn read(path: Segments<(String, String)>) -> Result<EntityKey, ApiError> {
        let (type_name, id) = segments(path)?;
        let entity_type = entity_type(&type_name)?;
        EntityKey::new(entity_type, &id).map_err(|_| ApiError::BadValueIdentifier { key: Key::from("id") })
    }
}

impl IntoParams for EntityPath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![
            entity_type_parameter(),
            in_path("id", "The entity's id", id_schema()),
        ]
    }
}

/// `{aid}`: an archive.
#[derive(Debug, Clone, Copy)]
pub struct ArchivePath;

impl ArchivePath {
    /// The archive that a path names.
    ///
    /// # Errors
    /// [`ApiError::BadValueIdentifier`].
    pub fn read(path: Segments<String>) -> Result<EntityKey, ApiError> {
        archive_key(&segments(path)?)
    }
}

impl IntoParams for ArchivePath {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![in_path("aid", "The archive's id", id_schema())]
    }
}

/// The archive of this id.
///
/// # Errors
/// [`ApiError::BadValueIdentifier`].
pub fn archive_key(aid: &str) -> Result<EntityKey, ApiError> {
    EntityKey::new(EntityType::Archives, aid).map_err(|_| ApiError::BadValueIdentifier {
        key: Key::from("archiveId"),
    })
}
