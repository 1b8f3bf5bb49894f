//! Every route of the service.

use super::around::{Around, AroundLedger};
use super::caller::{Api, SharedApi};
use super::envelope::{ErrorContext, with_envelope};
use super::health::{self, Probes};
use super::parameters::Declared;
use super::{asyncapi, audit, callbacks, events, ocore, onedata, openapi, purges, server};
use crate::clock::SharedClock;
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
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .with_state(probes)
}

/// The parameters of every route.
fn declared() -> Arc<Declared> {
    Arc::new(Declared::new(&openapi::document()))
}

/// The service's routes with everything around them: request ids, metrics, panics, the error envelope.
pub fn router(api: Api, probes: Probes, errors: ErrorContext, clock: SharedClock) -> Router {
    let everywhere = Around {
        clock,
        declared: declared(),
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
        .merge(openapi::page::router())
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
