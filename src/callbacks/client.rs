//! One attempt: a signed POST with bounded time and bounded reading.
//!
//! # Why a pooled connection is as safe as a fresh one
//! Clients are shared, so that a busy receiver is not greeted with a handshake per callback. A connection is opened only
//! to an address that [`PinnedResolver`] has checked for exactly that host (and, for literals, that [`CallbackClient`] has
//! checked itself), the pool gives it only to requests for the same scheme, host and port, and nothing can move an open
//! connection to another address. A name that is re-pointed later takes effect when the idle connection is dropped.
//!
//! The resolver hears a name and no port. Exemptions for one port therefore have a client (pool and resolver) of their
//! own for each such port, and the client for all other ports does not know those exemptions.
//!
//! # A pooled connection that was closed meanwhile
//! costs no attempt: the request is made again at once, on a connection of its own (`fresh`). The receiver may have read the
//! first one all the same; it tells repetitions by the delivery's id, as ever.

use super::fresh::{self, Telling};
use super::outcome::{AttemptOutcome, DeliveryFailure, parse_retry_after};
use super::proxy::ProxySettings;
use super::resolve::{Lookup, PinnedResolver, ResolveError};
use super::sign::SigningSecrets;
use super::target::{CallbackPolicy, CallbackUrl};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use url::Url;
use uuid::Uuid;

/// What receivers see as `user-agent`.
pub const USER_AGENT: &str = concat!("archive-ledger/", env!("CARGO_PKG_VERSION"));
/// The header with the attempt's number, from 1.
pub const ATTEMPT_HEADER: &str = "archive-ledger-attempt";

/// Bounds of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// The lookup of the name.
    pub dns_timeout: Duration,
    /// Connection and TLS handshake, after the lookup.
    pub connect_timeout: Duration,
    /// Everything, from the lookup to the last byte of the answer.
    pub exchange_timeout: Duration,
    /// Bytes of the answer's body that are read before the connection is dropped.
    pub read_limit: usize,
    /// Bytes of the answer's body that are kept.
    pub keep: usize,
    /// Idle connections that are kept for each receiver.
    pub idle_per_receiver: usize,
    /// How long an idle connection is kept, and so the longest time that a re-pointed name goes unnoticed.
    pub idle_timeout: Duration,
    /// The operator's proxies; `None` connects directly whatever the environment says.
    pub proxy: Option<ProxySettings>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            dns_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(5),
            exchange_timeout: Duration::from_secs(20),
            read_limit: 64 * 1024,
            keep: 16 * 1024,
            idle_per_receiver: 8,
            idle_timeout: Duration::from_secs(30),
            proxy: None,
        }
    }
}

/// The HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the client for callbacks")]
pub struct ClientError(#[source] reqwest::Error);

/// One POST to make.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The delivery's id, the same in every attempt: receivers drop repetitions by it.
    pub id: Uuid,
    /// From 1.
    pub number: u32,
    /// Where to.
    pub url: CallbackUrl,
    /// What: the stored bytes, see [`super::body`].
    pub body: Bytes,
    /// The time now, which is signed and which a `Retry-After` date is counted from.
    pub at: DateTime<Utc>,
}

/// Sends callbacks. Cheap to share behind an `Arc`; dropping an attempt's future aborts its exchange.
#[derive(Debug)]
pub struct CallbackClient {
    policy: Arc<CallbackPolicy>,
    secrets: RwLock<SigningSecrets>,
    options: ClientOptions,
    lookup: Arc<dyn Lookup>,
    clients: RwLock<Arc<AllClients>>,
}

/// The clients for every port that is exempt by itself, and for the others.
#[derive(Debug)]
struct AllClients {
    any_port: Clients,
    by_port: HashMap<u16, Clients>,
}

/// The same client twice: one that keeps connections, and one that never does.
#[derive(Debug)]
struct Clients {
    pooled: reqwest::Client,
    fresh: reqwest::Client,
}

impl AllClients {
    fn new(
        policy: &Arc<CallbackPolicy>,
        options: &ClientOptions,
        lookup: &Arc<dyn Lookup>,
    ) -> Result<Self, ClientError> {
        let client = |port| -> Result<Clients, ClientError> {
            let build = |idle| build(policy, port, options, idle, lookup).map_err(ClientError);
            Ok(Clients {
                pooled: build(options.idle_per_receiver)?,
                fresh: build(0)?,
            })
        };
        let ports = policy.exempt_ports().collect::<HashSet<_>>();
        let by_port = ports.into_iter().map(|port| Ok((port, client(Some(port))?)));
        Ok(Self {
            any_port: client(None)?,
            by_port: by_port.collect::<Result<_, ClientError>>()?,
        })
    }
}

