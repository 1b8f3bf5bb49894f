//! One example of each event, for those who write a subscriber: made as every message is made.

use super::CloudEvent;
use crate::store::StoredEvent;
use archive_ledger_domain::{
    EntityKey, EntityType, Event, EventMetadata, EventName, ForcedObligation, InvalidId, PurgeFailed,
    PurgeForced, PurgeRequested, Purged, Registered, Restored, SoftDeleted,
};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// 2026-03-04T05:06:07.000089Z, in microseconds since 1970.
const RECORDED_AT: i64 = 1_772_600_767_000_089;

/// An event of that name with this `source` ([`super::Source`]).
///
/// # Errors
/// None that this module can cause; those of [`EntityKey::new`].
pub fn example(name: EventName, source: &str) -> Result<CloudEvent, InvalidId> {
    let recorded_at = DateTime::from_timestamp_micros(RECORDED_AT).unwrap_or_default();
    // What can only be registered is an archive; the rest is the life of one backup.
    let key = match name {
        EventName::Registered => EntityKey::new(EntityType::Archives, "4b2b4c4f8d1d0f6b8a5c")?,
        EventName::SoftDeleted
        | EventName::Restored
        | EventName::PurgeRequested
        | EventName::Purged
        | EventName::PurgeFailed
        | EventName::PurgeForced => {
            EntityKey::new(EntityType::Backups, "497f6eca-6276-4993-bfeb-53cbbbba6f08")?
        }
    };
    let sequence = match name {
        EventName::Registered | EventName::SoftDeleted => 1,
        EventName::Restored | EventName::PurgeRequested => 2,
        EventName::Purged | EventName::PurgeFailed | EventName::PurgeForced => 3,
    };
    let stored = StoredEvent {
        position: 41 + sequence,
        event_id: id(1),
        key,
        sequence,
        recorded_at,
        event: event(name, recorded_at),
        metadata: EventMetadata::internal("example", None),
        command_id: id(2),
        sealed: None,
        entry: Vec::new(),
        leaf: [0; 32],
    };
    Ok(CloudEvent::new(&stored, source))
}

fn event(name: EventName, recorded_at: DateTime<Utc>) -> Event {
    let (deletion_id, purge_id) = (id(3), id(4));
    match name {
        EventName::Registered => Event::Registered(Registered {
            dataset_id: Some("dataset-1".to_owned()),
            space_id: Some("space-1".to_owned()),
            storage_count: 1,
            callback: true,
        }),
        EventName::SoftDeleted => Event::SoftDeleted(SoftDeleted {
            deletion_id,
            deleted_at: recorded_at - TimeDelta::minutes(5),
            parent: None,
            storage_count: 1,
        }),
        EventName::Restored => Event::Restored(Restored { deletion_id }),
        EventName::PurgeRequested => Event::PurgeRequested(PurgeRequested {
            purge_id,
            deletion_id: Some(deletion_id),
            storage_count: 1,
            callback: true,
        }),
        EventName::Purged => Event::Purged(Purged {
            purge_id,
            objects: 1_204,
            bytes: 73_014_444_032,
            at_least: false,
            forced: false,
            skipped: 0,
        }),
        EventName::PurgeFailed => Event::PurgeFailed(PurgeFailed {
            purge_id,
            objects: 1_200,
            bytes: 73_014_440_000,
            at_least: false,
            error: String::new(),
        }),
        EventName::PurgeForced => Event::PurgeForced(PurgeForced {
            purge_id,
            obligations: vec![ForcedObligation {
                ordinal: 1,
                skipped: true,
                objects: 1_200,
                bytes: 73_014_440_000,
                at_least: false,
            }],
            reason_sealed: String::new(),
        }),
    }
}

/// A UUID of version 7 that no service gives out.
const fn id(last: u8) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + last as u128)
}
