//! Claims on storage: they come and go with the events that name it, and say exactly whose a place is.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a contract that is broken says where by panicking"
)]

use super::{Claimants, Whom};
use crate::claims;
use crate::keyring::Details;
use crate::ledger::writer::Proposal;
use crate::store::contract::{
    ContractStore, cleaned, fresh_id, fresh_key, gave_up, proposal, purge, register, report, restore,
    soft_delete,
};
use crate::store::log::contract::verified;
use archive_ledger_domain::{Command, EntityKey, EntityType, ForcedObligation, State};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A place, as a stranger would write it down: its scheme and bucket, and then folder by folder.
type Plain = Vec<String>;

/// Numbers that look random, and are the same in every run.
struct Numbers(u64);

impl Numbers {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn place(&mut self) -> Plain {
        let mut place = vec![["file:///", "s3://b/", "gs://b/"][self.below(3)].to_owned()];
        for _ in 0..=self.below(3) {
            place.push(["a", "b", "a b"][self.below(3)].to_owned());
        }
        place
    }

    fn places(&mut self) -> Vec<Plain> {
        (0..self.below(3)).map(|_| self.place()).collect()
    }

    /// One of the spellings of a place.
    fn spell(&mut self, place: &Plain) -> String {
        let folders: Vec<String> = place[1..]
            .iter()
            .map(|name| match self.below(3) {
                0 => name.clone(),
                1 => name.replace(' ', "%20"),
                _ => name.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            })
            .collect();
        let slash = ["", "/"][self.below(2)];
        format!("{}{}{slash}", place[0], folders.join("/"))
    }
}

/// What the log says of an entity, in plain words.
#[derive(Default)]
struct Plainly {
    state: State,
    registered: Vec<Plain>,
    deleted: Vec<Plain>,
    undone: Vec<Plain>,
    purge_id: Uuid,
}

impl Plainly {
    fn claims(&self) -> impl Iterator<Item = &Plain> {
        let standing = self.state != State::Purged;
        self.registered
            .iter()
            .chain(&self.deleted)
            .filter(move |_| standing)
    }

    const fn is_being_purged(&self) -> bool {
        matches!(self.state, State::Purging | State::PurgeFailed)
    }
}

fn overlap(one: &Plain, other: &Plain) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn naming(base: Proposal, storage: Vec<String>) -> Proposal {
    Proposal {
        details: Details {
            storage,
            ..base.details.clone()
        },
        ..base
    }
}

fn force(key: &EntityKey, purge_id: Uuid) -> Proposal {
    let obligation = ForcedObligation {
        ordinal: 1,
        skipped: true,
        objects: 0,
        bytes: 0,
        at_least: false,
    };
    proposal(
        key,
        Command::ForcePurge {
            purge_id,
            obligations: vec![obligation],
            reason_sealed: "eA==".into(),
        },
    )
}

/// A command that an entity may be given, and what it makes of it.
fn step(numbers: &mut Numbers, key: &EntityKey, entity: &mut Plainly) -> Proposal {
    match entity.state {
        State::Unknown if key.entity_type() == EntityType::Archives && numbers.below(2) == 0 => {
            entity.registered = numbers.places();
            entity.state = State::Live;
            let storage: Vec<_> = entity
                .registered
                .iter()
                .map(|place| numbers.spell(place))
                .collect();
            naming(register(key, u32::try_from(storage.len()).unwrap()), storage)
        }
        State::Unknown | State::Live => {
            if entity.state == State::Live
                && key.entity_type() == EntityType::Archives
                && numbers.below(4) == 0
            {
                return ask(key, entity);
            }
            entity.deleted = numbers.places();
            entity.state = State::Archived;
            let storage: Vec<_> = entity.deleted.iter().map(|place| numbers.spell(place)).collect();
            naming(soft_delete(key, u32::try_from(storage.len()).unwrap()), storage)
        }
        State::Archived if numbers.below(2) == 0 => {
            entity.undone.append(&mut entity.deleted);
            entity.state = State::Live;
            restore(key)
        }
        State::Archived | State::PurgeFailed if numbers.below(3) > 0 || entity.state == State::Archived => {
            ask(key, entity)
        }
        State::PurgeFailed => {
            entity.state = State::Purged;
            force(key, entity.purge_id)
        }
        State::Purging => match numbers.below(3) {
            0 => {
                entity.state = State::PurgeFailed;
                report(key, entity.purge_id, gave_up())
            }
            1 => {
                entity.state = State::Purged;
                force(key, entity.purge_id)
            }
            _ => {
                entity.state = State::Purged;
                report(key, entity.purge_id, cleaned())
            }
        },
        State::Archived | State::Purged => unreachable!("nothing is asked of it any more"),
    }
}

