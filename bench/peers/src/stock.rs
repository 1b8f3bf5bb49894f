//! The stock stack: `PostgresCqrs` as postgres-es's documentation sets it up, with `GenericQuery` views for the list and the
//! summary, no tokens. A conflict of views is dropped, as `GenericQuery` does where no handler is given.

use crate::{Failure, SoftDelete, pool};
use async_trait::async_trait;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{GenericQuery, ViewContext, ViewRepository};
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, Query, View};
use postgres_es::{PostgresCqrs, PostgresViewRepository, postgres_cqrs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::Executor;
use std::sync::Arc;

const SCHEMA: &str = "
    CREATE TABLE events (
        aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint CHECK (sequence >= 0) NOT NULL,
        event_type text NOT NULL, event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
        PRIMARY KEY (aggregate_type, aggregate_id, sequence)
    );
    CREATE TABLE archived_list (
        view_id text NOT NULL, version bigint CHECK (version >= 0) NOT NULL, payload json NOT NULL, PRIMARY KEY (view_id)
    );
    CREATE TABLE archived_summary (
        view_id text NOT NULL, version bigint CHECK (version >= 0) NOT NULL, payload json NOT NULL, PRIMARY KEY (view_id)
    );";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entity {
    deleted: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    SoftDeleted {
        entity_type: String,
        name: String,
        metadata: Map<String, Value>,
        reason: Option<String>,
        deleted_at: DateTime<Utc>,
    },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "SoftDeleted".into()
    }
    fn event_version(&self) -> String {
        "1.0".into()
    }
}

#[derive(Debug)]
struct AlreadyDeleted;

impl std::fmt::Display for AlreadyDeleted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("already deleted")
    }
}

impl std::error::Error for AlreadyDeleted {}

impl Aggregate for Entity {
    const TYPE: &'static str = "entity";
    type Command = (String, SoftDelete);
    type Event = Event;
    type Error = AlreadyDeleted;
    type Services = ();

    #[expect(
        clippy::disallowed_methods,
        reason = "by the book: the aggregate reads the time itself"
    )]
    async fn handle(
        &mut self,
        (entity_type, body): Self::Command,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), AlreadyDeleted> {
        if self.deleted {
            return Err(AlreadyDeleted);
        }
        let event = Event::SoftDeleted {
            entity_type,
            name: body.name,
            metadata: body.metadata,
            reason: body.reason,
            deleted_at: Utc::now(),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, _: Event) {
        self.deleted = true;
    }
}

/// One row of the list: a view per entity.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ListRow {
    name: String,
    metadata: Map<String, Value>,
    deleted_at: Option<DateTime<Utc>>,
}

impl View<Entity> for ListRow {
    fn update(&mut self, event: &EventEnvelope<Entity>) {
        let Event::SoftDeleted {
            name,
            metadata,
            deleted_at,
            ..
        } = &event.payload;
        self.name.clone_from(name);
        self.metadata.clone_from(metadata);
        self.deleted_at = Some(*deleted_at);
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Summary {
    count: u64,
}

impl View<Entity> for Summary {
    fn update(&mut self, _: &EventEnvelope<Entity>) {
        self.count += 1;
    }
}

/// `GenericQuery` keeps a view per aggregate; this is the same over one view per type.
struct SummaryQuery(Arc<PostgresViewRepository<Summary, Entity>>);

#[async_trait]
impl Query<Entity> for SummaryQuery {
    async fn dispatch(&self, _: &str, events: &[EventEnvelope<Entity>]) {
        for event in events {
            let Event::SoftDeleted { entity_type, .. } = &event.payload;
            let Ok(found) = self.0.load_with_context(entity_type).await else {
                continue;
            };
            let (mut view, context) =
                found.unwrap_or_else(|| (Summary::default(), ViewContext::new(entity_type.clone(), 0)));
            view.update(event);
            let _ = self.0.update_view(view, context).await;
        }
    }
}

pub async fn routes(url: &str) -> Result<Router, Failure> {
    let pool = pool(url).await?;
    pool.execute(SCHEMA).await?;
    let list = Arc::new(PostgresViewRepository::<ListRow, Entity>::new(
        "archived_list",
        pool.clone(),
    ));
    let summary = Arc::new(PostgresViewRepository::new("archived_summary", pool.clone()));
    let queries: Vec<Box<dyn Query<Entity>>> =
        vec![Box::new(GenericQuery::new(list)), Box::new(SummaryQuery(summary))];
    let cqrs = Arc::new(postgres_cqrs(pool, queries, ()));
    Ok(Router::new()
        .route("/api/admin/archived/{entity_type}", post(soft_delete))
        .with_state(cqrs))
}

async fn soft_delete(
    State(cqrs): State<Arc<PostgresCqrs<Entity>>>,
    Path(entity_type): Path<String>,
    Json(body): Json<SoftDelete>,
) -> StatusCode {
    let id = body.id.to_string();
    match cqrs.execute(&id, (entity_type, body)).await {
        Ok(()) => StatusCode::CREATED,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
