//! What a request leaves in the audit beside the log: that it was denied, that its command failed, or that it read the audit.

use crate::audit::attempts::Attempts;
use crate::http::answer::ending::Ending;
use crate::http::answer::request_id::RequestId;
use crate::http::api::audit_context::AuditContext;
use crate::http::request::headers::recorded_agent;
use crate::store::audit::{Attempt, AuditAction, Outcome};
use archive_ledger_domain::{EntityKey, EntityType, EventName};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use chrono::DateTime;
use http::header::USER_AGENT;
use http::{HeaderValue, Method, Uri};
use percent_encoding::percent_decode_str;
use std::net::SocketAddr;

/// A request under way. Dropped before it is answered, a command leaves that its client went away; it may have been recorded.
///
/// Nearly all requests leave nothing, so that what is recorded is made of its parts only then.
pub(super) struct UnderWay<'a> {
    attempts: &'a Attempts,
    context: AuditContext,
    method: Method,
    route: &'a str,
    uri: Uri,
    command: bool,
    peer: Option<SocketAddr>,
    user_agent: Option<HeaderValue>,
    request_id: &'a RequestId,
    answered: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.answered && self.command {
            self.leave(Outcome::Failed, Some("client_gone".to_owned()));
        }
    }
}

impl<'a> UnderWay<'a> {
    /// A request to `route`, of which nothing is known yet.
    pub(super) fn new(
        attempts: &'a Attempts,
        request_id: &'a RequestId,
        route: &'a str,
        request: &Request,
    ) -> Self {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self {
            attempts,
            context: AuditContext::default(),
            method: request.method().clone(),
            route,
            uri: request.uri().clone(),
            command: ![Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()),
            peer: peer.map(|ConnectInfo(address)| *address),
            user_agent: request.headers().get(USER_AGENT).cloned(),
            request_id,
            answered: false,
        }
    }

    /// What its handler tells of it.
    pub(super) fn context(&self) -> AuditContext {
        self.context.clone()
    }

    /// It is answered.
    pub(super) fn answered(mut self, response: &Response) {
        self.answered = true;
        match Ending::of(response) {
            Ending::Denied => {
                let reason = self.context.told().reason;
                self.leave(
                    Outcome::Denied,
                    Some(reason.unwrap_or("right_missing").to_owned()),
                );
            }
            Ending::Failed(error) if self.command => self.leave(Outcome::Failed, Some(error.to_owned())),
            Ending::Succeeded => self.leave(Outcome::Allowed, None),
            Ending::Failed(_) | Ending::Neither => {}
        }
    }

    fn leave(&self, outcome: Outcome, reason: Option<String>) {
        let told = self.context.told();
        let key = told.key.clone().or_else(|| path_key(self.uri.path()));
        let detail = match outcome {
            Outcome::Denied => None,
            Outcome::Failed if told.principal.is_none() => return,
            Outcome::Failed => None,
            Outcome::Allowed => {
                let Some(read) = &told.read else { return };
                Some(read.clone())
            }
        };
        let action = match (outcome, action(&self.method, self.route)) {
            (Outcome::Allowed, AuditAction::Read) => AuditAction::AuditRead,
            (_, action) => action,
        };
        let principal = told.principal.as_deref();
        self.attempts.add(Attempt {
            outcome,
            action,
            reason,
            actor: principal.map(|principal| principal.subject.clone()),
            token_issuer: principal.and_then(|principal| principal.issuer.clone()),
            token_id_hash: principal.and_then(|principal| principal.token_id_hash.clone()),
            ip: self.peer.map(|peer| peer.ip().to_canonical().to_string()),
            user_agent: self.user_agent.as_ref().and_then(recorded_agent),
            request_id: Some(self.request_id.as_str().to_owned()),
            key,
            detail,
            // Set where it is taken up.
            first_at: DateTime::UNIX_EPOCH,
            last_at: DateTime::UNIX_EPOCH,
            count: 1,
        });
    }
}

/// What a request asks for. A command goes by the name of its event.
fn action(method: &Method, route: &str) -> AuditAction {
    match (method.as_str(), route) {
        ("GET" | "HEAD", "/api/admin/audit/events") => AuditAction::AuditRead,
        (_, route) if route.starts_with("/api/admin/audit/export") => AuditAction::AuditExport,
        ("GET" | "HEAD", _) => AuditAction::Read,
        ("POST", "/api/admin/archived/{entity_type}") => AuditAction::Event(EventName::SoftDeleted),
        ("POST", "/api/admin/archived/{entity_type}/{id}/restore") => AuditAction::Event(EventName::Restored),
        ("DELETE", "/api/admin/archived/{entity_type}/{id}/purge")
        | ("POST", "/api/v3/oneprovider/archives/{aid}/delete") => {
            AuditAction::Event(EventName::PurgeRequested)
        }
        ("POST", "/api/v3/oneprovider/archives") => AuditAction::Event(EventName::Registered),
        ("POST", "/api/admin/purges/{purge_id}/retry") => AuditAction::PurgeRetry,
        ("POST", "/api/admin/purges/{purge_id}/force") => AuditAction::Event(EventName::PurgeForced),
        ("POST", route) if route.starts_with("/api/admin/callbacks/") => AuditAction::CallbackReplay,
        _ => AuditAction::Other,
    }
}

/// The entity that a path names, as a route reads it.
fn path_key(path: &str) -> Option<EntityKey> {
    let decoded = |segment: &str| {
        let decoded = percent_decode_str(segment).decode_utf8().ok()?;
        Some(decoded.into_owned())
    };
    if let Some(rest) = path.strip_prefix("/api/admin/archived/") {
        let mut segments = rest.split('/').map(decoded);
        let entity_type = segments.next()??.parse().ok()?;
        return EntityKey::new(entity_type, &segments.next()??).ok();
    }
    let rest = path.strip_prefix("/api/v3/oneprovider/archives/")?;
    let id = decoded(rest.split('/').next()?)?;
    EntityKey::new(EntityType::Archives, &id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_goes_by_the_name_of_its_event() {
        let of = |method: &str, route: &str| action(&method.parse().unwrap(), route).as_str();
        assert_eq!(
            of("DELETE", "/api/admin/archived/{entity_type}/{id}/purge"),
            "purge_requested"
        );
        assert_eq!(of("POST", "/api/admin/archived/{entity_type}"), "soft_deleted");
        assert_eq!(of("GET", "/api/admin/archived/{entity_type}"), "read");
        assert_eq!(of("GET", "/api/admin/audit/events"), "audit_read");
        assert_eq!(of("POST", "/api/admin/audit/exports"), "audit_export");
        assert_eq!(of("PUT", "/api/admin/archived/{entity_type}"), "other");
    }

    #[test]
    fn a_path_names_its_entity_only_where_it_is_one() {
        let of = |path: &str| path_key(path).map(|key| key.stream_id());
        let id = "497f6eca-6276-4993-bfeb-53cbbbba6f08";
        assert_eq!(
            of(&format!("/api/admin/archived/users/{id}/purge")),
            Some(format!("users:{id}"))
        );
        assert_eq!(
            of("/api/v3/oneprovider/archives/a-1/delete").as_deref(),
            Some("archives:a-1")
        );
        assert_eq!(
            of(&format!(
                "/api/admin/archived/%75sers/%34{}/purge",
                id[1..].to_uppercase()
            )),
            Some(format!("users:{id}"))
        );
        for path in [
            "/api/admin/archived/users/%ff/purge",
            "/api/v3/oneprovider/archives/a%2fb",
            "/api/admin/archived/users",
            "/api/admin/archived/users/x/purge",
            "/api/events",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
