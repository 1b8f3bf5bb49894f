//! The service's description of itself: what is documented is what is served, and the page needs no other host.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::envelope::ROUTES;
use super::{ARCHIVES, Api, Grant, answer, keys};
use crate::harness::on_both_backends;

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
            assert!(responses["401"]["headers"]["WWW-Authenticate"].is_object(), "{what}");
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
