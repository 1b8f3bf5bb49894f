//! The auditor's routes.

use crate::harness::described::Told as _;
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};
use archive_ledger::merkle::checkpoint::Checkpoint;
use archive_ledger::merkle::note::VerifierKey;
use archive_ledger::merkle::proofs::{verify_consistency, verify_inclusion};
use archive_ledger::merkle::tiles::{Tile, TileKind, entries};
use archive_ledger::merkle::tlog_proof::TlogProof;
use archive_ledger::merkle::{Frontier, leaf_hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(10);

const BACKUPS: &str = "/api/admin/archived/backups";

/// Deletes `count` fresh backups, at once; their ids.
async fn delete_fresh(server: &Server, token: &str, count: u128) -> Vec<String> {
    let first = Uuid::from_bytes(std::array::from_fn(|_| rand_byte())).as_u128() >> 8;
    let ids: Vec<String> = (0..count)
        .map(|n| Uuid::from_u128(first + n).to_string())
        .collect();
    let deleted = ids.iter().map(|id| async move {
        let body = json!({"id": id, "name": "Ada's backup", "metadata": {}, "reason": "cleanup"});
        let answer = server.post(BACKUPS, token, &body).told().await;
        assert_eq!(answer.status(), 201);
    });
    futures::future::join_all(deleted).await;
    ids
}

fn rand_byte() -> u8 {
    let mut byte = [0];
    aws_lc_rs::rand::fill(&mut byte).unwrap();
    byte[0]
}

async fn text(server: &Server, path: &str, token: &str) -> String {
    // Right after the start nothing is signed yet, which is a 503 that asks to come again.
    eventually(path, SOON, || async {
        let answer = server.get(path, token).told().await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status == 200 || status == 503, "{path}: {status} {text}");
        (status == 200).then_some(text)
    })
    .await
}

async fn history(server: &Server, token: &str, id: &str) -> Vec<Value> {
    let history = text(server, &format!("{BACKUPS}/{id}/history"), token).await;
    let history: Value = serde_json::from_str(&history).unwrap();
    history["items"].as_array().unwrap().clone()
}

async fn verifier(server: &Server, token: &str) -> VerifierKey {
    text(server, "/api/ledger/vkey", token)
        .await
        .trim_end()
        .parse()
        .unwrap()
}

/// The checkpoint over at least `size` events.
async fn checkpoint_over(server: &Server, token: &str, size: u64) -> Checkpoint {
    let key = verifier(server, token).await;
    crate::harness::eventually("a checkpoint", std::time::Duration::from_secs(5), || async {
        let note = text(server, "/api/ledger/checkpoint", token).await;
        Some(Checkpoint::open(&note, &key).unwrap()).filter(|signed| signed.size >= size)
    })
    .await
}

