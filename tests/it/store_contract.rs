//! The store's contract, on both backends: one scenario, one database of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use archive_ledger::clock::SharedClock;
use archive_ledger::ledger::repository::Repository;
use archive_ledger::ledger::writer::WriterHandle;
use archive_ledger::store::append::contract as append;
use archive_ledger::store::append::contract::{erasure, idempotency};
use archive_ledger::store::archived::contract as list;
use archive_ledger::store::archived::contract::pages;
use archive_ledger::store::audit::AuditStore;
use archive_ledger::store::audit::contract as audit;
use archive_ledger::store::claims::ClaimStore;
use archive_ledger::store::claims::contract as claims;
use archive_ledger::store::cleanup_jobs::CleanupJobStore;
use archive_ledger::store::contract::{Backend, ContractStore, IdleWriter, Settings, Traces, stock};
use archive_ledger::store::log::contract as log;
use archive_ledger::store::postgres::PostgresStore;
use archive_ledger::store::sqlite::SqliteStore;
use archive_ledger::store::{Hash, Position, ReadStore};
use archive_ledger_domain::EntityType;
use async_trait::async_trait;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::harness::postgres::Postgres;

/// Changes claims behind the ledger's back: those of the last event are gone, and one of the first is another one's.
const TAMPER: [&str; 2] = [
    "DELETE FROM storage_claims WHERE position = (SELECT max(position) FROM storage_claims)",
    "UPDATE storage_claims SET place = (SELECT c.place FROM storage_claims c WHERE c.position = 2 AND c.ordinal = 1)
     WHERE position = 1 AND ordinal = 1",
];

/// What both schemas hold of each stream, table by table.
const TRACES: &str = "
    SELECT id, sum(keys), sum(fences), sum(sealed), sum(listed), sum(owed)
    FROM (
        SELECT aggregate_id AS id, 1 AS keys, 0 AS fences, 0 AS sealed, 0 AS listed, 0 AS owed FROM entities WHERE wrapped IS NOT NULL
        UNION ALL
        SELECT aggregate_id, 0, 1, 0, 0, 0 FROM entities WHERE erased_at IS NOT NULL
        UNION ALL
        SELECT aggregate_id, 0, 0, 1, 0, 0 FROM events WHERE sealed IS NOT NULL
        UNION ALL
        SELECT entity_type || ':' || entity_id, 0, 0, 0, 1, 0 FROM archived_entries
        UNION ALL
        SELECT aggregate_id, 0, 0, 0, 0, 1 FROM purge_work
    ) AS found
    GROUP BY id";

fn traces(rows: Vec<(String, i64, i64, i64, i64, i64)>) -> BTreeMap<String, Traces> {
    rows.into_iter()
        .map(|(id, keys, fences, sealed, listed, owed)| {
            let traces = Traces {
                keys,
                fences,
                sealed,
                listed,
                owed,
            };
            (id, traces)
        })
        .collect()
}

/// A PostgreSQL database, as one instance of the service sees it.
pub struct OnPostgres {
    store: PostgresStore,
    url: String,
}

impl OnPostgres {
    /// Brings the schema of an empty database up to date.
    pub async fn open(url: String) -> Self {
        let opened = Self::connect(url).await;
        opened.store.migrate().await.unwrap();
        opened
    }

    /// Connects to a database whose schema is up to date.
    pub async fn connect(url: String) -> Self {
        let store = PostgresStore::connect(&url, 4).await.unwrap();
        Self { store, url }
    }

