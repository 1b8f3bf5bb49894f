//! What handlers work with, and how they admit a caller: what every handler asks first.

pub mod audit;
pub mod audit_context;
pub mod caller;
pub mod event_streams;
pub mod head;

use crate::callbacks::admin::CallbackAdmin;
use crate::http::answer::error::ApiError;
use crate::http::auth::Authenticator;
use crate::http::auth::rights::Right;
use crate::http::request::body::{DEFAULT_LIMIT, EmptyBody, read_fields};
use crate::http::request::cursor::CursorCodec;
use crate::http::request::fields::Fields;
use crate::http::request::headers::user_agent;
use crate::ledger::Ledger;
use crate::memory_budget::MemoryBudget;
use crate::proofs::Proofs;
use crate::purge::operator::Purges;
use archive_ledger_domain::{EntityKey, EventMetadata};
use audit::Audit;
use audit_context::AuditContext;
use axum::extract::Request;
use caller::Caller;
use event_streams::EventStreams;
use head::RequestHead;
use http::header::EXPECT;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long the body of a request that is refused anyway may take, for the audit to say what it was about.
const REFUSED_BODY: Duration = Duration::from_secs(1);

/// What handlers work with.
#[derive(Debug)]
pub struct Api {
    /// The ledger.
    pub ledger: Arc<Ledger>,
    /// Reads proofs.
    pub proofs: Proofs,
    /// Checks tokens.
    pub auth: Arc<Authenticator>,
    /// Gives out cursors.
    pub cursors: CursorCodec,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// Purges that are owed.
    pub purges: Purges,
    /// Callback deliveries.
    pub callbacks: CallbackAdmin,
    /// Streams of events.
    pub events: EventStreams,
    /// The audit.
    pub audit: Audit,
    /// How many exports may begin.
    pub exports: Arc<Semaphore>,
    /// How much memory requests may take together.
    pub memory: MemoryBudget,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
}

/// Handlers' state.
pub type SharedApi = Arc<Api>;

impl Api {
    /// Admits a caller whose token grants `right`, with parameters that the route knows.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`], [`ApiError::Forbidden`], [`ApiError::BadData`] naming a parameter.
    pub async fn admit(&self, head: RequestHead, right: Right) -> Result<Caller, ApiError> {
        let mut caller = self.identify(head, false).await?;
        if !caller.principal.has(right) {
            return Err(ApiError::Forbidden);
        }
        caller.knows_parameters()?;
        Ok(caller)
    }

    /// As [`Api::admit`], for a route whose body names the entity: the audit is told which, also of a caller that is refused.
    ///
    /// # Errors
    /// As [`Api::admit`].
    pub async fn admit_to_named(
        &self,
        request: Request,
        right: Right,
        named: impl Fn(&Fields) -> Option<EntityKey>,
    ) -> Result<(Caller, Request), ApiError> {
        let head = RequestHead::of(&request);
        let audit = head.audit();
        match self.admit(head, right).await {
            Ok(caller) => Ok((caller, request)),
            Err(error) => {
                self.tell_named(request, &audit, named).await;
                Err(error)
            }
        }
    }

    /// Tells the audit which entity the body of a request names that is refused whatever else it says: of a caller that has shown who
    /// it is, and as far as the body is on its way. Nobody else is listened to for that.
    pub async fn tell_named(
        &self,
        request: Request,
        audit: &AuditContext,
        named: impl Fn(&Fields) -> Option<EntityKey>,
    ) {
        if !audit.is_from_somebody() || request.headers().contains_key(EXPECT) {
            return;
        }
        let limit = self.body_limit.min(DEFAULT_LIMIT);
        let reading = read_fields(request, limit, EmptyBody::IsEmptyObject, &self.memory);
        if let Ok(Ok(fields)) = tokio::time::timeout(REFUSED_BODY, reading).await
            && let Some(key) = named(&fields)
        {
            audit.concerns(&key);
        }
    }

    /// Authenticates a caller; on Onedata's routes by `X-Auth-Token` too. Once it is found to be admitted, its parameters are
    /// to be looked at ([`Caller::knows_parameters`]).
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`].
    pub async fn identify(&self, head: RequestHead, onedata: bool) -> Result<Caller, ApiError> {
        let RequestHead {
            headers,
            request_id,
            ip,
            audit,
            unknown_parameter,
        } = head;
        let authenticated = self.auth.authenticate(&headers, onedata).await;
        let principal = authenticated.inspect_err(|error| audit.is_denied_for(error.reason()))?;
        audit.is_from(&principal);
        let metadata = EventMetadata {
            actor: principal.subject.clone(),
            request_id,
            causation_id: None,
            token_issuer: principal.issuer.clone(),
            // Its hash tells tokens apart and finds one that is known; the id itself may be a bearer's secret elsewhere.
            token_id: None,
            token_id_hash: principal.token_id_hash.clone(),
            ip,
            user_agent: user_agent(&headers),
            reason_code: None,
        };
        Ok(Caller {
            principal,
            audit,
            metadata,
            headers,
            unknown_parameter,
        })
    }

    /// Reads a request's JSON object.
    ///
    /// # Errors
    /// As [`read_fields`]; [`ApiError::RequestTimeout`] when the body does not arrive in time.
    pub async fn fields(&self, request: Request, empty: EmptyBody) -> Result<Fields, ApiError> {
        tokio::time::timeout(
            self.body_timeout,
            read_fields(request, self.body_limit, empty, &self.memory),
        )
        .await
        .unwrap_or(Err(ApiError::RequestTimeout))
    }
}
