//! The rebuild: what the log says, compared with the live tables and put in their place, beside live traffic.

use std::time::Duration;

use archive_ledger::app::Opened;
use archive_ledger::ledger::Purge;
use archive_ledger::rebuild::{self, Mode, RebuildError, Report};
use archive_ledger::store::rebuild::{DifferenceKind, TABLES};
use archive_ledger_domain::{CleanupOutcome, EntityType};
use futures::StreamExt;

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::server::Backend;
use crate::harness::{eventually, on_both_backends};

const SOON: Duration = Duration::from_secs(30);

/// Every table's content, row by row.
async fn content(place: &Place) -> Vec<String> {
    let mut rows = Vec::new();
    for query in [
        "SELECT 'list ' || entity_type || entity_id || deleted_at || position || deletion_id FROM archived_entries",
        "SELECT 'count ' || entity_type || count FROM archived_summary WHERE count <> 0",
        "SELECT 'purge ' || aggregate_id || purge_id || position || event_id || requested_at || storage_count || state
         FROM purge_work",
        "SELECT 'page ' || entity_type || entity_id || count FROM archived_pages",
        "SELECT 'group ' || entity_type || entity_id || count FROM archived_page_groups",
    ] {
        let mut table = place.texts(query).await;
        table.sort();
        rows.extend(table);
    }
    rows
}

/// An entity's whole life, by its number: every event and every state that can be reached without storage, and failed
/// purges where there is storage.
async fn live(opened: &Opened, storage: &str, number: u128) {
    let types = [EntityType::Backups, EntityType::Users, EntityType::Archives];
    let key = entity(types[(number % 3) as usize], number);
    let ledger = &opened.ledger;
    let mut request = deletion(key.clone());
    if number % 7 < 3 {
        request.storage.push(format!("{storage}/{number}"));
    }
    ledger.soft_delete(request.clone(), context()).await.unwrap();
    if number % 5 == 1 {
        ledger.restore(key.clone(), context()).await.unwrap();
        if number.is_multiple_of(2) {
            ledger.soft_delete(request, context()).await.unwrap();
        }
    } else if number % 5 == 2 {
        let receipt = ledger
            .purge(key.clone(), Purge::default(), context())
            .await
            .unwrap();
        if number % 7 < 2 {
            let outcome = if number.is_multiple_of(7) {
                CleanupOutcome::Done {
                    objects: 1,
                    bytes: 1,
                    at_least: false,
                }
            } else {
                CleanupOutcome::Failed {
                    objects: 0,
                    bytes: 0,
                    at_least: false,
                    error: "unreachable".to_owned(),
                }
            };
            let event_id = receipt.event_id.unwrap();
            ledger
                .record_cleanup(key, receipt.purge_id.unwrap(), outcome, event_id)
                .await
                .unwrap();
        }
    }
}

async fn live_all(opened: &Opened, storage: &str, numbers: std::ops::Range<u128>) {
    futures::stream::iter(numbers)
        .for_each_concurrent(64, |number| live(opened, storage, number))
        .await;
}

/// A ledger with a storage root, and some lives in it.
async fn lived(backend: Backend, lives: u128) -> (Place, Opened, String) {
    let mut place = Place::new(backend).await;
    let root = place.home().join("objects");
    std::fs::create_dir(&root).unwrap();
    let storage = format!("file://{}", root.display());
    place.set("ARCHIVE_LEDGER_STORAGE_ROOT", &storage);
    let opened = place.open().await;
    live_all(&opened, &storage, 1..lives + 1).await;
    (place, opened, storage)
}

