//! `/openapi.json`, made from the handlers' own annotations, and the page that shows it without any network.

use super::{callbacks, health, ocore, onedata};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi as Document};
use utoipa::{Modify, OpenApi};

/// The document.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "archive-ledger",
        description = "An event-sourced ledger for what platforms throw away: soft-delete, list, restore, purge, prove.",
        license(name = "MIT OR Apache-2.0")
    ),
    paths(
        ocore::summary::handler,
        ocore::list::handler,
        ocore::soft_delete::handler,
        ocore::get::handler,
        ocore::history::handler,
        ocore::restore::handler,
        ocore::purge::handler,
        onedata::register::handler,
        onedata::get::handler,
        onedata::delete::handler,
        callbacks::list,
        callbacks::get,
        callbacks::replay,
        callbacks::replay_matching,
        health::healthz,
        health::readyz,
        health::metrics,
    ),
    modifiers(&Security),
    tags(
        (name = "archived", description = "oCore's Archived admin API, and what belongs to it"),
        (name = "archives", description = "Onedata's Delete archive, with registering and showing"),
        (name = "callbacks", description = "What receivers of callbacks were told, and telling them again"),
        (name = "operation", description = "For whoever keeps the service running"),
    )
)]
struct Api;

struct Security;

impl Modify for Security {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        let header = ApiKey::Header(ApiKeyValue::new("X-Auth-Token"));
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("x_auth_token", SecurityScheme::ApiKey(header));
        document.security = Some(vec![
            utoipa::openapi::SecurityRequirement::new("bearer", Vec::<String>::new()),
            utoipa::openapi::SecurityRequirement::new("x_auth_token", Vec::<String>::new()),
        ]);
    }
}

/// The document as it is served.
#[must_use]
pub fn document() -> Document {
    Api::openapi()
}
