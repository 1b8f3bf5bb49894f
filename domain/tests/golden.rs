//! The wire format of every event, pinned file by file: `tests/golden/<name>.v<version>[.<variant>].json`.
//!
//! A golden file is never edited. An event that changes its shape gets a new version, a new file and an upcaster; the
//! old file then proves the upcaster.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where by panicking"
)]

use archive_ledger_domain::{
    ArchivedEntity, EntityType, Event, EventName, ForcedObligation, Parent, PurgeFailed, PurgeForced,
    PurgeRequested, Purged, Registered, Restored, SoftDeleted, upcasters,
};
use chrono::DateTime;
use cqrs_es::persist::SerializedEvent;
use cqrs_es::{Aggregate, DomainEvent};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use uuid::{Uuid, uuid};

const DELETION: Uuid = uuid!("0199c1d0-0000-7000-8000-00000000de1e");
const PURGE: Uuid = uuid!("0199c1d0-0000-7000-8000-000000009a1e");

/// Every golden file and the event that it stands for.
fn golden() -> Vec<(&'static str, Event)> {
    let deleted_at = DateTime::from_timestamp_micros(1_760_000_000_123_456).unwrap();
    vec![
        (
            "registered.v1.0.0",
            Event::Registered(Registered {
                dataset_id: Some("dataset-1".into()),
                space_id: Some("space-1".into()),
                storage_count: 2,
                callback: true,
            }),
        ),
        (
            "registered.v1.0.0.bare",
            Event::Registered(Registered {
                dataset_id: None,
                space_id: None,
                storage_count: 0,
                callback: false,
            }),
        ),
        (
            "soft_deleted.v1.0.0",
            Event::SoftDeleted(SoftDeleted {
                deletion_id: DELETION,
                deleted_at,
                parent: Some(Parent {
                    entity_type: Some(EntityType::Projects),
                    id: "497f6eca-6276-4993-bfeb-53cbbbba6f08".into(),
                }),
                storage_count: 1,
            }),
        ),
        (
            "soft_deleted.v1.0.0.untyped-parent",
            Event::SoftDeleted(SoftDeleted {
                deletion_id: DELETION,
                deleted_at,
                parent: Some(Parent {
                    entity_type: None,
                    id: "497f6eca-6276-4993-bfeb-53cbbbba6f08".into(),
                }),
                storage_count: 0,
            }),
        ),
        (
            "soft_deleted.v1.0.0.bare",
            Event::SoftDeleted(SoftDeleted {
                deletion_id: DELETION,
                deleted_at: DateTime::from_timestamp_micros(1_760_000_000_000_000).unwrap(),
                parent: None,
                storage_count: 0,
            }),
        ),
        (
            "restored.v1.0.0",
            Event::Restored(Restored {
                deletion_id: DELETION,
            }),
        ),
        (
            "purge_requested.v1.0.0",
            Event::PurgeRequested(PurgeRequested {
                purge_id: PURGE,
                deletion_id: Some(DELETION),
                storage_count: 3,
                callback: true,
            }),
        ),
        (
            "purge_requested.v1.0.0.bare",
            Event::PurgeRequested(PurgeRequested {
                purge_id: PURGE,
                deletion_id: None,
                storage_count: 0,
                callback: false,
            }),
        ),
        (
            "purged.v1.0.0",
            Event::Purged(Purged {
                purge_id: PURGE,
                objects: 41,
                bytes: 5_000_000_000,
                at_least: false,
                forced: false,
                skipped: 0,
            }),
        ),
        (
            "purged.v1.0.0.forced",
            Event::Purged(Purged {
                purge_id: PURGE,
                objects: 48,
                bytes: 5_000_001_024,
                at_least: false,
                forced: true,
                skipped: 1,
            }),
        ),
        (
            "purged.v1.0.0.at-least",
            Event::Purged(Purged {
                purge_id: PURGE,
                objects: 838,
                bytes: 8380,
                at_least: true,
                forced: false,
                skipped: 0,
            }),
        ),
        (
            "purge_forced.v1.0.0",
            Event::PurgeForced(PurgeForced {
                purge_id: PURGE,
                obligations: vec![
                    ForcedObligation {
                        ordinal: 1,
                        skipped: false,
                        objects: 41,
                        bytes: 5_000_000_000,
                        at_least: false,
                    },
                    ForcedObligation {
                        ordinal: 2,
                        skipped: true,
                        objects: 7,
                        bytes: 1024,
                        at_least: false,
                    },
                ],
                reason_sealed: "AWJ5dGVzIHRoYXQgb25seSB0aGUga2V5cmluZyBvcGVucw==".into(),
            }),
        ),
        (
            "purge_forced.v1.0.0.at-least",
            Event::PurgeForced(PurgeForced {
                purge_id: PURGE,
                obligations: vec![
                    ForcedObligation {
                        ordinal: 1,
                        skipped: false,
                        objects: 41,
                        bytes: 5_000_000_000,
                        at_least: false,
                    },
                    ForcedObligation {
                        ordinal: 2,
                        skipped: true,
                        objects: 7,
                        bytes: 1024,
                        at_least: true,
                    },
                ],
                reason_sealed: "AWJ5dGVzIHRoYXQgb25seSB0aGUga2V5cmluZyBvcGVucw==".into(),
            }),
        ),
        (
            "purge_failed.v1.0.0.at-least",
            Event::PurgeFailed(PurgeFailed {
                purge_id: PURGE,
                objects: 7,
                bytes: 1024,
                at_least: true,
                error: "the storage cannot be reached".into(),
            }),
        ),
        (
            "purge_failed.v1.0.0",
            Event::PurgeFailed(PurgeFailed {
                purge_id: PURGE,
                objects: 7,
                bytes: 1024,
                at_least: false,
                error: "the storage refused the deletion of 34 objects".into(),
            }),
        ),
    ]
}

