//! Where a callback may go: the URL's own rules, and the addresses that are refused unless the operator allows them.

use super::ranges::forbidden_range;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use url::{Host, Url};

/// The longest callback URL, in bytes.
pub const URL_MAX: usize = 2_048;

/// What a sealed callback URL is bound to: the entity whose purge it waits for, by its stream.
#[must_use]
pub fn callback_context(stream_id: &str) -> String {
    format!("callback-url\0{stream_id}")
}

/// Why a callback is not accepted or not sent. No variant's text holds any part of the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetRefusal {
    /// Longer than [`URL_MAX`] bytes.
    #[error("the URL is longer than 2048 bytes")]
    TooLong,
    /// A control character, white space or a backslash: parsers disagree about all three.
    #[error("the URL contains a control character, white space or a backslash")]
    Character,
    /// Something else than `http://` or `https://` and an authority.
    #[error("the URL must start with http:// or https:// and a host")]
    Scheme,
    /// Not a URL by the WHATWG standard.
    #[error("the URL is malformed: {0}")]
    Malformed(#[source] url::ParseError),
    /// A user name or password, even an empty one.
    #[error("the URL must not contain credentials")]
    Credentials,
    /// A fragment: it would never be sent.
    #[error("the URL must not contain a fragment")]
    Fragment,
    /// A path that starts with `//` (Onedata's rule, anchors: `url_utils.erl`).
    #[error("the URL's path must not start with '//'")]
    Path,
    /// Port 0.
    #[error("the URL's port must not be 0")]
    Port,
    /// A host name that no resolver can look up: an empty label, one of over 63 characters, or over 253 in all.
    #[error(
        "the URL's host is not a host name: a label is empty or longer than 63 characters, or the name is longer than 253"
    )]
    HostName,
    /// A name of this machine, such as `localhost`.
    #[error("the URL names this machine")]
    LocalName,
    /// An address that is not public; the range is named.
    #[error("the address is not public ({0})")]
    Address(&'static str),
}

/// A callback URL that keeps to the textual rules. What address it leads to is [`CallbackPolicy`]'s business.
///
/// `Debug` and `Display` leave the query out, since receivers put tokens there; [`CallbackUrl::expose`] is the whole.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CallbackUrl(Url);

impl CallbackUrl {
    /// The whole URL in canonical form, query included: for storing and sending, never for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }

    /// The host as the connection will use it: lower case, punycode, canonical address, IPv6 in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, the scheme's own when the URL names none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// `host:port`. Safe to log.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host().trim_end_matches('.'), self.port())
    }

    /// This URL as limits and circuits count it: `<scheme>://<host>:<port>#<digits>`, where the digits stand for the whole
    /// URL by its keyed hash. Safe to log.
    #[must_use]
    pub fn receiver(&self, hash: &[u8]) -> String {
        let digits = hex::encode(hash.get(..8).unwrap_or(hash));
        format!("{}://{}#{digits}", self.0.scheme(), self.authority())
    }

    pub(super) const fn url(&self) -> &Url {
        &self.0
    }

    /// The address, when the host is one.
    pub(super) fn literal(&self) -> Option<IpAddr> {
        match self.0.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            Some(Host::Domain(_)) | None => None,
        }
    }
}

impl fmt::Display for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query = if self.0.query().is_some() { "?…" } else { "" };
        write!(
            f,
            "{}://{}{}{query}",
            self.0.scheme(),
            self.authority(),
            self.0.path()
        )
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackUrl({self})")
    }
}

impl FromStr for CallbackUrl {
    type Err = TargetRefusal;

