//! Answers that many operations give alike stand in the document once.

use super::conventions::COMMON;
use http::StatusCode;
use utoipa::Modify;
use utoipa::openapi::{Components, OpenApi, Ref, RefOr};

/// Moves them.
pub struct Shared;

/// What such an answer is called: its status in words.
fn name_of(status: &str) -> Option<String> {
    let reason = StatusCode::from_bytes(status.as_bytes())
        .ok()?
        .canonical_reason()?;
    Some(reason.split(' ').collect())
}

impl Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_with(Components::new);
        for item in document.paths.paths.values_mut() {
            let operations = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                for (status, response) in &mut operation.responses.responses {
                    let RefOr::T(own) = &*response else { continue };
                    let common = COMMON.contains(&(status, &own.description));
                    let Some(name) = name_of(status).filter(|_| common) else {
                        continue;
                    };
                    components.responses.insert(name.clone(), own.clone().into());
                    *response = Ref::from_response_name(name).into();
                }
            }
        }
    }
}
