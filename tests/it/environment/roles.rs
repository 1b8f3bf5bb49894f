//! Roles that may do less than the owner of the tables.

use super::{World, refused};
use crate::harness::postgres::Postgres;
use crate::harness::server::run_binary;
use sqlx::{Connection as _, PgConnection};

/// A database whose owner has migrated it, and a role that may do nothing yet. Roles belong to the whole server, so their names
/// follow the database's.
struct Owned {
    server: &'static Postgres,
    name: String,
    home: tempfile::TempDir,
}

impl Owned {
    async fn new(migrated: bool) -> Self {
        let server = Postgres::shared().await;
        let url = server.create_database().await;
        let owned = Self {
            server,
            name: url.rsplit('/').next().unwrap().to_owned(),
            home: tempfile::tempdir().unwrap(),
        };
        let name = &owned.name;
        owned
            .sql(&format!(
                "CREATE ROLE {name}_owner LOGIN; CREATE ROLE {name}_role LOGIN;
                 REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO PUBLIC;
                 REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC;
                 GRANT CREATE ON SCHEMA public TO {name}_owner"
            ))
            .await;
        if migrated {
            let env = [("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), owned.url("owner"))];
            let output = run_binary(&["migrate"], &env, owned.home.path()).await;
            assert!(output.status.success(), "{}", super::said(&output));
        }
        owned
    }

    async fn sql(&self, sql: &str) {
        self.server.run_sql(&self.name, sql).await;
    }

    async fn grant(&self, rights: &str) {
        let name = &self.name;
        self.sql(&format!(
            "GRANT {rights} ON ALL TABLES IN SCHEMA public TO {name}_role"
        ))
        .await;
    }

    /// Which every role has unless it was taken from it.
    async fn grant_temporary(&self) {
        let name = &self.name;
        self.sql(&format!("GRANT TEMPORARY ON DATABASE {name} TO {name}_role"))
            .await;
    }

    fn url(&self, role: &str) -> String {
        let name = &self.name;
        format!("postgres://{name}_{role}@127.0.0.1:{}/{name}", self.server.port())
    }

    async fn refused(&self, args: &[&str]) -> String {
        refused(args, &self.url("role"), self.home.path()).await
    }
}

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_and_write_rows_serves_what_the_owner_has_migrated() {
    let owned = Owned::new(true).await;
    owned.grant("SELECT, INSERT, UPDATE, DELETE").await;
    let world = World::on(owned.url("role")).await;
    world.live().await;
    let told = owned.refused(&["rebuild"]).await;
    assert!(told.contains("GRANT TEMPORARY"), "{told}");
    owned.grant_temporary().await;
    world.inspect().await;
    world.succeeds(&["rebuild"]).await;
    world.succeeds(&["migrate"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_only_read_verifies_exports_and_reconciles_and_is_refused_the_rest() {
    let owned = Owned::new(true).await;
    let world = World::on(owned.url("owner")).await;
    world.live().await;
    owned.grant("SELECT").await;
    owned.grant_temporary().await;
    let told = owned.refused(&SERVE).await;
    assert!(
        told.contains("may not use the table") && told.contains("GRANT SELECT, INSERT"),
        "{told}"
    );
    let data = world.server.data_dir().display().to_string();
    let root = format!("file://{}/root", world.home.path().display());
    let out = owned.home.path().join("log").display().to_string();
    let admin = world.server.token(&["--role", "admin"]).await;
    let vkey = world.server.get("/api/ledger/vkey", &admin).send().await.unwrap();
    let vkey = vkey.text().await.unwrap();
    let env = [("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), owned.url("role"))];
    for args in [
        &["verify", "--vkey", vkey.trim(), "--data-dir", &data][..],
        &["reconcile", "--storage-root", &root, "--data-dir", &data],
        &["export", "--dir", &out, "--data-dir", &data],
    ] {
        let output = run_binary(args, &env, owned.home.path()).await;
        assert!(output.status.success(), "{args:?}: {}", super::said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_a_right_is_told_which_one_at_the_start() {
    let owned = Owned::new(false).await;
    for args in [&SERVE[..], &["migrate"]] {
        let told = owned.refused(args).await;
        assert!(
            told.contains("`archive-ledger migrate`") && told.contains("permission denied"),
            "{told}"
        );
    }
    let owned = Owned::new(true).await;
    let told = owned.refused(&SERVE).await;
    assert!(
        told.contains("permission denied") || told.contains("may not use"),
        "{told}"
    );
    owned.grant("SELECT, INSERT, UPDATE, DELETE").await;
    let role = format!("{}_role", owned.name);
    owned
        .sql(&format!("REVOKE ALL ON cleanup_jobs FROM {role}"))
        .await;
    let told = owned.refused(&SERVE).await;
    assert!(told.contains("cleanup_jobs") && told.contains(&role), "{told}");
    // Behind by a migration, which the role may not bring.
    owned.grant("SELECT, INSERT, UPDATE, DELETE").await;
    owned
        .sql("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await;
    let told = owned.refused(&SERVE).await;
    assert!(told.contains("`archive-ledger migrate`"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_use_no_table_is_told_of_every_table_that_there_is() {
    let owned = Owned::new(true).await;
    let role = format!("{}_role", owned.name);
    let meta = "_sqlx_migrations, ledger_meta";
    owned.sql(&format!("GRANT SELECT ON {meta} TO {role}")).await;
    let told = owned.refused(&SERVE).await;
    let mut connection = PgConnection::connect(&owned.url("owner")).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() > 30, "{tables:?}");
    for table in tables {
        assert!(
            told.contains(&format!(" on {table};")) || told.contains(&format!(" on {table})")),
            "{table}: {told}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_lacks_any_right_of_any_table_is_told_which_and_one_that_may_not_change_the_log_serves() {
    let owned = Owned::new(true).await;
    let role = format!("{}_role", owned.name);
    owned.grant("SELECT, INSERT, UPDATE, DELETE").await;
    for (right, table) in [
        ("INSERT", "events"),
        ("UPDATE", "events"),
        ("UPDATE", "ledger_head"),
        ("INSERT", "entities"),
        ("UPDATE", "entities"),
        ("SELECT", "entity_events"),
        ("DELETE", "archived_entries"),
        ("INSERT", "archived_pages"),
        ("UPDATE", "archived_pages"),
        ("DELETE", "purge_work"),
        ("UPDATE", "leases"),
        ("INSERT", "cursors"),
        ("DELETE", "callback_targets"),
        ("UPDATE", "idempotency_answers"),
        ("DELETE", "audit_blocks"),
        ("INSERT", "checkpoints"),
        ("SELECT", "storage_claims"),
    ] {
        owned.sql(&format!("REVOKE {right} ON {table} FROM {role}")).await;
        let told = owned.refused(&SERVE).await;
        assert!(told.contains(&format!("lacks {right} on {table})")), "{told}");
        owned.sql(&format!("GRANT {right} ON {table} TO {role}")).await;
    }
    owned
        .sql(&format!(
            "REVOKE INSERT, UPDATE ON leases FROM {role}; REVOKE DELETE ON purge_work FROM {role}"
        ))
        .await;
    let told = owned.refused(&SERVE).await;
    assert!(
        told.contains("lacks INSERT, UPDATE on leases; DELETE on purge_work)") && told.contains(&role),
        "{told}"
    );
    owned
        .sql("REVOKE EXECUTE ON FUNCTION refuse_batch() FROM PUBLIC")
        .await;
    let told = owned.refused(&SERVE).await;
    assert!(told.contains("EXECUTE on refuse_batch()"), "{told}");
    owned
        .sql(&format!("GRANT EXECUTE ON FUNCTION refuse_batch() TO {role}"))
        .await;
    owned.grant("SELECT, INSERT, UPDATE, DELETE").await;
    // What the service never does need not be allowed.
    owned
        .sql(&format!(
            "REVOKE DELETE ON events, ledger_head, checkpoints, entities, audit_attempts FROM {role};
             REVOKE UPDATE ON checkpoints, ledger_meta FROM {role};
             REVOKE INSERT ON ledger_head, audit_head, audit_indexed FROM {role}"
        ))
        .await;
    let world = World::on(owned.url("role")).await;
    world.live().await;
}
