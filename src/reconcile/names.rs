//! The places that an object lies in, and the hashes that they are recognized by.

use crate::keyring::Keyring;
use crate::ledger::STORAGE_PURPOSE;
use crate::storage::roots::tree::Tree;
use crate::storage::uri::{bucket_name, local_name};
use crate::store::Hash;
use crate::store::claims::PlaceKey;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What a storage URI must not hold as it is; the rest of a name may stand for itself.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\');

/// A place in a storage root: a folder or an object, by its absolute path or its key.
///
/// In a bucket a folder has two names: `s3://bucket/key`, which is the object `key` and everything under `key/`, and
/// `s3://bucket/key/`, which is the latter only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing but the object of that name.
    Object,
    /// A folder, and in a bucket the object of the same name.
    Both,
    /// A folder of a bucket by the name that ends in a slash.
    Folder,
}

impl Spot {
    pub(super) fn root(tree: &Tree) -> Self {
        let name = match tree {
            Tree::Local(root) => root.clone(),
            Tree::Bucket { prefix, .. } => prefix.clone(),
        };
        Self {
            name,
            kind: Kind::Both,
        }
    }

    /// The same place by another path that the tree's root was used at.
    pub(super) fn at(&self, tree: &Tree, path: &str) -> Option<Self> {
        let Tree::Local(root) = tree else { return None };
        let below = self.name.strip_prefix(root.as_str())?;
        Some(Self {
            name: format!("{path}{below}"),
            kind: self.kind,
        })
    }

    pub(super) const fn is_object(&self) -> bool {
        matches!(self.kind, Kind::Object)
    }

    pub(super) fn hash(&self, tree: &Tree, keyring: &Keyring) -> Hash {
        let name = match tree {
            Tree::Local(_) => local_name(self.name.trim_start_matches('/')),
            Tree::Bucket { cloud, bucket, .. } => bucket_name(*cloud, bucket, &self.spelled()),
        };
        keyring.keyed_hash(STORAGE_PURPOSE, &name)
    }

    /// The place that its URI names.
    pub(super) fn place(&self, tree: &Tree, keyring: &Keyring) -> PlaceKey {
        match tree {
            Tree::Local(_) => keyring.local_place(self.name.trim_start_matches('/')),
            Tree::Bucket { cloud, bucket, .. } => keyring.bucket_place(*cloud, bucket, &self.spelled()),
        }
    }

    /// As its URI ends.
    fn spelled(&self) -> String {
        match self.kind {
            Kind::Object | Kind::Both => self.name.clone(),
            Kind::Folder => format!("{}/", self.name),
        }
    }

    pub(super) fn uri(&self, tree: &Tree) -> String {
        uri(tree, &self.spelled())
    }

    /// Whether an object of that name lies in it.
    pub(super) fn covers(&self, name: &str) -> bool {
        let below = name
            .strip_prefix(&self.name)
            .is_some_and(|rest| rest.starts_with('/'));
        match self.kind {
            Kind::Object => name == self.name,
            Kind::Both => below || name == self.name,
            Kind::Folder => below,
        }
    }
}

/// The URI of an absolute path or a key.
pub(super) fn uri(tree: &Tree, name: &str) -> String {
    let escaped = utf8_percent_encode(name, ESCAPED);
    match tree {
        Tree::Local(_) => format!("file://{escaped}"),
        Tree::Bucket { cloud, bucket, .. } => format!("{}://{bucket}/{escaped}", cloud.scheme()),
    }
}

/// Every place below the root that an object lies in, outermost first, and the object itself at the end.
pub(super) fn spots(tree: &Tree, name: &str) -> Vec<Spot> {
    let (start, kinds): (usize, &[Kind]) = match tree {
        Tree::Local(root) => (root.len() + 1, &[Kind::Both]),
        Tree::Bucket { prefix, .. } if prefix.is_empty() => (0, &[Kind::Both, Kind::Folder]),
        Tree::Bucket { prefix, .. } => (prefix.len() + 1, &[Kind::Both, Kind::Folder]),
    };
    let mut found = Vec::new();
    for (slash, _) in name.match_indices('/').filter(|(slash, _)| *slash >= start) {
        found.extend(kinds.iter().map(|kind| Spot {
            name: name[..slash].to_owned(),
            kind: *kind,
        }));
    }
    if !name.ends_with('/') {
        found.push(Spot {
            name: name.to_owned(),
            kind: Kind::Object,
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::uri::{Cloud, Spelled, spell};
    use uuid::Uuid;

    fn tree() -> Tree {
        Tree::Bucket {
            cloud: Cloud::S3,
            bucket: "b".into(),
            prefix: "root".into(),
        }
    }

    #[test]
    fn an_object_lies_in_every_folder_below_the_root_by_both_names() {
        let found: Vec<String> = spots(&tree(), "root/a/b/c")
            .iter()
            .map(|spot| spot.uri(&tree()))
            .collect();
        assert_eq!(
            found,
            [
                "s3://b/root/a",
                "s3://b/root/a/",
                "s3://b/root/a/b",
                "s3://b/root/a/b/",
                "s3://b/root/a/b/c"
            ]
        );
        let local = Tree::Local("/srv/x".into());
        let found: Vec<String> = spots(&local, "/srv/x/a b/100%")
            .iter()
            .map(|spot| spot.uri(&local))
            .collect();
        assert_eq!(found, ["file:///srv/x/a%20b", "file:///srv/x/a%20b/100%25"]);
    }

    #[test]
    fn a_folder_covers_what_is_below_it_and_not_its_sibling() {
        let spots = spots(&tree(), "root/a/b");
        let (both, folder) = (&spots[0], &spots[1]);
        assert!(both.covers("root/a") && !folder.covers("root/a"));
        for spot in [both, folder] {
            assert!(spot.covers("root/a/z") && !spot.covers("root/a-sibling/z"));
        }
    }

    #[test]
    fn a_spot_is_the_place_that_its_uri_names() {
        let keyring = Keyring::parse(&Keyring::generate(Uuid::from_u128(1)).unwrap()).unwrap();
        let local = Tree::Local("/srv/x".into());
        for (tree, name) in [(&tree(), "root/a/b//c"), (&local, "/srv/x/a b/100%")] {
            for spot in spots(tree, name) {
                let uri = spot.uri(tree);
                assert_eq!(keyring.place(&uri).unwrap(), spot.place(tree, &keyring), "{uri}");
            }
        }
    }

    #[test]
    fn every_uri_that_is_told_can_be_given_back() {
        for name in ["root/a b", "root/ü/%41", "root/a?b#c", "root/x/"] {
            let told = uri(&tree(), name);
            assert_eq!(
                spell(&told),
                Ok(Spelled::Bucket {
                    cloud: Cloud::S3,
                    bucket: "b".into(),
                    key: name.into()
                })
            );
        }
    }
}
