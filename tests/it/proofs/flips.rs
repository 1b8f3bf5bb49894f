//! Single flipped bits in everything that is verified: entries, notes, hashes, rows. None goes unnoticed.

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::server::Backend;
use archive_ledger::app;
use archive_ledger::keyring::Keyring;
use archive_ledger::ledger::{Purge, SoftDelete};
use archive_ledger::merkle::note::VerifierKey;
use archive_ledger::merkle::tiles::Tile;
use archive_ledger::verify::rows::check_rows;
use archive_ledger::verify::source::{CHECKPOINT, Source};
use archive_ledger::verify::{Disclosures, Finding, Request, check_log};
use archive_ledger_domain::EntityType;
use async_trait::async_trait;
use bytes::Bytes;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A log in memory.
#[derive(Clone, Default)]
struct Memory(BTreeMap<String, Bytes>);

impl Memory {
    fn load(directory: &Path) -> Self {
        let mut memory = Self::default();
        memory.load_below(directory, "");
        memory
    }

    fn load_below(&mut self, directory: &Path, prefix: &str) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.load_below(&entry.path(), &format!("{name}/"));
            } else {
                self.0.insert(name, std::fs::read(entry.path()).unwrap().into());
            }
        }
    }

    async fn verify(&self, key: &VerifierKey) -> Result<(), Finding> {
        let request = Request {
            source: Arc::new(self.clone()),
            key: key.clone(),
            since: None,
            disclosures: Arc::new(Disclosures::default()),
            roots: Vec::new(),
            progress: &|_, _| {},
        };
        check_log(request).await.map(|_| ())
    }
}

#[async_trait]
impl Source for Memory {
    async fn text(&self, name: &str) -> Result<Option<String>, Finding> {
        let content = self
            .0
            .get(name)
            .map(|content| String::from_utf8(content.to_vec()));
        content.transpose().map_err(|_| Finding::tampered("no text"))
    }

    async fn tile(&self, tile: Tile) -> Result<Option<Bytes>, Finding> {
        Ok(self.0.get(&tile.to_string()).cloned())
    }

