//! Where a purge of a folder ends, however the folder is reached.

use crate::storage::deletion::BlobErrorKind;
use crate::storage::folder::{FileId, mount_of};
use crate::storage::roots::local_root::Whole;
use crate::storage::uri::UriRefusal;
use cap_fs_ext::DirExt as _;
use cap_std::fs::{Dir, Metadata};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;

/// What a purge never goes beyond.
pub(super) struct Bounds<'a> {
    pub(super) root: &'a Whole<'a>,
    /// What is not the entity's, whatever its path.
    pub(super) guarded: HashSet<FileId>,
    pub(super) device: u64,
    pub(super) mount: u64,
}

impl Bounds<'_> {
    /// Opens a folder inside the bounds; `None` when there is no folder.
    pub(super) fn open(&self, holder: &Dir, name: &OsStr) -> Result<Option<Dir>, BlobErrorKind> {
        let dir = match holder.open_dir_nofollow(name) {
            Ok(dir) => dir,
            Err(error) => {
                return match holder.symlink_metadata(name) {
                    Ok(meta) if !meta.is_dir() => Ok(None),
                    Err(gone) if gone.kind() == io::ErrorKind::NotFound => Ok(None),
                    Ok(_) | Err(_) => Err(BlobErrorKind::of_io(&error)),
                };
            }
        };
        let meta = dir.dir_metadata().map_err(|e| BlobErrorKind::of_io(&e))?;
        self.allow(&meta)?;
        let mount = mount_of(&dir).map_err(|e| BlobErrorKind::of_io(&e))?;
        if mount != self.mount || FileId::of(&meta).device() != self.device {
            return Err(BlobErrorKind::OtherFileSystem);
        }
        if self
            .root
            .holds_other_root(&dir)
            .map_err(|e| BlobErrorKind::of_io(&e))?
        {
            return Err(BlobErrorKind::Refused(UriRefusal::HoldsRoot));
        }
        Ok(Some(dir))
    }

    pub(super) fn allow(&self, meta: &Metadata) -> Result<(), BlobErrorKind> {
        if self.guarded.contains(&FileId::of(meta)) {
            return Err(BlobErrorKind::Refused(UriRefusal::Protected));
        }
        Ok(())
    }
}
