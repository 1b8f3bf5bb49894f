use super::*;
use crate::http::request::cursor::ListCursor;
use crate::http::request::testing::{codec, cursor};
use archive_ledger_domain::EntityKey;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use uuid::Uuid;

fn parse(query: &str) -> Result<PageQuery, ApiError> {
    PageQuery::parse(Some(query), EntityType::Backups, &codec())
}

fn refused(query: &str, id: &str, key: &str) {
    let description = parse(query).unwrap_err().describe(Uuid::nil());
    assert_eq!(
        (description.id, &description.details.unwrap()["key"]),
        (id, &json!(key)),
        "{query}"
    );
}

#[test]
fn nothing_or_zero_means_the_first_page_of_twenty() {
    let first = PageQuery {
        limit: 20,
        start: Start::Offset(0),
    };
    assert_eq!(
        PageQuery::parse(None, EntityType::Backups, &codec()).unwrap(),
        first
    );
    for query in [
        "",
        "page=0&limit=0",
        "page=1",
        "limit=20",
        "page=00&limit=020",
        "page=-0",
    ] {
        assert_eq!(parse(query).unwrap(), first, "{query}");
    }
}

#[test]
fn a_page_begins_behind_those_before_it() {
    assert_eq!(
        parse("page=3&limit=100").unwrap(),
        PageQuery {
            limit: 100,
            start: Start::Offset(200)
        }
    );
    assert_eq!(
        parse("limit=%31&page=%32").unwrap(),
        PageQuery {
            limit: 1,
            start: Start::Offset(1)
        }
    );
    let PageQuery {
        start: Start::Offset(offset),
        ..
    } = parse(&format!("page={MAX_PAGE}&limit=100")).unwrap()
    else {
        panic!("a page has an offset");
    };
    assert_eq!(offset, (MAX_PAGE - 1) * 100);
}

#[test]
fn unknown_parameters_are_ignored() {
    assert_eq!(
        parse("sort=name&page=2&Page=x&utm=1&utm=2").unwrap().start,
        Start::Offset(20)
    );
}

#[test]
fn what_is_no_integer_or_out_of_range_is_refused_by_name() {
    for text in [
        "", "a", "1.5", "1e2", "+1", " 1", "0x1", "١", "--1", "-", "1,000", "%FF", "null",
    ] {
        refused(
            &format!("page={}", text.replace('+', "%2B")),
            "badValueInteger",
            "page",
        );
        refused(
            &format!("limit={}", text.replace('+', "%2B")),
            "badValueInteger",
            "limit",
        );
    }
    for text in [
        "-1",
        "101",
        "9223372036854775808",
        "99999999999999999999999999",
        "-99999999999999999999999",
    ] {
        refused(&format!("limit={text}"), "badValueNotInRange", "limit");
    }
    let beyond = (MAX_PAGE + 1).to_string();
    for text in ["-1", &beyond, "9223372036854775807", "99999999999999999999999999"] {
        refused(&format!("page={text}"), "badValueNotInRange", "page");
    }
}

#[test]
fn a_parameter_given_twice_is_refused() {
    refused("page=1&page=1", "badData", "page");
    refused("limit=1&limit=2", "badData", "limit");
    refused("cursor=a&cursor=a", "badData", "cursor");
}

#[test]
fn a_cursor_comes_back_as_it_was_given_out() {
    let sealed = codec().seal(&cursor());
    assert_eq!(
        parse(&format!("cursor={sealed}&limit=5")).unwrap(),
        PageQuery {
            limit: 5,
            start: Start::After(cursor())
        }
    );
    let archive = ListCursor {
        key: EntityKey::new(EntityType::Archives, &"a".repeat(128)).unwrap(),
        deleted_at: cursor().deleted_at,
    };
    let sealed = codec().seal(&archive);
    assert_eq!(codec().open(&sealed, EntityType::Archives).ok(), Some(archive));
}

#[test]
fn a_cursor_and_a_page_exclude_each_other() {
    refused(
        &format!("cursor={}&page=1", codec().seal(&cursor())),
        "badData",
        "cursor",
    );
}

#[test]
fn what_is_no_cursor_at_all_is_refused() {
    let sealed = codec().seal(&cursor());
    for text in [
        "",
        "x",
        "AAAA",
        &sealed[1..],
        &sealed[..sealed.len() - 1],
        &format!("{sealed}="),
        &"A".repeat(10_000),
    ] {
        refused(&format!("cursor={text}"), "badData", "cursor");
    }
    let unsigned = URL_SAFE_NO_PAD.encode(r#"{"v":2,"ledger":1,"type":"backups","deleted_at":0,"id":"x"}"#);
    refused(&format!("cursor={unsigned}"), "badData", "cursor");
}
