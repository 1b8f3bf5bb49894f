//! A request's head: what is asked of it before its body is read.

use super::audit_context::AuditContext;
use crate::http::answer::request_id::RequestId;
use crate::http::request::parameters::{self, Declared};
use axum::extract::{ConnectInfo, MatchedPath, Request};
use http::HeaderMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// What handlers are told of their request.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Its id.
    pub id: RequestId,
    /// What they tell the audit; `None` where it does not watch.
    pub audit: Option<AuditContext>,
    /// The parameters of every route.
    pub declared: Arc<Declared>,
}

/// What is asked of a request before its body is read.
#[derive(Debug)]
pub struct RequestHead {
    pub(super) headers: HeaderMap,
    pub(super) request_id: Option<String>,
    pub(super) ip: Option<String>,
    pub(super) audit: AuditContext,
    pub(super) unknown_parameter: Option<String>,
}

impl RequestHead {
    /// The head of a request.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let observed = request.extensions().get::<Observed>();
        let route = request.extensions().get::<MatchedPath>();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let unknown = observed
            .zip(route)
            .and_then(|(observed, route)| parameters::unknown(&observed.declared, request, route.as_str()));
        Self {
            headers: request.headers().clone(),
            request_id: observed.map(|observed| observed.id.as_str().to_owned()),
            ip: peer.map(|ConnectInfo(address)| address.ip().to_canonical().to_string()),
            audit: observed
                .and_then(|observed| observed.audit.clone())
                .unwrap_or_default(),
            unknown_parameter: unknown,
        }
    }

    /// What the audit is told of the request.
    #[must_use]
    pub fn audit(&self) -> AuditContext {
        self.audit.clone()
    }
}
