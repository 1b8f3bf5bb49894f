//! The schema: whether it is there, made where it is not, and whether this role may use it.

use super::Applied;
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::postgres::PostgresStore;
use crate::store::schema;
use crate::store::server::Plans;
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
    /// start and not by the first command that needs it. (Identity columns need no right to their sequences.)
    ///
    /// # Errors
    /// [`StoreError::Unfit`] naming every right that is missing.
    pub async fn check_rights(&self, writes: bool) -> Result<(), StoreError> {
        let operation = "look up what the role may do";
        let asked = RIGHTS.into_iter().flat_map(|(table, rights)| {
            let rights = if writes { rights } else { "SELECT" };
            rights.split(", ").map(move |right| (table, right))
        });
        let (tables, rights): (Vec<&str>, Vec<&str>) = asked.unzip();
        let lacking = sqlx::query(
            "SELECT string_agg(lacking.rights || ' on ' || lacking.name, '; ' ORDER BY lacking.name) AS lacking,
                    current_user::text AS role
             FROM (SELECT name, string_agg(asked_for, ', ' ORDER BY place) AS rights
                   FROM UNNEST ($1::text[], $2::text[]) WITH ORDINALITY AS asked (name, asked_for, place)
                   WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(name, asked_for)
                   GROUP BY name
                   UNION ALL
                   SELECT 'refuse_batch()', 'EXECUTE'
                   WHERE $3 AND NOT coalesce(has_function_privilege(to_regprocedure('refuse_batch()'), 'EXECUTE'), true)
                  ) AS lacking",
        )
        .bind(tables)
        .bind(rights)
        .bind(writes)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::database(operation))?;
        let Some(missing) = lacking.read::<Option<String>>(operation, "lacking")? else {
            return Ok(());
        };
        let role: String = lacking.read(operation, "role")?;
        let rights = if writes { EVERY_RIGHT } else { "SELECT" };
        Err(StoreError::Unfit(format!(
            "the role {role} may not use the tables of the ledger as this command does (it lacks {missing}): GRANT {rights} on all \
             tables of the ledger, and EXECUTE on its functions, to it"
        )))
    }
}

/// What the service does with most of its tables.
const EVERY_RIGHT: &str = "SELECT, INSERT, UPDATE, DELETE";

/// What the service does with each of its tables. A role may be denied the rest, such as the right to delete from the log.
const RIGHTS: [(&str, &str); 32] = [
    ("events", "SELECT, INSERT, UPDATE"),
    ("ledger_head", "SELECT, UPDATE"),
    ("ledger_meta", "SELECT, INSERT"),
    ("entities", "SELECT, INSERT, UPDATE"),
    ("entity_events", "SELECT"),
    ("archived_entries", EVERY_RIGHT),
    ("archived_summary", "SELECT, INSERT, UPDATE"),
    ("archived_page_groups", EVERY_RIGHT),
    ("archived_pages", EVERY_RIGHT),
    ("purge_work", EVERY_RIGHT),
    ("idempotency_answers", EVERY_RIGHT),
    ("storage_claims", "SELECT, INSERT, DELETE"),
    ("leases", "SELECT, INSERT, UPDATE"),
    ("cursors", "SELECT, INSERT, UPDATE"),
    ("callback_targets", EVERY_RIGHT),
    ("callback_deliveries", EVERY_RIGHT),
    ("callback_attempts", EVERY_RIGHT),
    ("callback_circuits", EVERY_RIGHT),
    ("cleanup_jobs", EVERY_RIGHT),
    ("cleanup_obligations", "SELECT, INSERT, UPDATE"),
    ("storage_roots", "SELECT, INSERT, UPDATE"),
    ("storage_root_holders", EVERY_RIGHT),
    ("checkpoints", "SELECT, INSERT"),
    ("tree_hashes", EVERY_RIGHT),
    ("fork_losses", EVERY_RIGHT),
    ("lost_purges", EVERY_RIGHT),
    ("audit_head", "SELECT, UPDATE"),
    ("audit_attempts", "SELECT, INSERT, UPDATE"),
    ("audit_blocks", "SELECT, INSERT, DELETE"),
    ("audit_indexed", "SELECT, UPDATE"),
    ("clock_moves", "SELECT, INSERT, UPDATE"),
    ("instance_marks", EVERY_RIGHT),
];

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    const STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store");

    /// PostgreSQL's statements in a folder's files: what stands between quotes. A rebuild's tables are its own.
    fn statements(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let room = path.strip_prefix(STORE).unwrap();
            if path.is_dir() {
                statements(&path, found);
            } else if room
                .iter()
                .any(|part| part == "postgres" || part == "postgres.rs")
                && !room.starts_with("rebuild")
            {
                let text = std::fs::read_to_string(&path).unwrap().replace("\\\"", "");
                found.extend(text.split('"').skip(1).step_by(2).map(str::to_owned));
            }
        }
    }

    fn words(statement: &str) -> Vec<&str> {
        statement
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .filter(|word| !word.is_empty())
            .collect()
    }

    #[test]
    fn every_right_that_a_statement_needs_is_asked_for() {
        let mut all = Vec::new();
        statements(Path::new(STORE), &mut all);
        for (table, asked) in RIGHTS {
            let named = all.iter().any(|statement| words(statement).contains(&table));
            assert!(named, "no statement names {table}: they were not found");
            let mut needed = BTreeSet::new();
            for statement in &all {
                let words = words(statement);
                let is = |at: usize, expected: &[&str]| {
                    words.get(at..).is_some_and(|rest| rest.starts_with(expected))
                };
                for at in 0..words.len() {
                    for (right, said) in [
                        ("INSERT", &["INSERT", "INTO", table][..]),
                        ("UPDATE", &["UPDATE", table]),
                        ("DELETE", &["DELETE", "FROM", table]),
                        ("SELECT", &["FROM", table]),
                        ("SELECT", &["JOIN", table]),
                    ] {
                        if is(at, said) {
                            needed.insert(right);
                        }
                    }
                    let first = words.first() == Some(&"INSERT") && is(0, &["INSERT", "INTO", table]);
                    if first && is(at, &["DO", "UPDATE"]) {
                        needed.extend(["UPDATE", "SELECT"]);
                    }
                }
            }
            let asked: BTreeSet<&str> = asked.split(", ").collect();
            assert!(
                needed.is_subset(&asked),
                "{table}: {needed:?}, and only {asked:?} are asked for"
            );
        }
    }
}
