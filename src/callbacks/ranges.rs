//! The addresses that no callback may reach unless the operator allows them.
//!
//! IPv4 is a list of what is refused (IANA special-purpose registry, and the cloud metadata addresses that lie outside
//! of it). IPv6 is the other way round: only global unicast (2000::/3) and NAT64 are routable at all, so everything
//! else is refused, and what carries an IPv4 address inside is judged by that address too.

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Refused IPv4 networks; the first that holds an address names it.
const FORBIDDEN_V4: [(Ipv4Net, &str); 18] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(168, 63, 129, 16, 32), "cloud metadata"),
    (v4(169, 254, 169, 254, 32), "cloud metadata"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "IETF protocol"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// Refused IPv6 networks; the first that holds an address names it.
const FORBIDDEN_V6: [(Ipv6Net, &str); 10] = [
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (v6(0x0064, 0xff9b, 1, 48), "local NAT64"),
    (v6(0xfc00, 0, 0, 7), "private"),
    (v6(0xfe80, 0, 0, 10), "link-local"),
    (v6(0xfec0, 0, 0, 10), "site-local"),
    (v6(0xff00, 0, 0, 8), "multicast"),
    (v6(0x2001, 0, 0, 23), "IETF protocol"),
    (v6(0x2001, 0x0db8, 0, 32), "documentation"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
];

/// The well-known NAT64 prefix (RFC 6052): the last 32 bits are the IPv4 address that the gateway connects to.
const NAT64: Ipv6Net = v6(0x0064, 0xff9b, 0, 96);
/// 6to4 (RFC 3056): the 32 bits after the prefix are the IPv4 address of the relay's far end.
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
/// All that is handed out as global unicast.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

/// The name of the refused range that holds `ip`, or `None` when it is a public address.
#[must_use]
pub fn forbidden_range(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => forbidden_v4(ip),
        IpAddr::V6(ip) => forbidden_v6(ip),
    }
}

fn forbidden_v4(ip: Ipv4Addr) -> Option<&'static str> {
    FORBIDDEN_V4
        .iter()
        .find(|(net, _)| net.contains(&ip))
        .map(|(_, name)| *name)
}

fn forbidden_v6(ip: Ipv6Addr) -> Option<&'static str> {
    if let Some((_, name)) = FORBIDDEN_V6.iter().find(|(net, _)| net.contains(&ip)) {
        return Some(name);
    }
    let [.., a, b, c, d] = ip.octets();
    let last = Ipv4Addr::new(a, b, c, d);
    if NAT64.contains(&ip) {
        return forbidden_v4(last);
    }
    if SIX_TO_FOUR.contains(&ip) {
        let [_, _, a, b, c, d, ..] = ip.octets();
        return forbidden_v4(Ipv4Addr::new(a, b, c, d));
    }
    if GLOBAL_UNICAST.contains(&ip) {
        return None;
    }
    // ::ffff:a.b.c.d and ::a.b.c.d reach the IPv4 address on some systems. Public ones are refused as well: nobody
    // publishes them, and a name that resolves to one is a trick.
    if ip.to_ipv4().is_some() {
        return Some(forbidden_v4(last).unwrap_or("IPv4 in IPv6"));
    }
    Some("not global unicast")
}
