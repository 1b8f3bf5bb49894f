//! What archive-ledger is measured against, each as its own documentation says, and the instruments that measure it.
//!
//! `bench-peers jwt ADDRESS SECRET_FILE`: an axum handler that checks the token and nothing else.
//! `bench-peers stock ADDRESS DATABASE_URL`: axum over `PostgresCqrs` with `GenericQuery` views.
//! `bench-peers crud ADDRESS DATABASE_URL`: axum over sqlx, an UPDATE and an audit row per deletion.
//! `bench-peers s3 ADDRESS -`: a stand-in for S3 that keeps names in memory.
//!
//! `bench-peers callbacks|follow|checkpoints|ask|sweep name=value…`: instruments; each prints one line of JSON.

mod ask;
mod callbacks;
mod checkpoints;
mod crud;
mod follow;
mod http;
mod jwt;
mod options;
mod s3;
mod stock;
mod sweep;

use axum::Router;
use options::Options;
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
        ["s3", address, _] => (address, s3::routes()),
        ["callbacks", ref more @ ..] => return callbacks::run(&Options::of(more)?).await,
        ["follow", ref more @ ..] => return follow::run(&Options::of(more)?).await,
        ["checkpoints", ref more @ ..] => return checkpoints::run(&Options::of(more)?).await,
        ["ask", ref more @ ..] => return ask::run(&Options::of(more)?).await,
        ["sweep", ref more @ ..] => return sweep::run(&Options::of(more)?).await,
        _ => {
            return Err(
                "usage: bench-peers PEER ADDRESS TARGET, or bench-peers INSTRUMENT name=value…".into(),
            );
        }
    };
    Ok(axum::serve(TcpListener::bind(address).await?, routes).await?)
}
