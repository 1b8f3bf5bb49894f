//! Fields that are refused, and what the refusal names.

use super::*;
use crate::http::request::testing::{refused, told};
use serde_json::json;

fn fields(value: Value) -> Fields {
    Fields::new(value.as_object().unwrap().clone())
}

#[test]
fn a_json_fault_names_the_field_that_it_lies_in() {
    refused(parse_object(b"[]"), "malformedData", "");
    refused(parse_object(b"{} {}"), "malformedData", "");
    refused(parse_object(b"{\"a\":\"\xff\"}"), "malformedData", "");
    refused(parse_object(br#"{"name":"a","name":"b"}"#), "badData", "name");
    refused(
        parse_object(br#"{"metadata":{"a":{"b":1,"b":1}}}"#),
        "badData",
        "metadata",
    );
    refused(
        parse_object(br#"{"metadata":{"a":"\u0000"}}"#),
        "badData",
        "metadata",
    );
    let deep = format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(70), "}".repeat(70));
    refused(parse_object(deep.as_bytes()), "badData", "metadata");
    refused(
        parse_object(br#"{"metadata":{"a":[1e400]}}"#),
        "badData",
        "metadata",
    );
}

#[test]
fn a_field_name_is_repeated_in_part_and_without_control_characters() {
    let long = format!("{{\"{}\":1}}", "x".repeat(1000));
    let (_, key) = told(
        &Fields::new(parse_object(long.as_bytes()).unwrap())
            .finish_strict()
            .unwrap_err(),
    );
    assert_eq!(key.len(), ECHO_LIMIT);
    refused(
        parse_object(br#"{"a\u001b\u0000":1}"#),
        "badData",
        "a\u{fffd}\u{fffd}",
    );
}

#[test]
fn a_text_is_measured_in_characters_and_holds_no_control_characters() {
    let rule = Text::new(1, 3);
    assert_eq!(
        fields(json!({"n": "éß💾"})).take_string("n", rule).unwrap(),
        "éß💾"
    );
    refused(
        fields(json!({"n": "abcd"})).take_string("n", rule),
        "badValueTextTooLarge",
        "n",
    );
    refused(
        fields(json!({"n": ""})).take_string("n", rule),
        "badValueEmpty",
        "n",
    );
    for control in ["\n", "\t", "\u{7f}", "\u{85}", "\u{1b}"] {
        refused(
            fields(json!({"n": control})).take_string("n", rule),
            "badData",
            "n",
        );
    }
    refused(
        fields(json!({"n": "a"})).take_string("n", Text::new(2, 3)),
        "badData",
        "n",
    );
}

#[test]
fn a_required_field_that_is_absent_or_null_is_missing_and_one_of_another_type_is_no_string() {
    let rule = Text::new(0, 9);
    refused(
        fields(json!({})).take_string("n", rule),
        "missingRequiredValue",
        "n",
    );
    refused(
        fields(json!({"n": null})).take_string("n", rule),
        "missingRequiredValue",
        "n",
    );
    for other in [json!(1), json!(true), json!(["a"]), json!({"a": 1})] {
        refused(
            fields(json!({"n": other})).take_string("n", rule),
            "badValueString",
            "n",
        );
    }
    assert_eq!(
        fields(json!({"n": null}))
            .take_optional_string("n", rule)
            .unwrap(),
        None
    );
    assert_eq!(
        fields(json!({"n": ""}))
            .take_optional_string("n", rule)
            .unwrap()
            .as_deref(),
        Some("")
    );
}

#[test]
fn an_object_is_taken_up_to_its_size() {
    let object = json!({"k": "12345"});
    let size = object.to_string().len();
    assert!(
        fields(json!({"m": object}))
            .take_optional_object("m", size)
            .is_ok()
    );
    refused(
        fields(json!({"m": object})).take_optional_object("m", size - 1),
        "badData",
        "m",
    );
    for other in [json!(1), json!("{}"), json!([])] {
        refused(
            fields(json!({"m": other})).take_optional_object("m", size),
            "badData",
            "m",
        );
    }
    assert_eq!(
        fields(json!({"m": null}))
            .take_optional_object("m", size)
            .unwrap(),
        None
    );
}

#[test]
fn a_list_holds_texts_only_and_not_too_many() {
    let rule = Text::new(1, 5);
    let take = |value: Value| fields(json!({"s": value})).take_string_list("s", rule, 2);
    assert_eq!(take(json!(["a", "b"])).unwrap(), ["a", "b"]);
    assert_eq!(take(json!(null)).unwrap(), [""; 0]);
    refused(take(json!("a")), "badValueListOfStrings", "s");
    refused(take(json!([1])), "badValueListOfStrings", "s");
    refused(take(json!([null])), "badValueListOfStrings", "s");
    refused(take(json!(["a", "b", "c"])), "badData", "s");
    refused(take(json!([""])), "badValueEmpty", "s");
    refused(take(json!(["abcdef"])), "badValueTextTooLarge", "s");
}

#[test]
fn a_time_is_rfc_3339_in_any_offset() {
    let take = |value: Value| fields(json!({"t": value})).take_optional_time("t");
    assert_eq!(
        take(json!("2026-01-02T05:04:05+02:00"))
            .unwrap()
            .unwrap()
            .to_rfc3339(),
        "2026-01-02T03:04:05+00:00"
    );
    assert_eq!(take(json!(null)).unwrap(), None);
    refused(take(json!("yesterday")), "badData", "t");
    refused(take(json!("2026-13-01T00:00:00Z")), "badData", "t");
    refused(take(json!(1_700_000_000)), "badValueString", "t");
}

#[test]
fn a_nested_field_is_named_by_its_path() {
    let mut outer = fields(json!({"parent": {"id": 1, "x": 2}}));
    let mut parent = outer.take_optional_fields("parent").unwrap().unwrap();
    refused(
        parent.take_string("id", Text::new(1, 9)),
        "badValueString",
        "parent.id",
    );
    refused(parent.finish_strict(), "badData", "parent.x");
    outer.finish_strict().unwrap();
    refused(
        fields(json!({"parent": 1})).take_optional_fields("parent"),
        "badData",
        "parent",
    );
}

#[test]
fn an_unknown_field_is_refused_by_our_routes_and_ignored_by_onedatas() {
    let error = fields(json!({"colour": "red"})).finish_strict().unwrap_err();
    assert_eq!(
        error.to_string(),
        "Bad value provided for \"colour\": unknown field."
    );
    fields(json!({"colour": "red"})).finish_lenient();
}
