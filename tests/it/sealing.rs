//! Nothing personal is ever on a disk in plaintext: a scan of every file that the ledger or its database wrote.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use archive_ledger::app::{self, Opened};
use archive_ledger::config::{Config, Flags};
use archive_ledger::ledger::{CommandContext, LedgerError, Purge, Register, SoftDelete};
use archive_ledger::store::ListPage;
use archive_ledger_domain::{CleanupOutcome, EntityKey, EntityType, EventMetadata, State};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use clap::Parser;
use tempfile::TempDir;
use uuid::Uuid;

use crate::harness::postgres::Postgres;

/// What must not be found: every secret of the test begins with it, and its field follows.
const STEM: &str = "xQvW7zk93Tp";

/// The secret of a field.
fn secret(field: &str) -> String {
    format!("{STEM}{field}")
}

/// Stands beside every event: an actor is no secret of the entity's.
const ACTOR: &str = "xQactorJe80";

/// Stands in the log of every statement.
const STATEMENT: &str = "INSERT INTO events";

/// The secret of a field among what JSON escapes and UTF-8 stretches.
fn spelled(field: &str) -> String {
    format!("\"ü{STEM}{field}\\\u{1f980}\u{1}\"")
}

/// The spellings of a text that a file might hold: as it is, in either case, as base64 at each of its three alignments,
/// as hex, in JSON's escapes.
fn spellings(text: &str) -> Vec<String> {
    let escaped = text.chars().map(|letter| format!("\\u{:04x}", u32::from(letter)));
    let mut all = vec![
        text.to_owned(),
        text.to_lowercase(),
        text.to_uppercase(),
        hex::encode(text),
        hex::encode_upper(text),
        escaped.collect(),
    ];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        for offset in 0..3 {
            let shifted = [&b"\0\0"[..offset], text.as_bytes()].concat();
            let encoded = engine.encode(&shifted);
            // The letters at both ends depend on the neighbours too.
            all.push(encoded[[0, 2, 3][offset]..encoded.len() - 2].to_owned());
        }
    }
    all
}

/// Every file below a directory, with its content.
fn files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if let Ok(content) = std::fs::read(&path) {
                // A running server removes files of its own while it is looked at.
                found.push((path, content));
            }
        }
    }
    found
}

/// Where any of the texts stands. One pass over the bytes: a server's directory holds a hundred million of them.
fn find<'a>(content: &'a [u8], texts: &'a [String]) -> impl Iterator<Item = (usize, &'a str)> {
    let mut begins = [false; 256];
    for text in texts {
        begins[usize::from(text.as_bytes()[0])] = true;
    }
    content
        .iter()
        .enumerate()
        .filter(move |(_, byte)| begins[usize::from(**byte)])
        .flat_map(move |(at, _)| {
            let rest = &content[at..];
            let found = texts.iter().filter(move |text| rest.starts_with(text.as_bytes()));
            found.map(move |text| (at, text.as_str()))
        })
}