fn ask(key: &EntityKey, entity: &mut Plainly) -> Proposal {
    entity.purge_id = fresh_id();
    entity.state = if entity.claims().next().is_some() {
        State::Purging
    } else {
        State::Purged
    };
    proposal(
        key,
        Command::RequestPurge {
            purge_id: entity.purge_id,
            entity_type: key.entity_type(),
            callback: false,
            join: false,
        },
    )
}

async fn asked(store: &ContractStore, uri: &str, except: &EntityKey, whom: Whom) -> Claimants {
    let place = store.keyring.place(uri).unwrap();
    let claims = store.backend.claims();
    claims.claimants(&[place], except, whom, 50).await.unwrap()
}

/// Every question has the answer that the plain words give.
async fn assert_answers(store: &ContractStore, numbers: &mut Numbers, model: &BTreeMap<EntityKey, Plainly>) {
    let stranger = fresh_key(EntityType::Servers);
    for _ in 0..6 {
        let place = numbers.place();
        let uri = numbers.spell(&place);
        let except = match numbers.below(3) {
            0 => &stranger,
            _ => model.keys().nth(numbers.below(model.len())).unwrap(),
        };
        for whom in [Whom::All, Whom::NotPurged] {
            let mut expected: Vec<EntityKey> = model
                .iter()
                .filter(|(key, _)| *key != except)
                .filter(|(_, entity)| whom == Whom::All || !entity.is_being_purged())
                .filter(|(_, entity)| entity.claims().any(|claimed| overlap(claimed, &place)))
                .map(|(key, _)| key.clone())
                .collect();
            expected.sort_by_key(EntityKey::stream_id);
            let found = asked(store, &uri, except, whom).await;
            assert_eq!(found.first, expected, "{uri} {whom:?}");
            let count = u64::try_from(expected.len()).unwrap();
            assert_eq!(
                (found.count, found.at_least, found.complete),
                (count, false, true)
            );
        }
    }
}

