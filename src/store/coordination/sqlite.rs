//! SQLite: leases and cursors.
//!
//! Each write is one statement on the writing connection, so nothing has to be held between a read and a write.

use super::CoordinationStore;
use crate::clock::{Clock as _, SystemClock};
use crate::store::sqlite::SqliteStore;
use crate::store::values::micros;
use crate::store::{Position, StoreError};
use async_trait::async_trait;
use std::time::Duration;
use uuid::Uuid;

const ACQUIRE: &str = "
    INSERT INTO leases (name, owner, epoch, expires_at, length_ms)
    VALUES (?1, ?2, 1, ?3 + 1000 * ?4, ?4)
    ON CONFLICT (name) DO UPDATE SET
        epoch = CASE WHEN leases.owner = excluded.owner THEN leases.epoch ELSE leases.epoch + 1 END,
        owner = excluded.owner,
        expires_at = excluded.expires_at,
        length_ms = excluded.length_ms
    WHERE leases.owner = excluded.owner OR leases.expires_at <= ?3
       OR leases.expires_at > ?3 + 1000 * coalesce(leases.length_ms, ?4)
    RETURNING epoch";

const RELEASE: &str = "UPDATE leases SET expires_at = 0 WHERE name = ?1 AND owner = ?2";

const CURSOR: &str = "SELECT position FROM cursors WHERE name = ?1";

const ADVANCE: &str = "
    INSERT INTO cursors (name, position)
    VALUES (?1, ?2)
    ON CONFLICT (name) DO UPDATE SET position = excluded.position
    WHERE cursors.position < excluded.position";

#[async_trait]
impl CoordinationStore for SqliteStore {
    async fn acquire_lease(&self, name: &str, owner: Uuid, ttl: Duration) -> Result<Option<u64>, StoreError> {
        const OPERATION: &str = "take a lease";
        let ttl = i64::try_from(ttl.as_millis())
            .map_err(|_| StoreError::inconsistent(OPERATION, "the lease is too long"))?;
        // Whoever asks has the connection to himself: nobody has written the row at a later time.
        let mut connection = self.writing().await;
        let now = SystemClock.now();
        let epoch: Option<i64> = sqlx::query_scalar(ACQUIRE)
            .bind(name)
            .bind(owner.to_string())
            .bind(micros(now))
            .bind(ttl)
            .fetch_optional(&mut *connection)
            .await
            .map_err(StoreError::database(OPERATION))?;
        epoch
            .map(|epoch| {
                u64::try_from(epoch).map_err(|_| StoreError::inconsistent(OPERATION, "an epoch is negative"))
            })
            .transpose()
    }

    async fn release_lease(&self, name: &str, owner: Uuid) -> Result<(), StoreError> {
        sqlx::query(RELEASE)
            .bind(name)
            .bind(owner.to_string())
            .execute(&mut *self.writing().await)
            .await
            .map_err(StoreError::database("give a lease back"))?;
        Ok(())
    }

    async fn cursor(&self, name: &str) -> Result<Position, StoreError> {
        const OPERATION: &str = "read a cursor";
        let position: Option<i64> = sqlx::query_scalar(CURSOR)
            .bind(name)
            .fetch_optional(&self.reads)
            .await
            .map_err(StoreError::database(OPERATION))?;
        Position::try_from(position.unwrap_or(0))
            .map_err(|_| StoreError::inconsistent(OPERATION, "a cursor is negative"))
    }

    async fn advance_cursor(&self, name: &str, position: Position) -> Result<(), StoreError> {
        const OPERATION: &str = "move a cursor";
        let position = i64::try_from(position)
            .map_err(|_| StoreError::inconsistent(OPERATION, "a position is out of range"))?;
        sqlx::query(ADVANCE)
            .bind(name)
            .bind(position)
            .execute(&mut *self.writing().await)
            .await
            .map_err(StoreError::database(OPERATION))?;
        Ok(())
    }
}
