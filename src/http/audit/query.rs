//! What a request asks of the audit. An unknown parameter is an error: a misspelt filter would give everything.

use crate::http::answer::error::ApiError;
use crate::http::answer::names;
use crate::http::request::describe::{self, in_query, several, text_like, word};
use crate::http::request::page::{AUDIT, AuditLimit, cursor_parameter};
use crate::http::request::path::{entity_type, id_schema};
use crate::http::request::query::{bound, position};
use crate::store::audit::{AuditAction, AuditFilter, Order, Outcome};
use archive_ledger_domain::{EntityKey, EntityType};
use std::borrow::Cow;
use std::net::IpAddr;
use utoipa::IntoParams;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::Schema;

/// How many values a filter may have.
const MAX_VALUES: usize = 32;

/// The longest value of a filter, in characters.
const MAX_TEXT: usize = 256;

/// The filters, as the API's description shows them.
pub(super) struct FilterParameters;

impl IntoParams for FilterParameters {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let any =
            |name, description, item: RefOr<Schema>| in_query(name, description, several(item, MAX_VALUES));
        let text = || RefOr::from(text_like(&format!("^[^\\u0000]{{1,{MAX_TEXT}}}$")));
        vec![
            any(
                "actor",
                "Only by this actor; repeatable, as all that are not said to be otherwise",
                text(),
            ),
            any(
                "action",
                "Only this event, or attempts at it; an export has events alone",
                word::<names::AuditAction>().into(),
            ),
            any(
                "entity_type",
                "Only on entities of this type",
                word::<names::EntityType>().into(),
            ),
            any("entity_id", "Only on the entity of this id", id_schema().into()),
            any(
                "outcome",
                "Only those that ended so; every event is `allowed`",
                word::<names::AuditOutcome>().into(),
            ),
            any("request_id", "Only by this request", text()),
            any(
                "ip",
                "Only from this IPv4 or IPv6 address",
                RefOr::T(Schema::AnyOf(describe::address())),
            ),
            in_query(
                "from",
                "Only at this time or later, RFC 3339; once",
                describe::time(),
            ),
            in_query("to", "Only before this time, RFC 3339; once", describe::time()),
            in_query(
                "pos_from",
                "Only at this position or behind it; once",
                describe::position(),
            ),
            in_query(
                "pos_to",
                "Only at this position or before it; once. Of an export, its snapshot: the last one that is signed when absent",
                describe::position(),
            ),
        ]
    }
}

/// The order of a search, and where it goes on.
pub(super) struct PageParameters;

impl IntoParams for PageParameters {
    fn into_params(place: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let order = "Newest first when absent; once";
        let mut all = vec![in_query("order", order, word::<names::SortOrder>())];
        all.extend(AuditLimit::into_params(place));
        all.push(cursor_parameter(
            "The `next_cursor` of the page before, with the same filters and order",
        ));
        all
    }
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsQuery {
    /// The filters.
    pub filter: AuditFilter,
    /// Which way.
    pub order: Order,
    /// How many records at the most.
    pub limit: u32,
    /// Where to go on, as it was sent.
    pub cursor: Option<String>,
}

/// Reads filters, and parameters of the caller's own: those that `own` does not take are unknown.
///
/// # Errors
/// [`ApiError`] naming the parameter.
pub fn filters<'q>(
    query: Option<&'q str>,
    mut own: impl FnMut(&str, Cow<'q, str>) -> Result<bool, ApiError>,
) -> Result<AuditFilter, ApiError> {
    let mut filter = AuditFilter::default();
    let mut ids: Vec<String> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "actor" => add("actor", &mut filter.actors, text("actor", &value)?)?,
            "action" => add("action", &mut filter.actions, action(&value)?)?,
            "entity_type" => add("entity_type", &mut filter.entity_types, entity_type(&value)?)?,
            "entity_id" => add("entity_id", &mut ids, text("entity_id", &value)?)?,
            "outcome" => add("outcome", &mut filter.outcomes, outcome(&value)?)?,
            "request_id" => add("request_id", &mut filter.request_ids, text("request_id", &value)?)?,
            "ip" => add("ip", &mut filter.ips, address(&value)?)?,
            "from" => once("from", &mut filter.from, bound("from", &value)?)?,
            "to" => once("to", &mut filter.to, bound("to", &value)?)?,
            "pos_from" => once("pos_from", &mut filter.pos_from, position("pos_from", &value)?)?,
            "pos_to" => once("pos_to", &mut filter.pos_to, position("pos_to", &value)?)?,
            other => {
                if !own(other, value)? {
                    let key: String = other.chars().take(64).collect();
                    return Err(ApiError::bad_data(key, "unknown parameter"));
                }
            }
        }
    }
    filter.entities = entities(&ids, &filter.entity_types)?;
    if let (Some(from), Some(to)) = (filter.from, filter.to)
        && from > to
    {
        return Err(ApiError::bad_data("from", "lies after \"to\""));
    }
    if let (Some(from), Some(to)) = (filter.pos_from, filter.pos_to)
        && from > to
    {
        return Err(ApiError::bad_data("pos_from", "lies behind \"pos_to\""));
    }
    Ok(filter)
}

