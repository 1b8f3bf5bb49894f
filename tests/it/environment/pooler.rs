//! A pooler before the database: PgBouncer, as Debian has it.

use super::{World, refused};
use crate::harness::pgbouncer::PgBouncer;
use crate::harness::postgres::Postgres;
use crate::harness::server::run_binary;
use sqlx::Executor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What clients that share the pool leave in its sessions.
const LEFT_BEHIND: &str = "SET synchronous_commit = off; SET bytea_output = escape; SET statement_timeout = '20ms';
    SET lock_timeout = '1ms'; SET idle_in_transaction_session_timeout = '1ms'; SET default_transaction_read_only = on;
    SET default_transaction_isolation = serializable; SET standard_conforming_strings = off";

async fn database() -> (&'static Postgres, String) {
    let server = Postgres::shared().await;
    let url = server.create_database().await;
    (server, url.rsplit('/').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_transactions_whose_sessions_others_have_used_makes_no_difference() {
    for settings in [
        "pool_mode = transaction\ndefault_pool_size = 3",
        "pool_mode = transaction\ndefault_pool_size = 20\nignore_startup_parameters = extra_float_digits,options\n\
         server_round_robin = 1",
        "pool_mode = session\ndefault_pool_size = 40",
    ] {
        let (server, name) = database().await;
        let Some(pooler) = PgBouncer::start(server, settings).await else {
            return;
        };
        let world = World::on(pooler.url(&name)).await;
        let over = Arc::new(AtomicBool::new(false));
        let neighbour = {
            let (mut connection, over) = (pooler.neighbour(&name).await, Arc::clone(&over));
            let shared = settings.contains("transaction");
            tokio::spawn(async move {
                while shared && !over.load(Ordering::Relaxed) {
                    connection.execute(LEFT_BEHIND).await.unwrap();
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            })
        };
        world.live().await;
        world.inspect().await;
        many_at_once(&world).await;
        over.store(true, Ordering::Relaxed);
        neighbour.await.unwrap();
        // Nothing differs, and nothing has to be replaced.
        world.succeeds(&["rebuild"]).await;
        server.run_sql(&name, "DELETE FROM archived_summary").await;
        let told = refused(&["rebuild"], &pooler.url(&name), world.home.path()).await;
        assert!(told.contains("the server's own URL"), "{told}");
        let env = [("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), server.url(&name))];
        let data = world.server.data_dir().display().to_string();
        let rebuilt = run_binary(&["rebuild", "--data-dir", &data], &env, world.home.path()).await;
        assert!(rebuilt.status.success(), "{}", super::said(&rebuilt));
        assert_eq!(world.server.terminate().await, 0);
        let log = world.server.log();
        assert!(
            !log.contains("panicked") && !log.contains("ERROR"),
            "{settings}: {log}"
        );
        assert!(log.contains("through a pooler"), "{log}");
    }
}

/// Commands beside each other, which share batches and sessions.
async fn many_at_once(world: &World) {
    let admin = world.server.token(&["--role", "admin"]).await;
    let deletions = (100..124_u128).map(|number| {
        let (server, admin) = (&world.server, &admin);
        async move {
            let body = serde_json::json!({"id": uuid::Uuid::from_u128(number), "name": "n"});
            let answer = server
                .post("/api/admin/archived/backups", admin, &body)
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
            let path = format!("/api/admin/archived/backups/{}", uuid::Uuid::from_u128(number));
            assert_eq!(world.get(&path, admin).await["state"], "archived");
        }
    });
    futures::future::join_all(deletions).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_of_statements_is_refused_in_one_line() {
    let (server, name) = database().await;
    let Some(pooler) = PgBouncer::start(server, "pool_mode = statement").await else {
        return;
    };
    let home = tempfile::tempdir().unwrap();
    for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["migrate"]] {
        let told = refused(args, &pooler.url(&name), home.path()).await;
        assert!(told.contains("pooler"), "{told}");
    }
}
