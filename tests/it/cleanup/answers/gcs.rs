//! What can be wrong with a listing of Google Cloud Storage.

use super::case::{Bad, Case, anywhere, case, edit};
use serde_json::{Value, json};

/// Makes a page of GCS another one.
type PageEdit = fn(&mut Value);

pub fn cases() -> Vec<Case> {
    let mut cases = anywhere();
    cases.push(case("expired", "", Bad::Instead(401, Vec::new())));
    for reason in ["rateLimitExceeded", "quotaExceeded", "dailyLimitExceeded"] {
        let error = json!({"error": {"code": 403, "message": "no", "errors": [{"reason": reason}]}});
        cases.push(case(
            reason,
            "",
            Bad::Instead(403, error.to_string().into_bytes()),
        ));
    }
    let edits: [(&str, PageEdit); 18] = [
        ("an error beside its kind", |page| {
            *page = json!({"kind": "storage#objects", "error": {"code": 500}})
        }),
        ("not reached everywhere", |page| {
            *page = json!({"kind": "storage#objects", "unreachable": ["x"]})
        }),
        (
            "items by another name",
            |page| *page = json!({"kind": "storage#objects", "Items": page["items"].clone()}),
        ),
        (
            "its list by another name",
            |page| *page = json!({"kind": "storage#objects", "objects": page["items"].clone()}),
        ),
        (
            "a warning beside it",
            |page| *page = json!({"kind": "storage#objects", "warning": {"code": "PARTIAL"}}),
        ),
        ("null for where more follows", |page| {
            *page = json!({"kind": "storage#objects", "nextPageToken": null});
        }),
        ("null for what is summed up", |page| {
            *page = json!({"kind": "storage#objects", "prefixes": null});
        }),
        ("a size that is none", |page| {
            page["items"][0]["size"] = json!("ten")
        }),
        ("another kind", |page| page["kind"] = json!("storage#object")),
        ("no kind", |page| {
            drop(page.as_object_mut().unwrap().remove("kind"))
        }),
        ("another bucket", |page| {
            page["items"][0]["bucket"] = json!("archive2")
        }),
        ("summed up", |page| {
            *page = json!({"kind": "storage#objects", "prefixes": ["root/x/"]})
        }),
        ("more follows nowhere", |page| {
            *page = json!({"kind": "storage#objects", "nextPageToken": ""});
        }),
        ("no items, and more at the same place for ever", |page| {
            *page = json!({"kind": "storage#objects", "nextPageToken": "0"});
        }),
        ("null for items", |page| page["items"] = Value::Null),
        ("one for many", |page| page["items"] = page["items"][0].clone()),
        ("a nameless one", |page| page["items"][1]["name"] = json!("")),
        ("another prefix", |page| {
            *page = json!({"kind": "storage#objects",
                "items": [{"bucket": "archive", "name": "route/x", "generation": "1"}]});
        }),
    ];
    for (name, change) in edits {
        let bad = edit(move |body| {
            let mut page: Value = serde_json::from_str(body).unwrap();
            change(&mut page);
            page.to_string()
        });
        cases.push(case(name, "", bad));
    }
    cases.push(case(
        "said twice",
        "",
        edit(|body| body.replacen('{', "{\"items\":[],", 1)),
    ));
    cases
}