impl CallbackClient {
    /// A client that goes where `policy` permits, as `lookup` resolves, and signs with `secrets`.
    ///
    /// # Errors
    /// [`ClientError`] when TLS cannot be set up or a proxy is unusable.
    pub fn new(
        policy: CallbackPolicy,
        secrets: SigningSecrets,
        options: ClientOptions,
        lookup: &Arc<dyn Lookup>,
    ) -> Result<Self, ClientError> {
        let policy = Arc::new(policy);
        Ok(Self {
            clients: RwLock::new(Arc::new(AllClients::new(&policy, &options, lookup)?)),
            policy,
            secrets: RwLock::new(secrets),
            options,
            lookup: Arc::clone(lookup),
        })
    }

    /// Signs with these secrets from now on.
    pub fn replace_secrets(&self, secrets: SigningSecrets) {
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets;
    }

    /// Goes from now on to receivers that the authorities vouch for that the system trusts now, on new connections.
    ///
    /// # Errors
    /// [`ClientError`]; then the former authorities count.
    pub fn renew_trust(&self) -> Result<(), ClientError> {
        let renewed = Arc::new(AllClients::new(&self.policy, &self.options, &self.lookup)?);
        *self.clients.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(())
    }

    /// What this client may reach: the same policy that checks URLs when they are registered.
    #[must_use]
    pub fn policy(&self) -> &CallbackPolicy {
        &self.policy
    }

    /// The longest that an attempt takes.
    #[must_use]
    pub const fn exchange_timeout(&self) -> Duration {
        self.options.exchange_timeout
    }

    /// Whether an exchange that ran out of time had a connection: it has more time than looking up and connecting.
    #[must_use]
    pub fn connects_first(&self) -> bool {
        self.options.exchange_timeout > self.options.dns_timeout + self.options.connect_timeout
    }

    /// Makes one POST and reports what came of it; never fails otherwise, and never takes longer than
    /// [`ClientOptions::exchange_timeout`].
    pub async fn attempt(&self, attempt: &Attempt) -> AttemptOutcome {
        let started = Instant::now();
        let deadline = started + self.options.exchange_timeout;
        if self.policy.check_target(&attempt.url).is_err() {
            return AttemptOutcome::failed(DeliveryFailure::AddressRefused, started.elapsed());
        }
        let clients = Arc::clone(&self.clients.read().unwrap_or_else(PoisonError::into_inner));
        let clients = clients
            .by_port
            .get(&attempt.url.port())
            .unwrap_or(&clients.any_port);
        let exchange = async {
            let (first, connected) = fresh::watch(self.request(&clients.pooled, attempt).send()).await;
            match first {
                Err(error) if !connected && is_of_the_connection(classify(&error)) => {
                    self.request(&clients.fresh, attempt).send().await
                }
                first => first,
            }
        };
        match timeout_at(deadline, exchange).await {
            Err(_) => AttemptOutcome::failed(DeliveryFailure::ResponseTimeout, started.elapsed()),
            Ok(Err(error)) => AttemptOutcome::failed(classify(&error), started.elapsed()),
            Ok(Ok(response)) => self.read(response, attempt, started, deadline).await,
        }
    }

    fn request(&self, client: &reqwest::Client, attempt: &Attempt) -> reqwest::RequestBuilder {
        let id = attempt.id.to_string();
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let signed = secrets.sign(&id, attempt.at, &attempt.body);
        drop(secrets);
        client
            .post(attempt.url.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", signed.timestamp)
            .header("webhook-signature", signed.signature)
            .header(ATTEMPT_HEADER, attempt.number)
            .body(attempt.body.clone())
    }

    /// Reads the answer to its end, the limit or the deadline, whichever comes first. Dropping the rest closes the
    /// connection, so an endless body costs its sender a handshake and this side nothing.
    async fn read(
        &self,
        mut response: reqwest::Response,
        attempt: &Attempt,
        started: Instant,
        deadline: Instant,
    ) -> AttemptOutcome {
        let status = response.status().as_u16();
        let retry_after = match status {
            429 | 503 => response.headers().get(RETRY_AFTER).and_then(|value| {
                let now = attempt.at + TimeDelta::from_std(started.elapsed()).unwrap_or_default();
                parse_retry_after(value.to_str().ok()?, now)
            }),
            _ => None,
        };
        let mut body = Vec::new();
        let (mut read, mut error) = (0_usize, None);
        let body_truncated = loop {
            if read > self.options.read_limit {
                break true;
            }
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    read = read.saturating_add(chunk.len());
                    let room = self.options.keep.saturating_sub(body.len());
                    body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                }
                Ok(Ok(None)) => break read > body.len(),
                Ok(Err(_)) => {
                    error = Some(DeliveryFailure::BodyFailed);
                    break true;
                }
                Err(_) => {
                    error = Some(DeliveryFailure::BodyTimeout);
                    break true;
                }
            }
        };
        AttemptOutcome {
            status: Some(status),
            error,
            duration: started.elapsed(),
            body,
            body_truncated,
            retry_after,
        }
    }
}

