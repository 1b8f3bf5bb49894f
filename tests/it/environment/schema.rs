//! Schemas of other versions.

use crate::harness::ledger::{Place, context, deletion, entity};
use crate::harness::on_both_backends;
use crate::harness::server::Backend;
use archive_ledger_domain::EntityType;

/// What a newer version leaves behind that has only expanded the schema.
const EXPANDED: [&str; 3] = [
    "CREATE TABLE of_a_newer_version (id BIGINT PRIMARY KEY)",
    "ALTER TABLE entities ADD COLUMN of_a_newer_version TEXT",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
     SELECT 9999, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
];

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

async fn refused(place: &Place, args: &[&str]) -> String {
    let output = place.run(args).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("archive-ledger: --d"), "{args:?}: {said}");
    last
}

on_both_backends! {
    async fn an_older_version_works_on_a_schema_that_a_newer_one_has_only_expanded(backend: Backend) {
        let place = Place::new(backend).await;
        place.open().await.close().await.unwrap();
        for statement in EXPANDED {
            place.tamper(statement).await;
        }
        let opened = place.open().await;
        let key = entity(EntityType::Users, 1);
        opened.ledger.soft_delete(deletion(key), context()).await.unwrap();
        opened.close().await.unwrap();
        for args in [&["migrate"][..], &["rebuild"], &["rebuild", "--check"]] {
            let output = place.run(args).await;
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    async fn an_older_version_leaves_a_schema_alone_that_has_lost_what_it_needs(backend: Backend) {
        let place = Place::new(backend).await;
        place.open().await.close().await.unwrap();
        for statement in EXPANDED {
            place.tamper(statement).await;
        }
        place.tamper("INSERT INTO ledger_meta (name, value) VALUES ('oldest_schema', '9999')").await;
        for args in [&SERVE[..], &["migrate"], &["rebuild"], &["export", "--dir", "out"]] {
            let told = refused(&place, args).await;
            assert!(told.contains("knows migration 9999") && told.contains("newer version"), "{told}");
        }
    }

    async fn a_migration_that_was_changed_is_refused_in_one_line(backend: Backend) {
        let place = Place::new(backend).await;
        place.open().await.close().await.unwrap();
        let another = match backend {
            Backend::Embedded => "x'00'",
            Backend::Clustered => "'\\x00'",
        };
        place.tamper(&format!("UPDATE _sqlx_migrations SET checksum = {another} WHERE version = 1")).await;
        for args in [&SERVE[..], &["migrate"], &["rebuild", "--check"]] {
            let told = refused(&place, args).await;
            assert!(told.contains("migration 1 is not the one"), "{told}");
        }
    }
}
