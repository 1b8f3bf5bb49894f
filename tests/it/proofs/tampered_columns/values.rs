//! Values that a column cannot have, in columns that neither the log nor the keyring implies: of a wrong type, where the database lets a
//! hand that is not ours write them, and times that no calendar of four digits has.

use super::tables::NOT_IMPLIED;
use super::{alone, verified};
use crate::harness::ledger::change;
use crate::harness::server::{Backend, Server};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeSet;

/// Every column that holds a time.
const TIMES: &[(&str, &[&str])] = &[
    ("events", &["recorded_at"]),
    ("ledger_head", &["recorded_at"]),
    ("archived_entries", &["deleted_at"]),
    ("archived_page_groups", &["deleted_at"]),
    ("archived_pages", &["deleted_at"]),
    ("purge_work", &["requested_at"]),
    ("idempotency_answers", &["recorded_at"]),
    ("leases", &["expires_at"]),
    ("callback_targets", &["created_at"]),
    (
        "callback_deliveries",
        &["created_at", "first_due_at", "next_attempt_at", "finished_at"],
    ),
    ("callback_attempts", &["started_at"]),
    ("callback_circuits", &["since", "open_until"]),
    (
        "cleanup_jobs",
        &["next_attempt_at", "lease_until", "created_at", "finished_at"],
    ),
    ("cleanup_obligations", &["updated_at", "nobody_since"]),
    ("storage_roots", &["first_used_at"]),
    ("storage_root_holders", &["seen_at"]),
    ("checkpoints", &["created_at"]),
    ("fork_losses", &["told_at"]),
    ("lost_purges", &["recorded_at"]),
    ("audit_attempts", &["first_at", "last_at"]),
    (
        "clock_moves",
        &["expected_at", "shown_at", "ended_at", "accepted_at"],
    ),
    ("instance_marks", &["seen_at"]),
];

/// The number of a row, which SQLite keeps as a number whatever is written.
const NUMBERED: [&str; 7] = [
    "ledger_head.id",
    "audit_head.id",
    "audit_indexed.id",
    "archived_pages.id",
    "archived_page_groups.id",
    "audit_attempts.sequence",
    "fork_losses.ledger",
];

/// Columns of bytes.
const BYTES: [&str; 4] = [
    "callback_attempts.body",
    "cleanup_obligations.failed_at",
    "idempotency_answers.key",
    "idempotency_answers.request",
];

/// Rows of tables that nothing has filled by now.
const FILLED: [(&str, &str); 5] = [
    (
        "INSERT INTO callback_circuits (key, since, open_until, opened) VALUES ('x', 0, 0, 1)",
        "INSERT INTO callback_circuits (key, since, open_until, opened) VALUES ('x', to_timestamp(0), to_timestamp(0), 1)",
    ),
    (
        "INSERT INTO clock_moves (id, expected_at, shown_at) VALUES ('00000000-0000-4000-8000-000000000001', 0, 0)",
        "INSERT INTO clock_moves (id, expected_at, shown_at)
         VALUES ('00000000-0000-4000-8000-000000000001', to_timestamp(0), to_timestamp(0))",
    ),
    (
        "INSERT INTO lost_purges (ledger, event_id, position, recorded_by, aggregate_id, event, recorded_at)
         VALUES (2, '00000000-0000-4000-8000-000000000001', 1, 1, 'users:x', 'purged', 0)",
        "INSERT INTO lost_purges (ledger, event_id, position, recorded_by, aggregate_id, event, recorded_at)
         VALUES (2, '00000000-0000-4000-8000-000000000001', 1, 1, 'users:x', 'purged', to_timestamp(0))",
    ),
    (
        "INSERT INTO storage_root_holders (instance, root, seen_at) VALUES ('00000000-0000-4000-8000-000000000001', 'file:///x', 0)",
        "INSERT INTO storage_root_holders (instance, root, seen_at)
         VALUES ('00000000-0000-4000-8000-000000000001', 'file:///x', to_timestamp(0))",
    ),
    (
        "INSERT INTO instance_marks (instance_id, name, marks, seen_at) VALUES ('00000000-0000-4000-8000-000000000001', 'x', '{}', 0)",
        "INSERT INTO instance_marks (instance_id, name, marks, seen_at)
         VALUES ('00000000-0000-4000-8000-000000000001', 'x', '{}', to_timestamp(0))",
    ),
];

