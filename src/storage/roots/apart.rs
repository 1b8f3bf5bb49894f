//! Roots that share files although neither their paths nor their inodes say so: an overlay and its layers, or one network export or
//! folder that is mounted twice under two devices.

use super::inside;
use super::known::KnownRoot;
use super::local_root::LocalRoot;
use super::marker::{self, MARKER, MarkerFile};
use super::overlap::share;
use super::place::Place;
use super::root::RootError;
use crate::storage::folder::numbers_of;
use crate::storage::mounts::Mounts;
use crate::storage::uri::{Spelled, spell};
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// A root, and what stands in its marker beside the ledger's id.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'a> {
    pub(super) root: &'a LocalRoot,
    pub(super) id: Uuid,
}

/// Looks again at all roots, once each has its marker: one that shows another's, or lies in a folder that does, is that one too.
///
/// # Errors
/// [`RootError`] names both.
pub(super) fn check(members: &[Member<'_>], ledger: Uuid, known: &[KnownRoot]) -> Result<(), RootError> {
    check_ids(members)?;
    let all: Vec<KnownRoot> = known
        .iter()
        .cloned()
        .chain(members.iter().map(Member::known))
        .collect();
    for member in members {
        // One that is away has its place nowhere.
        let Ok(look) = member.root.look() else { continue };
        if let MarkerFile::Marker(marker) = look.found {
            let other = members
                .iter()
                .find(|other| other.id != member.id && marker.root == Some(other.id));
            if let Some(other) = other {
                return Err(RootError::Overlap {
                    one: member.root.uri().to_owned(),
                    other: other.root.uri().to_owned(),
                    how: format!("share files: the first shows the file {MARKER} of the second"),
                });
            }
        }
        inside::check(member.root, &look, ledger, &all)?;
    }
    check_overlays(members, known)
}

/// Two roots that are recognized by the same are two copies of one, and nobody can tell them apart.
fn check_ids(members: &[Member<'_>]) -> Result<(), RootError> {
    for (at, member) in members.iter().enumerate() {
        if let Some(first) = members.iter().take(at).find(|first| first.id == member.id) {
            return Err(RootError::Copy {
                root: member.root.uri().to_owned(),
                of: first.root.uri().to_owned(),
            });
        }
    }
    Ok(())
}

/// Looks whether an overlay joins a root with one that was used before, or that another instance has.
fn check_overlays(members: &[Member<'_>], known: &[KnownRoot]) -> Result<(), RootError> {
    let mounts = Mounts::read().unwrap_or_default();
    for known in joinable(members, known, &mounts) {
        let Ok(place) = Place::of(&known.path, &mounts) else {
            continue;
        };
        for member in members.iter().filter(|member| member.id != known.root.root_id) {
            let Ok(here) = Place::of(member.root.path(), &mounts) else {
                continue;
            };
            if here.is_in(&place) || place.is_in(&here) {
                continue;
            }
            if let Some(mount) = here.shares(&place) {
                return Err(RootError::Overlap {
                    one: member.root.uri().to_owned(),
                    other: known.root.uri.clone(),
                    how: share(mount),
                });
            }
        }
    }
    Ok(())
}

/// A root that was used before and is not configured now.
pub(super) struct Former<'a> {
    pub(super) root: &'a KnownRoot,
    pub(super) path: PathBuf,
}

/// The former roots that are there and that an overlay may show, or be. No other is looked at: what it lies on may not answer, and
/// nobody has asked for it.
pub(super) fn joinable<'a>(
    members: &[Member<'_>],
    known: &'a [KnownRoot],
    mounts: &Mounts,
) -> Vec<Former<'a>> {
    let former = known
        .iter()
        .filter(|known| members.iter().all(|member| member.root.uri() != known.uri));
    let there = former.filter_map(|root| {
        let Ok(Spelled::Local(components)) = spell(&root.uri) else {
            return None;
        };
        let path = Path::new("/").join(components.iter().collect::<PathBuf>());
        (mounts.concerns_overlay(&path) && is_there(root, &path)).then_some(Former { root, path })
    });
    there.collect()
}

fn is_there(known: &KnownRoot, path: &Path) -> bool {
    let Ok(dir) = Dir::open_ambient_dir(path, ambient_authority()) else {
        return false;
    };
    match (marker::read(&dir), known.numbers) {
        (Ok(MarkerFile::Marker(marker)), _) => marker.root == Some(known.root_id),
        (Ok(MarkerFile::Nothing), Some(numbers)) => numbers_of(&dir).is_ok_and(|now| numbers.same(now)),
        (Ok(MarkerFile::Nothing | MarkerFile::Odd(_)) | Err(_), _) => false,
    }
}

impl Member<'_> {
    fn known(&self) -> KnownRoot {
        KnownRoot {
            uri: self.root.uri().to_owned(),
            root_id: self.id,
            numbers: None,
        }
    }
}