impl EventsQuery {
    /// Reads the query of a page.
    ///
    /// # Errors
    /// [`ApiError`] naming the parameter.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let (mut limit, mut cursor, mut order) = (None, None, None);
        let filter = filters(query, |name, value| {
            match name {
                "limit" => once("limit", &mut limit, value)?,
                "cursor" => once("cursor", &mut cursor, value.into_owned())?,
                "order" => once("order", &mut order, direction(&value)?)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let limit = AUDIT.read(limit)?;
        Ok(Self {
            filter,
            order: order.unwrap_or(Order::Descending),
            limit,
            cursor,
        })
    }
}

fn add<T: PartialEq>(key: &'static str, values: &mut Vec<T>, value: T) -> Result<(), ApiError> {
    if !values.contains(&value) {
        if values.len() == MAX_VALUES {
            return Err(ApiError::bad_data(key, "given too often"));
        }
        values.push(value);
    }
    Ok(())
}

fn once<T>(key: &'static str, slot: &mut Option<T>, value: T) -> Result<(), ApiError> {
    match slot.replace(value) {
        Some(_) => Err(ApiError::bad_data(key, "given more than once")),
        None => Ok(()),
    }
}

fn text(key: &'static str, value: &str) -> Result<String, ApiError> {
    if value.is_empty() {
        return Err(ApiError::BadValueEmpty { key: key.into() });
    }
    if value.chars().count() > MAX_TEXT {
        return Err(ApiError::BadValueTextTooLarge {
            key: key.into(),
            limit: MAX_TEXT,
        });
    }
    // PostgreSQL's text cannot hold it, so nothing that is recorded does.
    if value.contains('\0') {
        return Err(ApiError::bad_data(key, "must not contain a null character"));
    }
    Ok(value.to_owned())
}

fn action(value: &str) -> Result<AuditAction, ApiError> {
    value.parse().map_err(|_| ApiError::BadValueNotAllowed {
        key: "action".into(),
        allowed: AuditAction::all().map(AuditAction::as_str).collect(),
    })
}

fn outcome(value: &str) -> Result<Outcome, ApiError> {
    value.parse().map_err(|_| ApiError::BadValueNotAllowed {
        key: "outcome".into(),
        allowed: Outcome::ALL.into_iter().map(Outcome::as_str).collect(),
    })
}

fn direction(value: &str) -> Result<Order, ApiError> {
    match value {
        "asc" => Ok(Order::Ascending),
        "desc" => Ok(Order::Descending),
        _ => Err(ApiError::BadValueNotAllowed {
            key: "order".into(),
            allowed: vec!["asc", "desc"],
        }),
    }
}

/// An address in the form in which it is recorded.
fn address(value: &str) -> Result<String, ApiError> {
    let address: IpAddr = value
        .parse()
        .map_err(|_| ApiError::bad_data("ip", "must be an IPv4 or IPv6 address"))?;
    Ok(address.to_canonical().to_string())
}

/// The entities that ids stand for: of the types that are asked for, or of any.
fn entities(ids: &[String], types: &[EntityType]) -> Result<Vec<EntityKey>, ApiError> {
    let types = if types.is_empty() { &EntityType::ALL } else { types };
    let mut found = Vec::new();
    for id in ids {
        let before = found.len();
        found.extend(types.iter().filter_map(|one| EntityKey::new(*one, id).ok()));
        if found.len() == before {
            return Err(ApiError::BadValueIdentifier {
                key: "entity_id".into(),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn refused(query: &str, id: &str, key: &str) {
        let described = EventsQuery::parse(Some(query)).unwrap_err().describe(Uuid::nil());
        assert_eq!(
            (described.id, &described.details.unwrap()["key"]),
            (id, &serde_json::json!(key)),
            "{query}"
        );
    }

    #[test]
    fn nothing_asks_for_the_newest_hundred() {
        let query = EventsQuery::parse(None).unwrap();
        assert_eq!(query.filter, AuditFilter::default());
        assert_eq!(
            (query.order, query.limit, query.cursor),
            (Order::Descending, 100, None)
        );
    }

    #[test]
    fn a_filter_takes_several_values_and_an_id_is_looked_for_in_the_types_that_allow_it() {
        let id = "497F6ECA-6276-4993-BFEB-53CBBBBA6F08";
        let parse = |query: &str| EventsQuery::parse(Some(query)).unwrap().filter;
        let filter = parse("actor=a&actor=b&actor=a&outcome=denied&ip=::ffff:192.0.2.7");
        assert_eq!(filter.actors, ["a", "b"]);
        assert_eq!(filter.ips, ["192.0.2.7"]);
        assert_eq!(parse(&format!("entity_id={id}")).entities.len(), 9);
        assert_eq!(parse("entity_id=opaque").entities.len(), 1);
        let both = parse(&format!("entity_id={id}&entity_type=users&entity_type=servers"));
        let keys: Vec<String> = both.entities.iter().map(EntityKey::stream_id).collect();
        let id = id.to_lowercase();
        assert_eq!(keys, [format!("users:{id}"), format!("servers:{id}")]);
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (query, id, key) in [
            ("actr=a", "badData", "actr"),
            ("actor=", "badValueEmpty", "actor"),
            ("actor=%00", "badData", "actor"),
            ("action=deleted", "badValueNotAllowed", "action"),
            ("entity_type=user", "badValueNotAllowed", "entity_type"),
            (
                "entity_type=users&entity_id=opaque",
                "badValueIdentifier",
                "entity_id",
            ),
            ("outcome=Denied", "badValueNotAllowed", "outcome"),
            ("ip=192.0.2.0/24", "badData", "ip"),
            ("from=yesterday", "badData", "from"),
            (
                "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
                "badData",
                "from",
            ),
            ("to=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "badData", "to"),
            ("pos_from=-1", "badValueInteger", "pos_from"),
            ("pos_to=9223372036854775808", "badValueInteger", "pos_to"),
            ("pos_from=2&pos_to=1", "badData", "pos_from"),
            ("limit=1001", "badValueNotInRange", "limit"),
            ("order=up", "badValueNotAllowed", "order"),
            ("cursor=a&cursor=a", "badData", "cursor"),
        ] {
            refused(query, id, key);
        }
        let many: Vec<String> = (0..33).map(|number| format!("request_id={number}")).collect();
        refused(&many.join("&"), "badData", "request_id");
        refused(
            &format!("actor={}", "x".repeat(257)),
            "badValueTextTooLarge",
            "actor",
        );
    }
}
