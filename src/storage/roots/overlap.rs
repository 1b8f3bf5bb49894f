//! No two storage roots may be one place, or one inside the other: what one root's purge deletes would be the other's.
//!
//! One place can have several names: links and bind mounts on disk, and in the cloud one server that is reached as two.

use super::local_root::{LocalRoot, RootTrouble};
use super::own_files::OwnFiles;
use super::place::Place;
use super::root::{Root, RootError};
use crate::storage::mounts::Mounts;
use crate::storage::uri::Cloud;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// How two roots are one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Overlap {
    Same,
    Inside,
    Around,
}

impl Overlap {
    /// From whether the first lies in the second, and the second in the first.
    fn of(in_other: bool, around_other: bool) -> Option<Self> {
        match (in_other, around_other) {
            (true, true) => Some(Self::Same),
            (true, false) => Some(Self::Inside),
            (false, true) => Some(Self::Around),
            (false, false) => None,
        }
    }

    fn text(self) -> String {
        let text = match self {
            Self::Same => "are one place by two names",
            Self::Inside => "overlap: the first lies inside the second",
            Self::Around => "overlap: the second lies inside the first",
        };
        text.to_owned()
    }
}

/// Refuses roots whose names alone say that they overlap.
pub(in crate::storage) fn check_names(roots: &[Root]) -> Result<(), RootError> {
    pairs(roots, |one, other| match (one, other) {
        (Root::Local(one), Root::Local(other)) => {
            let (one, other) = (one.components(), other.components());
            Overlap::of(one.starts_with(other), other.starts_with(one)).map(Overlap::text)
        }
        (
            Root::Bucket {
                cloud,
                bucket,
                prefix,
            },
            Root::Bucket {
                cloud: of,
                bucket: other,
                prefix: second,
            },
        ) if cloud == of => keys(bucket, prefix, other, second),
        (Root::Bucket { .. } | Root::Local(_), Root::Bucket { .. } | Root::Local(_)) => None,
    })
}

/// A bucket's name is part of a host's, which knows no case.
fn keys(bucket: &str, prefix: &str, other: &str, second: &str) -> Option<String> {
    let inside = |inner: &str, outer: &str| {
        outer.is_empty()
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    bucket
        .eq_ignore_ascii_case(other)
        .then(|| Overlap::of(inside(prefix, second), inside(second, prefix)))
        .flatten()
        .map(Overlap::text)
}

/// Where the clouds are reached, as far as that was configured.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// S3's; none is AWS.
    pub s3: Option<Url>,
    /// Google's; none is Google.
    pub gcs: Option<Url>,
    /// Azure's; none is Azure.
    pub azure: Option<Url>,
}

impl Endpoints {
    /// Host and port, as far as they are known.
    fn server(&self, cloud: Cloud) -> Option<(String, Option<u16>)> {
        let (given, usual) = match cloud {
            Cloud::S3 => (&self.s3, "amazonaws.com"),
            Cloud::Gcs => (&self.gcs, GOOGLE),
            Cloud::Azure => (&self.azure, "blob.core.windows.net"),
        };
        match given {
            // One server is reached in the clear and not.
            Some(url) => Some((
                host(url)?,
                url.port_or_known_default()
                    .map(|port| if port == 80 { 443 } else { port }),
            )),
            None => Some((usual.to_owned(), Some(443))),
        }
    }

