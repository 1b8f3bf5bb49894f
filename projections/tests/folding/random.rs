//! Random logs.

use super::{Log, key, noon};
use archive_ledger_domain::{ArchivedEntity, CleanupOutcome, Command, ForcedObligation, Rejection};
use chrono::TimeDelta;
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use uuid::Uuid;

/// A log that the aggregate would have recorded: random commands to a few entities, refusals left out.
pub fn random_log(random: &mut Random, commands: u32) -> Log {
    let mut entities: BTreeMap<u32, ArchivedEntity> = BTreeMap::new();
    let mut log = Vec::new();
    for number in 0..commands {
        let which = random.below(6);
        let entity = entities.entry(which).or_default();
        let command = random_command(random, which, number, entity);
        let decided = pin!(async {
            let sink = EventSink::default();
            entity.handle(command, &(), &sink).await?;
            Ok::<_, Rejection>(sink.collect().await)
        });
        // The aggregate waits for nothing: one look is enough.
        let Poll::Ready(decided) = decided.poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the aggregate waits");
        };
        log.extend(
            decided
                .unwrap_or_default()
                .into_iter()
                .map(|event| (key(which), event)),
        );
    }
    log
}

fn random_command(random: &mut Random, which: u32, number: u32, entity: &ArchivedEntity) -> Command {
    let id = Uuid::from_u128(u128::from(number) + 1);
    match random.below(9) {
        8 => Command::ForcePurge {
            purge_id: entity.purge_id().unwrap_or(id),
            obligations: vec![ForcedObligation {
                ordinal: 1,
                skipped: true,
                objects: 3,
                bytes: 4,
                at_least: false,
            }],
            reason_sealed: "c2VhbGVk".into(),
        },
        0 => Command::Register {
            dataset_id: Some("dataset".into()),
            space_id: Some("space".into()),
            storage_count: random.below(2),
            callback: random.below(2) == 0,
        },
        1..=3 => Command::SoftDelete {
            deletion_id: id,
            deleted_at: noon() - TimeDelta::seconds(i64::from(random.below(1000))),
            parent: None,
            storage_count: random.below(3),
        },
        4 => Command::Restore,
        5 => Command::RequestPurge {
            purge_id: id,
            entity_type: key(which).entity_type(),
            callback: false,
            join: random.below(2) == 0,
        },
        outcome => Command::RecordCleanup {
            purge_id: entity.purge_id().unwrap_or(id),
            outcome: if outcome == 6 {
                CleanupOutcome::Done {
                    objects: 1,
                    bytes: 2,
                    at_least: false,
                }
            } else {
                CleanupOutcome::Failed {
                    objects: 0,
                    bytes: 0,
                    at_least: false,
                    error: "unreachable".into(),
                }
            },
        },
    }
}

/// SplitMix64: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % u64::from(bound)) as u32
    }
}
