//! Every route of the service.

use crate::clock::SharedClock;
use crate::http::answer::envelope::{ErrorContext, with_envelope};
use crate::http::api::{Api, SharedApi};
use crate::http::around::{Around, AroundLedger, measure};
use crate::http::description::asyncapi;
use crate::http::operation::{self, Probes};
use crate::http::request::parameters::Declared;
use crate::http::{archived, audit, callbacks, description, events, ledger, onedata, purges, server};
use axum::Router;
use axum::response::Redirect;
use axum::routing::{delete, get, post};
use std::sync::Arc;

/// What those are answered for whom there is no place: the probes, so that whoever keeps the service running sees it, and 503.
pub fn beyond(probes: Probes, errors: ErrorContext, clock: SharedClock) -> Router {
    let around = Around {
        clock,
        declared: declared(),
        attempts: None,
        ledger: None,
    };
    let routes = operation(probes).fallback(|| async { server::no_place() });
    with_envelope(routes.with_state(()).layer(around), errors)
}

/// For whoever keeps the service running.
fn operation(probes: Probes) -> Router {
    Router::new()
        .route("/healthz", get(operation::healthz::handler))
        .route("/readyz", get(operation::readyz::handler))
        .route("/metrics", get(operation::metrics::handler))
        .with_state(probes)
}

/// The parameters of every route.
fn declared() -> Arc<Declared> {
    Arc::new(Declared::new(&description::document()))
}

/// The service's routes with everything around them: request ids, metrics, panics, the error envelope.
pub fn router(api: Api, probes: Probes, errors: ErrorContext, clock: SharedClock) -> Router {
    let declared = declared();
    measure::appear(declared.routes());
    let everywhere = Around {
        clock,
        declared,
        attempts: Some(Arc::clone(&api.audit.attempts)),
        ledger: None,
    };
    let around_ledger = Around {
        ledger: Some(AroundLedger {
            witness: Arc::clone(&probes.witness),
            memory: api.memory.clone(),
        }),
        ..everywhere.clone()
    };
    let api: SharedApi = Arc::new(api);
    let archived = Router::new()
        .route("/api/admin/archived/summary", get(archived::summary::handler))
        .route(
            "/api/admin/archived/{entity_type}",
            get(archived::list::handler).post(archived::soft_delete::handler),
        )
        .route(
            "/api/admin/archived/{entity_type}/{id}",
            get(archived::get::handler),
        )
        .route(
            "/api/admin/archived/{entity_type}/{id}/history",
            get(archived::history::handler),
        )
        .route(
            "/api/admin/archived/{entity_type}/{id}/restore",
            post(archived::restore::handler),
        )
        .route(
            "/api/admin/archived/{entity_type}/{id}/purge",
            delete(archived::purge::handler),
        );
    let owed = Router::new()
        .route("/api/admin/purges", get(purges::list::handler))
        .route("/api/admin/purges/{purge_id}/retry", post(purges::retry::handler))
        .route("/api/admin/purges/{purge_id}/force", post(purges::force::handler));
    let ledger = Router::new()
        .route(
            "/api/admin/archived/{entity_type}/{id}/evidence",
            get(ledger::evidence::handler),
        )
        .route("/api/admin/audit/export", get(audit::export::handler))
        .route("/api/admin/audit/export/manifest", get(audit::manifest::handler))
        .route("/api/events", get(events::follow::handler))
        .route("/api/admin/audit/events", get(audit::events::handler))
        .route("/api/ledger/checkpoint", get(ledger::checkpoint::handler))
        .route("/api/ledger/vkey", get(ledger::vkey::handler))
        .route("/api/ledger/fork", get(ledger::fork::handler))
        .route(
            "/api/ledger/tile/entries/{*number}",
            get(ledger::entries::handler),
        )
        .route("/api/ledger/tile/{level}/{*number}", get(ledger::tile::handler))
        .route("/api/ledger/proofs/{event_id}", get(ledger::proof::handler))
        .route("/api/ledger/consistency", get(ledger::consistency::handler));
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
        .merge(description::page::router())
        .route(
            "/schemas/events/{event}/{file}",
            get(description::event_schemas::handler),
        )
        .with_state(());
    let of_the_ledger = archived
        .merge(archives)
        .merge(deliveries)
        .merge(owed)
        .merge(ledger)
        .route("/asyncapi.json", get(asyncapi::handler))
        .with_state(api)
        .layer(around_ledger);
    // The last one's fallback is for what no route knows.
    let others = operation(probes).merge(pages).layer(everywhere);
    with_envelope(of_the_ledger.merge(others), errors)
}
