//! A log of 70,000 events, exported and served, checked by tools that share nothing with this project: Python's pymerkle and
//! cryptography, Go's sumdb, npm's @sigstore/verify (checkpoint and inclusion), and the crate ct-merkle.

use crate::harness::ledger::{context, deletion, entity};
use crate::harness::server::{Backend, Server};
use crate::harness::{READY_WITHIN, eventually};
use archive_ledger::app;
use archive_ledger::config::{Config, Flags};
use archive_ledger::merkle::tiles::{Tile, TileKind, entries, push_entry};
use archive_ledger::merkle::tlog_proof::TlogProof;
use archive_ledger::verify::source::{CHECKPOINT, Directory, Source, Web};
use archive_ledger_domain::EntityType;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ct_merkle::{ConsistencyProof, HashableLeaf, InclusionProof, RootHash, digest};
use sha2::Sha256;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

/// How many events the old checkpoint covers, and how many there are in the end.
const OLD: u64 = 61_111;
const SIZE: u64 = 70_001;

/// The events whose proofs are checked, by index: the ends of tiles among them.
const PROVED: [u64; 10] = [0, 1, 255, 256, 300, 40_000, 65_535, 65_536, 69_999, 70_000];

async fn grow(server: &Server, to: u64) {
    let data_dir = server.data_dir().display().to_string();
    let lookup = |name: &str| (name == "ARCHIVE_LEDGER_DATA_DIR").then(|| data_dir.clone().into());
    let config = Config::from_sources(&Flags::default(), &lookup).unwrap();
    let opened = app::open(&config).await.unwrap();
    let from = opened.store.reads().head().await.unwrap().position;
    let numbers: Vec<u64> = (from..to).collect();
    for batch in numbers.chunks(2_000) {
        let deleted = batch.iter().map(|n| {
            let request = deletion(entity(EntityType::Backups, u128::from(*n)));
            opened.ledger.soft_delete(request, context())
        });
        for answer in futures::future::join_all(deleted).await {
            answer.unwrap();
        }
    }
    opened.close().await.unwrap();
}

/// What an auditor has at hand: the log, the key, an old checkpoint, proofs.
struct Audit {
    place: String,
    vkey: PathBuf,
    old: PathBuf,
    consistency: PathBuf,
    proofs: Vec<PathBuf>,
    token: String,
}

impl Audit {
    fn arguments(&self) -> Vec<String> {
        let files = [&self.vkey, &self.old, &self.consistency];
        let files = files.into_iter().chain(&self.proofs);
        let mut arguments = vec![self.place.clone()];
        arguments.extend(files.map(|path| path.display().to_string()));
        arguments
    }

