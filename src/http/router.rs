//! Every route of the service.

use super::caller::{Api, SharedApi};
use super::conditions::conditional_reads;
use super::envelope::{ErrorContext, panic_response, with_envelope};
use super::health::{self, Probes};
use super::host::one_host;
use super::in_time::in_time;
use super::observe::observe;
use super::parameters::{Declared, known_only};
use super::{asyncapi, attempts, audit, callbacks, events, memory, ocore, onedata, openapi, purges, server};
use crate::clock::SharedClock;
use axum::response::Redirect;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

/// What those are answered for whom there is no place: the probes, so that whoever keeps the service running sees it, and 503.
pub fn beyond(probes: Probes, errors: ErrorContext, clock: SharedClock) -> Router {
    let routes = operation(probes)
        .fallback(|| async { server::no_place() })
        .layer(declared())
        .layer(axum::middleware::from_fn(one_host))
        .layer(axum::middleware::from_fn_with_state(clock, observe));
    with_envelope(routes, errors)
}

/// For whoever keeps the service running.
fn operation(probes: Probes) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route_layer(axum::middleware::from_fn(known_only))
        .with_state(probes)
}

/// The parameters of every route.
fn declared() -> Extension<Arc<Declared>> {
    Extension(Arc::new(Declared::new(&openapi::document())))
}

/// The service's routes with everything around them: request ids, metrics, panics, the error envelope.
pub fn router(api: Api, probes: Probes, errors: ErrorContext, clock: SharedClock) -> Router {
    let gathered = Arc::clone(&api.audit.attempts);
    let budget = api.memory.clone();
    let api: SharedApi = Arc::new(api);
    let witness = Arc::clone(&probes.witness);
    let archived = Router::new()
        .route("/api/admin/archived/summary", get(ocore::summary::handler))
        .route(
            "/api/admin/archived/{entity_type}",
            get(ocore::list::handler).post(ocore::soft_delete::handler),
        )
        .route("/api/admin/archived/{entity_type}/{id}", get(ocore::get::handler))
        .route(
            "/api/admin/archived/{entity_type}/{id}/history",
            get(ocore::history::handler),
        )
        .route(
            "/api/admin/archived/{entity_type}/{id}/restore",
            post(ocore::restore::handler),
        )
        .route(
            "/api/admin/archived/{entity_type}/{id}/purge",
            delete(ocore::purge::handler),
        );
    let owed = Router::new()
        .route("/api/admin/purges", get(purges::list::handler))
        .route("/api/admin/purges/{purge_id}/retry", post(purges::retry::handler))
        .route("/api/admin/purges/{purge_id}/force", post(purges::force::handler));
    let ledger = Router::new()
        .route(
            "/api/admin/archived/{entity_type}/{id}/evidence",
            get(audit::evidence::handler),
        )
        .route("/api/admin/audit/export", get(audit::export::handler))
        .route("/api/admin/audit/export/manifest", get(audit::export::manifest))
        .route("/api/events", get(events::handler))
        .route("/api/admin/audit/events", get(audit::events::handler))
        .route("/api/ledger/checkpoint", get(audit::checkpoint::handler))
        .route("/api/ledger/vkey", get(audit::vkey::handler))
        .route("/api/ledger/fork", get(audit::fork::handler))
        .route("/api/ledger/tile/entries/{*number}", get(audit::entries::handler))
        .route("/api/ledger/tile/{level}/{*number}", get(audit::tile::handler))
        .route("/api/ledger/proofs/{event_id}", get(audit::proof::handler))
        .route("/api/ledger/consistency", get(audit::consistency::handler));
    let archives = Router::new()
        .route("/api/v3/oneprovider/archives", post(onedata::register::handler))
        .route("/api/v3/oneprovider/archives/{aid}", get(onedata::get::handler))
        .route(
            "/api/v3/oneprovider/archives/{aid}/delete",
            post(onedata::delete::handler),
        );
    let deliveries = Router::new()
        .route("/api/admin/callbacks", get(callbacks::list::handler))
        .route(
            "/api/admin/callbacks/replay",
            post(callbacks::replay_matching::handler),
        )
        .route("/api/admin/callbacks/{id}", get(callbacks::get::handler))
        .route(
            "/api/admin/callbacks/{id}/replay",
            post(callbacks::replay::handler),
        );
    let pages = Router::new()
        .route("/", get(|| async { Redirect::temporary("/docs/") }))
        .merge(openapi::page::router());
    let routes = archived
        .merge(archives)
        .merge(deliveries)
        .merge(owed)
        .merge(ledger)
        .route(
            "/asyncapi.json",
            get(asyncapi::handler).route_layer(axum::middleware::from_fn(known_only)),
        )
        .with_state(api)
        .layer(axum::middleware::from_fn_with_state(budget, memory::bounded))
        .layer(axum::middleware::from_fn(in_time))
        .layer(axum::middleware::from_fn_with_state(
            witness,
            health::refuse_another_database,
        ))
        .merge(operation(probes))
        .merge(pages)
        .layer(axum::middleware::from_fn(conditional_reads))
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(axum::middleware::from_fn_with_state(gathered, attempts::watch))
        .layer(declared())
        .layer(axum::middleware::from_fn(one_host))
        .layer(axum::middleware::from_fn_with_state(clock, observe));
    with_envelope(routes, errors)
}
