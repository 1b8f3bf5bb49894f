//! The body of a callback: exactly the three keys of seed 004, in its order.

use serde::Serialize;

/// Made once per delivery, stored, and sent byte for byte in every attempt: a receiver that has seen it before can
/// tell by comparing bytes, and the signature of a retry differs only by its timestamp.
#[derive(Serialize)]
struct CallbackBody<'a> {
    #[serde(rename = "archiveId")]
    archive_id: &'a str,
    #[serde(rename = "datasetId")]
    dataset_id: Option<&'a str>,
    error: Option<&'a str>,
}

/// The bytes to store and send: `{"archiveId":…,"datasetId":…,"error":…}`, `null` where there is none.
///
/// `archive_id` is the entity's id whatever its type; `dataset_id` is known for archives only; `error` is `None` once
/// the entity's storage was seen empty, and otherwise says what failed (no storage URI: it leaves the service and
/// rests in a job row).
///
/// # Errors
/// None in practice (strings always serialize); the serializer's error is passed on rather than swallowed.
pub fn callback_body(
    archive_id: &str,
    dataset_id: Option<&str>,
    error: Option<&str>,
) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&CallbackBody {
        archive_id,
        dataset_id,
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(archive_id: &str, dataset_id: Option<&str>, error: Option<&str>) -> String {
        String::from_utf8(callback_body(archive_id, dataset_id, error).unwrap()).unwrap()
    }

    #[test]
    fn a_body_has_exactly_the_three_keys_in_the_documented_order() {
        assert_eq!(
            text("a1", Some("d1"), Some("boom")),
            r#"{"archiveId":"a1","datasetId":"d1","error":"boom"}"#
        );
    }

    #[test]
    fn what_is_absent_is_null() {
        assert_eq!(
            text("a1", None, None),
            r#"{"archiveId":"a1","datasetId":null,"error":null}"#
        );
    }

    #[test]
    fn an_error_text_is_escaped_as_json() {
        assert_eq!(
            text("a", None, Some("a \"quote\"\n\u{1}é")),
            "{\"archiveId\":\"a\",\"datasetId\":null,\"error\":\"a \\\"quote\\\"\\n\\u0001é\"}"
        );
    }
}