/// What undone deletions named, of the entities that `of` picks.
async fn assert_left(
    store: &ContractStore,
    model: &BTreeMap<EntityKey, Plainly>,
    of: impl Fn(&Plainly) -> bool,
) {
    let mut expected = Vec::new();
    for (key, entity) in model.iter().filter(|(_, entity)| of(entity)) {
        for place in &entity.undone {
            let uri = format!("{}{}", place[0], place[1..].join("/"));
            expected.push((key.clone(), store.keyring.place(&uri).unwrap()));
        }
    }
    let (mut found, mut after) = (Vec::new(), (0, 0));
    loop {
        // A page that is smaller than what there is.
        let page = store.backend.claims().left_places(after, 3).await.unwrap();
        let Some(next) = page.next else { break };
        after = next;
        found.extend(page.rows.into_iter().map(|one| {
            let one = one.unwrap();
            assert!(one.restored > one.position);
            (one.key, one.place)
        }));
    }
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

/// Random lives over a small tree of places, in batches of several commands: whoever claims a place is who names it by a record
/// that stands, in whatever spelling, and nobody else.
pub async fn who_claims_a_place_is_who_names_it_by_a_record_that_stands(store: ContractStore) {
    let mut numbers = Numbers(0xc1a1);
    let types = [EntityType::Archives, EntityType::Backups, EntityType::Users];
    let keys: Vec<_> = (0..60).map(|number| fresh_key(types[number % 3])).collect();
    let mut model: BTreeMap<EntityKey, Plainly> =
        keys.iter().map(|key| (key.clone(), Plainly::default())).collect();
    for _ in 0..70 {
        let mut batch = Vec::new();
        for _ in 0..=numbers.below(5) {
            let alive: Vec<&EntityKey> = keys
                .iter()
                .filter(|key| model[*key].state != State::Purged)
                .collect();
            let Some(key) = alive.get(numbers.below(alive.len().max(1))) else {
                break;
            };
            let entity = model.get_mut(*key).unwrap();
            batch.push(step(&mut numbers, key, entity));
        }
        for answer in store.batch(batch).await {
            answer.unwrap();
        }
        assert_answers(&store, &mut numbers, &model).await;
    }
    assert!(
        model
            .values()
            .any(|entity| entity.state == State::Purged && !entity.undone.is_empty())
    );
    assert!(model.values().any(|entity| entity.claims().next().is_some()));
    assert_left(&store, &model, |_| true).await;
    let claims = store.backend.claims();
    let (found, reached) = claims::compare(&*claims, &store.keyring, false).await.unwrap();
    assert_eq!(
        (found.rows(), reached),
        (0, store.reads.head().await.unwrap().position)
    );

    // A ledger that is older than its claims: they are computed, save for what can be opened no more.
    store.backend.forget_claims(0).await;
    let any = asked(&store, "file:///a", &keys[0], Whom::All).await;
    assert!(any.count == 0 && !any.complete);
    assert!(claims::complete(&*claims, &store.keyring).await.unwrap() > 0);
    for _ in 0..10 {
        assert_answers(&store, &mut numbers, &model).await;
    }
    assert_left(&store, &model, |entity| entity.state != State::Purged).await;
    let (found, _) = claims::compare(&*claims, &store.keyring, false).await.unwrap();
    assert_eq!(found.rows(), 0);
    verified(&store).await;
}

/// Claims are filled in beside a writer that never rests, none is missing in the end, and none is left of what was purged.
pub async fn claims_are_filled_in_beside_a_writer_that_never_rests(store: ContractStore) {
    let keys: Vec<_> = (0..300).map(|_| fresh_key(EntityType::Backups)).collect();
    for chunk in keys.chunks(50) {
        store
            .batch(chunk.iter().map(|key| soft_delete(key, 2)).collect())
            .await;
    }
    store.backend.forget_claims(0).await;
    let writer = store.writer().await;
    let claims = store.backend.claims();
    let traffic = async {
        for key in &keys[..100] {
            let receipt = writer.handle.submit(purge(key)).await.unwrap();
            let done = report(key, receipt.purge_id.unwrap(), cleaned());
            writer.handle.submit(done).await.unwrap();
            writer
                .handle
                .submit(soft_delete(&fresh_key(EntityType::Servers), 1))
                .await
                .unwrap();
        }
    };
    let filling = async {
        // Two instances at once.
        let (one, two) = tokio::join!(
            claims::complete(&*claims, &store.keyring),
            claims::complete(&*claims, &store.keyring)
        );
        one.unwrap();
        two.unwrap();
    };
    tokio::join!(traffic, filling);
    writer.stop().await;
    assert!(claims.claims_completeness().await.unwrap().is_complete());
    let (found, reached) = claims::compare(&*claims, &store.keyring, false).await.unwrap();
    assert_eq!((found.rows(), reached), (0, 600), "{found:?}");
}

/// A version that knows no claims has appended beside this one: what it recorded is found, and what it purged is let go of.
pub async fn what_an_older_version_recorded_is_made_up_for(store: ContractStore) {
    let [gone, kept, new] = [(); 3].map(|()| fresh_key(EntityType::Archives));
    let uri = || vec!["file:///srv/shared".to_owned()];
    store.one(naming(soft_delete(&gone, 1), uri())).await.unwrap();
    store.one(naming(register(&kept, 1), uri())).await.unwrap();
    let claims = store.backend.claims();
    assert!(claims.claims_completeness().await.unwrap().is_complete());
    let purge_id = store.one(purge(&gone)).await.unwrap().purge_id.unwrap();
    store.one(report(&gone, purge_id, cleaned())).await.unwrap();
    store.one(naming(soft_delete(&new, 1), uri())).await.unwrap();
    // As it would have left it: nothing written from the third event on, and nothing let go of.
    store.backend.forget_claims(2).await;
    store.backend.copy_claims(2, 1).await;
    let left = claims::compare(&*claims, &store.keyring, false).await.unwrap();
    assert_eq!((left.0.rows(), left.1), (0, 2), "{left:?}");
    claims::complete(&*claims, &store.keyring).await.unwrap();
    let found = asked(
        &store,
        "file:///srv/shared",
        &fresh_key(EntityType::Users),
        Whom::All,
    )
    .await;
    let mut expected = vec![kept.clone(), new.clone()];
    expected.sort_by_key(EntityKey::stream_id);
    assert_eq!((found.first, found.complete), (expected, true));
    // Whoever appends now leaves them complete.
    store.one(restore(&new)).await.unwrap();
    assert!(claims.claims_completeness().await.unwrap().is_complete());
    let found = asked(
        &store,
        "file:///srv/shared",
        &fresh_key(EntityType::Users),
        Whom::All,
    )
    .await;
    assert_eq!(found.first, [kept]);
}

/// What was changed behind the ledger's back is found, and set right.
pub async fn claims_that_were_changed_are_found_and_set_right(store: ContractStore) {
    let keys: Vec<_> = (0..4).map(|_| fresh_key(EntityType::Backups)).collect();
    for key in &keys {
        store.one(soft_delete(key, 2)).await.unwrap();
    }
    let claims = store.backend.claims();
    store.backend.tamper_with_claims().await;
    let (found, _) = claims::compare(&*claims, &store.keyring, false).await.unwrap();
    assert_eq!((found.missing, found.surplus), (3, 1), "{found:?}");
    let (found, _) = claims::compare(&*claims, &store.keyring, true).await.unwrap();
    assert_eq!(found.rows(), 4);
    let (found, _) = claims::compare(&*claims, &store.keyring, false).await.unwrap();
    assert_eq!(found.rows(), 0, "{found:?}");
    let storage = crate::store::contract::details(&keys[0], 2).storage;
    let found = asked(&store, &storage[0], &keys[1], Whom::NotPurged).await;
    assert_eq!(found.first, keys[..1]);
}

/// A folder that very many have something in is looked at for a bounded time, and nobody is told that it is free.
pub async fn a_place_with_very_many_claims_is_never_taken_for_free(store: ContractStore) {
    let deletions = |count: usize, storage: usize| -> Vec<Proposal> {
        (0..count)
            .map(|number| {
                let uris = (0..storage).map(|one| format!("file:///srv/many/{number}/{one}"));
                naming(
                    soft_delete(&fresh_key(EntityType::Backups), u32::try_from(storage).unwrap()),
                    uris.collect(),
                )
            })
            .collect()
    };
    for _ in 0..3 {
        for answer in store.batch(deletions(50, 80)).await {
            answer.unwrap();
        }
    }
    let stranger = fresh_key(EntityType::Users);
    let found = asked(&store, "file:///srv/many", &stranger, Whom::NotPurged).await;
    assert!(
        found.at_least && found.count >= 100 && found.first.len() == 50,
        "{found:?}"
    );
    let found = asked(
        &store,
        "file:///srv/many/7/3/deep/below",
        &stranger,
        Whom::NotPurged,
    )
    .await;
    assert_eq!((found.count, found.at_least), (3, false));
    let found = asked(&store, "file:///srv/many/7/300", &stranger, Whom::NotPurged).await;
    assert_eq!(found.count, 0);
}
