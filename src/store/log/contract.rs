//! The log holds together: no gap, every hash what it says it is, every commitment kept.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a contract that is broken says where by panicking"
)]

use crate::keyring::DataKey;
use crate::merkle::entry::{Payload, entry_hash, entry_time, payload_commitment};
use crate::merkle::sha256;
use crate::store::contract::{
    ContractStore, cleaned, fresh_key, gave_up, proposal, purge, register, report, restore, soft_delete,
};
use crate::store::{Hash, StoredEvent};
use archive_ledger_domain::{ArchivedEntity, Command, EntityType, EventName, State};
use cqrs_es::Aggregate;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// More events than any contract records.
const WHOLE_LOG: u32 = 100_000;

/// The whole log, after a proof that it holds together:
///
/// - positions and sequences have no gap, recording times never go back;
/// - each leaf is `SHA-256(0x00 ‖ entry)`, each entry is RFC 8785 JSON and says what the event's row says;
/// - the commitments to payload and sealed details open;
/// - the head's root is that of RFC 6962 over all leaves, recomputed from nothing.
pub async fn verified(store: &ContractStore) -> Vec<StoredEvent> {
    let log = store.reads.log_after(0, &[], WHOLE_LOG).await.unwrap();
    let head = store.reads.head().await.unwrap();
    assert_eq!(head.position, log.len() as u64, "the head counts the events");
    assert_eq!(head.recorded_at, log.last().map(|event| event.recorded_at));
    let leaves: Vec<Hash> = log.iter().map(|event| event.leaf).collect();
    assert_eq!(
        head.root,
        tree_hash(&leaves),
        "the root of {} leaves",
        leaves.len()
    );

    let salts = store.backend.salts().await;
    let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
    let mut last_time = None;
    for (index, event) in log.iter().enumerate() {
        assert_eq!(event.position, index as u64 + 1, "positions have no gap");
        assert!(
            last_time <= Some(event.recorded_at),
            "time went back at {}",
            event.position
        );
        last_time = Some(event.recorded_at);
        let stream_id = event.key.stream_id();
        if !streams.contains_key(&stream_id) {
            streams.insert(stream_id.clone(), Stream::open(store, event).await);
        }
        let stream = streams.get_mut(&stream_id).unwrap();
        stream.version += 1;
        assert_eq!(event.sequence, stream.version, "{stream_id} has no gap");
        check_entry(store, event, stream, &salts[index]);
        stream.previous = Some(event.leaf);
        stream.entity.apply(event.event.clone());
    }
    let traces = store.backend.traces().await;
    for (stream_id, stream) in &streams {
        let traces = traces.get(stream_id).copied().unwrap_or_default();
        let purged = stream.entity.state() == State::Purged;
        assert_eq!(
            traces.fences,
            i64::from(purged),
            "{stream_id} is fenced when purged"
        );
        if purged {
            assert_eq!((traces.keys, traces.sealed), (0, 0), "{stream_id} was erased");
        }
        let listed = stream.entity.state() == State::Archived;
        assert_eq!(
            traces.listed,
            i64::from(listed),
            "{stream_id} is listed when archived"
        );
        let owed = matches!(stream.entity.state(), State::Purging | State::PurgeFailed);
        assert_eq!(traces.owed, i64::from(owed), "{stream_id} is owed when purging");
    }
    let summary = store.reads.summary().await.unwrap();
    for entity_type in EntityType::ALL {
        let archived = streams
            .iter()
            .filter(|(stream_id, stream)| {
                stream_id.starts_with(&format!("{entity_type}:")) && stream.entity.state() == State::Archived
            })
            .count() as u64;
        // Types without any are absent.
        let expected = (archived > 0).then_some(archived);
        assert_eq!(
            summary.get(&entity_type).copied(),
            expected,
            "{entity_type} are counted"
        );
    }
    log
}

/// A stream as the proof goes through it.
struct Stream {
    version: u64,
    previous: Option<Hash>,
    entity: ArchivedEntity,
    data_key: Option<DataKey>,
}

impl Stream {
    async fn open(store: &ContractStore, event: &StoredEvent) -> Self {
        let found = store.reads.stream(&event.key).await.unwrap().unwrap();
        let data_key = found
            .data_key
            .map(|wrapped| store.keyring.unwrap(&event.key.stream_id(), &wrapped).unwrap());
        Self {
            version: 0,
            previous: None,
            entity: ArchivedEntity::default(),
            data_key,
        }
    }
}

