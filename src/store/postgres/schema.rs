//! The schema: whether it is there, made where it is not, and whether this role may use it.

use super::PostgresStore;
use super::server::Plans;
use crate::store::StoreError;
use crate::store::schema::{self, Applied};
use sqlx::Executor;
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};

/// The migrations, compiled in.
static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The advisory lock of those who migrate through a pooler: "archmigr".
const LOCK: i64 = i64::from_be_bytes(*b"archmigr");

/// What a role that may not do something is told, and one that sees no schema to do it in.
const FORBIDDEN: [&str; 2] = ["42501", "3F000"];

impl PostgresStore {
    /// Brings the schema up to date; several instances may do so at once. A schema that is current is left alone, so that a role
    /// which may only read and write rows is enough.
    ///
    /// # Errors
    /// [`StoreError::Migrate`]; [`StoreError::Unfit`] when the role may not, or this version must not.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        if self.is_current().await? {
            return Ok(());
        }
        if !self.server.keeps_sessions() {
            return self.migrate_in_one_transaction().await;
        }
        let operation = "migrate the schema";
        let mut session = self
            .server
            .session(Plans::Free)
            .await
            .map_err(StoreError::database(operation))?;
        schema::migrator(&MIGRATIONS)
            .run(session.migrating().map_err(StoreError::database(operation))?)
            .await
            .map_err(refused)?;
        session.close().await.map_err(StoreError::database(operation))
    }

    /// As there is no session that keeps the migrator's lock, and none that it could prepare its statements on.
    async fn migrate_in_one_transaction(&self) -> Result<(), StoreError> {
        let failed = |error| refused(MigrateError::Execute(error));
        let mut tx = self.pool.begin().await.map_err(failed)?;
        tx.be_patient();
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(LOCK)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let migrating = tx.migrating().map_err(failed)?;
        migrating.ensure_migrations_table().await.map_err(refused)?;
        let applied: Vec<i64> = sqlx::query_scalar("SELECT version FROM _sqlx_migrations")
            .fetch_all(&mut *tx)
            .await
            .map_err(failed)?;
        for migration in MIGRATIONS.iter().filter(|one| !applied.contains(&one.version)) {
            let version = migration.version;
            if migration.no_tx {
                return Err(StoreError::Unfit(format!(
                    "migration {version} cannot run through a pooler: run `archive-ledger migrate` with the server's own URL"
                )));
            }
            (&mut *tx)
                .execute(&*migration.sql)
                .await
                .map_err(|error| refused(MigrateError::ExecuteMigration(error, version)))?;
            sqlx::query(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES ($1, $2, true, $3, -1)",
            )
            .bind(version)
            .bind(&*migration.description)
            .bind(&*migration.checksum)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        }
        tx.commit().await.map_err(failed)
    }

    /// Whether the schema is that of this version, or one of a newer version that this one works on. Nothing is changed, and a
    /// database that holds no ledger says no.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] when this version must leave the database alone.
    pub async fn is_current(&self) -> Result<bool, StoreError> {
        let operation = "read the schema's version";
        let migrated: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::database(operation))?;
        if !migrated {
            return Ok(false);
        }
        let applied: Vec<Applied> =
            sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
                .fetch_all(&self.pool)
                .await
                .map_err(StoreError::database(operation))?;
        let oldest = if applied.is_empty() {
            None
        } else {
            self.recall(schema::OLDEST).await?
        };
        schema::is_current(&MIGRATIONS, &applied, oldest.as_deref())
    }

    /// Checks that the role may do with every table what the service does, so that a grant which was forgotten is told at the
    /// start and not by the first command that needs it.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] naming the first table that it may not use.
    pub async fn check_rights(&self, writes: bool) -> Result<(), StoreError> {
        let forbidden: Option<(String, String)> = sqlx::query_as(
            "SELECT name, current_user::text FROM UNNEST ($1::text[]) AS name
             WHERE to_regclass(name) IS NOT NULL
               AND NOT (has_table_privilege(name, 'SELECT')
                        AND (NOT $2 OR has_table_privilege(name, 'INSERT, UPDATE')))
             LIMIT 1",
        )
        .bind(schema::tables(&MIGRATIONS))
        .bind(writes)
        .fetch_optional(&self.pool)
        .await
        .map_err(StoreError::database("look up what the role may do"))?;
        let rights = if writes {
            "SELECT, INSERT, UPDATE, DELETE"
        } else {
            "SELECT"
        };
        forbidden.map_or(Ok(()), |(table, role)| {
            Err(StoreError::Unfit(format!(
                "the role {role} may not use the table {table}: GRANT {rights} on all tables of the ledger to it"
            )))
        })
    }
}

/// Why the migrator ended: for want of a right, the one who has it is named.
fn refused(error: MigrateError) -> StoreError {
    let source = match &error {
        MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => source,
        _ => return StoreError::Migrate(error),
    };
    match source {
        sqlx::Error::Database(told) if told.code().is_some_and(|code| FORBIDDEN.contains(&&*code)) => {
            StoreError::Unfit(format!(
                "the schema is not that of this version, and this role may not change it ({}): run `archive-ledger migrate` as \
                 the role that owns the tables",
                told.message()
            ))
        }
        _ => StoreError::Migrate(error),
    }
}
