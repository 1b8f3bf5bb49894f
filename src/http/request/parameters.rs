//! Query parameters: what a route does not know is refused by name, because a filter that is misspelt would give everything,
//! and a `dry_run` that nobody reads would be none.
//!
//! What a route knows is what its description says (`description/mod.rs`), which the router gives to each request. The two reads of seed
//! 000 ignore what they do not know, as existing clients may send more than the seed shows; but not what means something elsewhere in
//! this API, such as a filter.

use crate::http::answer::error::ApiError;
use axum::extract::Request;
use http::Method;
use std::collections::{BTreeSet, HashMap};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::{OpenApi, RefOr};

/// The longest name that an error repeats, in characters.
const ECHO_LIMIT: usize = 64;

/// The reads that seed 000 has.
const SEED_READS: [&str; 2] = ["/api/admin/archived/summary", "/api/admin/archived/{entity_type}"];

/// Reads that ask nobody who they are: they refuse what they do not know at once, the others once that is known.
const OPEN_READS: [&str; 6] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/asyncapi.json",
    "/openapi.json",
    "/schemas/events/{event}/{file}",
];

/// The parameters of every route.
#[derive(Debug)]
pub struct Declared {
    /// By path and method.
    routes: HashMap<(String, Method), BTreeSet<String>>,
    /// The names that mean something anywhere: parameters, and fields of requests and of entities.
    anywhere: BTreeSet<String>,
}

impl Declared {
    /// Those that a document describes.
    #[must_use]
    pub fn new(document: &OpenApi) -> Self {
        let mut routes = HashMap::new();
        for (path, item) in &document.paths.paths {
            for (method, operation) in [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ] {
                if let Some(operation) = operation {
                    routes.insert((path.clone(), method), in_query(operation));
                }
            }
        }
        let mut anywhere: BTreeSet<String> = routes.values().flatten().cloned().collect();
        let schemas = document
            .components
            .iter()
            .flat_map(|components| &components.schemas);
        for (name, schema) in schemas {
            if name == "Entity" || name.ends_with("Request") || name == "ReplayFilter" {
                anywhere.extend(properties(schema));
            }
        }
        Self { routes, anywhere }
    }

    /// Every route, by its pattern and method.
    pub fn routes(&self) -> impl Iterator<Item = (&str, &Method)> {
        self.routes.keys().map(|(route, method)| (route.as_str(), method))
    }

    /// The first parameter that the route does not know.
    fn unknown(&self, method: &Method, route: &str, query: &str) -> Option<String> {
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        // As the description writes a segment that takes the rest of the path.
        let path = route.replace("{*", "{");
        let lenient = *method == Method::GET && SEED_READS.contains(&&*path);
        let known = self.routes.get(&(path, method.clone()));
        url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, _)| name)
            .filter(|name| !known.is_some_and(|known| known.contains(&**name)))
            .find(|name| !lenient || self.anywhere.contains(&**name))
            .map(|name| name.chars().take(ECHO_LIMIT).collect())
    }
}

fn in_query(operation: &Operation) -> BTreeSet<String> {
    let parameters = operation.parameters.iter().flatten();
    parameters
        .filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        })
        .filter(|parameter| parameter.parameter_in == ParameterIn::Query)
        .map(|parameter| parameter.name.clone())
        .collect()
}

fn properties(schema: &RefOr<Schema>) -> Vec<String> {
    match schema {
        RefOr::T(Schema::Object(object)) => object.properties.keys().cloned().collect(),
        RefOr::T(_) | RefOr::Ref(_) => Vec::new(),
    }
}

/// The first parameter of a request that its route does not know.
#[must_use]
pub fn unknown(declared: &Declared, request: &Request, route: &str) -> Option<String> {
    let query = request.uri().query().filter(|query| !query.is_empty())?;
    declared.unknown(request.method(), route, query)
}

/// What such a parameter is told.
///
/// # Errors
/// [`ApiError::BadData`] naming it.
pub fn refuse(unknown: Option<String>) -> Result<(), ApiError> {
    match unknown {
        None => Ok(()),
        Some(name) => Err(ApiError::bad_data(name, "unknown parameter")),
    }
}

/// Refuses unknown parameters of reads that ask nobody who they are; the others do it once that is known.
///
/// # Errors
/// As [`refuse`].
pub fn refuse_unknown(declared: &Declared, request: &Request, route: &str) -> Result<(), ApiError> {
    let asks_nobody = request.uri().query().is_some() && OPEN_READS.contains(&route);
    refuse(if asks_nobody {
        unknown(declared, request, route)
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::description;
    use std::sync::LazyLock;

    static DECLARED: LazyLock<Declared> = LazyLock::new(|| Declared::new(&description::document()));

    fn unknown_of(method: &str, route: &str, query: &str) -> Option<String> {
        DECLARED.unknown(&method.parse().unwrap(), route, query)
    }

    #[test]
    fn a_route_knows_what_its_description_says() {
        let list = "/api/admin/purges";
        assert_eq!(unknown_of("GET", list, "state=all&limit=1&cursor=x"), None);
        assert_eq!(unknown_of("HEAD", list, "state=all"), None);
        assert_eq!(
            unknown_of("GET", list, "state=all&lim%69t=1&page=2").as_deref(),
            Some("page")
        );
        assert_eq!(unknown_of("GET", list, "State=all").as_deref(), Some("State"));
        assert_eq!(unknown_of("GET", list, "=x").as_deref(), Some(""));
        assert_eq!(unknown_of("GET", list, "&&"), None);
        let purge = "/api/admin/archived/{entity_type}/{id}/purge";
        assert_eq!(
            unknown_of("DELETE", purge, "dry_run=true").as_deref(),
            Some("dry_run")
        );
        let tile = "/api/ledger/tile/{level}/{*number}";
        assert_eq!(unknown_of("GET", tile, "x=1").as_deref(), Some("x"));
        let long = "x".repeat(1_000);
        assert_eq!(unknown_of("GET", list, &long).unwrap().len(), ECHO_LIMIT);
    }

    #[test]
    fn the_seeds_reads_ignore_what_means_nothing_anywhere() {
        let list = "/api/admin/archived/{entity_type}";
        assert_eq!(
            unknown_of("GET", list, "page=1&limit=2&utm=3&Name=4&sort=5&x"),
            None
        );
        for name in [
            "name",
            "id",
            "metadata",
            "reason",
            "parent",
            "storage",
            "deleted_at",
            "state",
            "actor",
            "from",
            "to",
            "until",
            "host",
            "entity_type",
            "entity_id",
            "as_of",
            "diff",
            "dry_run",
            "filter",
            "order",
            "version",
            "deletedCallback",
            "archiveId",
            "spaceId",
            "after",
            "details",
            "format",
        ] {
            assert_eq!(
                unknown_of("GET", list, &format!("utm=1&{name}=x")).as_deref(),
                Some(name)
            );
            assert_eq!(
                unknown_of("GET", SEED_READS[0], &format!("{name}=x")).as_deref(),
                Some(name)
            );
        }
        assert_eq!(
            unknown_of("GET", SEED_READS[0], "page=1").as_deref(),
            Some("page")
        );
        assert_eq!(unknown_of("POST", list, "utm=1").as_deref(), Some("utm"));
    }
}
