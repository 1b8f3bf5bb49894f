//! Random histories: what is asked of a few entities, whatever they are by then.

use std::collections::HashMap;

use archive_ledger::store::contract::noon;
use archive_ledger_domain::{CleanupOutcome, Command, EntityKey, EntityType, ForcedObligation, Parent};
use chrono::TimeDelta;
use uuid::Uuid;

/// How many commands an entity gets, on average.
const COMMANDS_PER_ENTITY: usize = 12;

/// One command.
#[derive(Debug, Clone)]
pub struct Step {
    /// To whom.
    pub key: EntityKey,
    /// What is asked.
    pub command: Command,
}

/// The commands of a seed, in their order.
pub fn histories(seed: u64, commands: usize) -> Vec<Step> {
    let mut random = Random(seed);
    let entities = (commands / COMMANDS_PER_ENTITY) as u64;
    let mut purges: HashMap<u64, Vec<Uuid>> = HashMap::new();
    (0..commands)
        .map(|number| {
            let which = random.below(entities);
            let key = key(which);
            let asked = purges.entry(which).or_default();
            let id = Uuid::from_u128((u128::from(which) << 64) + number as u128);
            let command = command(&mut random, id, key.entity_type(), asked);
            Step { key, command }
        })
        .collect()
}

/// An entity, of each type in turn.
fn key(which: u64) -> EntityKey {
    let entity_type = EntityType::ALL[which as usize % EntityType::ALL.len()];
    EntityKey::new(entity_type, &Uuid::from_u128(u128::from(which)).to_string()).unwrap()
}

/// `asked`: the purges that were asked for, whether they were refused or not; mostly the latest is meant.
fn command(random: &mut Random, id: Uuid, entity_type: EntityType, asked: &mut Vec<Uuid>) -> Command {
    let meant = if random.below(5) == 0 {
        asked.first()
    } else {
        asked.last()
    };
    let meant = meant.copied().unwrap_or(id);
    let storage_count = random.below(4) as u32;
    match random.below(24) {
        0..=2 => Command::Register {
            dataset_id: (random.below(2) == 0).then(|| format!("dataset-{id}")),
            space_id: (random.below(2) == 0).then(|| format!("space-{id}")),
            storage_count,
            callback: random.below(2) == 0,
        },
        3..=10 => Command::SoftDelete {
            deletion_id: id,
            // Few enough that some are deleted at the same time.
            deleted_at: noon() - TimeDelta::seconds(random.below(30) as i64),
            parent: (random.below(3) == 0).then(|| Parent {
                entity_type: Some(EntityType::Projects),
                id: id.to_string(),
            }),
            storage_count,
        },
        11..=16 => Command::Restore,
        17..=18 => {
            asked.push(id);
            Command::RequestPurge {
                purge_id: id,
                entity_type,
                callback: random.below(2) == 0,
                join: random.below(3) == 0,
            }
        }
        19 => Command::RecordCleanup {
            purge_id: meant,
            outcome: CleanupOutcome::Done {
                objects: random.below(1_000),
                bytes: random.below(1 << 40),
                at_least: random.below(2) == 0,
            },
        },
        20..=22 => Command::RecordCleanup {
            purge_id: meant,
            outcome: CleanupOutcome::Failed {
                objects: random.below(1_000),
                bytes: random.below(1 << 40),
                at_least: random.below(2) == 0,
                error: "the storage refused".into(),
            },
        },
        _ => Command::ForcePurge {
            purge_id: meant,
            obligations: (1..=3)
                .map(|ordinal| ForcedObligation {
                    ordinal,
                    skipped: random.below(3) == 0,
                    objects: random.below(1_000),
                    bytes: random.below(1 << 40),
                    at_least: random.below(2) == 0,
                })
                .collect(),
            reason_sealed: "c2VhbGVk".into(),
        },
    }
}

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