#[test]
fn every_event_is_written_as_its_golden_file_says() {
    for (name, event) in golden() {
        assert_eq!(serde_json::to_value(&event).unwrap(), read(name), "{name}");
    }
}

#[test]
fn every_golden_file_is_read_as_the_event_that_it_stands_for() {
    for (name, event) in golden() {
        assert_eq!(stored(name, read(name)), event, "{name}");
    }
}

#[test]
fn every_event_has_a_golden_file_of_its_version_and_every_file_has_an_event() {
    let mut names = BTreeSet::new();
    for (file, event) in golden() {
        let stem = format!("{}.v{}", event.event_type(), event.event_version());
        assert!(file == stem || file.starts_with(&format!("{stem}.")), "{file}");
        assert!(names.insert(file), "{file} twice");
    }
    for name in EventName::ALL {
        let event = golden().into_iter().find(|(_, event)| event.name() == name);
        assert!(event.is_some(), "{name} has no golden file");
    }
    let files: BTreeSet<String> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_suffix(".json").unwrap().to_owned()
        })
        .collect();
    assert_eq!(files, names.into_iter().map(ToOwned::to_owned).collect());
}

#[test]
fn fields_that_a_later_version_added_do_not_keep_an_event_from_being_read() {
    for (name, event) in golden() {
        let mut payload = read(name);
        let fields = payload.as_object_mut().unwrap();
        fields.insert("added_later".into(), json!({ "deep": [1, null] }));
        assert_eq!(stored(name, payload), event, "{name}");
    }
}

#[test]
fn a_stored_event_that_lacks_a_fact_is_refused_instead_of_guessed() {
    for (name, event) in golden() {
        let whole = read(name);
        for field in whole.as_object().unwrap().keys() {
            let mut payload = whole.clone();
            payload.as_object_mut().unwrap().remove(field);
            let optional = matches!(
                (event.name(), field.as_str()),
                (EventName::Registered, "dataset_id" | "space_id")
                    | (EventName::SoftDeleted, "parent")
                    | (EventName::PurgeRequested, "deletion_id")
                    // Added within the version: an event without them was not forced.
                    | (EventName::Purged, "forced" | "skipped")
                    // Added within the version: counts without it are exact, as far as their time knew.
                    | (EventName::Purged | EventName::PurgeFailed, "at_least")
            );
            let read = serde_json::from_value::<Event>(payload);
            assert_eq!(read.is_ok(), optional, "{name} without {field}");
        }
    }
}

#[test]
fn no_golden_file_holds_a_field_for_what_is_sealed() {
    for (name, _) in golden() {
        for sealed in ["name", "metadata", "reason", "description", "storage", "url"] {
            assert!(read(name).get(sealed).is_none(), "{name} holds {sealed}");
        }
    }
}

#[test]
fn the_aggregate_type_and_the_event_names_are_the_ones_in_every_log_so_far() {
    assert_eq!(ArchivedEntity::TYPE, "archived_entity");
    let names: BTreeMap<&str, EventName> = EventName::ALL
        .into_iter()
        .map(|name| (name.as_str(), name))
        .collect();
    assert_eq!(
        names.keys().copied().collect::<Vec<_>>(),
        [
            "purge_failed",
            "purge_forced",
            "purge_requested",
            "purged",
            "registered",
            "restored",
            "soft_deleted"
        ]
    );
    for (text, name) in names {
        assert_eq!(text.parse(), Ok(name));
        assert_eq!(serde_json::to_value(name).unwrap(), json!(text));
    }
    assert!("SoftDeleted".parse::<EventName>().is_err());
}

/// Reads a payload the way the store does: through the upcasters.
fn stored(file: &str, payload: Value) -> Event {
    let (event_type, rest) = file.split_once(".v").unwrap();
    let version: Vec<&str> = rest.split('.').take(3).collect();
    let serialized = SerializedEvent::new(
        "users:1".into(),
        1,
        ArchivedEntity::TYPE.into(),
        event_type.into(),
        version.join("."),
        payload,
        json!({}),
    );
    let current = upcasters().iter().fold(serialized, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    });
    serde_json::from_value(current.payload).unwrap()
}

fn read(name: &str) -> Value {
    let path = directory().join(format!("{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn directory() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
