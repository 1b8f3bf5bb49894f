//! DNS for callbacks: one lookup per connection, and a connection only to addresses that were checked.
//!
//! The HTTP client asks this resolver whenever it opens a connection to a name and connects to nothing but what it
//! answers, so there is no second lookup that could answer otherwise (DNS rebinding). It does not ask about literal
//! addresses (hyper-util skips the resolver for them): [`super::client`] checks those itself.

mod system;

pub use system::SystemLookup;

use super::target::{CallbackPolicy, TargetRefusal};
use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Slots a host name into addresses.
#[async_trait]
pub trait Lookup: Send + Sync + std::fmt::Debug {
    /// Every address of `host`, in the order to try them.
    ///
    /// # Errors
    /// The name does not exist or the resolver failed.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// Why a name led to no connection. No variant's text holds the name.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The lookup failed or found nothing.
    #[error("the host name cannot be resolved")]
    Lookup(#[source] io::Error),
    /// The lookup took longer than the limit.
    #[error("the host name was not resolved in time")]
    Timeout,
    /// At least one of the addresses is refused.
    #[error("the host name leads to a refused address")]
    Refused(#[source] TargetRefusal),
}

/// The resolver that is given to the HTTP client.
///
/// One refused address refuses the name: an attacker who mixes a public address with a private one must not win by the
/// order in which a client tries them.
#[derive(Debug, Clone)]
pub struct PinnedResolver {
    policy: Arc<CallbackPolicy>,
    port: Option<u16>,
    unchecked: Arc<HashSet<String>>,
    lookup: Arc<dyn Lookup>,
    limit: Duration,
}

impl PinnedResolver {
    /// A resolver for connections to `port` (`None`: any port that no exemption is limited to), whose lookups take at
    /// most `limit`. The names in `unchecked` are not held to the policy: the operator's own proxies.
    #[must_use]
    pub fn new(
        policy: Arc<CallbackPolicy>,
        port: Option<u16>,
        unchecked: HashSet<String>,
        lookup: Arc<dyn Lookup>,
        limit: Duration,
    ) -> Self {
        Self {
            policy,
            port,
            unchecked: Arc::new(unchecked),
            lookup,
            limit,
        }
    }

    /// The addresses of `host`, every one of them checked.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn checked(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let found = tokio::time::timeout(self.limit, self.lookup.lookup(host))
            .await
            .map_err(|_| ResolveError::Timeout)?
            .map_err(ResolveError::Lookup)?;
        if found.is_empty() {
            return Err(ResolveError::Lookup(io::Error::other("the name has no address")));
        }
        if !self.unchecked.contains(host) {
            for ip in &found {
                self.policy
                    .check_addr(host, self.port, *ip)
                    .map_err(ResolveError::Refused)?;
            }
        }
        Ok(found)
    }
}

impl Resolve for PinnedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.checked(name.as_str()).await?;
            // Port 0 is replaced by the URL's.
            let found: Addrs = Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Gives its answers in turn, the last one for ever.
    #[derive(Debug)]
    struct Script(Mutex<Vec<Vec<&'static str>>>);

    #[async_trait]
    impl Lookup for Script {
        async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            let mut answers = self.0.lock().unwrap();
            let answer = if answers.len() > 1 {
                answers.remove(0)
            } else {
                answers[0].clone()
            };
            Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect())
        }
    }

    #[derive(Debug)]
    struct Never;

    #[async_trait]
    impl Lookup for Never {
        async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
            std::future::pending().await
        }
    }

    fn resolver(allow: &[&str], port: Option<u16>, answers: &[&[&'static str]]) -> PinnedResolver {
        let policy = CallbackPolicy::new(allow.iter().map(|text| text.parse().unwrap()).collect());
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        let lookup = Arc::new(Script(Mutex::new(answers)));
        PinnedResolver::new(
            Arc::new(policy),
            port,
            HashSet::new(),
            lookup,
            Duration::from_secs(3),
        )
    }

    #[tokio::test]
    async fn a_name_that_rebinds_to_loopback_is_refused_at_the_second_lookup() {
        let resolver = resolver(&[], None, &[&["93.184.216.34"], &["127.0.0.1"]]);
        assert_eq!(
            resolver.checked("a.example").await.unwrap(),
            ["93.184.216.34".parse::<IpAddr>().unwrap()]
        );
        assert!(matches!(
            resolver.checked("a.example").await,
            Err(ResolveError::Refused(TargetRefusal::Address("loopback")))
        ));
    }

    #[tokio::test]
    async fn one_forbidden_address_among_public_ones_refuses_the_name() {
        for mixed in [
            ["93.184.216.34", "10.0.0.1"],
            ["10.0.0.1", "93.184.216.34"],
            ["2606:2800:220:1::1", "::ffff:127.0.0.1"],
        ] {
            let resolver = resolver(&[], None, &[&mixed]);
            assert!(
                matches!(resolver.checked("a.example").await, Err(ResolveError::Refused(_))),
                "{mixed:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_exemption_for_a_port_counts_only_on_that_port() {
        let answers: &[&[&'static str]] = &[&["10.0.0.1"]];
        assert!(
            resolver(&["a.example"], None, answers)
                .checked("a.example")
                .await
                .is_ok()
        );
        assert!(
            resolver(&["a.example:81"], Some(81), answers)
                .checked("a.example")
                .await
                .is_ok()
        );
        assert!(
            resolver(&["a.example:81"], Some(82), answers)
                .checked("a.example")
                .await
                .is_err()
        );
        assert!(
            resolver(&["a.example:81"], None, answers)
                .checked("a.example")
                .await
                .is_err()
        );
        assert!(
            resolver(&["a.example"], None, answers)
                .checked("b.example")
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_name_without_addresses_is_a_failed_lookup() {
        assert!(matches!(
            resolver(&[], None, &[&[]]).checked("a.example").await,
            Err(ResolveError::Lookup(_))
        ));
    }

    #[tokio::test]
    async fn a_name_server_that_never_answers_costs_no_more_than_the_limit() {
        let policy = Arc::new(CallbackPolicy::default());
        let limit = Duration::from_millis(50);
        let resolver = PinnedResolver::new(policy, None, HashSet::new(), Arc::new(Never), limit);
        let started = tokio::time::Instant::now();
        assert!(matches!(
            resolver.checked("a.example").await,
            Err(ResolveError::Timeout)
        ));
        assert!(started.elapsed() < Duration::from_secs(3));
    }
}