    /// Whether each of the tools finds the log sound.
    async fn verdicts(&self, go: &Path) -> [(&'static str, bool, String); 4] {
        let said = |output: Output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            (
                output.status.success(),
                text + &String::from_utf8_lossy(&output.stderr),
            )
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/foreign/verify_pymerkle.py");
        let mut python_command = Command::new(python());
        python_command
            .arg(script)
            .args(self.arguments())
            .env("TOKEN", &self.token);
        let mut go_command = Command::new(go);
        go_command.args(self.arguments()).env("TOKEN", &self.token);
        let mut node_command = sigstore();
        node_command.args(self.arguments()).env("TOKEN", &self.token);
        let [python, go, node] = tokio::task::spawn_blocking(move || {
            [python_command, go_command, node_command].map(|mut command| said(command.output().unwrap()))
        })
        .await
        .unwrap();
        let ct_merkle = self.check_with_ct_merkle().await;
        [
            ("pymerkle", python.0, python.1),
            ("sumdb", go.0, go.1),
            ("sigstore", node.0, node.1),
            ("ct-merkle", ct_merkle.is_ok(), format!("{ct_merkle:?}")),
        ]
    }

    async fn check_with_ct_merkle(&self) -> Result<(), String> {
        let source: Arc<dyn Source> = if self.place.starts_with("http") {
            Arc::new(Web::new(&self.place, Some(self.token.clone())).unwrap())
        } else {
            Arc::new(Directory::new(Path::new(&self.place)))
        };
        let vkey = std::fs::read_to_string(&self.vkey).unwrap();
        let note = source.text(CHECKPOINT).await.map_err(|error| error.to_string())?;
        let (size, root) = open(&note.ok_or("no checkpoint")?, &vkey)?;
        let root = RootHash::<Sha256>::new(root.into(), size);
        let (old_size, old_root) = open(&std::fs::read_to_string(&self.old).unwrap(), &vkey)?;
        let answer: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&self.consistency).unwrap()).unwrap();
        let hashes = answer["proof"].as_array().unwrap().iter();
        let hashes: Vec<u8> = hashes
            .flat_map(|hash| STANDARD.decode(hash.as_str().unwrap()).unwrap())
            .collect();
        let proof = ConsistencyProof::try_from_bytes(hashes).map_err(|error| error.to_string())?;
        root.verify_consistency(&RootHash::new(old_root.into(), old_size), &proof)
            .map_err(|error| format!("consistency: {error}"))?;
        for path in &self.proofs {
            let proof: TlogProof = std::fs::read_to_string(path).unwrap().parse().unwrap();
            let tile = Tile::all(TileKind::Entries, size).nth(usize::try_from(proof.index / 256).unwrap());
            let bundle = source
                .tile(tile.ok_or("no such bundle")?)
                .await
                .map_err(|error| error.to_string())?;
            let bundle = bundle.ok_or("the bundle is missing")?;
            let entry = entries(&bundle)
                .nth(usize::try_from(proof.index % 256).unwrap())
                .flatten();
            let entry = Entry(entry.ok_or("the entry is missing")?.to_vec());
            let inclusion =
                InclusionProof::try_from_bytes(proof.hashes.concat()).map_err(|error| error.to_string())?;
            root.verify_inclusion(&entry, proof.index, &inclusion)
                .map_err(|error| format!("index {}: {error}", proof.index))?;
        }
        Ok(())
    }
}

struct Entry(Vec<u8>);

impl HashableLeaf for Entry {
    fn hash<H: digest::Update>(&self, hasher: &mut H) {
        hasher.update(&self.0);
    }
}

/// A checkpoint as its specification has it, read without this project's own code.
fn open(note: &str, vkey: &str) -> Result<(u64, [u8; 32]), String> {
    let mut key = vkey.trim().splitn(3, '+');
    let (name, _, key) = (key.next().unwrap(), key.next(), key.next().unwrap());
    let key = STANDARD.decode(key).unwrap();
    let (text, signature) = note.split_once("\n\n").ok_or("no signature")?;
    let text = format!("{text}\n");
    let signature = signature
        .strip_prefix(&format!("— {name} "))
        .ok_or("another signer")?;
    let signature = STANDARD
        .decode(signature.trim_end())
        .map_err(|error| error.to_string())?;
    UnparsedPublicKey::new(&ED25519, &key[1..])
        .verify(text.as_bytes(), &signature[4..])
        .map_err(|_| "the signature does not fit")?;
    let mut lines = text.lines().skip(1);
    let size = lines.next().unwrap().parse().map_err(|_| "no size")?;
    let root = STANDARD.decode(lines.next().unwrap()).unwrap();
    Ok((size, root.try_into().map_err(|_| "no root")?))
}

/// The python that ./test has prepared.
pub(super) fn python() -> PathBuf {
    let named = std::env::var_os("ARCHIVE_LEDGER_FOREIGN_PYTHON").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/foreign/bin/python");
    let python = named.unwrap_or(own);
    assert!(
        python.exists(),
        "{} is missing: ./test installs it",
        python.display()
    );
    python
}

/// node, about to check with the package that ./test has installed.
fn sigstore() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = std::env::var_os("ARCHIVE_LEDGER_FOREIGN_NODE_MODULES").map(PathBuf::from);
    let modules = modules.unwrap_or_else(|| root.join("target/tools/sigstore/node_modules"));
    assert!(
        modules.exists(),
        "{} is missing: ./test installs it",
        modules.display()
    );
    let mut command = Command::new("node");
    command
        .arg(root.join("tests/it/foreign/verify_sigstore.js"))
        .env("NODE_PATH", modules);
    command
}

