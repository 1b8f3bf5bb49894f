//! Plain CRUD: the row is marked deleted, an audit row is written, the summary counts.
//!
//! No tokens, no sealing, no proofs. The row is made in the same transaction, as a ledger that hears of an entity for the
//! first time does it.

use crate::{Failure, SoftDelete, pool};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::types::Json as Column;
use sqlx::{Executor, PgPool};
use uuid::Uuid;

const SCHEMA: &str = "
    CREATE TABLE entities (
        entity_type text NOT NULL, id uuid NOT NULL, name text NOT NULL, metadata jsonb NOT NULL, deleted_at timestamptz,
        PRIMARY KEY (entity_type, id)
    );
    CREATE INDEX entities_deleted ON entities (entity_type, deleted_at DESC, id) WHERE deleted_at IS NOT NULL;
    CREATE TABLE audit (
        id bigserial PRIMARY KEY, entity_type text NOT NULL, entity_id uuid NOT NULL, action text NOT NULL,
        actor text NOT NULL, reason text, at timestamptz NOT NULL DEFAULT now()
    );";

pub async fn routes(url: &str) -> Result<Router, Failure> {
    let pool = pool(url).await?;
    pool.execute(SCHEMA).await?;
    Ok(Router::new()
        .route("/api/admin/archived/summary", get(summary))
        .route("/api/admin/archived/{entity_type}", post(soft_delete).get(list))
        .with_state(pool))
}

async fn record(pool: &PgPool, entity_type: &str, body: SoftDelete) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(
        "INSERT INTO entities (entity_type, id, name, metadata) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    )
    .bind(entity_type)
    .bind(body.id)
    .bind(body.name)
    .bind(Column(body.metadata))
    .execute(&mut *tx)
    .await?;
    let updated = sqlx::query(
        "UPDATE entities SET deleted_at = now() WHERE entity_type = $1 AND id = $2 AND deleted_at IS NULL",
    )
    .bind(entity_type)
    .bind(body.id)
    .execute(&mut *tx)
    .await?;
    sqlx::query(
        "INSERT INTO audit (entity_type, entity_id, action, actor, reason) VALUES ($1, $2, 'soft_delete', 'bench', $3)",
    )
    .bind(entity_type)
    .bind(body.id)
    .bind(body.reason)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(updated.rows_affected() == 1)
}

async fn soft_delete(
    State(pool): State<PgPool>,
    Path(entity_type): Path<String>,
    Json(body): Json<SoftDelete>,
) -> StatusCode {
    match record(&pool, &entity_type, body).await {
        Ok(true) => StatusCode::CREATED,
        Ok(false) => StatusCode::CONFLICT,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn summary(State(pool): State<PgPool>) -> Result<Json<Value>, StatusCode> {
    let counts: Vec<(String, i64)> = sqlx::query_as(
        "SELECT entity_type, COUNT(*) AS count FROM entities WHERE deleted_at IS NOT NULL GROUP BY entity_type",
    )
    .fetch_all(&pool)
    .await
    .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(
        counts
            .into_iter()
            .map(|(entity_type, count)| (entity_type, json!(count)))
            .collect(),
    ))
}

#[derive(Deserialize)]
struct Page {
    page: Option<i64>,
    limit: Option<i64>,
}

async fn list(
    State(pool): State<PgPool>,
    Path(entity_type): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, StatusCode> {
    let limit = page.limit.unwrap_or(20);
    let offset = (page.page.unwrap_or(1) - 1).max(0) * limit;
    let rows: Vec<(Uuid, String, Column<Value>)> = sqlx::query_as(
        "SELECT id, name, metadata FROM entities WHERE entity_type = $1 AND deleted_at IS NOT NULL
         ORDER BY deleted_at DESC, id LIMIT $2 OFFSET $3",
    )
    .bind(entity_type)
    .bind(limit)
    .bind(offset)
    .fetch_all(&pool)
    .await
    .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let items = rows
        .into_iter()
        .map(|(id, name, Column(metadata))| json!({ "id": id, "name": name, "metadata": metadata }));
    Ok(Json(json!({ "items": items.collect::<Vec<_>>() })))
}
