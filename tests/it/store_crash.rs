//! What was acknowledged survives the database's crash, once; a file copied under load opens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use archive_ledger::ledger::writer::{CommandError, Idempotency, Proposal, Receipt, WriterHandle};
use archive_ledger::store::contract::{
    ContractStore, IdleWriter, fresh_key, idempotency, purge, restore, soft_delete,
};
use archive_ledger::store::log::contract::verified;
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::{Position, StoredEvent};
use archive_ledger_domain::{EntityKey, EntityType, Rejection};
use sqlx::{Connection, Executor, PgConnection};
use uuid::Uuid;

use crate::harness::eventually;
use crate::harness::holding::Holding;
use crate::harness::lossy::Lossy;
use crate::harness::postgres::Postgres;
use crate::store_contract::{OnPostgres, OnSqlite};

/// What a submitter was told of one entity's soft-delete.
enum Told {
    Recorded(Receipt),
    /// The answer says that nothing was recorded.
    NotRecorded,
    /// The answer says that it cannot know.
    Unknown,
}

/// Each command is in the log exactly as often as its answer said.
fn assert_kept(log: &[StoredEvent], told: &[(EntityKey, Told)]) {
    for (key, told) in told {
        let events = events_of(log, key);
        match told {
            Told::Recorded(receipt) => assert_eq!(events, recorded(receipt), "{key} was acknowledged"),
            Told::NotRecorded => assert_eq!(events, [], "{key} was told that it was not recorded"),
            Told::Unknown => assert!(events.len() <= 1, "{key}"),
        }
    }
}

fn events_of(log: &[StoredEvent], key: &EntityKey) -> Vec<(Position, Uuid)> {
    log.iter()
        .filter(|event| event.key == *key)
        .map(|event| (event.position, event.event_id))
        .collect()
}

fn recorded(receipt: &Receipt) -> Vec<(Position, Uuid)> {
    vec![(receipt.position.unwrap(), receipt.event_id.unwrap())]
}

/// Waits until more than so many further events are committed.
async fn traffic(handle: &WriterHandle, events: Position) {
    let before = *handle.committed().borrow();
    eventually("traffic", Duration::from_secs(30), || async {
        (*handle.committed().borrow() > before + events).then_some(())
    })
    .await;
}

/// Deletes one fresh entity after the other until it is told to stop; counts in `refused` what was not recorded.
async fn submit_fresh(
    handle: WriterHandle,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
) -> Vec<(EntityKey, Told)> {
    let mut told = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let key = fresh_key(EntityType::Backups);
        let answer = match handle.submit(soft_delete(&key, 1)).await {
            Ok(receipt) => Told::Recorded(receipt),
            Err(CommandError::OutcomeUnknown(_)) => Told::Unknown,
            Err(CommandError::Unavailable(_)) => {
                refused.fetch_add(1, Ordering::Relaxed);
                Told::NotRecorded
            }
            Err(error) => panic!("{error:?}"),
        };
        if !matches!(answer, Told::Recorded(_)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        told.push((key, answer));
    }
    told
}