    fn parallel(&self) -> usize {
        1
    }
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

async fn fill(place: &Place, entities: u128) {
    let opened = place.open().await;
    for n in 0..entities {
        let request = SoftDelete {
            reason: Some("because".into()),
            ..deletion(entity(EntityType::Backups, n))
        };
        opened.ledger.soft_delete(request, context()).await.unwrap();
        if n % 4 == 0 {
            let purged = entity(EntityType::Backups, n);
            opened
                .ledger
                .purge(purged, Purge::default(), context())
                .await
                .unwrap();
        }
    }
    opened.close().await.unwrap();
}

async fn exported(place: &Place) -> (Memory, VerifierKey) {
    let output = place.run(&["export", "--dir", "out"]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut memory = Memory::load(&place.home().join("out"));
    // What the auditor brings along.
    let key = memory.0.remove("vkey").unwrap();
    (
        memory,
        String::from_utf8(key.to_vec()).unwrap().trim().parse().unwrap(),
    )
}

/// Flips one bit in each of `count` bytes of the files that begin with `prefix`.
async fn flip_files(log: &Memory, key: &VerifierKey, prefix: &str, count: usize, dice: &mut Dice) {
    let places: Vec<(&String, usize)> = log
        .0
        .iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .flat_map(|(name, content)| (0..content.len()).map(move |index| (name, index)))
        .collect();
    assert!(!places.is_empty(), "{prefix}");
    for _ in 0..count {
        let (name, index) = places[dice.below(places.len())];
        let mut changed = log.clone();
        let mut content = changed.0[name].to_vec();
        content[index] ^= 1 << dice.below(8);
        changed.0.insert(name.clone(), content.into());
        let found = changed.verify(key).await;
        assert!(
            matches!(found, Err(Finding::Tampered { .. })),
            "{name} byte {index}: {found:?}"
        );
    }
}

#[tokio::test]
async fn no_flipped_bit_of_seven_thousand_in_entries_notes_and_hashes_goes_unnoticed() {
    let mut dice = Dice(7);
    let small = Place::new(Backend::Embedded).await;
    fill(&small, 8).await;
    let (log, key) = exported(&small).await;
    assert_eq!(log.verify(&key).await, Ok(()));
    flip_files(&log, &key, "tile/entries/", 4_000, &mut dice).await;
    flip_files(&log, &key, "tile/0/", 1_500, &mut dice).await;
    flip_files(&log, &key, CHECKPOINT, 1_300, &mut dice).await;
    let large = Place::new(Backend::Embedded).await;
    fill(&large, 200).await;
    let (log, key) = exported(&large).await;
    flip_files(&log, &key, "tile/entries/", 100, &mut dice).await;
    flip_files(&log, &key, "tile/", 100, &mut dice).await;
}

/// The columns of a row of the log, and how SQLite holds them.
const COLUMNS: [(&str, bool); 17] = [
    ("aggregate_type", true),
    ("aggregate_id", true),
    ("sequence", false),
    ("event_type", true),
    ("event_version", true),
    ("payload", true),
    ("metadata", true),
    ("event_id", true),
    ("recorded_at", false),
    ("command_id", true),
    ("correlation_id", true),
    ("causation_id", true),
    ("actor", true),
    ("salt", false),
    ("sealed", false),
    ("entry", false),
    ("leaf", false),
];

#[tokio::test]
async fn no_flipped_bit_of_three_thousand_in_rows_goes_unnoticed() {
    let place = Place::new(Backend::Embedded).await;
    fill(&place, 8).await;
    let store = app::existing(&place.config()).await.unwrap();
    let (proofs, reads) = (store.proofs(), store.reads());
    let keyring = std::fs::read(place.config().keyring_file).unwrap();
    let keyring = Keyring::parse(&keyring).unwrap();
    let disclosures = Disclosures::default();
    let check = || check_rows(&*proofs, &*reads, Some(&keyring), &disclosures, &|_, _| {});
    check().await.unwrap();
    let rows = i64::try_from(reads.head().await.unwrap().position).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(place.home().join("data/ledger.db"))
        .synchronous(sqlx::sqlite::SqliteSynchronous::Off);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let (mut dice, mut flipped) = (Dice(11), 0);
    while flipped < 3_000 {
        let (column, is_text) = COLUMNS[dice.below(COLUMNS.len())];
        let position = i64::try_from(dice.below(usize::try_from(rows).unwrap())).unwrap() + 1;
        let bytes: Option<Vec<u8>> = sqlx::query_scalar(&format!(
            "SELECT CAST({column} AS BLOB) AS bytes FROM events WHERE position = ?1"
        ))
        .bind(position)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        let mut changed = bytes.clone();
        let index = dice.below(changed.len());
        changed[index] ^= 1 << dice.below(8);
        let kind = if is_text {
            "TEXT"
        } else if matches!(column, "sequence" | "recorded_at") {
            // A number is stored as such: its digits stand for its bytes.
            if !changed.iter().all(u8::is_ascii_digit) || changed.starts_with(b"0") {
                continue;
            }
            "INTEGER"
        } else {
            "BLOB"
        };
        // Two events of one stream cannot have one number: the database itself refuses.
        let write = format!("UPDATE OR IGNORE events SET {column} = CAST(?1 AS {kind}) WHERE position = ?2");
        let written = sqlx::query(&write)
            .bind(&changed)
            .bind(position)
            .execute(&mut connection)
            .await
            .unwrap();
        if written.rows_affected() == 0 {
            continue;
        }
        let found = check().await;
        assert!(
            matches!(
                found,
                Err(Finding::Tampered {
                    position: Some(_),
                    ..
                })
            ),
            "{column} of position {position}, byte {index}, {bytes:?} to {changed:?}: {found:?}"
        );
        sqlx::query(&write)
            .bind(&bytes)
            .bind(position)
            .execute(&mut connection)
            .await
            .unwrap();
        flipped += 1;
    }
    check().await.unwrap();
}
