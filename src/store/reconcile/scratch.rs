//! A private SQLite file for lookups that must not grow with memory. It has no name, holds hashes and ids only, and is gone
//! with its connection.

use super::PurgedStorage;
use crate::store::claims::PlaceKey;
use crate::store::columns::Columns as _;
use crate::store::values::{entity_key, non_negative, signed, uuid};
use crate::store::{Hash, Position, StoreError};
use archive_ledger_domain::EntityKey;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::types::Json;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};
use uuid::Uuid;

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
    /// The position of the request.
    pub position: Position,
}

/// A place that only a deletion named which was undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The entity.
    pub key: EntityKey,
    /// The position of the restore.
    pub restored: Position,
}

/// Why a leftover is not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Taken {
    /// An entity that is not purged has something in, around or at the place.
    #[error("an entity that is not purged stores there too")]
    Claimed,
    /// A restore that came after the purge left something there.
    #[error("a restore left something there since")]
    Left,
}

/// What is known of a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether an entity that is not purged has it.
    pub owned: bool,
    /// The restore that left it, the last of several.
    pub left: Option<Left>,
    /// The purge that ordered it to be cleaned.
    pub ordered: Option<Ordered>,
}

impl Known {
    /// What is known of one place by two names: of two restores or two orders the later one counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            owned: self.owned || other.owned,
            left: [self.left, other.left]
                .into_iter()
                .flatten()
                .max_by_key(|left| left.restored),
            ordered: [self.ordered, other.ordered]
                .into_iter()
                .flatten()
                .max_by_key(|ordered| ordered.position),
        }
    }
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
        let tables = "
            CREATE TABLE ordered (
                hash     BLOB    PRIMARY KEY,
                entity   TEXT    NOT NULL,
                purge_id TEXT    NOT NULL,
                ordinal  INTEGER NOT NULL,
                given_up INTEGER NOT NULL,
                position INTEGER NOT NULL
            ) WITHOUT ROWID;
            CREATE TABLE owned (place BLOB PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE left_over (
                place    BLOB    PRIMARY KEY,
                entity   TEXT    NOT NULL,
                restored INTEGER NOT NULL
            ) WITHOUT ROWID";
        connection
            .execute(tables)
            .await
            .map_err(StoreError::database(operation))?;
        Ok(Self { connection })
    }

    /// Notes that an entity which is not purged has the places.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn owned(&mut self, places: &[PlaceKey]) -> Result<(), StoreError> {
        let operation = "note a claim";
        let mut tx = self
            .connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        for place in places {
            sqlx::query("INSERT INTO owned (place) VALUES (?1) ON CONFLICT (place) DO NOTHING")
                .bind(place.as_bytes())
                .execute(&mut *tx)
                .await
                .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))
    }

    /// Notes that restores left the places.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn left(&mut self, places: &[(PlaceKey, Left)]) -> Result<(), StoreError> {
        let operation = "note what a restore left";
        let mut tx = self
            .connection
            .begin()
            .await
            .map_err(StoreError::database(operation))?;
        for (place, left) in places {
            sqlx::query(
                "INSERT INTO left_over (place, entity, restored) VALUES (?1, ?2, ?3)
                 ON CONFLICT (place) DO UPDATE SET entity = excluded.entity, restored = excluded.restored
                 WHERE excluded.restored > left_over.restored",
            )
            .bind(place.as_bytes())
            .bind(left.key.stream_id())
            .bind(signed(left.restored))
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
                "INSERT INTO ordered (hash, entity, purge_id, ordinal, given_up, position)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (hash) DO UPDATE
                 SET entity = excluded.entity, purge_id = excluded.purge_id, ordinal = excluded.ordinal,
                     given_up = excluded.given_up, position = excluded.position
                 WHERE excluded.position >= ordered.position",
            )
            .bind(&place.hash[..])
            .bind(place.key.stream_id())
            .bind(place.purge_id.to_string())
            .bind(i64::from(place.ordinal))
            .bind(place.given_up)
            .bind(signed(place.position))
            .execute(&mut *tx)
            .await
            .map_err(StoreError::database(operation))?;
        }
        tx.commit().await.map_err(StoreError::database(operation))
    }

    /// What is known of a place, by the hash of its name and by the place that it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look(&mut self, hash: &Hash, place: &PlaceKey) -> Result<Known, StoreError> {
        let operation = "look a place up";
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM owned WHERE place = ?2) AS owned,
                    l.entity AS left_by, l.restored, o.entity, o.purge_id, o.ordinal, o.given_up, o.position
             FROM (SELECT 1) LEFT JOIN left_over l ON l.place = ?2 LEFT JOIN ordered o ON o.hash = ?1",
        )
        .bind(&hash[..])
        .bind(place.as_bytes())
        .fetch_one(&mut self.connection)
        .await
        .map_err(StoreError::database(operation))?;
        let left = match row.read::<Option<&str>>(operation, "left_by")? {
            None => None,
            Some(entity) => Some(Left {
                key: entity_key(operation, entity)?,
                restored: non_negative(operation, row.read(operation, "restored")?)?,
            }),
        };
        let ordered = match row.read::<Option<&str>>(operation, "entity")? {
            None => None,
            Some(entity) => Some(Ordered {
                key: entity_key(operation, entity)?,
                purge_id: uuid(operation, row.read(operation, "purge_id")?)?,
                ordinal: row.read(operation, "ordinal")?,
                given_up: row.read(operation, "given_up")?,
                position: non_negative(operation, row.read(operation, "position")?)?,
            }),
        };
        Ok(Known {
            owned: row.read(operation, "owned")?,
            left,
            ordered,
        })
    }

    /// Whether something in, around or at a place that a purge ordered to be cleaned is not that purge's.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn taken(&mut self, place: &PlaceKey, ordered: &Ordered) -> Result<Option<Taken>, StoreError> {
        let operation = "look around a place";
        let around: Vec<String> = place.above().map(hex::encode).collect();
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM owned WHERE place >= ?1 AND place < ?2)
                 OR EXISTS (SELECT 1 FROM json_each(?3) AS around JOIN owned ON place = unhex(around.value)) AS owned,
                    EXISTS (SELECT 1 FROM left_over WHERE place >= ?1 AND place < ?2 AND restored > ?4 AND entity <> ?5)
                 OR EXISTS (SELECT 1 FROM json_each(?3) AS around JOIN left_over ON place = unhex(around.value)
                            WHERE restored > ?4 AND entity <> ?5) AS left_over",
        )
        .bind(place.as_bytes())
        .bind(place.behind())
        .bind(Json(around))
        .bind(signed(ordered.position))
        .bind(ordered.key.stream_id())
        .fetch_one(&mut self.connection)
        .await
        .map_err(StoreError::database(operation))?;
        Ok(
            match (row.read(operation, "owned")?, row.read(operation, "left_over")?) {
                (true, _) => Some(Taken::Claimed),
                (false, true) => Some(Taken::Left),
                (false, false) => None,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::claims::LEVEL_LEN;
    use archive_ledger_domain::EntityType;

    fn place(levels: &[u8]) -> PlaceKey {
        PlaceKey::new(levels.iter().flat_map(|level| [*level; LEVEL_LEN]).collect())
    }

    fn entity(id: &str) -> EntityKey {
        EntityKey::new(EntityType::Archives, id).unwrap()
    }

    fn order(hash: u8, position: Position) -> PurgedStorage {
        PurgedStorage {
            event_id: Uuid::from_u128(u128::from(position)),
            ordinal: 2,
            key: entity("purged"),
            purge_id: Uuid::from_u128(3),
            given_up: true,
            position,
            hash: [hash; 32],
        }
    }

    #[tokio::test]
    async fn a_place_has_its_owner_its_last_restore_and_its_last_order() {
        let mut scratch = Scratch::create().await.unwrap();
        scratch.owned(&[place(&[1]), place(&[1])]).await.unwrap();
        let left = |restored| Left {
            key: entity("restored"),
            restored,
        };
        scratch
            .left(&[(place(&[2]), left(7)), (place(&[2]), left(5))])
            .await
            .unwrap();
        scratch.ordered(&[order(2, 9), order(2, 4)]).await.unwrap();
        let known = scratch.look(&[1; 32], &place(&[1])).await.unwrap();
        assert_eq!((known.owned, known.left, known.ordered), (true, None, None));
        let known = scratch.look(&[2; 32], &place(&[2])).await.unwrap();
        assert_eq!((known.owned, known.left), (false, Some(left(7))));
        let ordered = known.ordered.unwrap();
        assert_eq!(
            (ordered.key, ordered.ordinal, ordered.given_up, ordered.position),
            (entity("purged"), 2, true, 9)
        );
        assert_eq!(
            scratch.look(&[3; 32], &place(&[3])).await.unwrap(),
            Known::default()
        );
    }

    #[tokio::test]
    async fn what_is_stored_around_in_or_at_a_place_takes_it_unless_the_order_came_later() {
        let mut scratch = Scratch::create().await.unwrap();
        scratch.owned(&[place(&[1, 1])]).await.unwrap();
        let left = Left {
            key: entity("restored"),
            restored: 7,
        };
        scratch.left(&[(place(&[2, 1]), left)]).await.unwrap();
        let ordered = |position, key: &str| Ordered {
            key: entity(key),
            purge_id: Uuid::from_u128(3),
            ordinal: 1,
            given_up: false,
            position,
        };
        for (levels, position, key, taken) in [
            (&[1][..], 99, "purged", Some(Taken::Claimed)),
            (&[1, 1], 99, "purged", Some(Taken::Claimed)),
            (&[1, 1, 1], 99, "purged", Some(Taken::Claimed)),
            (&[1, 2], 99, "purged", None),
            (&[2], 6, "purged", Some(Taken::Left)),
            (&[2, 1, 5], 6, "purged", Some(Taken::Left)),
            (&[2, 1], 8, "purged", None),
            (&[2, 1], 6, "restored", None),
            (&[2, 2], 6, "purged", None),
        ] {
            let found = scratch
                .taken(&place(levels), &ordered(position, key))
                .await
                .unwrap();
            assert_eq!(found, taken, "{levels:?} {position} {key}");
        }
    }
}
