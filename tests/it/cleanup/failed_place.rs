//! Where a purge failed: told to who may read the entity, and sealed wherever it is kept.

use super::world::SOON;
use crate::harness::described::Told as _;
use crate::harness::s3::S3;
use crate::harness::server::Server;
use crate::harness::{eventually, on_both_backends};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::path::Path;

const ID: &str = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
/// No other text has it.
const NAME: &str = "xQvW7zk93Tp-payroll";

/// Whether anything that the database keeps has this text, as it is or as bytes.
async fn is_kept(server: &Server, text: &str) -> bool {
    let bytes = hex::encode(text);
    let Some(url) = server.database_url() else {
        let holds = |file: &Path| {
            let content = std::fs::read(file).unwrap_or_default();
            content
                .windows(text.len())
                .any(|window| window == text.as_bytes())
        };
        let files = std::fs::read_dir(server.data_dir()).unwrap();
        return files.map(|file| file.unwrap().path()).any(|file| holds(&file));
    };
    let mut connection = PgConnection::connect(url).await.unwrap();
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT quote_ident(table_name) FROM information_schema.tables
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() > 10, "{tables:?}");
    for table in tables {
        let query =
            format!("SELECT EXISTS (SELECT 1 FROM {table} t WHERE t::text LIKE $1 OR t::text LIKE $2)");
        let found: bool = sqlx::query_scalar(&query)
            .bind(format!("%{text}%"))
            .bind(format!("%{bytes}%"))
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if found {
            return true;
        }
    }
    false
}

on_both_backends! {
    async fn what_a_purge_failed_at_is_told_to_who_may_read_and_sealed_at_rest(backend: Backend) {
        let s3 = S3::shared().await;
        let bucket = s3.create_lockable_bucket().await;
        let held = format!("root/tenant/{NAME}");
        for key in ["root/tenant/other", &held] {
            let body = ByteStream::from_static(b"0123456789");
            s3.client().put_object().bucket(&bucket).key(key).body(body).send().await.unwrap();
        }
        s3.hold(&bucket, &held, ObjectLockLegalHoldStatus::On).await;
        let server = Server::builder(backend)
            .storage_root(format!("s3://{bucket}/root"))
            .envs(s3.env())
            .start()
            .await;
        let admin = server.token(&["--role", "admin"]).await;
        let reader = server.token(&["--right", "archived:read"]).await;
        let stranger = server.token(&["--right", "audit:read"]).await;
        let body = json!({"id": ID, "name": "a backup", "storage": [format!("s3://{bucket}/root/tenant")]});
        let answer = server.post("/api/admin/archived/backups", &admin, &body).told().await;
        assert_eq!(answer.status(), 201);
        let entity = format!("/api/admin/archived/backups/{ID}");
        assert_eq!(server.delete(&format!("{entity}/purge"), &admin).told().await.status(), 200);
        let failed = eventually("the purge has failed", 2 * SOON, || async {
            let page = server.get("/api/admin/purges?state=failed", &reader).told().await;
            let page: Value = page.json().await.unwrap();
            page["items"].get(0).cloned().filter(|purge| purge["last_error"].is_string())
        })
        .await;
        let place = json!(format!("s3://{bucket}/{held}"));
        assert_eq!(failed["obligations"][0]["failed_at"], place, "{failed}");
        let one: Value = server.get(&entity, &reader).told().await.json().await.unwrap();
        assert_eq!(one["purge"]["failed_at"], json!([place]), "{one}");
        for path in ["/api/admin/purges", entity.as_str()] {
            let refused = server.get(path, &stranger).told().await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path}");
            assert!(!refused.text().await.unwrap().contains(NAME));
        }
        assert!(!is_kept(&server, NAME).await);
        assert!(is_kept(&server, "objects are under Object Lock").await, "the search finds nothing at all");
        assert!(!server.log().contains(NAME), "it is in the log");
        s3.hold(&bucket, &held, ObjectLockLegalHoldStatus::Off).await;
    }
}
