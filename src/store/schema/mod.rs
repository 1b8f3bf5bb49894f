//! Which schema a database has, beside the one that this version makes.
//!
//! Migrations expand first and contract one release later (`migrations/README.md`), so an older version works on a newer schema
//! until a contracting migration says which one is the oldest that still does.

mod postgres;
pub(in crate::store) mod sqlite;

use super::StoreError;
use sqlx::migrate::Migrator;

/// Under this name a ledger remembers the migration that a version must know to work on its schema.
pub(super) const OLDEST: &str = "oldest_schema";

/// A migration that was applied to a database.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Applied {
    version: i64,
    checksum: Vec<u8>,
    success: bool,
}

/// Whether every migration that this version knows was applied, to a database that this version works on. `oldest` is what the
/// ledger remembers as [`OLDEST`].
///
/// # Errors
/// [`StoreError::Unfit`] when this version must leave the database alone: a migration was changed or broke off, or the schema
/// has lost what this version needs.
pub(super) fn is_current(
    known: &Migrator,
    applied: &[Applied],
    oldest: Option<&str>,
) -> Result<bool, StoreError> {
    let newest = known
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or_default();
    if let Some(oldest) = oldest
        && oldest.parse::<i64>().map_or(true, |oldest| oldest > newest)
    {
        return Err(StoreError::Unfit(format!(
            "the schema needs a version of archive-ledger that knows migration {oldest}, and this one knows those up to \
             {newest}: run the newer version"
        )));
    }
    for one in applied {
        let version = one.version;
        if !one.success {
            return Err(StoreError::Unfit(format!(
                "migration {version} broke off: bring a backup back"
            )));
        }
        let migration = known.iter().find(|migration| migration.version == version);
        if migration.is_some_and(|migration| *migration.checksum != *one.checksum) {
            return Err(StoreError::Unfit(format!(
                "migration {version} is not the one that was applied to this database: run the version of archive-ledger \
                 that made the schema"
            )));
        }
    }
    Ok(known
        .iter()
        .all(|migration| applied.iter().any(|one| one.version == migration.version)))
}

/// The migrator, for a database that may have been migrated by a newer version.
pub(super) fn migrator(known: &Migrator) -> Migrator {
    let mut migrator = Migrator {
        migrations: known.migrations.clone(),
        ..Migrator::DEFAULT
    };
    migrator.set_ignore_missing(true);
    migrator
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::migrate::{Migration, MigrationType};
    use std::borrow::Cow;

    /// What a version knows that made its schema in three steps.
    fn known() -> Migrator {
        let migration = |version| {
            let sql = format!("CREATE TABLE of_{version} (id INTEGER)");
            Migration::new(version, "a step".into(), MigrationType::Simple, sql.into(), false)
        };
        Migrator {
            migrations: Cow::Owned((1..=3).map(migration).collect()),
            ..Migrator::DEFAULT
        }
    }

    fn applied() -> Vec<Applied> {
        known()
            .iter()
            .map(|migration| Applied {
                version: migration.version,
                checksum: migration.checksum.to_vec(),
                success: true,
            })
            .collect()
    }

    #[test]
    fn a_schema_is_current_with_every_migration_and_more_and_behind_without_one() {
        let known = known();
        let mut applied = applied();
        assert!(is_current(&known, &applied, None).unwrap());
        applied.push(Applied {
            version: 9_999,
            checksum: vec![1],
            success: true,
        });
        assert!(is_current(&known, &applied, None).unwrap());
        assert!(is_current(&known, &applied, Some("1")).unwrap());
        applied.remove(1);
        assert!(!is_current(&known, &applied, None).unwrap());
        assert!(!is_current(&known, &[], None).unwrap());
    }

    #[test]
    fn a_schema_that_this_version_must_leave_alone_is_refused() {
        for (change, oldest, told) in [
            (None, Some("9999"), "needs a version"),
            (None, Some("not a number"), "needs a version"),
            (
                Some(Applied {
                    version: 2,
                    checksum: vec![0],
                    success: true,
                }),
                None,
                "migration 2 is not",
            ),
            (
                Some(Applied {
                    version: 9_999,
                    checksum: vec![0],
                    success: false,
                }),
                None,
                "migration 9999 broke off",
            ),
        ] {
            let mut applied = applied();
            if let Some(change) = change {
                applied.retain(|one| one.version != change.version);
                applied.push(change);
            }
            let error = is_current(&known(), &applied, oldest).unwrap_err();
            assert!(matches!(error, StoreError::Unfit(_)), "{error:?}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
