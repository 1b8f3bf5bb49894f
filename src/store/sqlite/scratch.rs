//! A private SQLite file for lookups that must not grow with memory. It has no name, holds hashes and ids only, and is gone
//! with its connection.

use super::uuid;
use crate::store::columns::Columns as _;
use crate::store::reconcile::PurgedStorage;
use crate::store::{Hash, StoreError};
use archive_ledger_domain::EntityKey;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use uuid::Uuid;

/// How an entity that is not purged stands to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Claim {
    /// It has nothing there that is known of.
    #[default]
    None,
    /// It stores something below it.
    Below,
    /// It is its own.
    Own,
}

impl Claim {
    const fn rank(self) -> i64 {
        match self {
            Self::None => 0,
            Self::Below => 1,
            Self::Own => 2,
        }
    }
}

/// A place that a purge ordered to be cleaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The entity.
    pub key: EntityKey,
    /// The purge.
    pub purge_id: Uuid,
    /// Which of its URIs, from 1.
    pub ordinal: u32,
    /// Whether it was given up rather than seen empty.
    pub given_up: bool,
}

/// What is known of a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Who has it that is not purged.
    pub claim: Claim,
    /// The purge that ordered it to be cleaned.
    pub ordered: Option<Ordered>,
}

/// Places by the hashes of their names.
#[derive(Debug)]
pub struct Scratch {
    connection: SqliteConnection,
}

impl Scratch {
    /// An empty one.
    ///
    /// # Errors
    /// [`StoreError::Database`] when there is no room for temporary files.
    pub async fn create() -> Result<Self, StoreError> {
        let operation = "make a scratch database";
        // SQLite's own way to ask for a temporary file: no name.
        let mut connection = SqliteConnectOptions::new()
            .filename("")
            .journal_mode(SqliteJournalMode::Off)
            .synchronous(SqliteSynchronous::Off)
            .log_statements(tracing::log::LevelFilter::Trace)
            .connect()
            .await
            .map_err(StoreError::database(operation))?;
        sqlx::query(
            "CREATE TABLE places (
                 hash     BLOB    PRIMARY KEY,
                 claim    INTEGER NOT NULL,
                 entity   TEXT,
                 purge_id TEXT,
                 ordinal  INTEGER,
                 given_up INTEGER
             ) WITHOUT ROWID",
        )
        .execute(&mut connection)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(Self { connection })
    }

    /// Notes that an entity which is not purged has the places.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn claim(&mut self, places: &[(Hash, Claim)]) -> Result<(), StoreError> {
        let operation = "note a claim";
        let mut tx = self
            .connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        for (hash, claim) in places {
            sqlx::query(
                "INSERT INTO places (hash, claim) VALUES (?1, ?2)
                 ON CONFLICT (hash) DO UPDATE SET claim = MAX(claim, excluded.claim)",
            )
            .bind(&hash[..])
            .bind(claim.rank())
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))
    }

    /// Notes that purges ordered places to be cleaned.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn ordered(&mut self, places: &[PurgedStorage]) -> Result<(), StoreError> {
        let operation = "note a purged place";
        let mut tx = self
            .connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        for place in places {
            sqlx::query(
                "INSERT INTO places (hash, claim, entity, purge_id, ordinal, given_up) VALUES (?1, 0, ?2, ?3, ?4, ?5)
                 ON CONFLICT (hash) DO UPDATE
                 SET entity = excluded.entity, purge_id = excluded.purge_id, ordinal = excluded.ordinal,
                     given_up = excluded.given_up",
            )
            .bind(&place.hash[..])
            .bind(place.key.stream_id())
            .bind(place.purge_id.to_string())
            .bind(i64::from(place.ordinal))
            .bind(place.given_up)
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))
    }

    /// What is known of a place.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look(&mut self, hash: &Hash) -> Result<Known, StoreError> {
        let operation = "look a place up";
        let row =
            sqlx::query("SELECT claim, entity, purge_id, ordinal, given_up FROM places WHERE hash = ?1")
                .bind(&hash[..])
                .fetch_optional(&mut self.connection)
                .await
                .map_err(StoreError::database(operation))?;
        let Some(row) = row else {
            return Ok(Known::default());
        };
        let claim = match row.read::<i64>(operation, "claim")? {
            0 => Claim::None,
            1 => Claim::Below,
            _ => Claim::Own,
        };
        let ordered = match row.read::<Option<&str>>(operation, "entity")? {
            None => None,
            Some(entity) => Some(Ordered {
                key: super::read::entity_key(operation, entity)?,
                purge_id: uuid(operation, row.read(operation, "purge_id")?)?,
                ordinal: super::cleanup_jobs::small(operation, row.read(operation, "ordinal")?)?,
                given_up: row.read(operation, "given_up")?,
            }),
        };
        Ok(Known { claim, ordered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive_ledger_domain::EntityType;

    #[tokio::test]
    async fn a_place_has_the_strongest_claim_and_the_last_order() {
        let mut scratch = Scratch::create().await.unwrap();
        let hash = |byte| [byte; 32];
        scratch
            .claim(&[
                (hash(1), Claim::Below),
                (hash(1), Claim::Own),
                (hash(2), Claim::Below),
            ])
            .await
            .unwrap();
        scratch.claim(&[(hash(1), Claim::Below)]).await.unwrap();
        let purged = PurgedStorage {
            event_id: Uuid::from_u128(1),
            ordinal: 2,
            key: EntityKey::new(EntityType::Archives, "a").unwrap(),
            purge_id: Uuid::from_u128(3),
            given_up: true,
            hash: hash(2),
        };
        scratch.ordered(std::slice::from_ref(&purged)).await.unwrap();
        assert_eq!(scratch.look(&hash(1)).await.unwrap().claim, Claim::Own);
        let known = scratch.look(&hash(2)).await.unwrap();
        assert_eq!(known.claim, Claim::Below);
        let ordered = known.ordered.unwrap();
        assert_eq!(
            (ordered.key, ordered.purge_id, ordered.ordinal, ordered.given_up),
            (purged.key, purged.purge_id, 2, true)
        );
        assert_eq!(scratch.look(&hash(3)).await.unwrap(), Known::default());
    }
}
