//! What holds for every route and is therefore written once: how callers are known, and the errors that any route gives.
//!
//! Handlers describe what is their own. An error that a handler describes keeps its words; those that it does not are added
//! here, and each gets the one error body.

use crate::http::answer::envelope::Envelope;
use crate::http::answer::names;
use crate::http::request::conditions::TAGS_PATTERN;
use crate::http::request::describe::{in_header, text_like};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{Object, Schema, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{Components, Content, OpenApi, Ref, RefOr, Required, Response};
use utoipa::{Modify, PartialSchema, ToSchema};

/// What any route may answer, in the words that it has where a handler has none of its own.
pub(super) const COMMON: [(&str, &str); 12] = [
    ("304", "The `ETag` that `If-None-Match` names is current"),
    ("400", "A value is wrong or unknown; the error names it"),
    ("401", "No valid token"),
    ("403", "The token does not grant it"),
    ("408", "The request did not arrive in time"),
    (
        "409",
        "A request with the same `Idempotency-Key` is still under way",
    ),
    (
        "412",
        "The entity has no version that `If-Match` or `If-None-Match` allows",
    ),
    ("413", "The body is too large"),
    ("415", "The body is not declared as JSON in UTF-8"),
    ("422", "The `Idempotency-Key` was used with another request"),
    ("500", "Failed; the log tells more under the reference"),
    ("503", "Unavailable for now; see Retry-After"),
];

/// Adds them.
pub struct Conventions;

impl Modify for Conventions {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let id = HeaderBuilder::new()
            .schema(Some(Object::with_type(Type::String)))
            .description(Some("The request's id: its own `X-Request-Id`, or a fresh one"))
            .build();
        components.headers.insert("X-Request-Id".to_owned(), id.into());
        let header = ApiKey::Header(ApiKeyValue::new("X-Auth-Token"));
        components.add_security_scheme("x_auth_token", SecurityScheme::ApiKey(header));
        let mut schemas = vec![(Envelope::name().into_owned(), Envelope::schema())];
        <Envelope<'_> as ToSchema>::schemas(&mut schemas);
        components.schemas.extend(schemas);
        components.schemas.extend(names::all());
        for (path, item) in &mut document.paths.paths {
            for (operation, changes) in operations(item) {
                describe(path, operation, changes);
            }
        }
    }
}

/// The operations of a path, and whether each is one that changes something, and so may come with a body.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let all = [
        (&mut item.get, false),
        (&mut item.post, true),
        (&mut item.put, true),
        (&mut item.patch, true),
        (&mut item.delete, true),
    ];
    all.into_iter()
        .filter_map(|(operation, changes)| operation.as_mut().map(|operation| (operation, changes)))
}

fn describe(path: &str, operation: &mut Operation, changes: bool) {
    let onedata = path.starts_with("/api/v3/");
    let requirement = |scheme| SecurityRequirement::new(scheme, Vec::<String>::new());
    operation.security = Some(if onedata {
        vec![requirement("bearer"), requirement("x_auth_token")]
    } else if path.starts_with("/api/") {
        vec![requirement("bearer")]
    } else {
        Vec::new()
    });
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        say_whether_required(body);
    }
    let has = |name: &str| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters.any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == name))
    };
    let (conditional, repeatable) = (has("If-Match"), has("Idempotency-Key"));
    let tagged_read = !changes && has_tag(operation);
    if tagged_read {
        add_header(
            operation,
            "If-None-Match",
            "`ETag`s that are known: 304 while one of them is current",
        );
        add_header(operation, "If-Match", "`ETag`s of which one must be current");
    }
    let mut statuses = vec!["400", "408"];
    if path.starts_with("/api/") {
        statuses.extend(["401", "403", "500", "503"]);
        if changes {
            statuses.extend(["413", "415"]);
        }
        if conditional || tagged_read {
            statuses.push("412");
        }
        if tagged_read {
            statuses.push("304");
        }
        if repeatable {
            statuses.extend(["409", "422"]);
        }
    }
    for (status, description) in COMMON.iter().filter(|(status, _)| statuses.contains(status)) {
        let responses = &mut operation.responses.responses;
        responses
            .entry((*status).to_owned())
            .or_insert_with(|| Response::new(*description).into());
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            complete(status, response);
        }
    }
}

/// Whether the answer has an entity tag.
fn has_tag(operation: &Operation) -> bool {
    let found = operation.responses.responses.get("200");
    matches!(found, Some(RefOr::T(response)) if response.headers.contains_key("ETag"))
}

fn add_header(operation: &mut Operation, name: &str, description: &str) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(in_header(name, description, text_like(TAGS_PATTERN)).into());
}

/// The headers of every answer, and the body of every error.
fn complete(status: &str, response: &mut Response) {
    let mut header = |name: &str, description: &str| {
        let schema = Object::with_type(Type::String);
        let header = HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(description))
            .build();
        response
            .headers
            .entry(name.to_owned())
            .or_insert_with(|| header.into());
    };
    match status {
        "401" => header("WWW-Authenticate", "RFC 6750"),
        "503" => header("Retry-After", "Seconds"),
        "409" => header(
            "Retry-After",
            "Seconds, where a request with the same `Idempotency-Key` is under way",
        ),
        "304" => header("ETag", "The entity's version"),
        _ => {}
    }
    let everywhere = Ref::new("#/components/headers/X-Request-Id");
    response
        .headers
        .insert("X-Request-Id".to_owned(), RefOr::Ref(everywhere));
    if !status.starts_with('2') && status != "304" && response.content.is_empty() {
        let schema = Ref::from_schema_name(Envelope::name());
        let content = Content::new(Some(schema));
        response
            .content
            .insert("application/json".to_owned(), content.into());
    }
}

/// A body that may be left out is described as one that may be null as well, which it may not.
fn say_whether_required(body: &mut RequestBody) {
    let mut optional = false;
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(either))) = &content.schema
            && let [one @ RefOr::Ref(_), RefOr::T(_)] = &either.items[..]
        {
            content.schema = Some(one.clone());
            optional = true;
        }
    }
    body.required = Some(if optional { Required::False } else { Required::True });
}
