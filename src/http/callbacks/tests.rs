use super::filter::{read_cursor, write_cursor};
use super::list::query;
use super::replay_matching::bulk;
use crate::http::answer::error::ApiError;
use crate::http::request::cursor::CursorCodec;
use crate::http::request::fields::Fields;
use crate::numbering::Numbering;
use crate::store::callbacks::DeliveryCursor;
use crate::store::callbacks::{DeliveryFilter, DeliveryState, ListStart};
use chrono::DateTime;
use serde_json::json;
use uuid::Uuid;

const ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";

fn cursors() -> CursorCodec {
    CursorCodec::new(b"a secret", Numbering::default())
}

fn bulk_of(body: serde_json::Value) -> Result<(DeliveryFilter, Option<DeliveryCursor>, bool), ApiError> {
    bulk(Fields::new(body.as_object().unwrap().clone()), &cursors())
}

#[test]
fn the_query_names_filters_and_refuses_what_is_none() {
    assert_eq!(
        query(None, &cursors()).unwrap(),
        (DeliveryFilter::default(), ListStart::default(), 20)
    );
    let text = format!(
        "state=dead&host=a.example:443&entity_type=backups&entity_id={ID}&from=2026-01-01T00:00:00Z\
         &until=2026-01-02T00:00:00%2B01:00&limit=7&else=x"
    );
    let (filter, start, limit) = query(Some(&text), &cursors()).unwrap();
    assert_eq!((start, limit), (ListStart::default(), 7));
    assert_eq!(filter.state, Some(DeliveryState::Dead));
    assert_eq!(filter.host.as_deref(), Some("a.example:443"));
    assert_eq!(filter.key.unwrap().id(), ID);
    assert_eq!((filter.until.unwrap() - filter.from.unwrap()).num_hours(), 23);
    for wrong in [
        "state=lost",
        "state=",
        "host=",
        "entity_type=backups",
        "entity_id=x",
        "entity_type=backups&entity_id=x",
        "entity_type=backup&entity_id=x",
        "from=yesterday",
        "until=2026-01-01",
        "limit=101",
        "limit=x",
        "cursor=x",
        "cursor=1.x",
        "cursor=9999999999999999999.497f6eca627649939bfeb53cbbbba6f0",
        "cursor=1.1750762637248123.497f6eca627649939bfeb53cbbbba6f0",
        "state=due&state=due",
    ] {
        assert!(query(Some(wrong), &cursors()).is_err(), "{wrong}");
    }
}

#[test]
fn a_cursor_comes_back_as_it_was_given_out() {
    let cursor = (
        DateTime::from_timestamp_micros(1_750_762_637_248_123).unwrap(),
        Uuid::try_parse(ID).unwrap(),
    );
    let filter = DeliveryFilter::default();
    for (after, skipped) in [(Some(cursor), 0), (Some(cursor), 7), (None, 1)] {
        let start = ListStart { after, skipped };
        let text = write_cursor(&cursors(), &filter, start);
        assert_eq!(read_cursor(&cursors(), &filter, Some(&text)).unwrap(), start);
    }
}

#[test]
fn a_cursor_goes_on_with_the_filter_that_it_was_given_out_for_and_no_other() {
    let at = ListStart {
        after: Some((DateTime::from_timestamp_micros(1).unwrap(), Uuid::nil())),
        skipped: 0,
    };
    let filters = [
        "",
        "state=dead",
        "state=due",
        "host=a.example:443",
        "host=dead",
        "entity_type=backups&entity_id=497f6eca-6276-4993-bfeb-53cbbbba6f08",
        "entity_type=users&entity_id=497f6eca-6276-4993-bfeb-53cbbbba6f08",
        "from=2026-01-01T00:00:00Z",
        "until=2026-01-01T00:00:00Z",
        "from=2026-01-01T00:00:00Z&until=2026-01-02T00:00:00Z",
    ];
    for given in filters {
        let (filter, _, _) = query(Some(given), &cursors()).unwrap();
        let cursor = write_cursor(&cursors(), &filter, at);
        for (asked, limit) in filters.into_iter().flat_map(|asked| [(asked, 1), (asked, 50)]) {
            let found = query(
                Some(&format!("{asked}&limit={limit}&cursor={cursor}")),
                &cursors(),
            );
            match found {
                Ok((_, start, _)) => assert_eq!((start, asked), (at, given)),
                Err(error) => {
                    let told = error.describe(Uuid::nil());
                    assert_ne!(asked, given);
                    assert_eq!((told.status.as_u16(), told.id), (400, "badData"));
                    let details = told.details.unwrap();
                    assert_eq!(details["key"], "cursor");
                    assert!(details.to_string().contains("other filters"), "{details}");
                }
            }
        }
        // The same time, written in another way.
        let again = given.replace("00:00:00Z", "01:00:00%2B01:00");
        assert!(query(Some(&format!("{again}&cursor={cursor}")), &cursors()).is_ok());
    }
    let dead = write_cursor(&cursors(), &query(Some("state=dead"), &cursors()).unwrap().0, at);
    assert!(bulk_of(json!({"dry_run": true, "cursor": dead})).is_ok());
    for filter in [json!({"state": "delivered"}), json!({"host": "a:80"})] {
        assert!(bulk_of(json!({"dry_run": true, "filter": filter, "cursor": dead})).is_err());
    }
}

#[test]
fn a_bulk_replay_says_whether_it_is_dry_and_means_dead_ones() {
    let (filter, after, dry_run) = bulk_of(json!({"dry_run": true})).unwrap();
    assert_eq!(
        (filter.state, after, dry_run),
        (Some(DeliveryState::Dead), None, true)
    );
    let (filter, _, dry_run) =
        bulk_of(json!({"dry_run": false, "filter": {"state": "delivered", "host": "a:80"}})).unwrap();
    assert_eq!((filter.state, dry_run), (Some(DeliveryState::Delivered), false));
    for wrong in [
        json!({}),
        json!({"dry_run": null}),
        json!({"dry_run": "true"}),
        json!({"dry_run": 1}),
        json!({"dry_run": true, "filter": {"state": "due"}}),
        json!({"dry_run": true, "filter": {"stat": "dead"}}),
        json!({"dry_run": true, "filter": []}),
        json!({"dry_run": true, "state": "dead"}),
        json!({"dry_run": true, "cursor": "x"}),
    ] {
        assert!(bulk_of(wrong.clone()).is_err(), "{wrong}");
    }
}
