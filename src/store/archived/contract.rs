//! The archived list and its counters: exact with the acknowledgement, paged in one order on every backend.
#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a contract that is broken says where by panicking"
)]

pub mod pages;

use crate::store::contract::{ContractStore, fresh_key, noon, purge, restore, soft_delete, soft_delete_at};
use crate::store::log::contract::verified;
use crate::store::{ArchivedRow, ListPage};
use archive_ledger_domain::{EntityKey, EntityType};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// The list as it should be: newest deletion first, then by the bytes of the id.
fn sorted(mut rows: Vec<(DateTime<Utc>, String)>) -> Vec<(DateTime<Utc>, String)> {
    rows.sort_by(|one, two| two.0.cmp(&one.0).then_with(|| one.1.cmp(&two.1)));
    rows
}

fn of(row: &ArchivedRow) -> (DateTime<Utc>, String) {
    (row.deleted_at, row.key.id().to_owned())
}

async fn by_number(store: &ContractStore, entity_type: EntityType, limit: u32) -> Vec<ArchivedRow> {
    let mut rows = Vec::new();
    loop {
        let page = ListPage::Offset(rows.len() as u64);
        let page = store.reads.list(entity_type, &page, limit).await.unwrap();
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        assert_eq!(
            page.more,
            (rows.len() as u64) < page.total,
            "more of {}",
            page.total
        );
        if !page.more {
            return rows;
        }
    }
}

async fn by_cursor(store: &ContractStore, entity_type: EntityType, limit: u32) -> Vec<ArchivedRow> {
    let mut rows: Vec<ArchivedRow> = Vec::new();
    loop {
        let page = match rows.last() {
            Some(last) => ListPage::After(last.deleted_at, last.key.id().to_owned()),
            None => ListPage::Offset(0),
        };
        let page = store.reads.list(entity_type, &page, limit).await.unwrap();
        assert_eq!(page.more, (rows.len() + page.rows.len()) as u64 != page.total);
        rows.extend(page.rows);
        if !page.more {
            return rows;
        }
    }
}

/// The client that was acknowledged sees its own command in list and summary, at once.
pub async fn list_and_summary_are_exact_with_the_acknowledgement(store: ContractStore) {
    let writer = store.writer().await;
    let mut expected: BTreeMap<EntityType, Vec<String>> = BTreeMap::new();
    for number in 0..36_usize {
        let entity_type = EntityType::ALL[number % 9];
        let key = fresh_key(entity_type);
        writer.handle.submit(soft_delete(&key, 0)).await.unwrap();
        match number / 9 {
            1 => {
                writer.handle.submit(restore(&key)).await.unwrap();
            }
            2 => {
                writer.handle.submit(purge(&key)).await.unwrap();
            }
            _ => expected.entry(entity_type).or_default().push(key.id().to_owned()),
        }
        let summary = store.reads.summary().await.unwrap();
        let counts: BTreeMap<_, _> = expected
            .iter()
            .map(|(entity_type, ids)| (*entity_type, ids.len() as u64))
            .collect();
        assert_eq!(summary, counts, "after {number}");
        let page = store
            .reads
            .list(entity_type, &ListPage::Offset(0), 100)
            .await
            .unwrap();
        let mut ids: Vec<_> = page.rows.iter().map(|row| row.key.id().to_owned()).collect();
        ids.sort();
        let mut wanted = expected.get(&entity_type).cloned().unwrap_or_default();
        wanted.sort();
        assert_eq!((ids, page.total), (wanted.clone(), wanted.len() as u64));
    }
    writer.stop().await;
    verified(&store).await;
}

