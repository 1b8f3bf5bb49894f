//! A database that holds what no ledger can: told at once, by who verifies and by a service that starts.

use crate::harness::ledger::{LOOSE, Place, context, deletion, entity, redefine};
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger_domain::EntityType;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A signed ledger of some entities; its verifier key is in `out/vkey`.
async fn signed(backend: Backend) -> Place {
    let place = Place::new(backend).await;
    let opened = place.open().await;
    let deletions = (0..40).map(|n| {
        opened
            .ledger
            .soft_delete(deletion(entity(EntityType::Users, n)), context())
    });
    for answer in futures::future::join_all(deletions).await {
        answer.unwrap();
    }
    opened.close().await.unwrap();
    let exported = place.run(&["export", "--dir", "out"]).await;
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    place
}

/// The exit code, and what was said.
async fn ran(place: &Place, args: &[&str]) -> (Option<i32>, String) {
    let output = place.run(args).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

async fn verified(place: &Place) -> (Option<i32>, String) {
    ran(place, &["verify", "--vkey", "out/vkey"]).await
}

/// That both say what is wrong with the head, and neither waits for it to become right: a pool that did would say that it has waited.
async fn told(place: &Place, ruined: &str) {
    let (code, said) = verified(place).await;
    assert_eq!(code, Some(2), "{ruined}: {said}");
    assert!(
        said.contains("tampered") && !said.contains("timed out"),
        "{ruined}: {said}"
    );
    let (code, said) = ran(place, &SERVE).await;
    assert_eq!(code, Some(2), "{ruined}: {said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("archive-ledger: --d") && last.contains("head") && !said.contains("timed out"),
        "{ruined}: {said}"
    );
}

on_both_backends! {
    async fn a_ruined_head_is_told_at_once_to_who_verifies_and_refused_at_the_start(backend: Backend) {
        let place = signed(backend).await;
        place.tamper("CREATE TABLE aside AS SELECT * FROM ledger_head").await;
        let (short, of_a_type) = match backend {
            Backend::Embedded => (
                "x'00'",
                &["root = 'no hash'", "root = 7", "position = 'soon'", "position = x'00'", "position = 1.5", "frontier = 'x'"][..],
            ),
            Backend::Clustered => ("'\\x00'", &[][..]),
        };
        let lengths = [format!("root = {short}"), format!("frontier = {short}"), "position = -1".to_owned()];
        let types = of_a_type.iter().map(|change| (*change).to_owned());
        let changes = lengths.into_iter().chain(types).map(|change| format!("UPDATE ledger_head SET {change}"));
        for change in changes.chain(["DELETE FROM ledger_head".to_owned()]) {
            assert_eq!(place.tamper(&change).await, 1, "{change}");
            told(&place, &change).await;
            place.tamper("DELETE FROM ledger_head").await;
            place.tamper("INSERT INTO ledger_head SELECT * FROM aside").await;
        }
        let (code, said) = verified(&place).await;
        assert_eq!(code, Some(0), "undone: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_takes_anything_is_told_before_what_is_in_it() {
    let place = signed(Backend::Embedded).await;
    let file = place.home().join("data/ledger.db");
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file))
        .await
        .unwrap();
    redefine(&mut connection, LOOSE).await;
    connection.close().await.unwrap();
    let (code, said) = verified(&place).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("is not defined as the migrations do it"), "{said}");
}
