//! A caller that has shown who it is.

use super::audit_context::AuditContext;
use crate::http::answer::error::ApiError;
use crate::http::auth::rights::Principal;
use crate::http::request::conditions::Conditions;
use crate::http::request::headers::CommandHeaders;
use crate::http::request::parameters;
use crate::ledger::CommandContext;
use archive_ledger_domain::EventMetadata;
use http::HeaderMap;
use std::sync::Arc;

/// An authenticated caller and its request's head.
#[derive(Debug)]
pub struct Caller {
    /// What its token grants.
    pub principal: Arc<Principal>,
    /// What the audit is told of the request.
    pub audit: AuditContext,
    pub(super) metadata: EventMetadata,
    pub(super) headers: HeaderMap,
    pub(super) unknown_parameter: Option<String>,
}

impl Caller {
    /// Refuses a parameter that the route does not know.
    ///
    /// # Errors
    /// [`ApiError::BadData`] naming it.
    pub fn knows_parameters(&mut self) -> Result<(), ApiError> {
        parameters::refuse(self.unknown_parameter.take())
    }

    /// The request's conditions on what it is about.
    ///
    /// # Errors
    /// [`ApiError::BadData`] naming `If-Match` or `If-None-Match`.
    pub fn conditions(&self) -> Result<Conditions, ApiError> {
        Conditions::of(&self.headers)
    }

    /// The context of the caller's command: who, when the entity has which version, and how to recognize a repetition.
    ///
    /// # Errors
    /// [`ApiError::BadData`] naming `If-Match`, `If-None-Match`, `Idempotency-Key` or `X-Reason-Code`.
    pub fn command(self) -> Result<CommandContext, ApiError> {
        let headers = CommandHeaders::read(&self.headers)?;
        Ok(CommandContext {
            expected_version: headers.condition,
            idempotency_key: headers.idempotency_key,
            metadata: EventMetadata {
                reason_code: headers.reason_code,
                ..self.metadata
            },
        })
    }
}
