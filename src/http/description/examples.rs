//! An example of each request and answer: what a service once took and gave (`examples.json`), and of each error what the error itself
//! says.

use crate::http::answer::envelope;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, ParameterBuilder};
use utoipa::openapi::{Content, OpenApi, RefOr};

/// Adds them.
pub struct Examples;

/// Those of all operations.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct All {
    /// By the parameters' names.
    parameters: BTreeMap<String, Value>,
    /// By the operations' ids.
    operations: BTreeMap<String, OfOne>,
}

/// Those of one operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfOne {
    /// Where it means something else by a parameter of that name.
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
    request: Option<Value>,
    /// By status, or by status and media type where there are several.
    #[serde(default)]
    answers: BTreeMap<String, Value>,
}

/// The examples. That they can be read is tested; a service would go on without them.
fn all() -> All {
    serde_json::from_str(include_str!("examples.json")).unwrap_or_default()
}

impl Modify for Examples {
    fn modify(&self, document: &mut OpenApi) {
        let all = all();
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                let own = operation
                    .operation_id
                    .as_ref()
                    .and_then(|id| all.operations.get(id));
                parameters(operation, &all, own);
                contents(operation, own);
            }
        }
    }
}

fn parameters(operation: &mut Operation, all: &All, own: Option<&OfOne>) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let here = own.and_then(|own| own.parameters.get(&parameter.name));
        if let Some(example) = here.or_else(|| all.parameters.get(&parameter.name)) {
            let described = std::mem::take(parameter);
            *parameter = ParameterBuilder::from(described)
                .example(Some(example.clone()))
                .build();
        }
    }
}

fn contents(operation: &mut Operation, own: Option<&OfOne>) {
    if let (Some(RefOr::T(body)), Some(own)) = (&mut operation.request_body, own) {
        for content in body.content.values_mut() {
            show(content, own.request.as_ref());
        }
    }
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else { continue };
        for (media_type, content) in &mut response.content {
            let by_type = format!("{status} {media_type}");
            let given = own.and_then(|own| own.answers.get(&by_type).or_else(|| own.answers.get(status)));
            let error = given.is_none().then(|| envelope::example(status)).flatten();
            show(content, given.or(error.as_ref()));
        }
    }
}

fn show(content: &mut RefOr<Content>, example: Option<&Value>) {
    if let RefOr::T(content) = content {
        content.example = example.cloned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_can_be_read() {
        let read: Result<All, _> = serde_json::from_str(include_str!("examples.json"));
        assert!(!read.unwrap().operations.is_empty());
    }
}