/// Fails with every file in which a secret was found, with the field that follows it; and if `open`, which is not sealed,
/// is in none of them, as the scan then looks in the wrong place.
fn assert_sealed(directory: &Path, open: &str) {
    let mut wanted = spellings(STEM);
    wanted.push(open.to_owned());
    let mut looked = false;
    let mut found = Vec::new();
    for (path, content) in files(directory) {
        for (at, text) in find(&content, &wanted) {
            if text == open {
                looked = true;
            } else {
                let context = &content[at..content.len().min(at + text.len() + 24)];
                found.push(format!(
                    "{} in {}",
                    String::from_utf8_lossy(context),
                    path.display()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    assert!(looked, "no file below {} holds {open}", directory.display());
}

/// A log at the finest level, in the directory that is scanned.
#[derive(Clone)]
struct LogFile(Arc<Mutex<std::fs::File>>);

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

/// Records all that this thread and its tasks log, down to the statements of the database driver.
fn log_to(path: &Path) -> tracing::subscriber::DefaultGuard {
    let file = LogFile(Arc::new(Mutex::new(std::fs::File::create(path).unwrap())));
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || file.clone())
        .finish();
    tracing::subscriber::set_default(subscriber)
}

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    flags: Flags,
}

/// A data directory whose storage root is below it, and a ledger that is opened from its options as the service does.
struct Home {
    directory: TempDir,
    storage: TempDir,
}

impl Home {
    fn new() -> Self {
        crate::harness::init();
        Self {
            directory: tempfile::tempdir().unwrap(),
            storage: tempfile::tempdir().unwrap(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    async fn open(&self, database: Option<&str>) -> Opened {
        let mut args: Vec<OsString> = vec!["archive-ledger".into()];
        args.extend(["--data-dir".into(), self.data().into()]);
        args.extend(["--storage-root".into(), self.root().into()]);
        if let Some(url) = database {
            args.extend(["--database-url".into(), url.into()]);
        }
        let flags = Options::parse_from(args).flags;
        let config = Config::from_sources(&flags, &|_| None).unwrap();
        app::open(&config).await.unwrap()
    }

    fn root(&self) -> String {
        format!("file://{}", self.storage.path().canonicalize().unwrap().display())
    }

    /// A storage URI whose folder and object carry markers.
    fn uri(&self, id: &str) -> String {
        format!("{}/{}/{}/{id}", self.root(), secret("folder"), secret("object"))
    }
}

fn context(key: &str) -> CommandContext {
    let metadata = EventMetadata {
        actor: ACTOR.into(),
        request_id: Some("request".into()),
        causation_id: None,
        token_issuer: None,
        token_id: None,
        token_id_hash: None,
        ip: None,
        user_agent: None,
        reason_code: None,
    };
    CommandContext {
        idempotency_key: Some(format!("{}-{key}", secret("idempotency"))),
        ..CommandContext::new(metadata)
    }
}

fn deletion(home: &Home, key: &EntityKey, storage: bool) -> SoftDelete {
    let metadata = serde_json::json!({
        secret("metakey"): [spelled("metavalue"), { "deep": spelled("metavalue") }],
        // Longer than a page of either database, so that it is stored out of line, and compressible if it were plain.
        "long": secret("metavalue").repeat(1_500),
    });
    SoftDelete {
        key: key.clone(),
        name: spelled("name"),
        metadata: metadata.as_object().unwrap().clone(),
        reason: Some(spelled("reason")),
        parent: None,
        storage: if storage {
            vec![home.uri(key.id())]
        } else {
            Vec::new()
        },
        deleted_at: None,
    }
}

/// Every kind of command, accepted and refused; leaves entities in every state. Returns one that was purged.
async fn traffic(home: &Home, opened: &Opened) -> Vec<EntityKey> {
    let ledger = &opened.ledger;
    let key = |entity_type| EntityKey::new(entity_type, &opened.clock.new_id().to_string()).unwrap();
    let mut purged = Vec::new();
    for round in 0..12 {
        let (user, backup, archive) = (
            key(EntityType::Users),
            key(EntityType::Backups),
            key(EntityType::Archives),
        );
        let ask = |what: &str| context(&format!("{what}{round}"));
        let register = Register {
            key: archive.clone(),
            dataset_id: Some("dataset".into()),
            space_id: Some("space".into()),
            description: Some(spelled("description")),
            storage: vec![home.uri(archive.id())],
            deleted_callback: Some(format!("https://example.org/{}", secret("callback"))),
        };
        ledger.register(register, ask("register")).await.unwrap();
        // Two at once, so that batches of several are written too.
        let (one, two) = tokio::join!(
            ledger.soft_delete(deletion(home, &user, false), ask("user")),
            ledger.soft_delete(deletion(home, &backup, true), ask("backup")),
        );
        one.unwrap();
        two.unwrap();
        let refused = ledger
            .soft_delete(deletion(home, &user, false), ask("again"))
            .await;
        assert!(matches!(refused, Err(LedgerError::Command(_))), "{refused:?}");
        let mut outside = deletion(home, &key(EntityType::Users), false);
        outside.storage = vec![format!("file:///{}/{}", secret("folder"), secret("object"))];
        let refused = ledger.soft_delete(outside, ask("outside")).await;
        assert!(matches!(refused, Err(LedgerError::Storage { .. })), "{refused:?}");
        ledger.restore(user.clone(), ask("restore")).await.unwrap();
        ledger
            .soft_delete(deletion(home, &user, false), ask("once more"))
            .await
            .unwrap();
        let callback = Purge {
            callback: Some(format!("https://example.org/{}", secret("callback"))),
            join: false,
        };
        for entity in [&user, &backup, &archive] {
            if round % 3 == 0 {
                let what = ask(&format!("purge {entity}"));
                let receipt = ledger
                    .purge(entity.clone(), callback.clone(), what)
                    .await
                    .unwrap();
                if receipt.state == State::Purging && round % 2 == 0 {
                    let outcome = CleanupOutcome::Done {
                        objects: 1,
                        bytes: 1,
                        at_least: false,
                    };
                    let purge_id = receipt.purge_id.unwrap();
                    let cause = Uuid::nil();
                    ledger
                        .record_cleanup(entity.clone(), purge_id, outcome, cause)
                        .await
                        .unwrap();
                }
                if receipt.state == State::Purged {
                    purged.push(entity.clone());
                }
            }
        }
    }
    purged
}

/// The ledger itself still knows what is sealed, and no more what was purged.
async fn assert_opens(opened: &Opened, purged: &[EntityKey]) {
    let list = opened
        .ledger
        .list(EntityType::Users, &ListPage::Offset(0), 100)
        .await
        .unwrap();
    assert_eq!(list.items.len(), 8);
    for item in &list.items {
        assert_eq!(item.name, Some(spelled("name")));
        assert!(item.metadata.contains_key(&secret("metakey")));
    }
    assert!(!purged.is_empty());
    for key in purged {
        assert!(opened.ledger.entity(key).await.unwrap().is_none());
        let history = opened.ledger.history(key).await.unwrap().unwrap();
        assert!(history.iter().all(|item| item.details.is_none()));
    }
}

// On one thread, so that the log that it sets holds for everything that it starts.
#[tokio::test]
async fn no_plaintext_of_what_is_sealed_is_in_any_file_of_an_embedded_ledger() {
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    let log = log_to(&home.data().join("log"));
    let opened = home.open(None).await;
    let purged = traffic(&home, &opened).await;
    assert_opens(&opened, &purged).await;
    assert!(home.data().join("ledger.db-wal").metadata().unwrap().len() > 0);
    assert_sealed(&home.data(), ACTOR);
    // Closed and opened again: what was in the write-ahead log is in the database file now.
    opened.close().await.unwrap();
    let opened = home.open(None).await;
    assert_opens(&opened, &purged).await;
    opened.close().await.unwrap();
    assert_sealed(&home.data(), ACTOR);
    drop(log);
}

#[tokio::test]
async fn no_plaintext_of_what_is_sealed_is_in_any_file_of_a_clustered_ledger_or_of_its_database() {
    let server = Postgres::start().await;
    let home = Home::new();
    std::fs::create_dir(home.data()).unwrap();
    let log = log_to(&home.directory.path().join("log"));
    let opened = home.open(Some(&server.create_database().await)).await;
    let purged = traffic(&home, &opened).await;
    assert_opens(&opened, &purged).await;
    opened.close().await.unwrap();
    drop(log);
    // The write-ahead log holds every statement's effect already; the restart brings the tables to their files.
    server.restart().await;
    assert_sealed(server.directory(), ACTOR);
    assert_sealed(home.directory.path(), STATEMENT);
}

#[tokio::test]
async fn a_history_tells_of_erasure_only_where_something_had_been_sealed() {
    let home = Home::new();
    let opened = home.open(None).await;
    let key = EntityKey::new(EntityType::Archives, "a").unwrap();
    let bare = Register {
        key: key.clone(),
        dataset_id: Some("dataset".into()),
        space_id: None,
        description: None,
        storage: Vec::new(),
        deleted_callback: None,
    };
    opened.ledger.register(bare, context("register")).await.unwrap();
    let deletion = deletion(&home, &key, false);
    opened
        .ledger
        .soft_delete(deletion, context("delete"))
        .await
        .unwrap();
    let erased = async || {
        let history = opened.ledger.history(&key).await.unwrap().unwrap();
        history.iter().map(|item| item.erased).collect::<Vec<_>>()
    };
    assert_eq!(erased().await, [false, false]);
    opened
        .ledger
        .purge(key.clone(), Purge::default(), context("purge"))
        .await
        .unwrap();
    assert_eq!(erased().await, [false, true, false, false]);
    opened.close().await.unwrap();
}

#[test]
fn the_scan_finds_a_marker_in_every_spelling() {
    for before in ["", "a", "ab", "abc"] {
        let text = format!("{before}{}{before}z", secret("name"));
        let written = [
            text.clone(),
            STANDARD_NO_PAD.encode(&text),
            URL_SAFE_NO_PAD.encode(&text),
            hex::encode(&text),
            hex::encode_upper(&text),
        ];
        for content in written {
            assert!(
                find(content.as_bytes(), &spellings(STEM)).next().is_some(),
                "{content}"
            );
        }
    }
}
