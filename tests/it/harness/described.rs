//! What the service says of itself, held against what it does: an answer whose status, media type or body the OpenAPI document does
//! not describe fails the test that got it.
//!
//! Stricter than the document on one point: an object of an answer has no field that the document does not name.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use archive_ledger::http::description;
use jsonschema::Validator;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response};
use serde_json::{Map, Value, json};

/// What is refused before a route is found, which no operation describes.
const BEFORE_A_ROUTE: [u16; 2] = [414, 431];

/// What is said of a request that asks for none of the operations.
const OF_NO_OPERATION: [u16; 7] = [400, 404, 405, 408, 414, 431, 503];

/// Routes that are for people, or the document itself.
const UNDESCRIBED: [&str; 3] = ["/", "/docs", "/openapi.json"];

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| Contract::new(&document()));

/// The document, as this build serves it.
pub fn document() -> Value {
    serde_json::to_value(description::document()).unwrap()
}

/// Panics where an answer is not as it is described.
#[track_caller]
pub fn check(method: &str, target: &str, status: u16, headers: &HeaderMap, body: &[u8]) {
    let outcome = CONTRACT.check(method, path_of(target), status, headers, body);
    if let Err(wrong) = outcome {
        let text = String::from_utf8_lossy(body);
        panic!("{method} {target} gave {status}, and {wrong}: {text:.2000}");
    }
}

/// Panics where a request that was taken is not one that the document allows.
#[track_caller]
pub fn check_request(method: &str, target: &str, body: &[u8]) {
    if let Err(wrong) = CONTRACT.check_request(method, path_of(target), body) {
        let text = String::from_utf8_lossy(body);
        panic!("{method} {target} was taken, and {wrong}: {text:.2000}");
    }
}

/// Requests whose answers are looked at.
pub trait Told {
    /// Sends it and gives the answer, which must be as it is described. Of one that is streamed, the body is left to the caller.
    fn told(self) -> impl Future<Output = Response> + Send;
}

impl Told for RequestBuilder {
    #[track_caller]
    fn told(self) -> impl Future<Output = Response> + Send {
        let (client, request) = self.build_split();
        let request = request.unwrap();
        let (method, url) = (request.method().to_string(), request.url().clone());
        let sent = request
            .body()
            .and_then(|body| body.as_bytes())
            .map(<[u8]>::to_vec);
        async move {
            let answer = client.execute(request).await.unwrap();
            let (status, headers) = (answer.status(), answer.headers().clone());
            if answer.content_length().is_none() {
                check(&method, url.path(), status.as_u16(), &headers, &[]);
                return answer;
            }
            let body = answer.bytes().await.unwrap();
            check(&method, url.path(), status.as_u16(), &headers, &body);
            if let Some(sent) = sent.filter(|_| status.is_success()) {
                check_request(&method, url.path(), &sent);
            }
            let mut again = http::Response::new(body);
            (*again.status_mut(), *again.headers_mut()) = (status, headers);
            again.into()
        }
    }
}

