//! What the ledger's local storage roots are recognized by, and which instance has which roots.

mod postgres;
mod sqlite;

use super::StoreError;
use super::damaged::readable;
use super::values::StoredRow;
use crate::storage::roots::known::{KnownRoot, KnownRoots, Numbers};
use crate::telemetry;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Remembers the local storage roots, for all instances.
#[async_trait]
pub trait StorageRootStore: Send + Sync {
    /// All that were ever used. One whose row cannot be read is one of which nothing is known.
    async fn storage_roots(&self) -> Result<KnownRoots, StoreError>;

    /// Remembers a root. What stands already stays, of several instances that do this at once too, but for one thing: a root
    /// without a marker that has one by now is remembered by it.
    async fn remember_storage_root(&self, root: &KnownRoot, now: DateTime<Utc>) -> Result<(), StoreError>;

    /// Says that an instance has these roots, of all kinds, and forgets what was last said before `stale`.
    async fn hold_storage_roots(
        &self,
        instance: Uuid,
        roots: &[String],
        now: DateTime<Utc>,
        stale: DateTime<Utc>,
    ) -> Result<(), StoreError>;

    /// Forgets that an instance has any roots: it ends.
    async fn withdraw_storage_roots(&self, instance: Uuid) -> Result<(), StoreError>;

    /// The roots that other instances than `except` have said to have since `since`.
    async fn held_storage_roots(&self, except: Uuid, since: DateTime<Utc>)
    -> Result<Vec<String>, StoreError>;
}

/// What the roots are loaded under.
const LOAD: &str = "load the storage roots";
/// What the roots of other instances are read under.
const HELD: &str = "ask which storage roots other instances have";

fn known_roots<R: StoredRow>(rows: &[R]) -> KnownRoots {
    let mut known = KnownRoots::default();
    for row in rows {
        match known_root(row) {
            Ok(root) => known.whole.push(root),
            Err(error) => {
                metrics::counter!(telemetry::UNREADABLE_TOTAL).increment(1);
                // Whoever uses it says what that means.
                tracing::debug!(error = %telemetry::chain(&error), "the row of a storage root cannot be read");
                known.damaged.push(row.text(LOAD, "uri").ok());
            }
        }
    }
    known
}

/// The roots that can be read of those that other instances have.
fn held<R: StoredRow>(rows: &[R]) -> Vec<String> {
    readable(rows, |row| row.text(HELD, "root"))
}

fn known_root(row: &impl StoredRow) -> Result<KnownRoot, StoreError> {
    let device = row.optional_number(LOAD, "device")?;
    let inode = row.optional_number(LOAD, "inode")?;
    let born = row.optional_number(LOAD, "born")?;
    Ok(KnownRoot {
        uri: row.text(LOAD, "uri")?,
        root_id: row.uuid(LOAD, "root_id")?,
        numbers: device.zip(inode).map(|(device, inode)| Numbers {
            device: device.cast_unsigned(),
            inode: inode.cast_unsigned(),
            born,
        }),
    })
}
