//! What the system says of an open folder: which one it is, and through which mount it was reached.
//!
//! A folder can have any number of paths: links, bind mounts, overlays. Device and inode are one and the same under all of them,
//! and the number of the mount tells where a walk leaves the file system that it began in, which the device does not: a bind
//! mount of the same file system has the same one.

#[cfg(target_os = "linux")]
use super::mounts::Mounts;
use crate::storage::roots::known::Numbers;
use cap_std::fs::{Dir, MetadataExt as _};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// A file or folder, whatever its path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(meta: &cap_std::fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }

    /// Of what a path leads to.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        path.metadata().map(|meta| Self::from(&meta))
    }

    pub(super) fn of_folder(dir: &Dir) -> io::Result<Self> {
        dir.dir_metadata().map(|meta| Self::of(&meta))
    }

    pub(super) const fn device(self) -> u64 {
        self.device
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self {
            device: meta.dev(),
            inode: meta.ino(),
        }
    }
}

/// What a folder is recognized by where no marker can be written into it.
pub(super) fn numbers_of(dir: &Dir) -> io::Result<Numbers> {
    let meta = dir.dir_metadata()?;
    let born = meta.created().ok().and_then(|born| {
        let since = born
            .into_std()
            .duration_since(std::time::SystemTime::UNIX_EPOCH)
            .ok()?;
        i64::try_from(since.as_nanos()).ok()
    });
    Ok(Numbers {
        device: meta.dev(),
        inode: meta.ino(),
        born,
    })
}

/// The number of the mount that an open folder was reached through.
///
/// # Errors
/// Where the system does not tell: nothing may be deleted then, as nobody could say where the file system ends.
#[cfg(target_os = "linux")]
pub(super) fn mount_of(dir: &Dir) -> io::Result<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    use rustix::io::Errno;
    match statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
        Ok(facts) if facts.stx_mask & StatxFlags::MNT_ID.bits() != 0 => return Ok(facts.stx_mnt_id),
        // Before Linux 5.8, or kept away from us.
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", raw(dir)))?;
    facts
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The device, which tells most mounts apart.
#[cfg(not(target_os = "linux"))]
pub(super) fn mount_of(dir: &Dir) -> io::Result<u64> {
    FileId::of_folder(dir).map(FileId::device)
}

#[cfg(target_os = "linux")]
fn raw(dir: &Dir) -> i32 {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    dir.as_fd().as_raw_fd()
}

/// The resolved path of an open folder, as this process sees it now.
#[cfg(target_os = "linux")]
pub(super) fn path_of(dir: &Dir) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", raw(dir)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn path_of(_: &Dir) -> io::Result<PathBuf> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether something is mounted at a folder's entry or anywhere below it, as this process sees it.
#[cfg(target_os = "linux")]
pub(super) fn mounted_in(dir: &Dir, name: &OsStr) -> io::Result<bool> {
    Ok(Mounts::read()?.any_in(&path_of(dir)?.join(name)))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn mounted_in(_: &Dir, _: &OsStr) -> io::Result<bool> {
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cap_std::ambient_authority;

    fn open(path: &Path) -> Dir {
        Dir::open_ambient_dir(path, ambient_authority()).unwrap()
    }

    #[test]
    fn a_mount_is_told_from_the_folder_that_it_hides_and_other_folders_are_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        let inner = open(&dir.path().join("inner"));
        assert_eq!(mount_of(&inner).unwrap(), mount_of(&open(dir.path())).unwrap());
        assert_ne!(
            mount_of(&inner).unwrap(),
            mount_of(&open(Path::new("/proc"))).unwrap()
        );
    }

    #[test]
    fn this_machines_own_table_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let mount = mount_of(&open(&path)).unwrap();
        if cfg!(target_os = "linux") {
            assert!(Mounts::read().unwrap().origin(&path, mount).is_some());
        }
    }
}