/// The document, in which every reference and each media type can be looked up.
pub struct Contract {
    closed: Value,
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Contract {
    pub fn new(document: &Value) -> Self {
        let mut closed = document.clone();
        for (name, schema) in closed["components"]["schemas"].as_object_mut().unwrap() {
            // What requests hold is as closed as the document says.
            if !name.ends_with("Request") {
                let whole = merged(document, schema);
                *schema = whole;
                close(schema);
            }
        }
        Self {
            closed,
            validators: Mutex::default(),
        }
    }

    fn check(
        &self,
        method: &str,
        path: &str,
        status: u16,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), String> {
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = media_type.map(|text| text.split(';').next().unwrap().trim());
        let method = if method == "HEAD" { "GET" } else { method };
        let not_described = || Err("the status is not described".to_owned());
        let Some((item, operation)) = self.operation(method, path) else {
            return if UNDESCRIBED.contains(&path) || path.starts_with("/docs/") {
                Ok(())
            } else if OF_NO_OPERATION.contains(&status) {
                self.is_error(media_type, body)
            } else {
                not_described()
            };
        };
        let described = self.resolved(&operation["responses"][status.to_string()]);
        if described.is_null() {
            return if BEFORE_A_ROUTE.contains(&status) {
                self.is_error(media_type, body)
            } else {
                not_described()
            };
        }
        let Some(contents) = described["content"].as_object() else {
            return match (media_type, body) {
                (None, []) => Ok(()),
                _ => Err("no body is described".to_owned()),
            };
        };
        let media_type = media_type.ok_or("there is no media type")?;
        let content = contents
            .get(media_type)
            .ok_or_else(|| format!("{media_type} is not described"))?;
        if media_type != "application/json" || body.is_empty() {
            return Ok(());
        }
        let key = format!("{method} {item} {status}");
        self.fits(&key, &content["schema"], body)
    }

    fn check_request(&self, method: &str, path: &str, body: &[u8]) -> Result<(), String> {
        let Some((item, operation)) = self.operation(method, path) else {
            return Ok(());
        };
        let described = &operation["requestBody"];
        let schema = &described["content"]["application/json"]["schema"];
        match (body, schema) {
            ([], _) if described["required"] == true => Err("a body must be there".to_owned()),
            // No body, or an empty object where none is described: nothing is asked of it.
            ([], _) | (_, Value::Null) => Ok(()),
            _ => self.fits(&format!("{method} {item}"), schema, body),
        }
    }

    /// What a reference leads to.
    fn resolved<'a>(&'a self, part: &'a Value) -> &'a Value {
        match part["$ref"].as_str() {
            Some(reference) => self.closed.pointer(reference.trim_start_matches('#')).unwrap(),
            None => part,
        }
    }

    /// The operation of a request: of two paths that fit, the one that names more.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let items = self.closed["paths"].as_object().unwrap();
        let fitting = items.iter().filter(|(template, _)| fits_path(template, path));
        let (template, item) = fitting.min_by_key(|(template, _)| template.matches('{').count())?;
        let operation = item.get(method.to_lowercase())?;
        Some((template, operation))
    }

    fn is_error(&self, media_type: Option<&str>, body: &[u8]) -> Result<(), String> {
        if media_type != Some("application/json") {
            return Err("it is no error of this API".to_owned());
        }
        // An answer to `HEAD` has no body.
        if body.is_empty() {
            return Ok(());
        }
        self.fits("error", &json!({ "$ref": "#/components/schemas/Error" }), body)
    }

    /// Whether a body is as its schema says.
    pub fn fits(&self, key: &str, schema: &Value, body: &[u8]) -> Result<(), String> {
        let value: Value = serde_json::from_slice(body).map_err(|error| format!("it is no JSON: {error}"))?;
        let known = self.validators.lock().unwrap().get(key).cloned();
        let validator = known.unwrap_or_else(|| {
            let made = Arc::new(self.validator(schema));
            let mut validators = self.validators.lock().unwrap();
            validators.insert(key.to_owned(), Arc::clone(&made));
            made
        });
        let wrong: Vec<String> = validator
            .iter_errors(&value)
            .map(|error| format!("{error:.300} at {}", error.instance_path()))
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(format!("its body does not fit: {}", wrong.join("; ")))
        }
    }

    fn validator(&self, schema: &Value) -> Validator {
        let mut root = schema.clone();
        close(&mut root);
        root["components"] = json!({ "schemas": self.closed["components"]["schemas"] });
        jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&root)
            .unwrap_or_else(|error| panic!("the document has a schema that is none: {error}"))
    }
}

/// The path that a request names, be it by itself or within a whole address.
fn path_of(target: &str) -> &str {
    let path = match target.strip_prefix("http://") {
        Some(address) => address.find('/').map_or("/", |begin| &address[begin..]),
        None => target,
    };
    path.split(['?', '#']).next().unwrap()
}

/// Whether a path is one of a template; the last parameter of a tile's path has slashes in it.
fn fits_path(template: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some("{number}"), Some(_)) => return true,
            (Some(name), Some(_)) if name.starts_with('{') => {}
            (Some(name), Some(part)) if name == part => {}
            _ => return false,
        }
    }
}

/// A schema made of several, as one; any other as it is.
fn merged(document: &Value, schema: &Value) -> Value {
    let Some(parts) = schema["allOf"].as_array() else {
        return schema.clone();
    };
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        let part = match part["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
            None => part,
        };
        let part = merged(document, part);
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        required.extend(part["required"].as_array().cloned().unwrap_or_default());
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

/// Closes every object that names its fields.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("properties").is_some_and(Value::is_object) {
                fields.entry("additionalProperties").or_insert(json!(false));
            }
            fields.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
