use super::*;
use crate::bus::subjects::Subjects;
use crate::clock::{Clock, SystemClock};
use archive_ledger_domain::{
    EventMetadata, ForcedObligation, Parent, PurgeFailed, PurgeForced, PurgeRequested, Purged, Registered,
    Restored, SoftDeleted,
};
use std::path::PathBuf;

const BACKUP: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";

fn id(last: u8) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(last))
}

fn time() -> DateTime<Utc> {
    "2026-03-04T05:06:07.000089Z".parse().unwrap()
}

fn stored(key: EntityKey, sequence: u64, event: Event) -> StoredEvent {
    StoredEvent {
        position: 41 + sequence,
        event_id: id(1),
        key,
        sequence,
        recorded_at: time(),
        event,
        metadata: EventMetadata::internal("carol@example.org", None),
        command_id: id(2),
        sealed: Some(b"sealed bytes".to_vec()),
        entry: b"entry".to_vec(),
        leaf: [7; 32],
    }
}

fn every_event() -> Vec<StoredEvent> {
    let backup = EntityKey::new(EntityType::Backups, BACKUP).unwrap();
    let archive = EntityKey::new(EntityType::Archives, "Ab_-9").unwrap();
    vec![
        stored(
            archive,
            1,
            Event::Registered(Registered {
                dataset_id: Some("dataset".to_owned()),
                space_id: Some("space".to_owned()),
                storage_count: 2,
                callback: true,
            }),
        ),
        stored(
            backup.clone(),
            1,
            Event::SoftDeleted(SoftDeleted {
                deletion_id: id(3),
                deleted_at: "2026-03-04T05:00:00Z".parse().unwrap(),
                parent: Some(Parent {
                    entity_type: Some(EntityType::Environments),
                    id: "a parent".to_owned(),
                }),
                storage_count: 1,
            }),
        ),
        stored(
            backup.clone(),
            2,
            Event::Restored(Restored { deletion_id: id(3) }),
        ),
        stored(
            backup.clone(),
            4,
            Event::PurgeRequested(PurgeRequested {
                purge_id: id(4),
                deletion_id: Some(id(3)),
                storage_count: 1,
                callback: true,
            }),
        ),
        stored(
            backup.clone(),
            5,
            Event::Purged(Purged {
                purge_id: id(4),
                objects: 12,
                bytes: 3456,
                at_least: false,
                forced: false,
                skipped: 0,
            }),
        ),
        stored(
            backup.clone(),
            5,
            Event::PurgeForced(PurgeForced {
                purge_id: id(4),
                obligations: vec![
                    ForcedObligation {
                        ordinal: 1,
                        skipped: false,
                        objects: 10,
                        bytes: 2000,
                        at_least: false,
                    },
                    ForcedObligation {
                        ordinal: 2,
                        skipped: true,
                        objects: 1,
                        bytes: 1000,
                        at_least: false,
                    },
                ],
                reason_sealed: "a text that stays in the ledger".to_owned(),
            }),
        ),
        stored(
            backup,
            5,
            Event::PurgeFailed(PurgeFailed {
                purge_id: id(4),
                objects: 11,
                bytes: 3000,
                at_least: false,
                error: "a text that stays in the ledger".to_owned(),
            }),
        ),
    ]
}

/// The files are wire format: a new field adds to them, nothing else may ever change them.
#[test]
fn every_event_looks_on_the_bus_as_its_golden_file_says() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bus");
    let events = every_event();
    assert_eq!(events.len(), EventName::ALL.len());
    for stored in events {
        let file = directory.join(format!("{}.json", stored.event.name()));
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        let event = CloudEvent::new(&stored, "/archive-ledger/ledger%20one");
        let mut pretty = serde_json::to_string_pretty(&event).unwrap();
        pretty.push('\n');
        assert_eq!(pretty, golden, "{}", file.display());
        assert_eq!(CloudEvent::decode(golden.as_bytes()).unwrap(), event);
        assert_eq!(CloudEvent::decode(&event.encode().unwrap()).unwrap(), event);
    }
}

#[test]
fn the_end_of_a_forced_purge_says_that_objects_may_be_left() {
    let backup = EntityKey::new(EntityType::Backups, BACKUP).unwrap();
    let ended = |forced, skipped| {
        let event = Event::Purged(Purged {
            purge_id: id(4),
            objects: 12,
            bytes: 3456,
            at_least: false,
            forced,
            skipped,
        });
        serde_json::to_value(CloudEvent::new(&stored(backup.clone(), 5, event), "/s").data).unwrap()
    };
    let forced = ended(true, 2);
    assert_eq!((&forced["forced"], &forced["skipped"]), (&true.into(), &2.into()));
    let clean = ended(false, 0);
    assert_eq!((clean.get("forced"), clean.get("skipped")), (None, None));
}

