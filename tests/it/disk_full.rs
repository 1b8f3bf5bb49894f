//! A full disk under SQLite: what cannot be written is refused, what was acknowledged stays, and room is all it needs to go on.
//!
//! On a small file system of the test's own, which only root may mount; for others the test says that it is skipped.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use archive_ledger::store::contract::log::verified;
use archive_ledger::store::contract::{ContractStore, fresh_key, soft_delete};
use archive_ledger::store::writer::CommandError;
use archive_ledger_domain::EntityType;
use tempfile::TempDir;

use crate::harness::eventually;
use crate::store_contract::OnSqlite;

/// A file system of eight mebibytes.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let place = tempfile::Builder::new()
            .prefix("archive-ledger-disk-")
            .tempdir()
            .unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "archive-ledger-test"])
            .arg(place.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then_some(Self(place))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.path().join("ballast")).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let piece = vec![7; size];
            while ballast.write_all(&piece).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what a failed test still holds open must not keep it.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_commands_loses_nothing_and_is_got_over() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: only root may mount a file system");
        return;
    };
    let home = tempfile::tempdir_in(disk.path()).unwrap();
    let store = ContractStore::new(Arc::new(OnSqlite::open_in(home).await));
    let writer = store.writer().await;
    let mut acknowledged = Vec::new();
    for _ in 0..5 {
        let key = fresh_key(EntityType::Backups);
        acknowledged.push((writer.handle.submit(soft_delete(&key, 1)).await.unwrap(), key));
    }
    disk.fill();
    let mut refused = Vec::new();
    while refused.len() < 3 {
        let key = fresh_key(EntityType::Backups);
        match writer.handle.submit(soft_delete(&key, 1)).await {
            Ok(receipt) => acknowledged.push((receipt, key)),
            Err(CommandError::Store(_) | CommandError::Unavailable(_)) => refused.push(key),
            Err(error) => panic!("not told what became of it: {error:?}"),
        }
        assert!(acknowledged.len() < 100_000, "the disk never was full");
    }
    // What was acknowledged can be read meanwhile.
    let read = store.reads.log_after(0, &[], 1_000_000).await.unwrap();
    assert_eq!(read.len(), acknowledged.len());

    disk.make_room();
    let key = fresh_key(EntityType::Backups);
    let receipt = eventually("a command is taken again", Duration::from_secs(30), || async {
        writer.handle.submit(soft_delete(&key, 1)).await.ok()
    });
    acknowledged.push((receipt.await, key));
    writer.stop().await;
    let log = verified(&store).await;
    assert_eq!(log.len(), acknowledged.len());
    for (receipt, key) in &acknowledged {
        let events: Vec<_> = log.iter().filter(|event| event.key == *key).collect();
        assert_eq!(events.len(), 1, "{key}");
        assert_eq!(Some(events[0].event_id), receipt.event_id);
    }
    assert!(log.iter().all(|event| !refused.contains(&event.key)));
}