    /// Whether both lead to one server: by the same name, or by one that is below the other, as a bucket's own host is.
    fn one_server(&self, one: Cloud, other: Cloud) -> bool {
        let (Some((one, port)), Some((other, second))) = (self.server(one), self.server(other)) else {
            return false;
        };
        let below = |inner: &str, outer: &str| {
            inner
                .strip_suffix(outer)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        port == second && (below(&one, &other) || below(&other, &one))
    }
}

const GOOGLE: &str = "storage.googleapis.com";

/// Other hosts of Google's than [`GOOGLE`] that have the same buckets.
const GOOGLES: [&str; 3] = [
    "commondatastorage.googleapis.com",
    "storage.cloud.google.com",
    "www.googleapis.com",
];

/// A server's name in one spelling: without the dot at its end, and one for whatever means this machine.
fn host(url: &Url) -> Option<String> {
    let name = match url.host()? {
        Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::Ipv4(address) => this_machine(address.into()),
        Host::Ipv6(address) => this_machine(address.to_canonical()),
    };
    let below = |outer: &str| {
        name.strip_suffix(outer)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    Some(if below("localhost") {
        "localhost".to_owned()
    } else if GOOGLES.into_iter().any(below) {
        GOOGLE.to_owned()
    } else {
        name
    })
}

fn this_machine(address: IpAddr) -> String {
    if address.is_loopback() || address.is_unspecified() {
        "localhost".to_owned()
    } else {
        address.to_string()
    }
}

/// Refuses roots in buckets that are one place by two endpoints: Google's buckets, for example, can be reached as S3 too.
pub(in crate::storage) fn check_endpoints(roots: &[Root], endpoints: &Endpoints) -> Result<(), RootError> {
    pairs(roots, |one, other| match (one, other) {
        (
            Root::Bucket {
                cloud,
                bucket,
                prefix,
            },
            Root::Bucket {
                cloud: of,
                bucket: other,
                prefix: second,
            },
        ) if cloud != of && endpoints.one_server(*cloud, *of) => keys(bucket, prefix, other, second),
        (Root::Bucket { .. } | Root::Local(_), Root::Bucket { .. } | Root::Local(_)) => None,
    })
}

/// Refuses local roots that are there and are one folder by two names, or nested, or inside the ledger's own folder, however
/// they are reached. What is not there has no place that it could share.
pub(in crate::storage) fn check_places(roots: &[Root], own: &OwnFiles) -> Result<(), RootError> {
    let mounts = Mounts::read().unwrap_or_default();
    let mut places = HashMap::new();
    for root in roots {
        let Root::Local(root) = root else { continue };
        if root.trouble() == Some(RootTrouble::Silent) {
            continue;
        }
        // Whether it may be away is for others to say.
        if let Ok(place) = Place::of(root.path(), &mounts) {
            places.insert(root.uri(), place);
        }
    }
    pairs(roots, |one, other| match (one, other) {
        (Root::Local(one), Root::Local(other)) => {
            let (one, other) = (places.get(one.uri())?, places.get(other.uri())?);
            Overlap::of(one.is_in(other), other.is_in(one))
                .map(Overlap::text)
                .or_else(|| one.shares(other).map(share))
        }
        (Root::Bucket { .. } | Root::Local(_), Root::Bucket { .. } | Root::Local(_)) => None,
    })?;
    for folder in own.folders() {
        let Ok(own) = Place::of(folder, &mounts) else {
            continue;
        };
        if let Some((root, _)) = places.iter().find(|(_, place)| place.is_in(&own)) {
            return Err(RootError::InsideOwn {
                root: (*root).to_owned(),
                dir: folder.display().to_string(),
            });
        }
        // Where the root lies around the folder, its walk knows that by its inode.
        let around = |place: &Place| own.is_in(place);
        if let Some((root, mount)) = places
            .iter()
            .filter(|(_, place)| !around(place))
            .find_map(|(root, place)| Some((root, place.changes(&own)?)))
        {
            return Err(RootError::ChangesOwn {
                root: (*root).to_owned(),
                dir: folder.display().to_string(),
                mount: mount.display().to_string(),
            });
        }
    }
    Ok(())
}

/// How two roots share files through an overlay.
pub(super) fn share(mount: &Path) -> String {
    format!(
        "share files: what is mounted at {} is an overlay by which what is deleted in one changes the other",
        mount.display()
    )
}

/// Where an overlay is mounted, now, through which a root shares files with another one.
pub(super) fn shared_now(roots: &[Root], root: &LocalRoot) -> io::Result<Option<PathBuf>> {
    let others: Vec<_> = others(roots, root).collect();
    if others.is_empty() {
        return Ok(None);
    }
    let mounts = Mounts::read()?;
    if !mounts.any_overlay() {
        return Ok(None);
    }
    let place = Place::of(root.path(), &mounts)?;
    Ok(others
        .into_iter()
        .filter_map(|other| Place::of(other.path(), &mounts).ok())
        .find_map(|other| place.shares(&other).map(Path::to_owned)))
}

/// The local roots that answer, but for this one.
fn others<'a>(roots: &'a [Root], root: &'a LocalRoot) -> impl Iterator<Item = &'a LocalRoot> {
    roots.iter().filter_map(move |other| match other {
        Root::Local(other) => {
            (other.path() != root.path() && other.trouble() != Some(RootTrouble::Silent)).then_some(&**other)
        }
        Root::Bucket { .. } => None,
    })
}

fn pairs(roots: &[Root], overlap: impl Fn(&Root, &Root) -> Option<String>) -> Result<(), RootError> {
    for (at, one) in roots.iter().enumerate() {
        for other in roots.iter().skip(at + 1) {
            if let Some(how) = overlap(one, other) {
                return Err(RootError::Overlap {
                    one: one.uri(),
                    other: other.uri(),
                    how,
                });
            }
        }
    }
    Ok(())
}