#[test]
fn counts_that_are_a_lower_bound_say_so() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bus");
    let mut seen = 0;
    for mut stored in every_event() {
        match &mut stored.event {
            Event::Purged(facts) => facts.at_least = true,
            Event::PurgeFailed(facts) => facts.at_least = true,
            Event::PurgeForced(facts) => {
                facts.obligations[1].at_least = true;
                let event = CloudEvent::new(&stored, "/s");
                assert_eq!(event.data.at_least, Some(true));
                continue;
            }
            Event::Registered(_) | Event::SoftDeleted(_) | Event::Restored(_) | Event::PurgeRequested(_) => {
                continue;
            }
        }
        let file = directory.join(format!("{}.at-least.json", stored.event.name()));
        let golden = std::fs::read_to_string(&file).unwrap();
        let event = CloudEvent::new(&stored, "/archive-ledger/ledger%20one");
        let mut pretty = serde_json::to_string_pretty(&event).unwrap();
        pretty.push('\n');
        assert_eq!(pretty, golden, "{}", file.display());
        assert_eq!(CloudEvent::decode(golden.as_bytes()).unwrap(), event);
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn a_message_holds_nothing_sealed_and_no_text_of_a_person() {
    for stored in every_event() {
        let body = String::from_utf8(CloudEvent::new(&stored, "/s").encode().unwrap()).unwrap();
        for secret in ["sealed", "carol", "a parent", "a text"] {
            assert!(!body.contains(secret), "{body}");
        }
    }
}

#[test]
fn a_subject_has_four_tokens_and_its_filter_matches_it() {
    let key = EntityKey::new(EntityType::Backups, BACKUP).unwrap();
    assert_eq!(
        Subjects::default().of(&key, EventName::PurgeRequested),
        format!("archive.backups.purge_requested.{BACKUP}")
    );
    assert_eq!(
        Subjects::default().one_event(EventName::PurgeRequested),
        "archive.*.purge_requested.*"
    );
}

#[test]
fn a_source_is_a_uri_reference_whatever_the_service_is_called() {
    let source = |service: &str| Source::new(service, Numbering::default()).current();
    assert_eq!(
        source("ledger-1.example_x~"),
        "/archive-ledger/ledger-1.example_x~/1"
    );
    assert_eq!(
        source("Müller & Co/ä"),
        "/archive-ledger/M%C3%BCller%20%26%20Co%2F%C3%A4/1"
    );
}

#[test]
fn an_event_keeps_the_source_of_the_ledger_that_recorded_it() {
    let source = Source::new("s", Numbering::new([(2, 3), (3, 5)]));
    assert_eq!(source.current(), "/archive-ledger/s/3");
    for (position, number) in [(1, 1), (3, 1), (4, 2), (5, 2), (6, 3)] {
        assert_eq!(source.of(position), format!("/archive-ledger/s/{number}"));
        assert_eq!(source.number_in(&source.of(position)), Some(number));
        assert_eq!(
            source.former(position),
            (number == 1).then_some("/archive-ledger/s")
        );
    }
    assert_eq!(source.number_in("/archive-ledger/s"), Some(1));
    for other in [
        "/archive-ledger/t/1",
        "/archive-ledger/s2",
        "/archive-ledger/s/",
        "s",
        "",
    ] {
        assert_eq!(source.number_in(other), None, "{other}");
    }
}

#[test]
fn what_is_no_event_of_a_ledger_is_refused() {
    let good = serde_json::to_value(CloudEvent::new(&every_event()[4], "/s")).unwrap();
    let broken = |pointer: &str, value: serde_json::Value| {
        let mut event = good.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        CloudEvent::decode(event.to_string().as_bytes()).unwrap_err()
    };
    assert!(matches!(CloudEvent::decode(b"\xff"), Err(DecodeError::Json(_))));
    assert!(matches!(
        broken("/specversion", "0.3".into()),
        DecodeError::SpecVersion
    ));
    assert!(matches!(
        broken("/type", "archive.restored.v1".into()),
        DecodeError::UnknownType
    ));
    assert!(matches!(
        broken("/data/event", "melted".into()),
        DecodeError::Json(_)
    ));
    assert!(matches!(
        broken("/data/entity_id", "../etc".into()),
        DecodeError::Entity(_)
    ));
    assert!(matches!(broken("/sequence", "1".into()), DecodeError::Sequence));
    assert!(matches!(
        broken("/id", SystemClock.now().to_string().into()),
        DecodeError::Json(_)
    ));
}