/// Builds the tool from Debian's packages.
fn go_tool(directory: &Path) -> PathBuf {
    let tool = directory.join("verify_sumdb");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/foreign/verify_sumdb.go");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&tool)
        .arg(source)
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOFLAGS", "")
        .env(
            "GOCACHE",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/go-cache"),
        )
        .current_dir(directory)
        .output()
        .expect("go is missing: ./test installs it");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    tool
}

async fn export(server: &Server, directory: &str) {
    let output = server.run_command(&["export", "--dir", directory]).await;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn fetch(server: &Server, token: &str, path: &str, file: &Path) -> String {
    let answer = server.get(path, token).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let text = answer.text().await.unwrap();
    std::fs::write(file, &text).unwrap();
    text
}

/// The entries of a bundle, to be put together otherwise.
fn taken_apart(bundle: &[u8]) -> Vec<Vec<u8>> {
    entries(bundle).map(|entry| entry.unwrap().to_vec()).collect()
}

fn put_together(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        push_entry(&mut bundle, entry).unwrap();
    }
    bundle
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_tools_find_seventy_thousand_events_sound_and_every_tampering() {
    let server = Server::start(Backend::Embedded).await;
    let token = server.token(&["--role", "auditor"]).await;
    server.terminate().await;
    grow(&server, OLD).await;
    export(&server, "old").await;
    grow(&server, SIZE).await;
    export(&server, "log").await;
    server.restart().await;
    let home = server.home().to_owned();
    let (log, go) = (home.join("log"), go_tool(&home));

    let consistency = home.join("consistency.json");
    eventually("the checkpoint", READY_WITHIN, || async {
        let path = format!("/api/ledger/consistency?from={OLD}");
        let text = fetch(&server, &token, &path, &consistency).await;
        text.contains(&format!("\"to\":{SIZE},")).then_some(())
    })
    .await;
    let mut proofs = Vec::new();
    for index in PROVED {
        let tile = Tile::all(TileKind::Entries, SIZE)
            .nth(usize::try_from(index / 256).unwrap())
            .unwrap();
        let bundle = taken_apart(&std::fs::read(log.join(tile.to_string())).unwrap());
        let entry: serde_json::Value =
            serde_json::from_slice(&bundle[usize::try_from(index % 256).unwrap()]).unwrap();
        let file = home.join(format!("{index}.tlog-proof"));
        let path = format!("/api/ledger/proofs/{}", entry["eid"].as_str().unwrap());
        fetch(&server, &token, &path, &file).await;
        proofs.push(file);
    }
    let audit = |place: String| Audit {
        place,
        vkey: home.join("log/vkey"),
        old: home.join("old/checkpoint"),
        consistency: consistency.clone(),
        proofs: proofs.clone(),
        token: token.clone(),
    };
    let exported = audit(log.display().to_string());
    for audit in [&exported, &audit(server.url("/api/ledger"))] {
        for (tool, sound, said) in audit.verdicts(&go).await {
            assert!(sound, "{tool} on {}: {said}", audit.place);
        }
    }

    let bundle = log.join("tile/entries/001");
    let whole = std::fs::read(&bundle).unwrap();
    let mut flipped = taken_apart(&whole);
    flipped[44][10] ^= 1;
    let mut dropped = taken_apart(&whole);
    dropped.remove(3);
    let mut swapped = taken_apart(&whole);
    swapped.swap(44, 45);
    let checkpoint = log.join("checkpoint");
    let note = std::fs::read(&checkpoint).unwrap();
    let edited = String::from_utf8(note.clone())
        .unwrap()
        .replace(&format!("\n{SIZE}\n"), &format!("\n{}\n", SIZE - 1));
    for (what, file, content, original) in [
        ("a flipped byte", &bundle, put_together(&flipped), &whole),
        ("a dropped entry", &bundle, put_together(&dropped), &whole),
        ("a swapped pair", &bundle, put_together(&swapped), &whole),
        ("an edited size", &checkpoint, edited.into_bytes(), &note),
    ] {
        assert_ne!(&content, original);
        std::fs::write(file, content).unwrap();
        for (tool, sound, said) in exported.verdicts(&go).await {
            assert!(!sound, "{tool} did not find {what}: {said}");
        }
        std::fs::write(file, original).unwrap();
    }
    for (tool, sound, said) in exported.verdicts(&go).await {
        assert!(sound, "{tool}: {said}");
    }
}