    /// Checks the textual rules only. Stored URLs are read back with this: [`super::client::CallbackClient`] checks
    /// the address at every attempt anyway, by the policy of that day.
    fn from_str(text: &str) -> Result<Self, TargetRefusal> {
        if text.len() > URL_MAX {
            return Err(TargetRefusal::TooLong);
        }
        if text
            .chars()
            .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
        {
            return Err(TargetRefusal::Character);
        }
        // The parser would repair `http:/host` and `http:///host`; Onedata refuses them, and so does any careful reader.
        let (scheme, rest) = text.split_once("://").ok_or(TargetRefusal::Scheme)?;
        let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
        if !http || rest.starts_with('/') {
            return Err(TargetRefusal::Scheme);
        }
        // The parser drops an empty `user:@` silently.
        if rest
            .split(['/', '?', '#'])
            .next()
            .is_some_and(|authority| authority.contains('@'))
        {
            return Err(TargetRefusal::Credentials);
        }
        let url = Url::parse(text).map_err(TargetRefusal::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(TargetRefusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetRefusal::Credentials);
        }
        if url.fragment().is_some() {
            return Err(TargetRefusal::Fragment);
        }
        if url.path().starts_with("//") {
            return Err(TargetRefusal::Path);
        }
        if url.port() == Some(0) {
            return Err(TargetRefusal::Port);
        }
        // Escaping can make it longer than what was sent.
        if url.as_str().len() > URL_MAX {
            return Err(TargetRefusal::TooLong);
        }
        Ok(Self(url))
    }
}

/// Why a `--callback-allow` value is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither a host name, host:port, an address nor a network such as 10.0.0.0/8")]
pub struct InvalidAllowed(String);

/// One `--callback-allow` value: something that the operator exempts from the refusal of non-public addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// A host name, whatever it resolves to; on one port when a port is given.
    Host {
        /// Lower case, punycode, without a final dot.
        name: String,
        /// The only port that is exempt, if any is named.
        port: Option<u16>,
    },
    /// A network (or a single address), however the URL arrives at it.
    Network {
        /// The exempt addresses.
        net: IpNet,
        /// The only port that is exempt, if any is named.
        port: Option<u16>,
    },
}

impl FromStr for Allowed {
    type Err = InvalidAllowed;

    fn from_str(text: &str) -> Result<Self, InvalidAllowed> {
        let invalid = || InvalidAllowed(text.to_owned());
        let text = text.trim();
        if text.contains('/') {
            let net = text.parse::<IpNet>().map_err(|_| invalid())?;
            return Ok(Self::Network {
                net: net.trunc(),
                port: None,
            });
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Network {
                net: ip.into(),
                port: None,
            });
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            let port = Some(socket.port())
                .filter(|port| *port != 0)
                .ok_or_else(invalid)?;
            return Ok(Self::Network {
                net: socket.ip().into(),
                port: Some(port),
            });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                let port = port.parse::<u16>().ok().filter(|port| *port != 0);
                (host, Some(port.ok_or_else(invalid)?))
            }
            Some(_) | None => (text, None),
        };
        if host.contains(['*', '@', '?', '#', '%', ',']) {
            return Err(invalid());
        }
        match Host::parse(host).map_err(|_| invalid())? {
            Host::Domain(name) => match canonical_name(&name) {
                // It would never be met.
                unknown if !is_host_name(unknown) => Err(invalid()),
                name => Ok(Self::Host {
                    name: name.to_owned(),
                    port,
                }),
            },
            Host::Ipv4(ip) => Ok(Self::Network {
                net: IpAddr::V4(ip).into(),
                port,
            }),
            Host::Ipv6(ip) => Ok(Self::Network {
                net: IpAddr::V6(ip).into(),
                port,
            }),
        }
    }
}

/// What callbacks may reach: every public address on any port, and what the operator allows beside them.
///
/// Ports are not limited to 80 and 443: Onedata accepts any port and its clients use them, and what a port limit would
/// protect (services of the operator's own network) is out of reach through the refused addresses.
#[derive(Debug, Clone, Default)]
pub struct CallbackPolicy {
    /// The exemptions.
    pub allow: Vec<Allowed>,
}

impl CallbackPolicy {
    /// A policy with these exemptions.
    #[must_use]
    pub const fn new(allow: Vec<Allowed>) -> Self {
        Self { allow }
    }

