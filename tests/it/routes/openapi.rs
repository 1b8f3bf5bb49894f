//! The service's description of itself: what is documented is what is served, and the page needs no other host.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::envelope::ROUTES;
use super::{ARCHIVED, ARCHIVES, Answer, Api, Grant, answer, keys, new_id};
use crate::harness::{described, on_both_backends};

/// The routes of the router's own text.
fn routes_in_the_source() -> BTreeSet<String> {
    let source = include_str!("../../../src/http/router.rs");
    let calls = source.split(".route(").skip(1);
    calls
        .map(|call| call.split('"').nth(1).unwrap().replace("{*", "{"))
        .filter(|path| path != "/")
        .collect()
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(|(method, operation)| (path.clone(), method.to_uppercase(), operation))
        })
        .collect()
}

/// What a document's reference leads to.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

on_both_backends! {
    async fn each_operation_says_in_a_few_words_what_it_does(backend: Backend) {
        let api = Api::shared(backend).await;
        let document = answer(api.bare("GET", "/openapi.json")).await.json(200);
        for (path, method, operation) in operations(&document) {
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!((5..=60).contains(&summary.len()), "{method} {path}: {summary:?}");
            let description = operation["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty() && !description.contains("# "), "{method} {path}: {description:?}");
        }
    }

    async fn what_is_documented_is_what_is_served(backend: Backend) {
        let api = Api::shared(backend).await;
        let document = answer(api.bare("GET", "/openapi.json")).await.json(200);
        let documented: BTreeSet<String> = keys(&document["paths"]).into_iter().map(str::to_owned).collect();
        assert_eq!(documented, routes_in_the_source());
        assert_eq!(documented, ROUTES.iter().map(|(path, _)| (*path).to_owned()).collect());
        for (path, methods) in ROUTES {
            let mut documented: Vec<String> = keys(&document["paths"][path])
                .into_iter()
                .map(str::to_uppercase)
                .collect();
            documented.sort();
            assert_eq!(documented.join(","), methods, "{path}");
        }
        let ids: BTreeSet<&str> = operations(&document)
            .iter()
            .map(|(_, _, operation)| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(ids.len(), operations(&document).len());
    }

    async fn every_error_of_every_route_is_documented_with_the_body_that_it_has(backend: Backend) {
        let api = Api::shared(backend).await;
        let document = answer(api.bare("GET", "/openapi.json")).await.json(200);
        for (path, method, operation) in operations(&document) {
            let responses = operation["responses"].as_object().unwrap();
            let what = format!("{method} {path}");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{what}");
            for (status, response) in responses.iter().filter(|(status, _)| !status.starts_with('2')) {
                let response = resolve(&document, response);
                let schema = &response["content"]["application/json"]["schema"];
                // Not modified: there is nothing to say.
                if path == "/readyz" || status == "304" {
                    continue;
                }
                assert_eq!(schema["$ref"], "#/components/schemas/Error", "{what} {status}");
            }
            if !path.starts_with("/api/") {
                assert_eq!(operation["security"], serde_json::json!([]), "{what}");
                continue;
            }
            let mut expected = vec!["401", "403", "500", "503"];
            if path.contains('{') {
                expected.push("400");
            }
            if method != "GET" {
                expected.extend(["400", "408", "413", "415"]);
            }
            if method != "GET" && !path.contains("callbacks") && !path.contains("purges") {
                expected.extend(["409", "412", "422"]);
            }
            for status in expected {
                assert!(responses.contains_key(status), "{what} {status}");
            }
            let unauthorized = resolve(&document, &responses["401"]);
            assert!(unauthorized["headers"]["WWW-Authenticate"].is_object(), "{what}");
            let schemes: BTreeSet<&str> = operation["security"].as_array().unwrap().iter().flat_map(keys).collect();
            let onedata = path.starts_with(ARCHIVES);
            assert_eq!(schemes.contains("x_auth_token"), onedata, "{what}");
            assert!(schemes.contains("bearer"));
        }
        let served = answer(api.bare("GET", "/nowhere")).await.refused(404, "notFound");
        let schemas = &document["components"]["schemas"];
        let error = resolve(&document, &schemas["Error"]["properties"]["error"]);
        assert_eq!(keys(&error["properties"]), ["ctx", "description", "details", "id"]);
        let ctx = resolve(&document, &error["properties"]["ctx"]);
        assert_eq!(keys(&ctx["properties"]), keys(&served["ctx"]));
        assert_eq!(ctx["required"].as_array().unwrap().len(), keys(&served["ctx"]).len());
    }

    async fn what_is_served_is_what_answers_are_held_against(backend: Backend) {
        let api = Api::shared(backend).await;
        let served = answer(api.bare("GET", "/openapi.json")).await.json(200);
        assert_eq!(served, described::document());
        assert_eq!(served["servers"][0]["url"], "/");
    }

    async fn an_answer_that_differs_from_its_description_is_noticed(backend: Backend) {
        let api = Api::shared(backend).await;
        let id = new_id();
        api.soft_delete("servers", &id).await;
        let path = format!("{ARCHIVED}/servers/{id}");
        let good = api.get(&path).await;
        let noticed = |status: u16, path: &str, answer: &Answer, body: &Value| {
            let body = serde_json::to_vec(body).unwrap();
            let checked = || described::check("GET", path, status, &answer.headers, &body);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(checked)).is_err()
        };
        let body = good.json(200);
        assert!(!noticed(200, &path, &good, &body));
        for (place, other) in [
            ("/state", Value::from("asleep")),
            ("/type", Value::from("ships")),
            ("/deleted_at", Value::from("yesterday")),
            ("/deletion_id", Value::from("1")),
            ("/version", Value::from("1")),
            ("/name", Value::from(5)),
        ] {
            let mut wrong = body.clone();
            *wrong.pointer_mut(place).unwrap() = other;
            assert!(noticed(200, &path, &good, &wrong), "{place}");
            let mut less = body.clone();
            less.as_object_mut().unwrap().remove(&place[1..]);
            assert!(noticed(200, &path, &good, &less), "without {place}");
        }
        let mut more = body.clone();
        more["colour"] = Value::from("red");
        assert!(noticed(200, &path, &good, &more));
        // An entity is neither a page, nor an error, nor an answer with another status or media type.
        for (status, path) in [(200, format!("{ARCHIVED}/servers")), (404, path.clone()), (418, path.clone()), (200, "/nowhere".to_owned())] {
            assert!(noticed(status, &path, &good, &body), "{status} {path}");
        }
        let mut text = good.clone();
        text.headers.insert("content-type", "text/plain".parse().unwrap());
        assert!(noticed(200, &path, &text, &body));
    }

    async fn every_answer_and_request_has_an_example_that_fits_and_every_parameter_its_rules(backend: Backend) {
        let api = Api::shared(backend).await;
        let document = answer(api.bare("GET", "/openapi.json")).await.json(200);
        let contract = described::Contract::new(&document);
        for (path, method, operation) in operations(&document) {
            let what = format!("{method} {path}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = resolve(&document, response);
                for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                    let example = &content["example"];
                    // What cannot be written in JSON, and what no unforked ledger has.
                    let binary = ["application/octet-stream", "application/vnd.apache.parquet"].contains(&media_type.as_str());
                    let absent = binary || path == "/api/ledger/fork" && status == "200";
                    assert_eq!(example.is_null(), absent, "{what} {status} {media_type}");
                    if media_type == "application/json" {
                        let body = serde_json::to_vec(example).unwrap();
                        let fits = contract.fits(&format!("{what} {status}"), &content["schema"], &body);
                        assert_eq!(fits, Ok(()), "{what} {status}");
                    }
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"];
            if !body.is_null() {
                let example = serde_json::to_vec(&body["example"]).unwrap();
                assert_eq!(contract.fits(&format!("{what} body"), &body["schema"], &example), Ok(()), "{what}");
                let optional = ["purgeArchived", "deleteArchive"].contains(&operation["operationId"].as_str().unwrap());
                assert_eq!(operation["requestBody"]["required"], !optional, "{what}");
                assert!(body["schema"]["$ref"].is_string(), "{what}");
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let what = format!("{what} {}", parameter["name"]);
                let schema = resolve(&document, &parameter["schema"]);
                let item = if schema["type"] == "array" { resolve(&document, &schema["items"]) } else { schema };
                let item = item["anyOf"].get(0).unwrap_or(item);
                let ruled = ["pattern", "enum", "format", "maximum", "maxLength"].iter().any(|rule| !item[rule].is_null());
                assert!(ruled || item["type"] == "boolean", "{what}: {item}");
                if let Some(example) = parameter.get("example") {
                    let example = serde_json::to_vec(example).unwrap();
                    assert_eq!(contract.fits(&what, &parameter["schema"], &example), Ok(()), "{what}");
                } else {
                    assert_ne!(parameter["in"], "path", "{what}");
                }
            }
        }
    }

    async fn words_times_and_free_objects_are_described_as_such_wherever_they_are(backend: Backend) {
        let api = Api::shared(backend).await;
        let document = answer(api.bare("GET", "/openapi.json")).await.json(200);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (component, schema) in schemas {
            let mut parts = vec![schema];
            parts.extend(schema["allOf"].as_array().into_iter().flatten());
            let fields = parts.iter().filter_map(|part| part["properties"].as_object()).flatten();
            for (name, field) in fields {
                let what = format!("{component}.{name}: {field}");
                let text = field.to_string();
                let is_text = field["type"].to_string().contains("string");
                // A place, and no time.
                let time = name.ends_with("_at") && name != "failed_at";
                if time || ["from", "until", "since"].contains(&name.as_str()) && is_text {
                    assert!(text.contains("date-time"), "{what}");
                }
                if ["state", "type", "entity_type", "outcome", "action", "event", "scope", "status"].contains(&name.as_str()) && is_text {
                    panic!("{what} has no named words");
                }
                if field["type"].to_string().contains("\"object\"") {
                    assert_eq!(field["additionalProperties"], true, "{what}");
                }
            }
        }
        let stream = &document["paths"]["/api/events"]["get"]["responses"]["200"]["content"];
        assert_eq!(keys(stream), ["text/event-stream"]);
        let history = &document["paths"]["/api/admin/archived/{entity_type}/{id}/history"]["get"];
        let history = resolve(&document, &history["responses"]["200"]["content"]["application/json"]["schema"]);
        let either: BTreeSet<&str> = history["oneOf"].as_array().unwrap().iter().map(|one| one["$ref"].as_str().unwrap()).collect();
        assert_eq!(either, BTreeSet::from(["#/components/schemas/Diff", "#/components/schemas/History"]));
    }

    async fn the_api_page_and_all_it_loads_come_from_the_service_itself(backend: Backend) {
        let api = Api::shared(backend).await;
        let page = answer(api.bare("GET", "/docs/")).await;
        assert_eq!(page.status, 200);
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
        let html = page.text();
        let mut loaded = Vec::new();
        for attribute in ["src=\"", "href=\""] {
            loaded.extend(html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()));
        }
        assert!(loaded.len() >= 3, "{html}");
        let initializer = answer(api.bare("GET", "/docs/swagger-initializer.js")).await;
        assert!(initializer.text().contains("/openapi.json"));
        assert!(initializer.text().contains("\"validatorUrl\": \"none\""), "{}", initializer.text());
        for text in [html, initializer.text()] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("\"//"), "{text}");
        }
        for asset in loaded {
            let path = format!("/docs/{}", asset.trim_start_matches("./"));
            let packed = answer(api.bare("GET", &path).header("accept-encoding", "gzip")).await;
            let answer = answer(api.bare("GET", &path)).await;
            assert_eq!(answer.status, 200, "{path}");
            assert!(!answer.body.is_empty(), "{path}");
            assert_eq!(answer.header("content-encoding"), None, "{path}: nobody asked for it");
            // The one file that is made for each answer is not kept packed.
            let coding = (!path.ends_with("swagger-initializer.js")).then_some("gzip");
            assert_eq!(packed.header("content-encoding"), coding, "{path}");
            let mut unpacked = packed.body.to_vec();
            if coding.is_some() {
                unpacked.clear();
                GzDecoder::new(&packed.body[..]).read_to_end(&mut unpacked).unwrap();
            }
            assert!(unpacked == answer.body, "{path}");
            if path.ends_with(".css") {
                let foreign = answer.text().split("url(").skip(1).find(|url| !url.starts_with("data:") && !url.starts_with("\"data:"));
                assert_eq!(foreign, None, "{path}");
            }
        }
        // The page is open to all; what it tries out is not.
        let token = api.token(Grant::default());
        let tried = api.bare("GET", "/api/admin/archived/summary").bearer_auth(token);
        answer(tried).await.refused(403, "forbidden");
    }
}

