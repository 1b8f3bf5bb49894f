//! What a path names.

use crate::http::answer::error::{ApiError, Key};
use archive_ledger_domain::{EntityKey, EntityType};
use axum::extract::Path;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
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

/// The entity of a path.
///
/// # Errors
/// [`ApiError::BadValueNotAllowed`], [`ApiError::BadValueIdentifier`].
pub fn entity_key(type_name: &str, id: &str) -> Result<EntityKey, ApiError> {
    let entity_type = entity_type(type_name)?;
    EntityKey::new(entity_type, id).map_err(|_| ApiError::BadValueIdentifier { key: Key::from("id") })
}