async fn rebuild(place: &Place, mode: Mode) -> Report {
    rebuild::run(&place.config(), mode, &|_| {}).await.unwrap()
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

on_both_backends! {
    async fn the_log_says_what_the_live_tables_say_while_commands_are_recorded(backend: Backend) {
        let (place, opened, storage) = lived(backend, 300).await;
        let traffic = live_all(&opened, &storage, 1_000..2_500);
        let checks = async {
            for _ in 0..8 {
                let report = rebuild(&place, Mode::Check).await;
                assert_eq!(report.rows(), 0, "{report:?}");
                assert!(report.position > 0 && !report.replaced);
            }
        };
        tokio::join!(traffic, checks);
        let before = content(&place).await;
        let report = rebuild(&place, Mode::Replace).await;
        assert!(!report.replaced, "{report:?}");
        assert_eq!(content(&place).await, before);
        assert!(before.iter().any(|row| row.starts_with("purge")), "{before:?}");
        opened.close().await.unwrap();
    }

    async fn whatever_was_changed_is_found_and_set_right_while_commands_are_recorded(backend: Backend) {
        let (place, opened, storage) = lived(backend, 200).await;
        let before = content(&place).await;
        // Every column of every table, a row that is gone and one that should not be there.
        for (statement, table, kind) in [
            ("UPDATE archived_entries SET position = position + 1 WHERE entity_type = 'users'", TABLES[0], DifferenceKind::Different),
            ("UPDATE archived_entries SET deletion_id = '00000000-0000-0000-0000-000000000001' WHERE entity_type = 'users'", TABLES[0], DifferenceKind::Different),
            ("DELETE FROM archived_entries WHERE entity_type = 'backups'", TABLES[0], DifferenceKind::Missing),
            ("INSERT INTO archived_entries SELECT 'servers', entity_id, deleted_at, position, deletion_id FROM archived_entries WHERE entity_type = 'users'", TABLES[0], DifferenceKind::Surplus),
            ("UPDATE archived_summary SET count = count + 1 WHERE entity_type = 'users'", TABLES[1], DifferenceKind::Different),
            ("DELETE FROM archived_summary WHERE entity_type = 'users'", TABLES[1], DifferenceKind::Missing),
            ("INSERT INTO archived_summary VALUES ('servers', 3)", TABLES[1], DifferenceKind::Surplus),
            ("UPDATE purge_work SET state = 'purged'", TABLES[2], DifferenceKind::Different),
            ("UPDATE purge_work SET storage_count = 77", TABLES[2], DifferenceKind::Different),
            ("UPDATE purge_work SET purge_id = '00000000-0000-0000-0000-000000000001'", TABLES[2], DifferenceKind::Different),
            ("UPDATE purge_work SET event_id = '00000000-0000-0000-0000-000000000001'", TABLES[2], DifferenceKind::Different),
            ("UPDATE purge_work SET position = position + 1", TABLES[2], DifferenceKind::Different),
            ("DELETE FROM purge_work", TABLES[2], DifferenceKind::Missing),
            ("UPDATE archived_pages SET count = count + 1 WHERE entity_type = 'users'", TABLES[3], DifferenceKind::Different),
            ("UPDATE archived_page_groups SET count = count + 1 WHERE entity_type = 'users'", TABLES[3], DifferenceKind::Different),
            ("INSERT INTO purge_work SELECT 'servers:' || aggregate_id, purge_id, position, event_id, requested_at, storage_count, state FROM purge_work", TABLES[2], DifferenceKind::Surplus),
        ] {
            let changed = place.tamper(statement).await;
            assert!(changed > 0, "{statement}");
            let tampered = content(&place).await;
            let report = rebuild(&place, Mode::Check).await;
            assert_eq!((report.rows(), report.replaced), (changed, false), "{statement}: {report:?}");
            let found = report.tables.iter().find(|found| found.table == table).unwrap();
            assert_eq!(found.rows(), changed, "{statement}: {report:?}");
            assert_eq!(found.examples.len() as u64, changed.min(10), "{statement}: {report:?}");
            assert!(found.examples.iter().all(|(found, _)| *found == kind), "{statement}: {report:?}");
            assert_eq!(content(&place).await, tampered, "{statement}: a check changed something");
            assert!(rebuild(&place, Mode::Replace).await.replaced, "{statement}");
            assert_eq!(content(&place).await, before, "{statement}");
        }
        // While commands go on, what was changed is set right, and what they record is kept.
        let traffic = live_all(&opened, &storage, 1_000..2_500);
        let repairs = async {
            for _ in 0..4 {
                place.tamper("DELETE FROM archived_entries WHERE entity_type = 'backups' AND position < 100").await;
                assert!(rebuild(&place, Mode::Replace).await.replaced);
            }
        };
        tokio::join!(traffic, repairs);
        assert_eq!(rebuild(&place, Mode::Check).await.rows(), 0);
        opened.close().await.unwrap();
    }

    async fn a_rebuild_that_is_dropped_anywhere_leaves_the_live_tables_alone_and_the_next_one_works(backend: Backend) {
        let (place, opened, _) = lived(backend, 300).await;
        place.tamper("UPDATE archived_summary SET count = count + 1").await;
        let tampered = content(&place).await;
        let config = place.config();
        for milliseconds in [0, 2, 5, 10, 15, 20, 30, 40, 50, 60] {
            let run = rebuild::run(&config, Mode::Replace, &|_| {});
            let Err(_dropped) = tokio::time::timeout(Duration::from_millis(milliseconds), run).await else {
                break;
            };
            let now = content(&place).await;
            if now != tampered {
                // It was dropped after its commit.
                break;
            }
            // The server takes a moment to see that the session is gone.
            let report = eventually("the lock of the dropped rebuild is free", SOON, || async {
                match rebuild::run(&config, Mode::Check, &|_| {}).await {
                    Ok(report) => Some(report),
                    Err(RebuildError::UnderWay) => None,
                    Err(error) => panic!("{error:?}"),
                }
            })
            .await;
            if report.rows() == 0 {
                // Its commit was under way when it was dropped.
                assert_ne!(content(&place).await, tampered, "{report:?}");
                break;
            }
        }
        eventually("the lock of the dropped rebuild is free", SOON, || async {
            rebuild::run(&config, Mode::Replace, &|_| {}).await.ok()
        })
        .await;
        assert_eq!(rebuild(&place, Mode::Check).await.rows(), 0);
        let left: Vec<_> = std::fs::read_dir(place.home().join("data"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.contains("rebuild"))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        opened.close().await.unwrap();
    }

    async fn of_two_rebuilds_at_once_the_second_refuses(backend: Backend) {
        let (place, opened, _) = lived(backend, 20).await;
        let store = archive_ledger::app::existing(&place.config()).await.unwrap();
        let first = store.rebuild().await.unwrap().unwrap();
        let error = rebuild::run(&place.config(), Mode::Check, &|_| {}).await.unwrap_err();
        assert!(matches!(error, RebuildError::UnderWay), "{error:?}");
        let output = place.run(&["rebuild"]).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("another rebuild of this ledger is under way"), "{told}");
        first.shadow.close().await.unwrap();
        assert_eq!(rebuild(&place, Mode::Check).await.rows(), 0);
        opened.close().await.unwrap();
    }

    async fn the_command_says_what_differs_and_its_exit_code_says_whether(backend: Backend) {
        let (place, opened, _) = lived(backend, 30).await;
        opened.close().await.unwrap();
        let output = place.run(&["rebuild", "--check"]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).contains("archived_entries: as the log says"), "{output:?}");
        place.tamper("UPDATE archived_summary SET count = 5000 WHERE entity_type = 'users'").await;
        let output = place.run(&["rebuild", "--check"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stdout(&output).contains("archived_summary: differing rows: 1 (0 missing, 0 surplus, 1 different)\n  different: users\n"), "{output:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("archive-ledger: the projections are not what the log says, differing rows: 1;"), "{told}");
        let output = place.run(&["rebuild"]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stdout(&output).contains(": replaced\n"), "{output:?}");
        let output = place.run(&["rebuild", "--check"]).await;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }

    async fn a_log_with_a_hole_is_not_rebuilt_from(backend: Backend) {
        let (place, opened, _) = lived(backend, 20).await;
        opened.close().await.unwrap();
        place.tamper("DELETE FROM events WHERE position = 7").await;
        let error = rebuild::run(&place.config(), Mode::Replace, &|_| {}).await.unwrap_err();
        assert!(format!("{error:?}").contains("position 6 is followed by 8"), "{error:?}");
        place.tamper("DELETE FROM events WHERE position > 6").await;
        // The first run's lock goes with its connection, which the server may notice a moment later.
        let error = eventually("the rebuild's end", Duration::from_secs(10), || async {
            let error = rebuild::run(&place.config(), Mode::Replace, &|_| {}).await.unwrap_err();
            (!matches!(error, RebuildError::UnderWay)).then_some(error)
        })
        .await;
        assert!(format!("{error:?}").contains("it ends at position 6"), "{error:?}");
    }

    async fn without_a_ledger_of_this_version_there_is_nothing_to_rebuild_and_none_is_made(backend: Backend) {
        let place = Place::new(backend).await;
        for args in [&["rebuild"][..], &["rebuild", "--check"]] {
            let output = place.run(args).await;
            let told = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{told}");
            assert!(told.starts_with("archive-ledger: --data"), "{told}");
        }
        assert!(!place.home().join("data/ledger.db").exists());
    }
}

#[tokio::test]
async fn nothing_but_the_shadow_file_is_written_without_a_journal() {
    let place = Place::new(Backend::Embedded).await;
    let opened = place.open().await;
    let rebuild = opened.store.rebuild().await.unwrap().unwrap();
    let modes = place.texts("PRAGMA journal_mode").await;
    assert_eq!(modes, ["wal"]);
    rebuild.shadow.close().await.unwrap();
    opened.close().await.unwrap();
}
