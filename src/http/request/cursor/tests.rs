use super::*;
use crate::http::request::testing::{codec, cursor};
use serde_json::json;
use uuid::Uuid;

#[test]
fn a_cursor_of_another_list_or_another_key_is_refused() {
    let sealed = codec().seal(&cursor());
    assert_eq!(codec().open(&sealed, EntityType::Users).ok(), None);
    assert_eq!(
        CursorCodec::new(b"another secret", Numbering::default())
            .open(&sealed, EntityType::Backups)
            .ok(),
        None
    );
}

#[test]
fn a_cursor_with_any_bit_changed_is_refused() {
    let sealed = URL_SAFE_NO_PAD.decode(codec().seal(&cursor())).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut forged = sealed.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            codec()
                .open(&URL_SAFE_NO_PAD.encode(forged), EntityType::Backups)
                .ok(),
            None
        );
    }
}

#[test]
fn a_signed_payload_of_another_version_or_shape_is_refused() {
    let sign = |json: &str| {
        let mut sealed = hmac::sign(&codec().key, json.as_bytes()).as_ref().to_vec();
        sealed.extend_from_slice(json.as_bytes());
        URL_SAFE_NO_PAD.encode(sealed)
    };
    let id = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
    let payload = |v: u8, extra: &str| {
        sign(&format!(
            r#"{{"v":{v},"ledger":1,"type":"backups","deleted_at":0,"id":"{id}"{extra}}}"#
        ))
    };
    assert!(codec().open(&payload(2, ""), EntityType::Backups).ok().is_some());
    assert_eq!(codec().open(&payload(1, ""), EntityType::Backups).ok(), None);
    assert_eq!(
        codec().open(&payload(2, r#","x":1"#), EntityType::Backups).ok(),
        None
    );
    let bad_id = sign(r#"{"v":2,"ledger":1,"type":"backups","deleted_at":0,"id":"x"}"#);
    assert_eq!(codec().open(&bad_id, EntityType::Backups).ok(), None);
    let far = sign(&format!(
        r#"{{"v":2,"ledger":1,"type":"backups","deleted_at":9223372036854775807,"id":"{id}"}}"#
    ));
    assert_eq!(codec().open(&far, EntityType::Backups).ok(), None);
}

#[test]
fn a_cursor_of_an_earlier_ledger_is_gone_and_says_where_both_part() {
    let secret = b"a secret of at least thirty-two bytes";
    let sealed = codec().seal(&cursor());
    let forked = CursorCodec::new(secret, Numbering::new([(2, 7)]));
    let described = forked
        .open(&sealed, EntityType::Backups)
        .unwrap_err()
        .describe(Uuid::nil());
    assert_eq!((described.status.as_u16(), described.id), (410, "ledgerForked"));
    let details = json!({"key": "cursor", "of": 1, "ledger": 2, "position": 7});
    assert_eq!(described.details.unwrap(), details);
    let later = forked.seal(&cursor());
    assert!(forked.open(&later, EntityType::Backups).is_ok());
    // A copy that has never heard of the fork.
    let described = codec()
        .open(&later, EntityType::Backups)
        .unwrap_err()
        .describe(Uuid::nil());
    assert_eq!((described.status.as_u16(), described.id), (400, "badData"));
}

#[test]
fn a_numbered_position_has_one_text() {
    assert_eq!(read_numbered(&numbered(2, 41)), Some((2, 41)));
    assert_eq!(read_numbered("1-0"), Some((1, 0)));
    for text in [
        "",
        "-",
        "1",
        "1-",
        "-1",
        "1-2-3",
        "01-2",
        "1-02",
        "+1-2",
        "1-+2",
        "1 -2",
        "1--2",
        "x-1",
        "1-9223372036854775808",
    ] {
        assert_eq!(read_numbered(text), None, "{text}");
    }
}

#[test]
fn a_place_comes_back_as_it_was_given_out_and_in_no_other_list() {
    let codec = codec();
    let (walk, other) = (Walk::new("purges", "all"), Walk::new("callbacks", "all"));
    let sealed = codec.seal_place(&walk, 41_u64);
    let open = |walk: &Walk, text: &str| codec.open_place::<u64>(walk, text, |at| Some(*at)).ok();
    assert_eq!(open(&walk, &sealed), Some(41));
    assert_eq!(open(&other, &sealed), None);
    assert_eq!(open(&walk, &codec.seal(&cursor())), None);
    assert!(codec.open(&sealed, EntityType::Backups).is_err());
    assert_eq!(open(&walk, &codec.seal_place(&walk, "41")), None);
    for text in ["", "x", "41", "1-41", &sealed[1..], &"A".repeat(10_000)] {
        assert_eq!(open(&walk, text), None, "{text}");
    }
    let bytes = URL_SAFE_NO_PAD.decode(&sealed).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&walk, &URL_SAFE_NO_PAD.encode(forged)), None);
    }
}

#[test]
fn a_place_is_one_of_what_was_chosen() {
    let codec = codec();
    let chosen = [
        json!(null),
        json!("failed"),
        json!(["failed", null]),
        json!([null, "failed"]),
        json!(["failed,null"]),
    ];
    for given in &chosen {
        let sealed = codec.seal_place(&Walk::new("purges", given), 41_u64);
        for asked in &chosen {
            let found = codec.open_place::<u64>(&Walk::new("purges", asked), &sealed, |_| None);
            match found {
                Ok(_) => assert_eq!(given, asked),
                Err(error) => {
                    assert_ne!(given, asked);
                    let details = error.describe(Uuid::nil()).details.unwrap().to_string();
                    assert!(details.contains("other filters"), "{details}");
                }
            }
        }
    }
}

#[test]
fn a_place_of_an_earlier_ledger_is_gone_and_says_where_both_part() {
    let secret = b"a secret of at least thirty-two bytes";
    let forked = CursorCodec::new(secret, Numbering::new([(2, 7)]));
    let walk = Walk::new("purges", "all");
    for (seen, position) in [(3, 3), (9, 7)] {
        let sealed = codec().seal_place(&walk, seen);
        let described = forked
            .open_place::<u64>(&walk, &sealed, |at| Some(*at))
            .unwrap_err()
            .describe(Uuid::nil());
        let details = json!({"key": "cursor", "of": 1, "ledger": 2, "position": position});
        assert_eq!((described.id, described.details), ("ledgerForked", Some(details)));
    }
}
