//! Who calls, with which conditions: what every handler asks first.

pub mod audit_context;
pub mod audit_reads;
pub mod event_streams;

use crate::callbacks::admin::CallbackAdmin;
use crate::http::answer::error::{ApiError, Key};
use crate::http::around::Observed;
use crate::http::auth::Authenticator;
use crate::http::auth::rights::{Principal, Right};
use crate::http::request::body::{DEFAULT_LIMIT, EmptyBody, Fields, read_fields};
use crate::http::request::conditions::Conditions;
use crate::http::request::cursor::CursorCodec;
use crate::http::request::parameters;
use crate::ledger::{CommandContext, Ledger};
use crate::memory_budget::MemoryBudget;
use crate::proofs::Proofs;
use crate::purge::operator::Purges;
use archive_ledger_domain::{EntityKey, EntityType, EventMetadata};
use audit_context::{Trail, user_agent};
use audit_reads::AuditTrail;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, MatchedPath, Path, Request};
use event_streams::EventStreams;
use http::header::EXPECT;
use http::{HeaderMap, HeaderName};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// The header that makes a command safe to send again.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header that says why, in a code that outlives a purge.
pub const X_REASON_CODE: HeaderName = HeaderName::from_static("x-reason-code");

/// The longest such code, in characters.
const REASON_CODE_MAX: usize = 64;

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
    pub audit: AuditTrail,
    /// How many exports may begin.
    pub exports: Arc<Semaphore>,
    /// How much memory requests may take together.
    pub memory: MemoryBudget,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
}

/// Handlers' state.
pub type SharedApi = Arc<Api>;

/// An authenticated caller and its request's head.
#[derive(Debug)]
pub struct Caller {
    /// What its token grants.
    pub principal: Arc<Principal>,
    /// What the audit is told of the request.
    pub trail: Trail,
    metadata: EventMetadata,
    headers: HeaderMap,
    unknown_parameter: Option<String>,
}

/// What is asked of a request before its body is read.
#[derive(Debug)]
pub struct Head {
    headers: HeaderMap,
    request_id: Option<String>,
    ip: Option<String>,
    trail: Trail,
    unknown_parameter: Option<String>,
}

impl Head {
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
            trail: observed
                .and_then(|observed| observed.trail.clone())
                .unwrap_or_default(),
            unknown_parameter: unknown,
        }
    }

    /// What the audit is told of the request.
    #[must_use]
    pub fn trail(&self) -> Trail {
        self.trail.clone()
    }
}

impl Api {
    /// Admits a caller whose token grants `right`, with parameters that the route knows.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`], [`ApiError::Forbidden`], [`ApiError::BadData`] naming a parameter.
    pub async fn admit(&self, head: Head, right: Right) -> Result<Caller, ApiError> {
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
        let head = Head::of(&request);
        let trail = head.trail();
        match self.admit(head, right).await {
            Ok(caller) => Ok((caller, request)),
            Err(error) => {
                self.tell_named(request, &trail, named).await;
                Err(error)
            }
        }
    }

    /// Tells the audit which entity the body of a request names that is refused whatever else it says: of a caller that has shown who
    /// it is, and as far as the body is on its way. Nobody else is listened to for that.
    pub async fn tell_named(
        &self,
        request: Request,
        trail: &Trail,
        named: impl Fn(&Fields) -> Option<EntityKey>,
    ) {
        if !trail.is_from_somebody() || request.headers().contains_key(EXPECT) {
            return;
        }
        let limit = self.body_limit.min(DEFAULT_LIMIT);
        let reading = read_fields(request, limit, EmptyBody::IsEmptyObject, &self.memory);
        if let Ok(Ok(fields)) = tokio::time::timeout(REFUSED_BODY, reading).await
            && let Some(key) = named(&fields)
        {
            trail.concerns(&key);
        }
    }