/// The names that the code gives to schemas, each with the file that gives it.
fn names_in_the_source(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names_in_the_source(&path, found);
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let file = path.display().to_string();
        if path.ends_with("answer/names.rs") {
            let sets = text.split("\nwords! {").nth(1).unwrap().lines();
            let sets = sets.filter(|line| !line.trim_start().starts_with("///"));
            let sets = sets.filter_map(|line| line.strip_prefix("    ")?.split_once(" = "));
            found.extend(sets.map(|(name, _)| (name.trim().to_owned(), file.clone())));
        }
        for derived in text.split("#[derive(").skip(1) {
            let (traits, rest) = derived.split_once(")]").unwrap();
            if !traits.contains("ToSchema") {
                continue;
            }
            let begin = [" struct ", " enum ", "\nstruct ", "\nenum "]
                .map(|kind| rest.find(kind).unwrap_or(usize::MAX));
            let (attributes, item) = rest.split_at(*begin.iter().min().unwrap());
            let own = attributes
                .split("schema(as = ")
                .nth(1)
                .map(|name| name.split([')', ',']).next().unwrap());
            let name = own.or_else(|| item.split_whitespace().nth(1)).unwrap();
            let name = name.split(['<', '(', ';']).next().unwrap();
            found.push((name.to_owned(), file.clone()));
        }
    }
}

#[test]
fn no_two_types_have_one_name_in_the_description() {
    let mut found = Vec::new();
    names_in_the_source(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    let mut origins = std::collections::BTreeMap::new();
    for (name, file) in found {
        let other = origins.insert(name.clone(), file.clone());
        assert_eq!(other, None, "{name} is in {file} as well");
    }
    let document = described::document();
    for name in keys(&document["components"]["schemas"]) {
        assert!(
            origins.contains_key(name),
            "{name} has no origin that this test knows"
        );
    }
}
