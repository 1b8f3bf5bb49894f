//! What a local storage root was recognized by when it was last used.

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
