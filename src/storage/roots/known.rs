//! What a local storage root was recognized by when it was last used.

use std::collections::BTreeSet;
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

/// The local storage roots that were ever used, as far as their rows can be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownRoots {
    /// Those that can be read.
    pub whole: Vec<KnownRoot>,
    /// The URIs of the others; absent where not even that can be read. Of such a root nothing is known.
    pub damaged: Vec<Option<String>>,
}

impl KnownRoots {
    /// Whether a root may have been used before of which nothing is known: by its row, or by one that names no root.
    #[must_use]
    pub fn is_in_doubt(&self, uri: &str) -> bool {
        let named = |damaged: &Option<String>| damaged.as_deref().is_none_or(|damaged| damaged == uri);
        self.damaged.iter().any(named) && !self.whole.iter().any(|known| known.uri == uri)
    }

    /// All of them, for whoever asks what a place is called by other names: one of which nothing is known may have been any other root
    /// at another path, those with these ids included. `None` where a path is not known either.
    #[must_use]
    pub fn by_any_name(mut self, others: impl IntoIterator<Item = Uuid>) -> Option<Vec<KnownRoot>> {
        if self.damaged.is_empty() {
            return Some(self.whole);
        }
        let ids: BTreeSet<Uuid> = self
            .whole
            .iter()
            .map(|known| known.root_id)
            .chain(others)
            // Two of which nothing is known may be one.
            .chain([Uuid::nil()])
            .collect();
        for uri in std::mem::take(&mut self.damaged) {
            let uri = uri?;
            self.whole.extend(ids.iter().map(|id| KnownRoot {
                uri: uri.clone(),
                root_id: *id,
                numbers: None,
            }));
        }
        Some(self.whole)
    }
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

    #[test]
    fn a_root_of_which_nothing_is_known_is_in_doubt_and_may_be_any_other_one_at_another_path() {
        let known = |uri: &str, id| KnownRoot {
            uri: uri.to_owned(),
            root_id: Uuid::from_u128(id),
            numbers: None,
        };
        let roots = |damaged: &[Option<&str>]| KnownRoots {
            whole: vec![known("file:///a", 1)],
            damaged: damaged.iter().map(|uri| uri.map(str::to_owned)).collect(),
        };
        for (damaged, in_doubt) in [
            (&[][..], [false, false, false]),
            (&[Some("file:///b")], [false, true, false]),
            (&[None], [false, true, true]),
        ] {
            let roots = roots(damaged);
            assert_eq!(
                ["file:///a", "file:///b", "file:///c"].map(|uri| roots.is_in_doubt(uri)),
                in_doubt
            );
        }
        assert_eq!(
            roots(&[]).by_any_name([Uuid::from_u128(2)]),
            Some(vec![known("file:///a", 1)])
        );
        assert_eq!(
            roots(&[Some("file:///b")]).by_any_name([Uuid::from_u128(2)]),
            Some(vec![
                known("file:///a", 1),
                known("file:///b", 0),
                known("file:///b", 1),
                known("file:///b", 2),
            ])
        );
        assert_eq!(roots(&[None]).by_any_name([]), None);
    }
}
