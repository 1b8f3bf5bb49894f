//! What archive-ledger is measured against, each as its own documentation says.
//!
//! `bench-peers jwt ADDRESS SECRET_FILE`: an axum handler that checks the token and nothing else.
//! `bench-peers stock ADDRESS DATABASE_URL`: axum over `PostgresCqrs` with `GenericQuery` views.
//! `bench-peers crud ADDRESS DATABASE_URL`: axum over sqlx, an UPDATE and an audit row per deletion.

mod crud;
mod jwt;
mod stock;

use axum::Router;
use serde::Deserialize;
use serde_json::{Map, Value};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::net::TcpListener;
use uuid::Uuid;

/// Any failure: a peer that fails ends, and the run with it.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The body of a soft-delete, the same that the ledger gets.
#[derive(Deserialize)]
pub struct SoftDelete {
    pub id: Uuid,
    pub name: String,
    pub metadata: Map<String, Value>,
    pub reason: Option<String>,
}

/// The pool that both database peers use: the size that gave them the most of 10, 20 and 32.
pub async fn pool(url: &str) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new().max_connections(32).connect(url).await
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (address, routes): (&str, Router) = match arguments[..] {
        ["jwt", address, secret] => (address, jwt::routes(secret)?),
        ["stock", address, url] => (address, stock::routes(url).await?),
        ["crud", address, url] => (address, crud::routes(url).await?),
        _ => return Err("usage: bench-peers jwt|stock|crud ADDRESS SECRET_FILE|DATABASE_URL".into()),
    };
    Ok(axum::serve(TcpListener::bind(address).await?, routes).await?)
}
