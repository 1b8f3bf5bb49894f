//! From a line to a soft-delete, by the rules of the route; a reason that repeats nothing of the line.

use super::lines::{LINE_MAX, Line};
use crate::http::answer::error::ApiError;
use crate::http::archived::soft_delete;
use crate::http::request::fields::{Fields, Text, parse_object};
use crate::ledger::SoftDelete;
use archive_ledger_domain::EntityType;
use std::borrow::Cow;
use uuid::Uuid;

/// The names that a reason may repeat: those of the fields, none that the line made up.
const FIELDS: [&str; 12] = [
    "entity_type",
    "type",
    "id",
    "name",
    "metadata",
    "reason",
    "parent",
    "parent.type",
    "parent.id",
    "storage",
    "deleted_at",
    "",
];

/// Reads a line; an error is the reason why it is none.
pub(super) fn parse(line: Line<'_>) -> Result<SoftDelete, Cow<'static, str>> {
    match line {
        Line::TooLong => Err(format!("it is longer than {LINE_MAX} bytes").into()),
        Line::Whole(bytes) => soft_delete(bytes).map_err(|error| reason(&error)),
    }
}

fn soft_delete(bytes: &[u8]) -> Result<SoftDelete, ApiError> {
    let mut fields = Fields::new(parse_object(bytes)?);
    let any = Text::new(1, 64);
    // Under both names, the second one is left over and refused as unknown.
    let name = match fields.take_optional_string("entity_type", any)? {
        Some(name) => name,
        None => match fields.take_optional_string("type", any)? {
            Some(name) => name,
            None => {
                return Err(ApiError::MissingRequiredValue {
                    key: "entity_type".into(),
                });
            }
        },
    };
    let entity_type = name.parse().map_err(|_| ApiError::BadValueNotAllowed {
        key: "entity_type".into(),
        allowed: EntityType::ALL.into_iter().map(EntityType::as_str).collect(),
    })?;
    soft_delete::parse(entity_type, fields)
}

fn reason(error: &ApiError) -> Cow<'static, str> {
    match error {
        ApiError::MalformedData => "it is not one JSON object in UTF-8".into(),
        ApiError::BadData { key, hint } if !FIELDS.contains(&&**key) => {
            let hint = hint.as_deref().unwrap_or("it cannot be read");
            format!("a field of a name that is not known: {hint}").into()
        }
        other => other.describe(Uuid::nil()).text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";

    fn refused(line: &str) -> String {
        match parse(Line::Whole(line.as_bytes())) {
            Ok(_) => panic!("{line} was accepted"),
            Err(reason) => reason.into_owned(),
        }
    }

    #[test]
    fn a_line_is_the_body_of_the_route_and_its_entity_type() {
        for name in ["entity_type", "type"] {
            let line = format!(
                r#"{{"{name}":"backups","id":"{ID}","name":"n","metadata":{{"a":1}},"reason":"r",
                    "parent":{{"type":"projects","id":"{ID}"}},"storage":["file:///x/y"],
                    "deleted_at":"2026-01-02T03:04:05Z"}}"#
            );
            let Ok(request) = parse(Line::Whole(line.as_bytes())) else {
                panic!("{line}");
            };
            assert_eq!(request.key.stream_id(), format!("backups:{ID}"));
            assert_eq!(
                (request.name.as_str(), request.reason.as_deref()),
                ("n", Some("r"))
            );
            assert_eq!(request.storage, ["file:///x/y"]);
            assert!(request.parent.is_some() && request.deleted_at.is_some());
        }
    }

    #[test]
    fn the_document_has_every_field_and_a_line_that_is_one() {
        let document = include_str!("../../docs/IMPORT.md");
        let told: Vec<&str> = document
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .collect();
        let fields = [
            "entity_type",
            "id",
            "name",
            "metadata",
            "reason",
            "parent",
            "storage",
            "deleted_at",
        ];
        assert_eq!(told, fields);
        let lines: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with("    {"))
            .collect();
        assert_eq!(lines.len(), 1);
        for line in lines {
            assert!(parse(Line::Whole(line.as_bytes())).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_reason_names_the_field_and_repeats_nothing_of_the_line() {
        for (line, told) in [
            (r#"{"secret""#.to_owned(), "it is not one JSON object"),
            ("[]".to_owned(), "it is not one JSON object"),
            (r#"{"id":"x","name":"secret"}"#.to_owned(), "entity_type"),
            (
                r#"{"entity_type":"secret","id":"x"}"#.to_owned(),
                "must be one of",
            ),
            (
                r#"{"entity_type":"users","id":"secret","name":"n"}"#.to_owned(),
                "\"id\"",
            ),
            (format!(r#"{{"entity_type":"users","id":"{ID}"}}"#), "name"),
            (
                format!(r#"{{"entity_type":"users","id":"{ID}","name":7}}"#),
                "\"name\" must be a string",
            ),
            (
                format!(r#"{{"entity_type":"users","id":"{ID}","name":"n","secret":1}}"#),
                "a field of a name that is not known: unknown field",
            ),
            (
                format!(r#"{{"entity_type":"users","type":"users","id":"{ID}","name":"n"}}"#),
                "\"type\": unknown field",
            ),
            (
                format!(
                    r#"{{"entity_type":"users","id":"{ID}","name":"n","parent":{{"id":"x","secret":1}}}}"#
                ),
                "a field of a name that is not known: unknown field",
            ),
            (
                format!(
                    r#"{{"entity_type":"users","id":"{ID}","name":"n","metadata":{{"secret":1,"secret":2}}}}"#
                ),
                "\"metadata\": a key occurs twice",
            ),
            (r#"{"secret":1,"secret":2}"#.to_owned(), "a key occurs twice"),
        ] {
            let reason = refused(&line);
            assert!(reason.contains(told), "{line}: {reason}");
            assert!(!reason.contains("secret"), "{line}: {reason}");
        }
        assert!(parse(Line::Whole(b"{\"name\":\"\xff\"}")).is_err());
        assert!(parse(Line::TooLong).is_err_and(|reason| reason.contains("1048576")));
    }
}
