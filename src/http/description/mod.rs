//! `/openapi.json`, made from the handlers' own annotations, and the page that shows it without any network.

pub mod asyncapi;
mod conventions;
pub mod event_schemas;
mod examples;
mod free_form;
pub mod page;
mod shared;

use crate::http::{archived, audit, callbacks, events, ledger, onedata, operation, purges};
use conventions::Conventions;
use examples::Examples;
use free_form::FreeForm;
use shared::Shared;
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Document;

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "archive-ledger",
        description = "An event-sourced ledger for what platforms throw away: soft-delete, list, restore, purge, prove.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        archived::summary::handler,
        archived::list::handler,
        archived::soft_delete::handler,
        archived::get::handler,
        archived::history::handler,
        archived::restore::handler,
        archived::purge::handler,
        onedata::register::handler,
        onedata::get::handler,
        onedata::delete::handler,
        callbacks::list::handler,
        callbacks::get::handler,
        callbacks::replay::handler,
        callbacks::replay_matching::handler,
        purges::list::handler,
        purges::retry::handler,
        purges::force::handler,
        ledger::checkpoint::handler,
        ledger::vkey::handler,
        ledger::fork::handler,
        ledger::tile::handler,
        ledger::entries::handler,
        ledger::proof::handler,
        ledger::consistency::handler,
        ledger::evidence::handler,
        audit::events::handler,
        audit::export::handler,
        audit::manifest::handler,
        events::follow::handler,
        asyncapi::handler,
        event_schemas::handler,
        operation::healthz::handler,
        operation::readyz::handler,
        operation::metrics::handler,
    ),
    modifiers(&Conventions, &FreeForm, &Examples, &Shared),
    servers((url = "/", description = "The service that this document comes from")),
    tags(
        (name = "archived", description = "oCore's Archived admin API, and what belongs to it"),
        (name = "archives", description = "Onedata's Delete archive, with registering and showing"),
        (name = "callbacks", description = "What receivers of callbacks were told, and telling them again"),
        (name = "purges", description = "Purges that are owed, what each still owes, another try, and giving up"),
        (name = "ledger", description = "What an auditor checks the log with: a tiled log (C2SP tlog-tiles), proofs, evidence"),
        (name = "audit", description = "Who did what, when, why and from where; and what was only attempted"),
        (name = "events", description = "Everything that happens, as it happens: CloudEvents over HTTP, and what describes them"),
        (name = "operation", description = "For whoever keeps the service running"),
    )
)]
struct Api;

/// The document as it is served.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}
