//! What the ledger's local storage roots are recognized by, and which instance has which roots.

mod postgres;
mod sqlite;

use super::StoreError;
use super::values::StoredRow;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// What a folder is recognized by where no marker can be written into it.
///
/// Devices are numbered anew when a machine starts or a volume is attached again, so that a folder is also taken for the same
/// when its inode and the time of its birth are: root folders of volumes share their inodes, and not to the nanosecond the time
/// at which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// When the folder was made, in nanoseconds since 1970; absent where the file system does not tell.
    pub born: Option<i64>,
}

impl Numbers {
    /// Whether both are of one folder.
    #[must_use]
    pub fn same(self, other: Self) -> bool {
        self.inode == other.inode
            && match (self.born, other.born) {
                (Some(one), Some(two)) => one == two,
                (None, _) | (_, None) => self.device == other.device,
            }
    }
}

/// A local storage root that was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoot {
    /// Its path as a URI, in one spelling only.
    pub uri: String,
    /// What stands in its marker beside the ledger's id.
    pub root_id: Uuid,
    /// What the folder is recognized by where no marker could be written.
    pub numbers: Option<Numbers>,
}

/// Remembers the local storage roots, for all instances.
#[async_trait]
pub trait StorageRootStore: Send + Sync {
    /// All that were ever used.
    async fn storage_roots(&self) -> Result<Vec<KnownRoot>, StoreError>;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_folder_after_its_device_was_numbered_anew_if_it_was_born_then() {
        let of = |device, inode, born| Numbers { device, inode, born };
        for (one, two, same) in [
            (of(1, 2, Some(3)), of(1, 2, Some(3)), true),
            (of(1, 2, Some(3)), of(9, 2, Some(3)), true),
            (of(1, 2, Some(3)), of(1, 2, Some(4)), false),
            (of(1, 2, Some(3)), of(1, 9, Some(3)), false),
            (of(1, 2, None), of(1, 2, Some(3)), true),
            (of(1, 2, None), of(9, 2, Some(3)), false),
            (of(1, 2, None), of(9, 2, None), false),
        ] {
            assert_eq!((one.same(two), two.same(one)), (same, same), "{one:?} {two:?}");
        }
    }
}
