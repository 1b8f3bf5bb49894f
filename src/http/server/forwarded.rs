//! Whose request it is that comes through a proxy: what proxies that the operator trusts say of whom they were asked by.
//!
//! ```text
//! X-Forwarded-For: 203.0.113.9, 198.51.100.4, 10.0.0.7        connection from 10.0.0.1
//!                  anybody writes that  │            │            │
//!                                       │            └─ trusted ──┴─ trusted: each vouches for the one to its left
//!                                       └─ not trusted: the client
//! ```
//!
//! A proxy adds to the right what it sees; what stands to the left of the first address that is not trusted was written by whoever asked.

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks whose word is taken; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// These networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who asked: `peer`, unless it is a trusted proxy that says who did. Behind one that says it in both headers, and differently, it is
    /// the proxy: one of them may be the client's own.
    pub(super) fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> SocketAddr {
        if !self.trusts(peer.ip()) {
            return peer;
        }
        let by = |name: &HeaderName, read: fn(&str) -> Vec<Option<IpAddr>>| {
            let lines = headers.get_all(name).iter();
            let hops: Vec<_> = lines
                .flat_map(|line| line.to_str().map_or_else(|_| vec![None], read))
                .collect();
            (!hops.is_empty()).then(|| self.first_not_trusted(peer.ip(), &hops))
        };
        let told = match (by(&FORWARDED, forwarded), by(&X_FORWARDED_FOR, x_forwarded_for)) {
            (Some(one), Some(other)) if one != other => peer.ip(),
            (one, other) => one.or(other).unwrap_or(peer.ip()),
        };
        if told == peer.ip() {
            return peer;
        }
        // Which port it had nobody says reliably, and nobody asks.
        SocketAddr::new(told, 0)
    }

    /// From the right the first hop that is not trusted; the last one that is known where its neighbour names nobody.
    fn first_not_trusted(&self, peer: IpAddr, hops: &[Option<IpAddr>]) -> IpAddr {
        let mut known = peer;
        for hop in hops.iter().rev() {
            let Some(address) = hop else { break };
            known = *address;
            if !self.trusts(known) {
                break;
            }
        }
        known
    }
}

/// The hops of a line of `X-Forwarded-For`.
fn x_forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(|hop| node(hop.trim())).collect()
}

/// The hops of a line of `Forwarded` (RFC 7239): `for` of each element.
fn forwarded(line: &str) -> Vec<Option<IpAddr>> {
    let hop = |element: &str| {
        let pairs = outside_quotes(element, ';');
        let value = pairs.into_iter().find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
        })?;
        let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        node(bare.unwrap_or(value))
    };
    outside_quotes(line, ',').into_iter().map(hop).collect()
}

/// The parts between separators that stand in no quoted string.
fn outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let ends = character == separator && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        ends
    })
    .collect()
}

/// An address, with or without a port; IPv6 in brackets, or bare as some proxies write it.
fn node(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, headers: &[(&str, &str)]) -> String {
        let networks = ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"].map(|network| network.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let peer = SocketAddr::new(peer.parse().unwrap(), 9);
        TrustedProxies::new(&networks).client(peer, &map).ip().to_string()
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
        for (peer, line, found) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "6.6.6.6,198.51.100.1 , 192.0.2.1", "198.51.100.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("fd00::1", "2001:db8::7", "2001:db8::7"),
            ("fd00::1", "[2001:db8::7]:4711", "2001:db8::7"),
            ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
            ("10.0.0.1", "6.6.6.6, unknown, 10.0.0.2", "10.0.0.2"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "6.6.6.6,", "10.0.0.1"),
            ("10.0.0.1", "6.6.6.6, é", "10.0.0.1"),
        ] {
            assert_eq!(client(peer, &[("x-forwarded-for", line)]), found, "{peer} {line}");
        }
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        let two_lines = [
            ("x-forwarded-for", "6.6.6.6"),
            ("X-Forwarded-For", "198.51.100.1, 10.0.0.2"),
        ];
        assert_eq!(client("10.0.0.1", &two_lines), "198.51.100.1");
    }

    #[test]
    fn the_standard_header_says_the_same_in_its_own_words() {
        for (line, found) in [
            ("for=198.51.100.1", "198.51.100.1"),
            (
                "For=\"198.51.100.1:4711\";proto=https;by=10.0.0.1",
                "198.51.100.1",
            ),
            ("proto=https ; for=\"[2001:db8::7]:47\"", "2001:db8::7"),
            ("for=\"[2001:db8::7]\", for=10.0.0.2", "2001:db8::7"),
            ("for=6.6.6.6, for=198.51.100.1, for=10.0.0.2", "198.51.100.1"),
            ("for=6.6.6.6, for=_hidden", "10.0.0.1"),
            ("for=6.6.6.6, for=unknown, for=10.0.0.2", "10.0.0.2"),
            ("for=6.6.6.6, proto=https", "10.0.0.1"),
            ("for=198.51.100.1;host=\"a, for=6.6.6.6\"", "198.51.100.1"),
            ("for=198.51.100.1;host=\"a\\\", for=6.6.6.6\"", "198.51.100.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[("forwarded", line)]), found, "{line}");
        }
    }

    #[test]
    fn two_headers_that_say_different_things_are_not_believed() {
        let both = |forwarded, other| {
            client(
                "10.0.0.1",
                &[("forwarded", forwarded), ("x-forwarded-for", other)],
            )
        };
        assert_eq!(both("for=198.51.100.1", "198.51.100.1"), "198.51.100.1");
        assert_eq!(both("for=6.6.6.6", "198.51.100.1"), "10.0.0.1");
    }
}