fn check_entry(store: &ContractStore, event: &StoredEvent, stream: &Stream, salt: &Hash) {
    assert_eq!(event.leaf, sha256(&[&[0x00], &event.entry]), "the leaf hash");
    let entry: Value = serde_json::from_slice(&event.entry).unwrap();
    assert_eq!(
        serde_json_canonicalizer::to_vec(&entry).unwrap(),
        event.entry,
        "RFC 8785"
    );

    let stream_id = event.key.stream_id();
    let payload = serde_json::to_value(&event.event).unwrap();
    let metadata = serde_json::to_value(event.metadata.to_map()).unwrap();
    let content = Payload {
        payload: &payload,
        metadata: &metadata,
        actor: &event.metadata.actor,
    };
    let mut expected = json!({
        "v": 1,
        "pos": event.position,
        "eid": event.event_id,
        "sid": entry_hash(&store.keyring.stream_pseudonym(&stream_id)),
        "rev": event.sequence,
        "et": event.event.name(),
        "ev": event.event.version(),
        "at": entry_time(event.recorded_at),
        "act": entry_hash(&store.keyring.actor_pseudonym(&event.metadata.actor)),
        "cid": event.command_id,
        "p": entry_hash(&payload_commitment(salt, &content).unwrap()),
    });
    let fields = expected.as_object_mut().unwrap();
    if let Some(previous) = &stream.previous {
        fields.insert("sp".into(), json!(entry_hash(previous)));
    }
    match (&event.sealed, &stream.data_key) {
        (Some(sealed), Some(key)) => {
            let (_, commitment) = key.open_details(&stream_id, event.event_id, sealed).unwrap();
            fields.insert("c".into(), json!(entry_hash(&commitment)));
            fields.insert("kid".into(), json!(key.key_id()));
        }
        (Some(_), None) => panic!("{stream_id} holds sealed details without a key"),
        // What was erased leaves its commitment behind, which nobody can open any more.
        (None, _) => {
            for field in ["c", "kid"] {
                if let Some(value) = entry.get(field) {
                    fields.insert(field.into(), value.clone());
                }
            }
        }
    }
    assert_eq!(entry, expected, "the entry at {}", event.position);
}

/// The tree hash as RFC 6962, 2.1 defines it.
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            let (left, right) = leaves.split_at(split);
            sha256(&[&[0x01], &tree_hash(left), &tree_hash(right)])
        }
    }
}

/// Traffic of every kind leaves a log that anyone with the salts can verify.
pub async fn every_leaf_entry_and_commitment_is_what_the_log_says(store: ContractStore) {
    verified(&store).await;
    let mut waiting = Vec::new();
    for round in 0..8 {
        let archive = fresh_key(EntityType::Archives);
        let backup = fresh_key(EntityType::Backups);
        let bare = fresh_key(EntityType::Archives);
        let nothing_sealed = Command::Register {
            dataset_id: None,
            space_id: None,
            storage_count: 0,
            callback: false,
        };
        let answers = store
            .batch(vec![
                register(&archive, 2),
                soft_delete(&backup, round % 2),
                restore(&backup),
                soft_delete(&backup, 1),
                proposal(&bare, nothing_sealed),
                purge(&archive),
                purge(&bare),
            ])
            .await;
        for answer in &answers {
            assert!(answer.is_ok(), "{answer:?}");
        }
        waiting.push((archive, answers[5].as_ref().unwrap().purge_id.unwrap()));
        let log = verified(&store).await;
        assert_eq!(log.len() as u32, (round + 1) * 8 + round.div_ceil(2));
        // Reports between the rounds, so that streams are appended to across batches.
        if round % 2 == 0 {
            let (key, purge_id) = waiting.pop().unwrap();
            let outcome = if round % 4 == 0 { cleaned() } else { gave_up() };
            store.one(report(&key, purge_id, outcome)).await.unwrap();
        }
    }
    verified(&store).await;
}

/// Readers that follow the log get what they ask for, page by page, in order.
pub async fn the_log_is_read_in_order_page_by_page_and_by_name(store: ContractStore) {
    for _ in 0..3 {
        let (one, two) = (fresh_key(EntityType::Users), fresh_key(EntityType::Users));
        store
            .batch(vec![
                soft_delete(&one, 0),
                soft_delete(&two, 1),
                restore(&one),
                purge(&two),
                soft_delete(&one, 0),
                purge(&one),
            ])
            .await;
    }
    let log = verified(&store).await;
    assert_eq!(log.len(), 21);
    let wanted: [&[EventName]; 6] = [
        &[],
        &EventName::ALL,
        &[EventName::SoftDeleted],
        &[EventName::PurgeRequested],
        &[
            EventName::Purged,
            EventName::PurgeFailed,
            EventName::PurgeRequested,
        ],
        // A mix that the index over purges does not cover.
        &[EventName::Restored, EventName::Purged],
    ];
    for names in wanted {
        let expected: Vec<u64> = log
            .iter()
            .filter(|event| names.is_empty() || names.contains(&event.event.name()))
            .map(|event| event.position)
            .collect();
        for limit in [1, 4, 100] {
            let mut read = Vec::new();
            let mut after = 0;
            loop {
                let page = store.reads.log_after(after, names, limit).await.unwrap();
                assert!(page.len() <= limit as usize);
                let Some(last) = page.last() else { break };
                after = last.position;
                read.extend(page.iter().map(|event| event.position));
            }
            assert_eq!(read, expected, "{names:?} by {limit}");
        }
    }
    assert!(store.reads.log_after(21, &[], 10).await.unwrap().is_empty());
    assert!(store.reads.log_after(u64::MAX, &[], 10).await.unwrap().is_empty());
    let none = [EventName::Registered];
    assert!(store.reads.log_after(0, &none, 10).await.unwrap().is_empty());
    for (asked, expected) in [
        (vec![], vec![]),
        (vec![20, 3, 4, 3], vec![3, 4, 20]),
        (vec![22, 21, u64::MAX, 0], vec![21]),
    ] {
        let found = store.reads.log_at(&asked).await.unwrap();
        for event in &found {
            let same = &log[event.position as usize - 1];
            assert_eq!((event.event_id, event.leaf), (same.event_id, same.leaf));
        }
        let found: Vec<u64> = found.iter().map(|event| event.position).collect();
        assert_eq!(found, expected, "{asked:?}");
    }
}