on_both_backends! {
    async fn an_auditor_rebuilds_the_signed_root_from_the_entries(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        delete_fresh(&server, &token, 300).await;
        let signed = checkpoint_over(&server, &token, 300).await;
        assert_eq!(signed.origin, "localhost/ledger/1");
        let mut frontier = Frontier::default();
        for tile in Tile::all(TileKind::Entries, signed.size) {
            let answer = server.get(&format!("/api/ledger/{tile}"), &token).told().await;
            let caching = answer.headers()["cache-control"].to_str().unwrap().to_owned();
            assert_eq!(caching.contains("immutable"), tile.is_full(), "{caching}");
            let bundle = answer.bytes().await.unwrap();
            for entry in entries(&bundle) {
                frontier.push(leaf_hash(entry.unwrap()));
            }
        }
        assert_eq!((frontier.size(), frontier.root()), (signed.size, signed.root));
        for tile in Tile::hashes(signed.size) {
            let answer = server.get(&format!("/api/ledger/{tile}"), &token).told().await;
            assert_eq!(answer.bytes().await.unwrap().len(), 32 * usize::from(tile.width), "{tile}");
        }
    }

    async fn every_event_is_proved_and_no_other(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let key = verifier(&server, &token).await;
        for id in delete_fresh(&server, &token, 5).await {
            let events = history(&server, &token, &id).await;
            let event_id = events[0]["event_id"].as_str().unwrap();
            // At once: the answer waits for the checkpoint over the event.
            let proof = text(&server, &format!("/api/ledger/proofs/{event_id}"), &token).await;
            let proof: TlogProof = proof.parse().unwrap();
            let signed = Checkpoint::open(&proof.checkpoint, &key).unwrap();
            assert_eq!(proof.index + 1, events[0]["position"].as_u64().unwrap());
            let entry = proof.extra.unwrap();
            assert!(String::from_utf8_lossy(&entry).contains(event_id));
            let proves = |leaf| verify_inclusion(&leaf, proof.index, signed.size, &proof.hashes, &signed.root);
            assert!(proves(leaf_hash(&entry)));
            assert!(!proves(leaf_hash(b"another entry")));
        }
        for (event_id, status) in [("00000000-0000-0000-0000-000000000001", 404), ("x", 400)] {
            let answer = server.get(&format!("/api/ledger/proofs/{event_id}"), &token).told().await;
            assert_eq!(answer.status(), status);
        }
    }

    async fn a_later_checkpoint_is_proved_to_go_on_from_an_earlier_one(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        delete_fresh(&server, &token, 7).await;
        let old = checkpoint_over(&server, &token, 7).await;
        delete_fresh(&server, &token, 20).await;
        let new = checkpoint_over(&server, &token, 27).await;
        let path = format!("/api/ledger/consistency?from={}&to={}", old.size, new.size);
        let answer: Value = serde_json::from_str(&text(&server, &path, &token).await).unwrap();
        let proof: Vec<[u8; 32]> = answer["proof"].as_array().unwrap().iter()
            .map(|hash| STANDARD.decode(hash.as_str().unwrap()).unwrap().try_into().unwrap())
            .collect();
        assert!(verify_consistency(old.size, &old.root, new.size, &new.root, &proof));
        assert_eq!(answer["from_root"], STANDARD.encode(old.root));
        assert_eq!(answer["to_root"], STANDARD.encode(new.root));
        for query in ["", "?from=x", "?from=-1", "?from=9&to=8", "?from=1&to=99999", "?from=1&upto=2", "?from=1&from=1"] {
            let answer = server.get(&format!("/api/ledger/consistency{query}"), &token).told().await;
            assert_eq!(answer.status(), 400, "{query}");
        }
    }

    async fn a_tile_beyond_the_checkpoint_or_misspelt_is_not_found(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        delete_fresh(&server, &token, 3).await;
        checkpoint_over(&server, &token, 3).await;
        for path in ["0/000", "0/000.p/200", "0/001.p/1", "1/000.p/1", "entries/000", "0/0", "0/x000/000", "9/000", "x/000"] {
            let answer = server.get(&format!("/api/ledger/tile/{path}"), &token).told().await;
            assert_eq!(answer.status(), 404, "{path}");
        }
        assert_eq!(server.get("/api/ledger/fork", &token).told().await.status(), 404);
    }

    async fn the_auditors_routes_need_the_auditors_right(server: Server) {
        let reader = server.token(&["--right", "archived:read"]).await;
        let id = Uuid::from_u128(1);
        for path in [
            "/api/ledger/checkpoint".to_owned(), "/api/ledger/vkey".to_owned(), "/api/ledger/fork".to_owned(),
            "/api/ledger/tile/0/000".to_owned(), "/api/ledger/tile/entries/000".to_owned(),
            format!("/api/ledger/proofs/{id}"), "/api/ledger/consistency?from=0".to_owned(),
            format!("{BACKUPS}/{id}/evidence"),
        ] {
            assert_eq!(server.get(&path, &reader).told().await.status(), 403, "{path}");
            assert_eq!(server.client().get(server.url(&path)).told().await.status(), 401, "{path}");
        }
    }

    async fn evidence_discloses_what_is_there_and_nothing_that_was_erased(server: Server) {
        let token = server.token(&["--role", "admin"]).await;
        let ids = delete_fresh(&server, &token, 2).await;
        let purge = format!("{BACKUPS}/{}/purge", ids[1]);
        assert!(server.delete(&purge, &token).told().await.status().is_success());
        let kept = text(&server, &format!("{BACKUPS}/{}/evidence", ids[0]), &token).await;
        assert!(kept.contains("Ada's backup"));
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(kept["events"].as_array().unwrap().len(), 1);
        assert_eq!(kept["events"][0]["erased"], false);
        let purged = text(&server, &format!("{BACKUPS}/{}/evidence", ids[1]), &token).await;
        assert!(!purged.contains("Ada"), "{purged}");
        let purged: Value = serde_json::from_str(&purged).unwrap();
        assert_eq!(purged["events"].as_array().unwrap().len(), 3);
        assert_eq!(purged["events"][0]["erased"], true);
        let unknown = format!("{BACKUPS}/{}/evidence", Uuid::from_u128(9));
        assert_eq!(server.get(&unknown, &token).told().await.status(), 404);
    }
}