    /// The check at request time: everything that can be seen without asking DNS.
    ///
    /// # Errors
    /// The first rule that `text` breaks; an address or a local name only when no exemption covers it.
    pub fn check_url(&self, text: &str) -> Result<CallbackUrl, TargetRefusal> {
        let url: CallbackUrl = text.parse()?;
        // Not a rule for URLs that were accepted before: they go on to be tried, and shown.
        if url.literal().is_none() && !is_host_name(url.host()) {
            return Err(TargetRefusal::HostName);
        }
        self.check_target(&url)?;
        Ok(url)
    }

    /// The part of [`CallbackPolicy::check_url`] that depends on the policy: literal addresses and local names. It is
    /// repeated at every attempt, because the HTTP client asks no resolver about a literal.
    ///
    /// # Errors
    /// [`TargetRefusal::Address`] or [`TargetRefusal::LocalName`].
    pub fn check_target(&self, url: &CallbackUrl) -> Result<(), TargetRefusal> {
        if let Some(ip) = url.literal() {
            return self.check_addr(url.host(), Some(url.port()), ip);
        }
        if is_local_name(url.host()) && !self.allows_host(url.host(), Some(url.port())) {
            return Err(TargetRefusal::LocalName);
        }
        Ok(())
    }

    /// The check at delivery time: may a connection to `host` on `port` go to `ip`? Without a port, only exemptions
    /// that hold for every port count.
    ///
    /// # Errors
    /// [`TargetRefusal::Address`] when `ip` is not public and neither it nor `host` is exempt.
    pub fn check_addr(&self, host: &str, port: Option<u16>, ip: IpAddr) -> Result<(), TargetRefusal> {
        match forbidden_range(ip) {
            Some(_) if self.allows_host(host, port) || self.allows_addr(port, ip) => Ok(()),
            Some(range) => Err(TargetRefusal::Address(range)),
            None => Ok(()),
        }
    }

    /// The ports that some exemption is limited to.
    pub(super) fn exempt_ports(&self) -> impl Iterator<Item = u16> {
        self.allow.iter().filter_map(|allowed| match allowed {
            Allowed::Host { port, .. } | Allowed::Network { port, .. } => *port,
        })
    }

    fn allows_host(&self, host: &str, port: Option<u16>) -> bool {
        let host = canonical_name(host);
        self.allow.iter().any(|allowed| match allowed {
            Allowed::Host { name, port: only } => name.eq_ignore_ascii_case(host) && covers(*only, port),
            Allowed::Network { .. } => false,
        })
    }

    fn allows_addr(&self, port: Option<u16>, ip: IpAddr) -> bool {
        // ::ffff:a.b.c.d is the same destination as a.b.c.d, so one exemption covers both spellings.
        let plain = ip.to_canonical();
        self.allow.iter().any(|allowed| match allowed {
            Allowed::Network { net, port: only } => {
                (net.contains(&ip) || net.contains(&plain)) && covers(*only, port)
            }
            Allowed::Host { .. } => false,
        })
    }
}

/// Whether an exemption that is limited to `only` covers `port`.
fn covers(only: Option<u16>, port: Option<u16>) -> bool {
    only.is_none() || only == port
}

/// Whether DNS could hold `host` (RFC 1035, 2.3.4). The dot of a fully qualified name may stand at its end.
fn is_host_name(host: &str) -> bool {
    let name = canonical_name(host);
    name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// `host` without the dot of a fully qualified name.
fn canonical_name(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Names that lead to this machine or to a cloud's metadata wherever they are resolved. The resolver's check would stop
/// them as well; seen here, the client hears of it in the answer to its request.
fn is_local_name(host: &str) -> bool {
    const NAMES: [&str; 6] = [
        "localhost",
        "localhost.localdomain",
        "ip6-localhost",
        "ip6-loopback",
        "metadata.google.internal",
        "instance-data.ec2.internal",
    ];
    let host = canonical_name(host).to_ascii_lowercase();
    NAMES.contains(&host.as_str()) || host.ends_with(".localhost") || host.ends_with(".localhost.localdomain")
}

#[cfg(test)]
pub(super) mod tests;