    /// Authenticates a caller; on Onedata's routes by `X-Auth-Token` too. Once it is found to be admitted, its parameters are
    /// to be looked at ([`Caller::knows_parameters`]).
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`].
    pub async fn identify(&self, head: Head, onedata: bool) -> Result<Caller, ApiError> {
        let Head {
            headers,
            request_id,
            ip,
            trail,
            unknown_parameter,
        } = head;
        let authenticated = self.auth.authenticate(&headers, onedata).await;
        let principal = authenticated.inspect_err(|error| trail.is_denied_for(error.reason()))?;
        trail.is_from(&principal);
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
            trail,
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
        Ok(CommandContext {
            expected_version: self.conditions()?.on_version(),
            idempotency_key: idempotency_key(&self.headers)?,
            metadata: EventMetadata {
                reason_code: reason_code(&self.headers)?,
                ..self.metadata
            },
        })
    }
}

/// The one value of a header.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    key: &'static str,
) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| ApiError::bad_data(key, "must be visible ASCII")),
        (Some(_), Some(_)) => Err(ApiError::bad_data(key, "given more than once")),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = single(headers, &IDEMPOTENCY_KEY, "Idempotency-Key")? else {
        return Ok(None);
    };
    let fits = (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len());
    if !fits || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::bad_data(
            "Idempotency-Key",
            "must be 1 to 255 visible ASCII characters",
        ));
    }
    Ok(Some(text.to_owned()))
}

fn reason_code(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(text) = single(headers, &X_REASON_CODE, "X-Reason-Code")? else {
        return Ok(None);
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !(1..=REASON_CODE_MAX).contains(&text.len()) || !text.bytes().all(plain) {
        return Err(ApiError::bad_data(
            "X-Reason-Code",
            "must be 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'",
        ));
    }
    Ok(Some(text.to_owned()))
}

/// The segments of a path as they were sent: a request learns what is wrong with its path only after it was admitted.
pub type Segments<T> = Result<Path<T>, PathRejection>;

/// The decoded segments of a path.
///
/// # Errors
/// [`ApiError::BadValueNotAllowed`] or [`ApiError::BadValueIdentifier`] for a segment that is no UTF-8 once it is decoded.
pub fn segments<T>(path: Segments<T>) -> Result<T, ApiError> {
    match path {
        Ok(Path(segments)) => Ok(segments),
        Err(PathRejection::FailedToDeserializePathParams(failure)) => Err(match failure.into_kind() {
            ErrorKind::InvalidUtf8InPathParam { key } if key == "entity_type" => unknown_type(),
            ErrorKind::InvalidUtf8InPathParam { key } if key == "aid" => ApiError::BadValueIdentifier {
                key: Key::from("archiveId"),
            },
            ErrorKind::InvalidUtf8InPathParam { key } => ApiError::BadValueIdentifier { key: key.into() },
            other => ApiError::internal(other.to_string()),
        }),
        Err(other) => Err(ApiError::internal(other)),
    }
}

fn unknown_type() -> ApiError {
    ApiError::BadValueNotAllowed {
        key: Key::from("entity_type"),
        allowed: EntityType::ALL.into_iter().map(EntityType::as_str).collect(),
    }
}

/// The id of something of ours in a path: a UUID as answers write it, hyphenated, in either case.
///
/// # Errors
/// [`ApiError::BadValueIdentifier`] naming `key`.
pub fn uuid(text: &str, key: &'static str) -> Result<Uuid, ApiError> {
    Some(text)
        .filter(|text| text.len() == uuid::fmt::Hyphenated::LENGTH)
        .and_then(|text| Uuid::try_parse(text).ok())
        .ok_or_else(|| ApiError::BadValueIdentifier { key: key.into() })
}

/// The entity type of a path.
///
/// # Errors
/// [`ApiError::BadValueNotAllowed`].
pub fn entity_type(text: &str) -> Result<EntityType, ApiError> {
    text.parse().map_err(|_| unknown_type())
}

/// The entity of a path.
///
/// # Errors
/// [`ApiError::BadValueNotAllowed`], [`ApiError::BadValueIdentifier`].
pub fn entity_key(type_name: &str, id: &str) -> Result<EntityKey, ApiError> {
    let entity_type = entity_type(type_name)?;
    EntityKey::new(entity_type, id).map_err(|_| ApiError::BadValueIdentifier { key: Key::from("id") })
}
