//! What a storage URI names, as the database knows it: hashes that tell nothing without the keyring.

use super::Keyring;
use crate::storage::uri::{Cloud, Spelled, UriRefusal, bucket_name, local_name, spell};
use crate::store::claims::{LEVEL_LEN, MAX_LEVELS, PlaceKey};

/// Keeps these hashes apart from the keyring's other ones.
const PURPOSE: &str = "storage-claim";

impl Keyring {
    /// The place that a storage URI names. All its spellings are one place: with a slash at the end or without, with
    /// characters percent-encoded or not. `s3://bucket/key` holds all of `s3://bucket/key/`, and counts as the same.
    ///
    /// # Errors
    /// [`UriRefusal`] when it is not spelled as a storage URI.
    pub fn place(&self, uri: &str) -> Result<PlaceKey, UriRefusal> {
        Ok(match spell(uri)? {
            Spelled::Local(components) => self.local_place(&components.join("/")),
            Spelled::Bucket { cloud, bucket, key } => self.bucket_place(cloud, &bucket, &key),
        })
    }

    /// The place of an absolute path, given without the slash at its beginning.
    pub(crate) fn local_place(&self, path: &str) -> PlaceKey {
        self.chain(ways(path).map(local_name))
    }

    /// The place of a key, or of what is below it.
    pub(crate) fn bucket_place(&self, cloud: Cloud, bucket: &str, key: &str) -> PlaceKey {
        let key = key.strip_suffix('/').unwrap_or(key);
        // The bucket is the outermost folder. Keys may begin with a slash: one before each keeps them apart from it.
        let keys = ways(key).map(|key| bucket_name(cloud, bucket, &format!("/{key}")));
        self.chain(std::iter::once(bucket_name(cloud, bucket, "")).chain(keys))
    }

    fn chain(&self, names: impl Iterator<Item = Vec<u8>>) -> PlaceKey {
        let mut bytes = Vec::new();
        for name in names.take(MAX_LEVELS) {
            bytes.extend(self.keyed_hash(PURPOSE, &name).into_iter().take(LEVEL_LEN));
        }
        PlaceKey::new(bytes)
    }
}

/// Every folder on the way to a name, outermost first, and the name itself.
fn ways(name: &str) -> impl Iterator<Item = &str> {
    let slashes = name.match_indices('/').map(|(slash, _)| slash);
    slashes
        .chain(std::iter::once(name.len()))
        .filter_map(|end| name.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn keyring() -> Keyring {
        Keyring::parse(&Keyring::generate(Uuid::from_u128(1)).unwrap()).unwrap()
    }

    #[test]
    fn every_spelling_of_a_place_is_the_same_place() {
        let keyring = keyring();
        for spellings in [
            [
                "file:///srv/a%20b/c",
                "file:///srv/a b/c/",
                "file:///srv/%61%20b/%63",
            ],
            ["s3://bucket/a/b", "s3://bucket/a/b/", "s3://bucket/%61/b"],
            ["gs://bucket/%C3%BC", "gs://bucket/ü/", "gs://bucket/ü"],
            ["az://box/a+b", "az://box/a%2Bb", "az://box/a+b/"],
        ] {
            let places = spellings.map(|uri| keyring.place(uri).unwrap());
            assert!(places.iter().all(|place| *place == places[0]), "{spellings:?}");
        }
    }

    #[test]
    fn a_place_begins_with_the_folders_above_it_and_with_nothing_else() {
        let keyring = keyring();
        let places = [
            "file:///a",
            "file:///a/b",
            "file:///ab",
            "file:///a/bc",
            "file:///b/a",
            "s3://bucket/a",
            "s3://bucket/a/b",
            "s3://bucket//a",
            "s3://bucket/a//b",
            "s3://bucket/a//",
            "s3://other/a",
            "gs://bucket/a",
            "az://bucket/a",
        ];
        let below = |inner: &str, outer: &str| {
            let inner = inner.strip_suffix('/').unwrap_or(inner);
            let outer = outer.strip_suffix('/').unwrap_or(outer);
            inner == outer
                || inner
                    .strip_prefix(outer)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        for inner in places {
            for outer in places {
                let starts = keyring
                    .place(inner)
                    .unwrap()
                    .is_in(&keyring.place(outer).unwrap());
                assert_eq!(starts, below(inner, outer), "{inner} in {outer}");
            }
        }
    }

    #[test]
    fn places_tell_nothing_without_the_keyring() {
        let place = |keyring: &Keyring| keyring.place("file:///srv/backups/ada").unwrap();
        let (one, two) = (place(&keyring()), place(&keyring()));
        assert!(!one.is_in(&two) && !two.is_in(&one));
        assert!(!format!("{one:?}").contains("ada"));
    }

    #[test]
    fn a_place_is_never_longer_than_an_index_takes() {
        let uri = format!("s3://bucket/{}", "a/".repeat(511));
        let place = keyring().place(&uri).unwrap();
        assert_eq!(place.as_bytes().len(), LEVEL_LEN * MAX_LEVELS);
    }
}