fn build(
    policy: &Arc<CallbackPolicy>,
    port: Option<u16>,
    options: &ClientOptions,
    idle: usize,
    lookup: &Arc<dyn Lookup>,
) -> reqwest::Result<reqwest::Client> {
    let proxies = options.proxy.clone().unwrap_or_default();
    let unchecked = [&proxies.http, &proxies.https].into_iter().flatten();
    let unchecked = unchecked
        .filter_map(|proxy| proxy.host_str().map(str::to_owned))
        .collect();
    let resolver = PinnedResolver::new(
        Arc::clone(policy),
        port,
        unchecked,
        Arc::clone(lookup),
        options.dns_timeout,
    );
    let builder = || -> reqwest::Result<reqwest::ClientBuilder> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(resolver.clone())
            .redirect(reqwest::redirect::Policy::none())
            // Retries are the schedule's, each with its own entry in the delivery log.
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            // One exchange per connection at a time: giving one up closes exactly that one.
            .http1_only()
            // reqwest counts the lookup in.
            .connect_timeout(options.dns_timeout + options.connect_timeout)
            .pool_max_idle_per_host(idle)
            .connector_layer(Telling)
            .pool_idle_timeout(options.idle_timeout);
        let skip = proxies
            .no_proxy
            .as_deref()
            .and_then(reqwest::NoProxy::from_string);
        if let Some(proxy) = &proxies.http {
            builder = builder.proxy(reqwest::Proxy::http(Url::clone(proxy))?.no_proxy(skip.clone()));
        }
        if let Some(proxy) = &proxies.https {
            builder = builder.proxy(reqwest::Proxy::https(Url::clone(proxy))?.no_proxy(skip));
        }
        Ok(builder)
    };
    builder()?.build().or_else(|_| {
        // A machine without certificates of its own, such as a bare container image: Mozilla's, as of the build.
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        let roots = roots
            .map(|der| reqwest::Certificate::from_der(der))
            .collect::<Result<Vec<_>, _>>()?;
        builder()?.tls_certs_only(roots).build()
    })
}

/// Whether a failure may be that of a connection that was closed while it stood idle.
const fn is_of_the_connection(failure: DeliveryFailure) -> bool {
    matches!(
        failure,
        DeliveryFailure::ConnectionClosed | DeliveryFailure::RequestFailed
    )
}

/// The class of an error that came before any status. The error's own text names the URL and goes no further.
fn classify(error: &reqwest::Error) -> DeliveryFailure {
    let mut cause: Option<&(dyn Error + 'static)> = error.source();
    let mut found = None;
    while let Some(current) = cause {
        found = class_of(current).or(found);
        cause = match current.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // An io::Error's source() is its inner error's source: without this step the inner one is never seen.
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    match found {
        Some(
            found @ (DeliveryFailure::DnsFailed
            | DeliveryFailure::DnsTimeout
            | DeliveryFailure::AddressRefused
            | DeliveryFailure::TlsFailed),
        ) => found,
        Some(_) | None if error.is_connect() && error.is_timeout() => DeliveryFailure::ConnectTimeout,
        Some(DeliveryFailure::ConnectionClosed | DeliveryFailure::RequestFailed) | None
            if error.is_connect() =>
        {
            DeliveryFailure::ConnectFailed
        }
        Some(found) => found,
        None => DeliveryFailure::RequestFailed,
    }
}

/// The class that one error of the chain stands for, if it is telling.
fn class_of(error: &(dyn Error + 'static)) -> Option<DeliveryFailure> {
    if let Some(error) = error.downcast_ref::<ResolveError>() {
        return Some(match error {
            ResolveError::Lookup(_) => DeliveryFailure::DnsFailed,
            ResolveError::Timeout => DeliveryFailure::DnsTimeout,
            ResolveError::Refused(_) => DeliveryFailure::AddressRefused,
        });
    }
    if error.is::<rustls::Error>() {
        return Some(DeliveryFailure::TlsFailed);
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        if error.is_parse() || error.is_parse_too_large() {
            return Some(DeliveryFailure::InvalidResponse);
        }
        return (error.is_incomplete_message() || error.is_closed())
            .then_some(DeliveryFailure::ConnectionClosed);
    }
    match error.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => Some(DeliveryFailure::ConnectRefused),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(DeliveryFailure::ConnectionClosed),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
