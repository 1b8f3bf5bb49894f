//! What the audit's filter says of a row, and of a query.

use crate::store::Position;
use crate::store::audit::{AuditFilter, Outcome};
use crate::store::proofs::RawEvent;
use chrono::{DateTime, SecondsFormat, Utc};

/// Whether an event between the filter's positions and times is asked for; `ip` is that of its context.
pub(super) fn matches(filter: &AuditFilter, row: &RawEvent, ip: Option<&str>) -> bool {
    let (entity_type, entity_id) = entity_of(row);
    // Entities go before their types.
    let entity = if filter.entities.is_empty() {
        any(&filter.entity_types, |one| one.as_str() == entity_type)
    } else {
        let is = |key: &archive_ledger_domain::EntityKey| {
            key.entity_type().as_str() == entity_type && key.id() == entity_id
        };
        filter.entities.iter().any(is)
    };
    entity
        && any(&filter.actors, |actor| *actor == row.actor)
        && any(&filter.actions, |action| action.as_str() == row.event_type)
        && any(&filter.outcomes, |outcome| *outcome == Outcome::Allowed)
        && any(&filter.request_ids, |id| row.correlation_id.as_ref() == Some(id))
        && any(&filter.ips, |one| ip == Some(one))
}

/// The type and the id of a row's entity.
pub(super) fn entity_of(row: &RawEvent) -> (&str, &str) {
    row.stream_id.split_once(':').unwrap_or(("", &row.stream_id))
}

/// The filter as the query that asks for it, in one spelling whatever the order of its values.
pub(super) fn query(filter: &AuditFilter) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    let mut add = |name: &str, mut values: Vec<String>| {
        values.sort_unstable();
        values.dedup();
        query.extend_pairs(values.iter().map(|value| (name, value)));
    };
    let owned = |text: &str| text.to_owned();
    let time = |time: Option<DateTime<Utc>>| {
        let text = time.map(|time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        text.into_iter().collect()
    };
    let position = |at: Option<Position>| at.map(|at| at.to_string()).into_iter().collect();
    add("actor", filter.actors.clone());
    add(
        "action",
        filter.actions.iter().map(|one| owned(one.as_str())).collect(),
    );
    add(
        "entity_type",
        filter
            .entity_types
            .iter()
            .map(|one| owned(one.as_str()))
            .collect(),
    );
    add(
        "entity_id",
        filter.entities.iter().map(|key| owned(key.id())).collect(),
    );
    add(
        "outcome",
        filter.outcomes.iter().map(|one| owned(one.as_str())).collect(),
    );
    add("request_id", filter.request_ids.clone());
    add("ip", filter.ips.clone());
    add("from", time(filter.from));
    add("to", time(filter.to));
    add("pos_from", position(filter.pos_from));
    add("pos_to", position(filter.pos_to));
    query.finish()
}

fn any<T>(values: &[T], is: impl Fn(&T) -> bool) -> bool {
    values.is_empty() || values.iter().any(is)
}

#[cfg(test)]
mod tests {
    use super::query;
    use crate::http::audit::query::filters;

    #[test]
    fn a_filter_is_read_back_from_the_query_that_asks_for_it() {
        let asked = "actor=b%26%3D%C3%A4&actor=a&action=purged&entity_type=backups&entity_type=archives&entity_id=x&outcome=allowed\
                     &request_id=r&ip=::1&from=2026-01-31T12:00:00.25%2B01:00&to=2026-02-01T00:00:00Z&pos_from=3&pos_to=9";
        let filter = filters(Some(asked), |_, _| Ok(false)).unwrap();
        let written = query(&filter);
        assert_eq!(
            filters(Some(&written), |_, _| Ok(false)).unwrap().canonical(),
            filter.canonical()
        );
        assert!(
            written.starts_with("actor=a&actor=b%26%3D%C3%A4&action=purged"),
            "{written}"
        );
        assert!(written.contains("from=2026-01-31T11%3A00%3A00.250Z"), "{written}");
    }
}
