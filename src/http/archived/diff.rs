//! `GET /api/admin/archived/{entity_type}/{id}/history?diff=3..5`: what changed of an entity between two of its versions.

use super::get::Entity;
use crate::http::answer::error::ApiError;
use crate::http::answer::fields::{is_false, timestamp};
use crate::http::answer::names;
use crate::http::api::Api;
use crate::http::request::query::position;
use crate::ledger::{PastEntity, Versions};
use archive_ledger_domain::{EntityKey, State};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// Fields that differ between any two versions and say nothing by it.
const ALWAYS: [&str; 2] = ["version", "updated_at"];

/// Fields that are sealed, and what says that they cannot be opened.
const SEALED: [&str; 5] = ["name", "metadata", "reason", "storage", "unreadable"];

/// One of the two versions.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DiffSide)]
pub struct Side {
    /// The version; 0 is before the ledger heard of the entity.
    pub version: u64,
    /// The state.
    #[schema(value_type = names::EntityState)]
    pub state: &'static str,
    /// The position of the event that led to it.
    #[schema(required = true)]
    pub position: Option<u64>,
    /// When that was recorded.
    #[schema(format = DateTime, required = true)]
    pub recorded_at: Option<String>,
}

/// A field that differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DiffChange)]
pub struct Change {
    /// Its name, as `GET /api/admin/archived/{entity_type}/{id}` has it.
    pub field: String,
    /// Its value at the earlier version.
    #[schema(value_type = Value)]
    pub before: Value,
    /// Its value at the later version.
    #[schema(value_type = Value)]
    pub after: Value,
}

/// What changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Diff {
    /// The earlier version.
    pub from: Side,
    /// The later version.
    pub to: Side,
    /// The fields that differ, by name.
    pub changes: Vec<Change>,
    /// Whether name, metadata, reason and storage are gone for good: nothing is said of them then.
    pub erased: bool,
    /// Only where it is true: something sealed cannot be opened at one of the two, and nothing is said of it.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub unreadable: bool,
}

/// `3..5`: two versions, the earlier first.
fn versions(text: &str) -> Result<(u64, u64), ApiError> {
    let wrong = || ApiError::bad_data("diff", "must be two versions, the earlier first, as in 3..5");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let number = |digits| position("diff", digits).map_err(|_| wrong());
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

/// What changed of an entity between the versions that `text` names.
///
/// # Errors
/// [`ApiError`]: 400, 404, 503.
pub async fn diff(api: &Api, key: &EntityKey, text: &str) -> Result<Diff, ApiError> {
    let (from, to) = versions(text)?;
    let found = api.ledger.entity_versions(key, from, to).await?;
    let Versions {
        from: before,
        to: after,
        current,
    } = found.ok_or(ApiError::NotFound)?;
    if to > current {
        return Err(ApiError::BadValueTooHigh {
            key: "diff".into(),
            limit: i64::try_from(current).unwrap_or(i64::MAX),
        });
    }
    let erased = [&before, &after].into_iter().flatten().any(|past| past.erased);
    let unreadable = [&before, &after]
        .into_iter()
        .flatten()
        .any(|past| past.view.unreadable);
    let sides = (side(from, before.as_ref()), side(to, after.as_ref()));
    let (before, after) = (fields(before)?, fields(after)?);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let value = |fields: &Map<String, Value>, name: &str| fields.get(name).cloned().unwrap_or_default();
    let changes = names
        .into_iter()
        .filter(|name| !ALWAYS.contains(&name.as_str()) && value(&before, name) != value(&after, name))
        .filter(|name| !unreadable || !SEALED.contains(&name.as_str()))
        .map(|name| Change {
            field: name.clone(),
            before: value(&before, name),
            after: value(&after, name),
        })
        .collect();
    Ok(Diff {
        from: sides.0,
        to: sides.1,
        changes,
        erased,
        unreadable,
    })
}

fn side(version: u64, past: Option<&PastEntity>) -> Side {
    Side {
        version,
        state: past.map_or(State::Unknown, |past| past.view.state).as_str(),
        position: past.map(|past| past.position),
        recorded_at: past.and_then(|past| timestamp(past.view.updated_at)),
    }
}

fn fields(past: Option<PastEntity>) -> Result<Map<String, Value>, ApiError> {
    let Some(past) = past else { return Ok(Map::new()) };
    match serde_json::to_value(Entity::new(past.view)).map_err(ApiError::internal)? {
        Value::Object(fields) => Ok(fields),
        other => Err(ApiError::internal(format!("an entity is no object: {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_versions_the_earlier_first() {
        assert_eq!(versions("0..1").unwrap(), (0, 1));
        assert_eq!(versions("3..17").unwrap(), (3, 17));
        for text in [
            "", "3", "..", "3..", "..5", "5..3", "3..3", "3...5", "-1..2", "a..b", "1..2..3",
        ] {
            assert!(versions(text).is_err(), "{text}");
        }
    }
}