    async fn look(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

#[async_trait]
impl Backend for OnPostgres {
    fn reads(&self) -> Arc<dyn ReadStore> {
        Arc::new(self.store.clone())
    }

    fn audit(&self) -> Arc<dyn AuditStore> {
        Arc::new(self.store.clone())
    }

    fn jobs(&self) -> Arc<dyn CleanupJobStore> {
        Arc::new(self.store.clone())
    }

    fn claims(&self) -> Arc<dyn ClaimStore> {
        Arc::new(self.store.clone())
    }

    async fn forget_claims(&self, after: Position) {
        let mut connection = self.look().await;
        for statement in [
            format!("DELETE FROM storage_claims WHERE position > {after}"),
            format!("UPDATE ledger_head SET claims_position = {after}"),
        ] {
            connection.execute(statement.as_str()).await.unwrap();
        }
    }

    async fn copy_claims(&self, from: Position, to: Position) {
        let statement = format!(
            "INSERT INTO storage_claims SELECT {to}, ordinal, place FROM storage_claims WHERE position = {from}"
        );
        self.look().await.execute(statement.as_str()).await.unwrap();
    }

    async fn tamper_with_claims(&self) {
        let mut connection = self.look().await;
        for statement in TAMPER {
            connection.execute(statement).await.unwrap();
        }
    }

    async fn writer(&self, settings: Settings) -> IdleWriter {
        let appender = self.store.appender().await.unwrap().with_pages(settings.pages);
        IdleWriter::new(appender, settings)
    }

    fn repository(&self, handle: WriterHandle, clock: SharedClock) -> Repository {
        Repository::postgres(&self.store, handle, clock)
    }

    async fn salts(&self) -> Vec<Hash> {
        let salts: Vec<Vec<u8>> = sqlx::query_scalar("SELECT salt FROM events ORDER BY position")
            .fetch_all(&mut self.look().await)
            .await
            .unwrap();
        salts.into_iter().map(|salt| salt.try_into().unwrap()).collect()
    }

    async fn page_counts(&self, entity_type: EntityType) -> Vec<i64> {
        sqlx::query_scalar(
            "SELECT count FROM archived_pages WHERE entity_type = $1 ORDER BY deleted_at DESC, entity_id",
        )
        .bind(entity_type.as_str())
        .fetch_all(&mut self.look().await)
        .await
        .unwrap()
    }

    async fn page_group_counts(&self, entity_type: EntityType) -> Vec<i64> {
        sqlx::query_scalar("SELECT count FROM archived_page_groups WHERE entity_type = $1")
            .bind(entity_type.as_str())
            .fetch_all(&mut self.look().await)
            .await
            .unwrap()
    }

    async fn traces(&self) -> BTreeMap<String, Traces> {
        let rows = sqlx::query_as(TRACES)
            .fetch_all(&mut self.look().await)
            .await
            .unwrap();
        traces(rows)
    }
}

/// A SQLite file; each writer opens it anew, as another process would.
pub struct OnSqlite {
    store: SqliteStore,
    home: TempDir,
}

impl OnSqlite {
    /// A new file in a directory of its own.
    pub async fn open() -> Self {
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-sqlite-")
            .tempdir()
            .unwrap();
        Self::open_in(home).await
    }

    /// The file `ledger.db` of that directory, whether it exists or not.
    pub async fn open_in(home: TempDir) -> Self {
        let store = SqliteStore::open(&home.path().join("ledger.db"), 4)
            .await
            .unwrap();
        store.migrate().await.unwrap();
        Self { store, home }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.home.path().join("ledger.db")
    }

    /// A connection of the caller's own.
    async fn write(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path());
        SqliteConnection::connect_with(&options).await.unwrap()
    }

    /// A reading connection of the caller's own.
    pub async fn look(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.path()).read_only(true);
        SqliteConnection::connect_with(&options).await.unwrap()
    }
}

#[async_trait]
impl Backend for OnSqlite {
    fn reads(&self) -> Arc<dyn ReadStore> {
        Arc::new(self.store.clone())
    }

    fn audit(&self) -> Arc<dyn AuditStore> {
        Arc::new(self.store.clone())
    }

    fn jobs(&self) -> Arc<dyn CleanupJobStore> {
        Arc::new(self.store.clone())
    }

    fn claims(&self) -> Arc<dyn ClaimStore> {
        Arc::new(self.store.clone())
    }

    async fn forget_claims(&self, after: Position) {
        let mut connection = self.write().await;
        for statement in [
            format!("DELETE FROM storage_claims WHERE position > {after}"),
            format!("UPDATE ledger_head SET claims_position = {after}"),
        ] {
            connection.execute(statement.as_str()).await.unwrap();
        }
    }

    async fn copy_claims(&self, from: Position, to: Position) {
        let statement = format!(
            "INSERT INTO storage_claims SELECT {to}, ordinal, place FROM storage_claims WHERE position = {from}"
        );
        self.write().await.execute(statement.as_str()).await.unwrap();
    }

    async fn tamper_with_claims(&self) {
        let mut connection = self.write().await;
        for statement in TAMPER {
            connection.execute(statement).await.unwrap();
        }
    }

    async fn writer(&self, settings: Settings) -> IdleWriter {
        let opened = SqliteStore::open(&self.path(), 1).await.unwrap();
        IdleWriter::new(opened.appender().with_pages(settings.pages), settings)
    }

    fn repository(&self, handle: WriterHandle, clock: SharedClock) -> Repository {
        Repository::sqlite(&self.store, handle, clock)
    }