/// However many ask at once, nobody is told a count from before what was acknowledged when he asked.
pub async fn a_summary_that_many_ask_for_at_once_is_older_than_none_of_their_questions(store: ContractStore) {
    let writer = store.writer().await;
    let stop = AtomicBool::new(false);
    let deleted = AtomicU64::new(0);
    let deleting = async {
        for _ in 0..150 {
            let key = fresh_key(EntityType::Backups);
            writer.handle.submit(soft_delete(&key, 0)).await.unwrap();
            deleted.fetch_add(1, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    };
    let asking = join_all((0..24).map(|number| {
        let (store, stop, deleted) = (&store, &stop, &deleted);
        async move {
            let mut answers = 0;
            while !stop.load(Ordering::SeqCst) {
                let acknowledged = deleted.load(Ordering::SeqCst);
                let asked = store.reads.summary();
                // Some give up while their query runs.
                let patience = Duration::from_micros(if number < 4 { 300 } else { 30_000_000 });
                let Ok(summary) = timeout(patience, asked).await else {
                    continue;
                };
                let counted = summary.unwrap().get(&EntityType::Backups).copied().unwrap_or(0);
                assert!(
                    counted >= acknowledged,
                    "{counted}, when {acknowledged} were acknowledged"
                );
                answers += 1;
            }
            answers
        }
    }));
    let ((), answers) = tokio::join!(deleting, asking);
    assert!(answers.iter().skip(4).all(|answers| *answers > 0), "{answers:?}");
    writer.stop().await;
    assert_eq!(
        store.reads.summary().await.unwrap(),
        BTreeMap::from([(EntityType::Backups, 150)])
    );
}

/// Rows come with what is sealed, and with the key that opens it.
pub async fn a_listed_row_opens_to_the_details_of_the_deletion_that_stands(store: ContractStore) {
    let key = fresh_key(EntityType::Organizations);
    store
        .batch(vec![soft_delete(&key, 0), restore(&key), soft_delete(&key, 2)])
        .await;
    let page = store
        .reads
        .list(EntityType::Organizations, &ListPage::Offset(0), 10)
        .await
        .unwrap();
    let row = &page.rows[0];
    let data_key = store
        .keyring
        .unwrap(&key.stream_id(), row.data_key.as_ref().unwrap())
        .unwrap();
    let (details, _) = data_key
        .open_details(&key.stream_id(), row.event_id, row.sealed.as_ref().unwrap())
        .unwrap();
    assert_eq!(details, crate::store::contract::details(&key, 2));
    verified(&store).await;
}

/// Page numbers and cursors give every row once, in one order, ties included: by deletion time, then by the bytes of the
/// id, whatever language the database sorts in.
pub async fn pages_give_every_row_once_in_one_order(store: ContractStore) {
    let mut expected = Vec::new();
    let mut proposals = Vec::new();
    let spellings = ["a", "B", "_c", "-d", "A", "b", "Z9", "zZ", "00", "a-", "a_", "aa"];
    for (number, spelling) in (0..).zip(spellings.iter().cycle().take(60)) {
        let key = EntityKey::new(EntityType::Archives, &format!("{spelling}{}", number / 12)).unwrap();
        // Five times only, a microsecond apart, so that most rows share theirs with others.
        let deleted_at = noon() + TimeDelta::microseconds(number % 5);
        expected.push((deleted_at, key.id().to_owned()));
        proposals.push(soft_delete_at(&key, 0, deleted_at));
    }
    for answer in store.batch(proposals).await {
        answer.unwrap();
    }
    let expected = sorted(expected);
    for limit in [1, 7, 20, 60, 100] {
        for rows in [
            by_number(&store, EntityType::Archives, limit).await,
            by_cursor(&store, EntityType::Archives, limit).await,
        ] {
            assert_eq!(rows.iter().map(of).collect::<Vec<_>>(), expected, "by {limit}");
        }
    }
    let beyond = store
        .reads
        .list(EntityType::Archives, &ListPage::Offset(600), 10)
        .await
        .unwrap();
    assert!(beyond.rows.is_empty() && !beyond.more && beyond.total == 60);
    let beyond = store
        .reads
        .list(EntityType::Archives, &ListPage::Offset(u64::MAX), 10)
        .await
        .unwrap();
    assert!(beyond.rows.is_empty() && !beyond.more);
    let empty = store
        .reads
        .list(EntityType::Users, &ListPage::Offset(0), 10)
        .await
        .unwrap();
    assert!(empty.rows.is_empty() && !empty.more && empty.total == 0);
    verified(&store).await;
}

/// While a client walks by cursor, rows come and go: it sees every row that stayed, once.
pub async fn a_cursor_walk_keeps_its_place_while_rows_come_and_go(store: ContractStore) {
    let mut stayed = Vec::new();
    let mut proposals = Vec::new();
    for number in 0..40_i64 {
        let key = fresh_key(EntityType::Users);
        let deleted_at = noon() + TimeDelta::seconds(number / 4);
        stayed.push((deleted_at, key.id().to_owned()));
        proposals.push(soft_delete_at(&key, 0, deleted_at));
    }
    store.batch(proposals).await;
    let stayed = sorted(stayed);

    let mut seen: Vec<(DateTime<Utc>, String)> = Vec::new();
    let mut gone = Vec::new();
    let mut page = ListPage::Offset(0);
    for round in 0_u8.. {
        let found = store.reads.list(EntityType::Users, &page, 6).await.unwrap();
        seen.extend(found.rows.iter().map(of));
        let Some(last) = found.rows.last().filter(|_| found.more) else {
            break;
        };
        page = ListPage::After(last.deleted_at, last.key.id().to_owned());
        // A row that was seen goes, a newer and an older one come, and one with the very time of the cursor.
        let (_, seen_id) = of(&found.rows[0]);
        gone.push(seen_id.clone());
        let seen_key = EntityKey::new(EntityType::Users, &seen_id).unwrap();
        let tie = EntityKey::new(
            EntityType::Users,
            &format!("00000000-0000-0000-0000-0000000000{round:02}"),
        )
        .unwrap();
        store
            .batch(vec![
                restore(&seen_key),
                soft_delete_at(&fresh_key(EntityType::Users), 0, noon() + TimeDelta::hours(1)),
                soft_delete_at(&tie, 0, last.deleted_at),
            ])
            .await;
    }
    let kept: Vec<_> = seen.iter().filter(|row| stayed.contains(row)).cloned().collect();
    assert_eq!(kept, stayed, "every row that was there, once, in order");
    assert_eq!(seen, sorted(seen.clone()), "no row out of order");
    assert!(!gone.is_empty());
    verified(&store).await;
}

/// Counts and rows belong to one snapshot, also while others write.
pub async fn a_page_and_its_total_belong_to_one_snapshot(store: ContractStore) {
    let writer = store.writer().await;
    let handle = writer.handle.clone();
    let traffic = tokio::spawn(async move {
        for number in 0..60_u32 {
            let key = fresh_key(EntityType::Instances);
            handle.submit(soft_delete(&key, 0)).await.unwrap();
            if number.is_multiple_of(2) {
                handle.submit(restore(&key)).await.unwrap();
            }
        }
    });
    while !traffic.is_finished() {
        let page = store
            .reads
            .list(EntityType::Instances, &ListPage::Offset(0), 1_000)
            .await
            .unwrap();
        assert_eq!(page.rows.len() as u64, page.total);
    }
    traffic.await.unwrap();
    writer.stop().await;
    verified(&store).await;
}
