//! Settings and encodings of the database that are not the server's defaults.

use super::{World, refused};
use crate::harness::postgres::Postgres;

/// What an administrator may have set for a role or a database, each row at once.
const SETTINGS: [&[&str]; 9] = [
    &["bytea_output = escape"],
    &[
        "standard_conforming_strings = off",
        "escape_string_warning = on",
        "array_nulls = off",
        "transform_null_equals = on",
    ],
    &[
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = sql_standard",
        "TimeZone = 'Asia/Kathmandu'",
        "extra_float_digits = -15",
    ],
    &[
        "default_transaction_isolation = serializable",
        "default_transaction_deferrable = on",
    ],
    &[
        "jit = on",
        "jit_above_cost = 0",
        "enable_nestloop = off",
        "enable_sort = off",
    ],
    // The tables are found where they were made, and temporary ones come last.
    &["search_path = ledger, public, pg_temp"],
    &["client_encoding = LATIN1"],
    &[
        "statement_timeout = '40ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "idle_session_timeout = '100ms'",
        "synchronous_commit = off",
    ],
    &[
        "enable_indexscan = off",
        "enable_bitmapscan = off",
        "plan_cache_mode = force_generic_plan",
        "jit_above_cost = 0",
        "work_mem = '64kB'",
        "xmloption = document",
    ],
];

/// The settings hold for the role in the database, which is what wins over every file.
async fn lives_under(settings: &[&str]) {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    let name = url.rsplit('/').next().unwrap();
    server.run_sql(name, "CREATE SCHEMA ledger").await;
    for setting in settings {
        let sql = format!("ALTER ROLE postgres IN DATABASE {name} SET {setting}");
        server.run_sql("postgres", &sql).await;
    }
    let world = World::on(&url).await;
    world.live().await;
    world.inspect().await;
    let told = world.succeeds(&["rebuild"]).await;
    assert!(
        told.contains("replaced") || told.contains("nothing to replace"),
        "{told}"
    );
    world.succeeds(&["rebuild", "--check"]).await;
    assert_eq!(world.server.terminate().await, 0, "{settings:?}");
    let log = world.server.log();
    assert!(
        !log.contains("panicked") && !log.contains("ERROR"),
        "{settings:?}: {log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_for_a_role_or_a_database_makes_no_difference() {
    for settings in SETTINGS {
        eprintln!("{settings:?}");
        lives_under(settings).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_without_an_encoding_holds_every_text() {
    let server = Postgres::shared().await;
    let name = "without_encoding";
    let sql = format!(
        "CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    );
    server.run_sql("postgres", &sql).await;
    let world = World::on(server.url(name)).await;
    world.live().await;
    world.inspect().await;
    world.succeeds(&["rebuild"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_hold_every_text_is_refused_at_once_with_how_to_make_one_that_can() {
    let server = Postgres::shared().await;
    let home = tempfile::tempdir().unwrap();
    for encoding in ["LATIN1", "LATIN9", "WIN1252", "EUC_JP"] {
        let name = format!("encoded_in_{encoding}").to_lowercase();
        let sql = format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        );
        server.run_sql("postgres", &sql).await;
        for args in [
            &["serve", "--listen", "127.0.0.1:0"][..],
            &["migrate"],
            &["rebuild", "--check"],
            &["export", "--dir", "log"],
        ] {
            let told = refused(args, &server.url(&name), home.path()).await;
            assert!(
                told.contains(encoding) && told.contains("ENCODING 'UTF8'"),
                "{told}"
            );
        }
    }
}
