//! The counted pages of the archived list: whatever comes and goes, a page's number leads to its rows.

use crate::ledger::writer::Proposal;
use crate::store::contract::{ContractStore, RunningWriter, fresh_key, noon, purge, restore, soft_delete_at};
use crate::store::log::contract::verified;
use crate::store::{ListPage, PageSizes};
use archive_ledger_domain::{EntityKey, EntityType};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use std::collections::BTreeMap;

/// Small ones, so that a few hundred rows fill many.
const SIZES: PageSizes = PageSizes {
    page: 8,
    first: 6,
    group: 40,
};

const LISTED: EntityType = EntityType::Users;

/// The list as it should be: id and time of what is archived.
type Model = BTreeMap<String, DateTime<Utc>>;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

async fn small_paged_writer(store: &ContractStore) -> RunningWriter {
    let mut settings = store.settings();
    settings.pages = SIZES;
    store.backend.writer(settings).await.start()
}

async fn record(writer: &RunningWriter, proposals: Vec<Proposal>) {
    for answer in join_all(proposals.into_iter().map(|one| writer.handle.submit(one))).await {
        answer.unwrap();
    }
}

fn key(id: &str) -> EntityKey {
    EntityKey::new(LISTED, id).unwrap()
}

/// Every row is found by its number, in order, from every place on that is asked for.
async fn compare(store: &ContractStore, model: &Model, stride: usize) {
    let mut rows: Vec<(DateTime<Utc>, &str)> = model.iter().map(|(id, at)| (*at, id.as_str())).collect();
    rows.sort_by(|one, two| two.0.cmp(&one.0).then_with(|| one.1.cmp(two.1)));
    for skipped in (0..rows.len() + 2 * stride).step_by(stride) {
        let page = ListPage::Offset(skipped as u64);
        let page = store.reads.list(LISTED, &page, 9).await.unwrap();
        let found: Vec<_> = page
            .rows
            .iter()
            .map(|row| (row.deleted_at, row.key.id()))
            .collect();
        let wanted: Vec<_> = rows.iter().skip(skipped).take(9).copied().collect();
        assert_eq!(found, wanted, "after {skipped} of {}", rows.len());
        assert_eq!(
            (page.total, page.more),
            (rows.len() as u64, skipped + 9 < rows.len())
        );
    }
}

/// The counts are those of the rows, no page is much too large, and none is left behind empty but where it must be.
async fn sized(store: &ContractStore, model: &Model) {
    let counts = store.backend.page_counts(LISTED).await;
    assert_eq!(
        counts.iter().sum::<i64>(),
        i64::try_from(model.len()).unwrap(),
        "{counts:?}"
    );
    let pages = i64::try_from(counts.len()).unwrap();
    assert!(pages >= i64::try_from(model.len()).unwrap() / 80, "{pages} pages");
    let groups = store.backend.page_group_counts(LISTED).await;
    assert_eq!(
        groups.iter().sum::<i64>(),
        counts.iter().sum::<i64>(),
        "{groups:?}"
    );
}

/// Deletions of now and of long ago, many at one time, restores, purges, and entities that are deleted again elsewhere in the
/// list within one batch; by two writers in turn.
pub async fn a_page_number_leads_to_its_rows_whatever_comes_and_goes(store: ContractStore) {
    let writers = [small_paged_writer(&store).await, small_paged_writer(&store).await];
    let mut dice = Dice(42);
    let mut model = Model::new();
    for round in 0..60_u64 {
        let mut proposals = Vec::new();
        let mut touched = Vec::new();
        for number in 0..24 {
            let newest = noon() + TimeDelta::seconds(i64::try_from(round).unwrap());
            let deleted_at = match dice.below(8) {
                // Ties, in the middle of the list.
                0 => noon() - TimeDelta::hours(5),
                1 | 2 => noon() - TimeDelta::minutes(i64::try_from(dice.below(900)).unwrap()),
                _ => newest + TimeDelta::microseconds(number),
            };
            let listed: Vec<&String> = model.keys().filter(|id| !touched.contains(*id)).collect();
            let choice = dice.below(10);
            if choice < 6 || listed.is_empty() {
                let fresh = fresh_key(LISTED);
                proposals.push(soft_delete_at(&fresh, 0, deleted_at));
                model.insert(fresh.id().to_owned(), deleted_at);
                touched.push(fresh.id().to_owned());
                continue;
            }
            let chosen = listed[usize::try_from(dice.below(listed.len() as u64)).unwrap()].clone();
            touched.push(chosen.clone());
            match choice {
                6 => {
                    proposals.push(purge(&key(&chosen)));
                    model.remove(&chosen);
                }
                7 => {
                    proposals.extend([
                        restore(&key(&chosen)),
                        soft_delete_at(&key(&chosen), 0, deleted_at),
                    ]);
                    model.insert(chosen, deleted_at);
                }
                _ => {
                    proposals.push(restore(&key(&chosen)));
                    model.remove(&chosen);
                }
            }
        }
        record(&writers[usize::from(round % 5 == 4)], proposals).await;
        if round % 6 == 5 {
            compare(&store, &model, 7).await;
        }
    }
    assert!(model.len() > 300, "{} rows", model.len());
    compare(&store, &model, 1).await;
    sized(&store, &model).await;
    // Nearly all of it goes, oldest first; then new rows come.
    let mut oldest: Vec<(DateTime<Utc>, String)> = model.iter().map(|(id, at)| (*at, id.clone())).collect();
    oldest.sort();
    for gone in oldest[..oldest.len() - 5].chunks(30) {
        record(
            &writers[0],
            gone.iter().map(|(_, id)| restore(&key(id))).collect(),
        )
        .await;
        model.retain(|id, _| !gone.iter().any(|(_, gone)| gone == id));
        compare(&store, &model, 31).await;
    }
    for round in 0..20 {
        let fresh: Vec<EntityKey> = (0..10).map(|_| fresh_key(LISTED)).collect();
        let deleted_at = noon() + TimeDelta::hours(round);
        record(
            &writers[0],
            fresh
                .iter()
                .map(|key| soft_delete_at(key, 0, deleted_at))
                .collect(),
        )
        .await;
        model.extend(fresh.iter().map(|key| (key.id().to_owned(), deleted_at)));
    }
    compare(&store, &model, 1).await;
    sized(&store, &model).await;
    let pages = store.backend.page_counts(LISTED).await.len();
    assert!(pages < 150, "{pages} pages are left of {} rows", model.len());
    for writer in writers {
        writer.stop().await;
    }
    verified(&store).await;
}