/// Every column that has a time is named here.
pub(super) async fn every_time_is_known(server: &Server) {
    let Some(url) = server.database_url() else { return };
    let mut connection = PgConnection::connect(url).await.unwrap();
    let columns: Vec<String> = sqlx::query_scalar(
        "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
         JOIN information_schema.tables t USING (table_schema, table_name)
         WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.data_type LIKE 'timestamp%'
           AND c.table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let named: BTreeSet<String> = of(TIMES.iter().copied()).collect();
    assert_eq!(columns.into_iter().collect::<BTreeSet<_>>(), named);
}

fn of<'a>(all: impl Iterator<Item = (&'a str, &'a [&'a str])>) -> impl Iterator<Item = String> {
    all.flat_map(|(table, columns)| columns.iter().map(move |column| format!("{table}.{column}")))
}

/// What changes each column, as (column, value).
fn changes(backend: Backend) -> Vec<(String, &'static str)> {
    let mut all = Vec::new();
    for column in of(TIMES.iter().copied()) {
        let values: &[&str] = match backend {
            Backend::Embedded => &["253402300800000000", "-62135596800000001"],
            // The first page of a list begins there.
            Backend::Clustered if column.starts_with("archived_page") => &["'10000-01-01 00:00:00Z'"],
            Backend::Clustered => &["'infinity'", "'0001-12-31 23:59:59Z BC'"],
        };
        all.extend(values.iter().map(|value| (column.clone(), *value)));
    }
    if backend == Backend::Embedded {
        let implied_by_nothing = NOT_IMPLIED.iter().map(|(table, columns, _)| (*table, *columns));
        for column in of(implied_by_nothing).filter(|column| !NUMBERED.contains(&column.as_str())) {
            let value = if BYTES.contains(&column.as_str()) {
                "hex(randomblob(8))"
            } else {
                "randomblob(8)"
            };
            all.push((column, value));
        }
        all.push(("callback_deliveries.state".to_owned(), "'soon'"));
        all.push(("callback_deliveries.retry".to_owned(), "2"));
        all.push(("cleanup_jobs.attempts".to_owned(), "-1"));
        all.push(("leases.epoch".to_owned(), "0"));
        all.push(("storage_roots.root_id".to_owned(), "'x'"));
    }
    all
}

/// Which of them `verify` does not call tampered.
pub(super) async fn unnoticed(server: &Server, backend: Backend, vkey: &str) -> Vec<String> {
    every_time_is_known(server).await;
    let run = |statement: String| {
        let statement = alone(backend, &statement);
        async move { change(server.database_url(), &server.data_dir(), &statement).await }
    };
    for (embedded, clustered) in FILLED {
        let statement = if backend == Backend::Embedded {
            embedded
        } else {
            clustered
        };
        run(statement.to_owned()).await;
    }
    let (code, said) = verified(server, vkey).await;
    assert_eq!(code, Some(0), "{said}");
    let mut unnoticed = Vec::new();
    for (column, value) in changes(backend) {
        let (table, name) = column.split_once('.').unwrap();
        run(format!("CREATE TABLE aside AS SELECT * FROM {table}")).await;
        if run(format!("UPDATE {table} SET {name} = {value}")).await == 0 {
            unnoticed.push(format!("{column}: no such row"));
        } else {
            let (code, said) = verified(server, vkey).await;
            if code != Some(2) {
                unnoticed.push(format!("{column} = {value}: {code:?}: {said}"));
            }
        }
        let overriding = match backend {
            Backend::Embedded => "",
            Backend::Clustered => "OVERRIDING SYSTEM VALUE",
        };
        run(format!(
            "DELETE FROM {table}; INSERT INTO {table} {overriding} SELECT * FROM aside; DROP TABLE aside"
        ))
        .await;
    }
    unnoticed
}
