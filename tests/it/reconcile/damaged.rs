//! Rows that somebody changed, or a disk.

use super::{Scene, fill, of};
use crate::harness::ledger::change;
use crate::harness::on_both_backends;
use crate::harness::server::Backend;

on_both_backends! {
    async fn a_row_that_cannot_be_read_is_one_finding_and_stops_nothing(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        let places = ["a", "b", "c", "d"];
        for place in places {
            fill(&root.join(place), 1);
        }
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let mut ids = Vec::new();
        for (number, place) in (1..).zip(places) {
            let id = scene.delete(number, &[place]).await;
            scene.purged(&id).await;
            fill(&root.join(place), 2);
            ids.push(id);
        }
        let left = scene.delete(5, &["left"]).await;
        scene.restore(&left).await;
        fill(&root.join("left"), 1);
        scene.delete(5, &["new"]).await;
        fill(&root.join("new"), 1);
        let kept = scene.delete(6, &["kept"]).await;
        fill(&root.join("kept"), 1);
        scene.stop_if_embedded().await;
        let job = |at: usize| format!("event_id = (SELECT event_id FROM cleanup_jobs WHERE aggregate_id = 'backups:{}')", ids[at]);
        let statements = match backend {
            Backend::Embedded => vec![
                format!("UPDATE cleanup_obligations SET storage_hash = x'00' WHERE {}", job(0)),
                format!("UPDATE cleanup_jobs SET purge_id = x'00' WHERE {}", job(1)),
                format!("UPDATE cleanup_obligations SET ordinal = 'x' WHERE {}", job(2)),
                format!("INSERT INTO entities SELECT x'01', first_position, key_id, kek_id, wrapped, erased_at FROM entities WHERE aggregate_id = 'backups:{kept}'"),
                format!("UPDATE storage_claims SET ordinal = 'x' WHERE position = (SELECT min(position) FROM events WHERE aggregate_id = 'backups:{left}')"),
            ],
            Backend::Clustered => vec![
                format!("UPDATE cleanup_obligations SET storage_hash = '\\x00' WHERE {}", job(0)),
                format!("UPDATE cleanup_jobs SET position = -1 WHERE {}", job(1)),
                format!("UPDATE cleanup_obligations SET storage_hash = '' WHERE {}", job(2)),
            ],
        };
        for statement in &statements {
            assert_eq!(change(scene.server.database_url(), &scene.server.data_dir(), statement).await, 1, "{statement}");
        }
        let bad = statements.len();
        let unchecked = |found: &[serde_json::Value]| found.iter().filter(|one| one["kind"] == "unchecked").count();
        let (found, summary, code) = scene.told(&[]).await;
        assert_eq!((unchecked(&found), code), (bad, 1), "{found:?}");
        assert_eq!(of("leftover", &scene.root, &found), [(ids[3].clone(), 1, "/d".to_owned(), 2)]);
        assert_eq!((&summary["failed"], &summary["purged"]), (&bad.into(), &1.into()), "{summary}");
        let (found, _, code) = scene.told(&["--fix"]).await;
        assert_eq!(code, 1, "{found:?}");
        // What a restore left that cannot be read may lie anywhere.
        assert_eq!(root.join("d").exists(), backend == Backend::Embedded, "{found:?}");
        for place in ["a", "b", "c", "left", "new", "kept"] {
            assert!(root.join(place).join("0").exists(), "{place}");
        }
    }

    async fn claims_that_cannot_be_completed_delete_nothing_and_stop_nothing(backend: Backend) {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("root");
        fill(&root.join("done"), 1);
        let scene = Scene::start(backend, format!("file://{}", root.display()), Vec::new()).await;
        let done = scene.delete(1, &["done"]).await;
        scene.purged(&done).await;
        fill(&root.join("done"), 2);
        let sealed = scene.delete(2, &["sealed"]).await;
        assert_eq!(scene.server.terminate().await, 0);
        let blank = match backend {
            Backend::Embedded => "x'00'",
            Backend::Clustered => "'\\x00'",
        };
        for statement in [
            format!("UPDATE events SET sealed = {blank} WHERE aggregate_id = 'backups:{sealed}'"),
            "DELETE FROM storage_claims".to_owned(),
            "UPDATE ledger_head SET claims_position = 0".to_owned(),
        ] {
            change(scene.server.database_url(), &scene.server.data_dir(), &statement).await;
        }
        let (found, summary, code) = scene.told(&["--fix"]).await;
        assert_eq!((code, &summary["leftover"], &summary["fixed"]), (1, &1.into(), &0.into()), "{found:?}");
        assert!(root.join("done/0").exists());
    }
}