/// Deletes one fresh entity after the other, and sends each request again, as a client does, until it is answered.
async fn submit_until_answered(
    handle: WriterHandle,
    stop: Arc<AtomicBool>,
    number: u8,
) -> Vec<(EntityKey, Receipt)> {
    let mut answered = Vec::new();
    for request in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = fresh_key(EntityType::Servers);
        let mut hash = idempotency(number, 0).unwrap().key;
        hash[..8].copy_from_slice(&request.to_be_bytes());
        let receipt = loop {
            let keyed = Proposal {
                idempotency: Some(Idempotency {
                    key: hash,
                    request: hash,
                }),
                ..soft_delete(&key, 0)
            };
            match handle.submit(keyed).await {
                Ok(receipt) => break receipt,
                Err(CommandError::OutcomeUnknown(_) | CommandError::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        };
        answered.push((key, receipt));
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_crashes_under_load_keeps_what_was_acknowledged_and_doubles_nothing() {
    let server = Postgres::start().await;
    let backend = OnPostgres::open(server.create_database().await).await;
    let store = ContractStore::new(Arc::new(backend));
    let writer = store.writer().await;
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicUsize::new(0));
    let once: Vec<_> = (0..12)
        .map(|_| {
            let (stop, refused) = (Arc::clone(&stop), Arc::clone(&refused));
            tokio::spawn(submit_fresh(writer.handle.clone(), stop, refused))
        })
        .collect();
    let again: Vec<_> = (0..6)
        .map(|number| {
            let (handle, stop) = (writer.handle.clone(), Arc::clone(&stop));
            tokio::spawn(submit_until_answered(handle, stop, number))
        })
        .collect();

    // The last outage is longer than the writer is patient: it ends when a command was told that it was not recorded.
    for outage in [Some(0), Some(100), None] {
        traffic(&writer.handle, 20).await;
        let before = refused.load(Ordering::Relaxed);
        server.crash().await;
        match outage {
            Some(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
            None => {
                eventually(
                    "the long outage is told to those who wait",
                    Duration::from_secs(30),
                    || async { (refused.load(Ordering::Relaxed) > before).then_some(()) },
                )
                .await;
            }
        }
        server.restart().await;
    }
    traffic(&writer.handle, 20).await;
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for task in once {
        told.extend(task.await.unwrap());
    }
    let mut answered = Vec::new();
    for task in again {
        answered.extend(task.await.unwrap());
    }
    writer.stop().await;

    let log = verified(&store).await;
    for (key, receipt) in &answered {
        assert_eq!(
            events_of(&log, key),
            recorded(receipt),
            "{key} was sent until answered"
        );
    }
    assert_kept(&log, &told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_at_any_moment_lose_nothing_and_double_nothing() {
    let url = Postgres::shared().await.create_database().await;
    let store = ContractStore::new(Arc::new(OnPostgres::open(url.clone()).await));
    let writers = [store.writer().await, store.writer().await];
    let stop = Arc::new(AtomicBool::new(false));
    let submitters: Vec<_> = (0..16)
        .map(|number| {
            let handle = writers[number % 2].handle.clone();
            tokio::spawn(submit_fresh(handle, Arc::clone(&stop), Arc::default()))
        })
        .collect();
    let mut admin = PgConnection::connect(&url).await.unwrap();
    let mut cut = 0_i64;
    for round in 0..60_u64 {
        cut += sqlx::query_scalar::<_, i64>(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        tokio::time::sleep(Duration::from_millis(20 + round * 7 % 40)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for task in submitters {
        told.extend(task.await.unwrap());
    }
    for writer in writers {
        writer.stop().await;
    }
    assert!(cut > 10, "{cut} connections were cut at work");
    assert_kept(&verified(&store).await, &told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found_and_one_that_never_arrived_is_repeated() {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let lossy = Lossy::before(server.port()).await;
    let direct = ContractStore::new(Arc::new(OnPostgres::open(url.clone()).await));
    let through = url.replace(&format!(":{}/", server.port()), &format!(":{}/", lossy.port()));
    let mut store = ContractStore::new(Arc::new(OnPostgres::connect(through).await));
    store.keyring = Arc::clone(&direct.keyring);
    let writer = store.writer().await;
    let mut acknowledged = Vec::new();
    for number in 0..40_u8 {
        let key = fresh_key(EntityType::Domains);
        let wanted = Proposal {
            idempotency: idempotency(number, number),
            ..soft_delete(&key, 0)
        };
        acknowledged.push((key, writer.handle.submit(wanted).await.unwrap()));
    }
    // A batch without an event, whose commit is lost as well: a refusal that is remembered.
    for number in 100..110_u8 {
        let refused = Proposal {
            idempotency: idempotency(number, number),
            ..restore(&fresh_key(EntityType::Domains))
        };
        let answer = writer.handle.submit(refused).await;
        assert!(
            matches!(answer, Err(CommandError::Rejected(Rejection::Unknown))),
            "{answer:?}"
        );
    }
    writer.stop().await;
    let (requests, answers) = lossy.lost();
    assert!(
        requests >= 10 && answers >= 10,
        "{requests} and {answers} were lost"
    );
    let log = verified(&direct).await;
    assert_eq!(log.len(), acknowledged.len());
    for (key, receipt) in &acknowledged {
        assert_eq!(events_of(&log, key), recorded(receipt), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_arrives_after_its_connection_was_given_up_comes_to_nothing() {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let mut holding = Holding::before(server.port()).await;
    let direct = ContractStore::new(Arc::new(OnPostgres::open(url.clone()).await));
    let through = url.replace(&format!(":{}/", server.port()), &format!(":{}/", holding.port()));
    let mut store = ContractStore::new(Arc::new(OnPostgres::connect(through).await));
    store.keyring = Arc::clone(&direct.keyring);
    let writer = store.writer().await;
    // From the second command on, the writer knows the head, takes no lock and sends the batch as one statement.
    for _ in 0..3 {
        let known = fresh_key(EntityType::Domains);
        writer.handle.submit(soft_delete(&known, 0)).await.unwrap();
    }
    let mut look = PgConnection::connect(&url).await.unwrap();
    let position = "SELECT position FROM ledger_head";
    let before: i64 = sqlx::query_scalar(position).fetch_one(&mut look).await.unwrap();

    let key = fresh_key(EntityType::Domains);
    holding.hold(&[key.id(), "deletion_id"]);
    let (handle, wanted) = (writer.handle.clone(), soft_delete(&key, 0));
    let submitted = tokio::spawn(async move { handle.submit(wanted).await });
    let held = holding.held().await;
    // The writer has reconnected, has found that the batch is not there, and is about to send it anew.
    holding.looked_up().await;
    let answer = held.arrive().await;
    assert!(
        answer.windows(8).any(|window| window == b"SELECT 0"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let now: i64 = sqlx::query_scalar(position).fetch_one(&mut look).await.unwrap();
    assert_eq!(now, before, "the late statement has written");
    holding.open();
    let receipt = submitted.await.unwrap().unwrap();
    writer.stop().await;
    assert_eq!(events_of(&verified(&direct).await, &key), recorded(&receipt));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_log_that_is_moved_beside_commits_is_begun_anew_and_loses_nothing() {
    let backend = Arc::new(OnSqlite::open().await);
    let store = ContractStore::new(backend.clone());
    let file = SqliteStore::open(&backend.path(), 1).await.unwrap();
    let writer = IdleWriter::new(file.appender(), store.settings()).start();
    let stop = Arc::new(AtomicBool::new(false));
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(submit_fresh(
                writer.handle.clone(),
                Arc::clone(&stop),
                Arc::default(),
            ))
        })
        .collect();
    let mut mover = file.log_mover().await.unwrap();
    let mut sizes = Vec::new();
    for _ in 0..12 {
        traffic(&writer.handle, 60).await;
        mover.run().await.unwrap();
        sizes.push(backend.path().with_extension("db-wal").metadata().unwrap().len());
    }
    stop.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for task in submitters {
        told.extend(task.await.unwrap());
    }
    writer.stop().await;
    assert_kept(&verified(&store).await, &told);
    // The file keeps the size of the longest log; one that only grew would be twelve times the first.
    assert!(sizes[11] < 6 * sizes[0], "{sizes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sqlite_file_that_is_copied_under_load_opens_with_all_that_was_acknowledged_before() {
    let backend = Arc::new(OnSqlite::open().await);
    let store = ContractStore::new(backend.clone());
    let writer = store.writer().await;
    let stop = Arc::new(AtomicBool::new(false));
    let submitters: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(submit_fresh(
                writer.handle.clone(),
                Arc::clone(&stop),
                Arc::default(),
            ))
        })
        .collect();
    // The key of a purged entity must not come back with the copy.
    let purged = fresh_key(EntityType::Users);
    writer.handle.submit(soft_delete(&purged, 0)).await.unwrap();
    writer.handle.submit(purge(&purged)).await.unwrap();

    for _ in 0..3 {
        traffic(&writer.handle, 50).await;
        // A reader that is at work keeps the write-ahead log from being begun anew, so that file and log belong
        // together: what a crash would leave, without stopping anybody.
        let mut reader = backend.look().await;
        reader.execute("BEGIN").await.unwrap();
        reader.execute("SELECT position FROM ledger_head").await.unwrap();
        let acknowledged = *writer.handle.committed().borrow();
        let home = tempfile::tempdir().unwrap();
        for name in ["ledger.db", "ledger.db-wal"] {
            let from = backend.path().with_file_name(name);
            tokio::fs::copy(from, home.path().join(name)).await.unwrap();
        }
        reader.execute("ROLLBACK").await.unwrap();
        reader.close().await.unwrap();

        let copy = Arc::new(OnSqlite::open_in(home).await);
        let integrity: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&mut copy.look().await)
            .await
            .unwrap();
        assert_eq!(integrity, "ok");
        let mut copied = ContractStore::new(copy);
        copied.keyring = Arc::clone(&store.keyring);
        let log = verified(&copied).await;
        assert!(
            log.len() as u64 >= acknowledged,
            "{} of {acknowledged}",
            log.len()
        );
        let original = store.reads.log_after(0, &[], 100_000).await.unwrap();
        for (copied, original) in log.iter().zip(&original) {
            assert_eq!(copied.leaf, original.leaf, "a prefix of the original");
        }
        copied
            .one(soft_delete(&fresh_key(EntityType::Users), 0))
            .await
            .unwrap();
        verified(&copied).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in submitters {
        for (_, told) in task.await.unwrap() {
            assert!(matches!(told, Told::Recorded(_)), "a copy disturbs nobody");
        }
    }
    writer.stop().await;
    verified(&store).await;
}