    async fn salts(&self) -> Vec<Hash> {
        let salts: Vec<Vec<u8>> = sqlx::query_scalar("SELECT salt FROM events ORDER BY position")
            .fetch_all(&mut self.look().await)
            .await
            .unwrap();
        salts.into_iter().map(|salt| salt.try_into().unwrap()).collect()
    }

    async fn page_counts(&self, entity_type: EntityType) -> Vec<i64> {
        sqlx::query_scalar(
            "SELECT count FROM archived_pages WHERE entity_type = ?1 ORDER BY deleted_at DESC, entity_id",
        )
        .bind(entity_type.as_str())
        .fetch_all(&mut self.look().await)
        .await
        .unwrap()
    }

    async fn page_group_counts(&self, entity_type: EntityType) -> Vec<i64> {
        sqlx::query_scalar("SELECT count FROM archived_page_groups WHERE entity_type = ?1")
            .bind(entity_type.as_str())
            .fetch_all(&mut self.look().await)
            .await
            .unwrap()
    }

    async fn traces(&self) -> BTreeMap<String, Traces> {
        let rows = sqlx::query_as(TRACES)
            .fetch_all(&mut self.look().await)
            .await
            .unwrap();
        traces(rows)
    }
}

/// Two tests, `NAME::sqlite` and `NAME::postgres`, of each contract function.
macro_rules! on_both_stores {
    ($($module:ident::$name:ident),+ $(,)?) => {
        $(
            mod $name {
                use super::*;

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    $module::$name(ContractStore::new(Arc::new(OnSqlite::open().await))).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let url = Postgres::shared().await.create_database().await;
                    $module::$name(ContractStore::new(Arc::new(OnPostgres::open(url).await))).await;
                }
            }
        )+
    };
}

on_both_stores! {
    append::concurrent_submitters_leave_no_gap,
    append::several_writers_on_one_database_leave_no_gap,
    append::a_soft_delete_that_comes_alone_finds_what_stands,
    append::a_writer_that_stops_records_what_waits,
    append::a_refused_command_leaves_its_neighbours_and_the_log_untouched,
    append::a_command_that_changes_nothing_is_acknowledged_without_an_event,
    append::another_version_than_the_expected_one_is_refused_and_told,
    append::a_command_that_the_store_cannot_hold_fails_alone,
    append::recording_times_never_go_back_even_where_the_clock_does,
    log::every_leaf_entry_and_commitment_is_what_the_log_says,
    log::the_log_is_read_in_order_page_by_page_and_by_name,
    idempotency::the_same_request_gets_the_same_receipt_across_writers,
    idempotency::a_refusal_is_remembered,
    idempotency::a_mismatch_and_a_failure_are_not_remembered,
    idempotency::a_request_that_comes_twice_in_one_batch_is_recorded_once,
    idempotency::a_request_that_reaches_several_writers_at_once_is_recorded_once,
    idempotency::an_answer_outlives_the_purge_of_its_entity,
    list::list_and_summary_are_exact_with_the_acknowledgement,
    list::a_summary_that_many_ask_for_at_once_is_older_than_none_of_their_questions,
    list::a_listed_row_opens_to_the_details_of_the_deletion_that_stands,
    list::pages_give_every_row_once_in_one_order,
    list::a_cursor_walk_keeps_its_place_while_rows_come_and_go,
    list::a_page_and_its_total_belong_to_one_snapshot,
    pages::a_page_number_leads_to_its_rows_whatever_comes_and_goes,
    erasure::a_purge_without_storage_erases_at_once,
    erasure::an_entity_that_is_deleted_and_purged_in_one_batch_leaves_nothing_sealed,
    erasure::a_purge_with_storage_is_owed_until_its_cleanup_is_done,
    erasure::purge_work_folds_within_a_batch,
    erasure::nothing_is_sealed_for_an_erased_entity_again,
    claims::who_claims_a_place_is_who_names_it_by_a_record_that_stands,
    claims::claims_are_filled_in_beside_a_writer_that_never_rests,
    claims::what_an_older_version_recorded_is_made_up_for,
    claims::claims_that_were_changed_are_found_and_set_right,
    claims::a_place_with_very_many_claims_is_never_taken_for_free,
    audit::walks_beside_writers_miss_and_double_nothing,
    audit::filters_find_what_matches_however_much_is_indexed,
    audit::attempts_have_no_gap_and_stand_where_they_were_written,
    audit::a_time_finds_its_positions_however_many_share_it,
    audit::the_context_of_an_event_outlives_its_purge,
    stock::the_stock_event_store_loads_what_the_writer_wrote,
    stock::a_commit_that_conflicts_stores_nothing,
    stock::all_events_stream_in_the_order_of_their_positions,
}
