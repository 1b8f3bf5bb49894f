use super::*;
use std::net::Ipv4Addr;

mod host_names;

/// One or more addresses of every refused IPv4 range, edges included.
const FORBIDDEN_V4: [&str; 40] = [
    "0.0.0.0",
    "0.255.255.255",
    "10.0.0.0",
    "10.1.2.3",
    "10.255.255.255",
    "100.64.0.0",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.17.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.255",
    "224.0.0.1",
    "224.0.0.251",
    "232.1.1.1",
    "239.255.255.255",
    "240.0.0.1",
    "250.1.2.3",
    "255.255.255.255",
    "255.255.255.254",
    "10.0.0.1",
    "127.1.2.3",
    "172.20.0.2",
    "192.168.1.1",
];

/// Addresses next to refused ranges, and well-known public ones.
const PUBLIC_V4: [&str; 18] = [
    "1.0.0.0",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.15",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
];

/// IPv6 hosts that are refused whatever the IPv4 table says.
const FORBIDDEN_V6: [&str; 34] = [
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "::0.0.0.1",
    "::2",
    "::8.8.8.8",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "::ffff:0:0",
    "0:0:1::",
    "64:ff9b:1::1",
    "64:ff9b:1:ffff::8.8.8.8",
    "64:ff9a::1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:53aa:64c:0:7f00:1:1",
    "2001:1::1",
    "2001:1ff:ffff::1",
    "2001:db8::1",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    "3fff::1",
    "3fff:fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fdff:ffff::1",
    "fe80::1",
    "febf::1",
    "fec0::1",
    "ff02::1",
    "ff0e::fb",
];

/// IPv6 hosts that callbacks may reach.
const PUBLIC_V6: [&str; 8] = [
    "2000::1",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001::200e",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
    "3ffe:ffff::1",
];

/// Texts that parsers of other makes read in other ways, each leading to this machine or its network.
const ODD: [&str; 40] = [
    "http://127.1/",
    "http://127.0.1/",
    "http://0/",
    "http://0x/",
    "http://00/",
    "http://0.0/",
    "http://0x7f.1/",
    "http://0X7F.1/",
    "http://0x7F000001/",
    "http://017700000001/",
    "http://0177.1/",
    "http://0177.0.0.01/",
    "http://2130706433/",
    "http://2130706433:80/",
    "http://127.0.0.1./",
    "http://127.1./",
    "http://%31%32%37.0.0.1/",
    "http://127.0.0.%31/",
    "http://%6c%6f%63alhost/",
    "http://１２７.０.０.１/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://127．0．0．1/",
    "http://1\u{AD}27.0.0.1/",
    "http://[::1]:8080/",
    "http://[::ffff:7f00:1]/",
    "http://[0::FFFF:7F00:0001]/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://LocalHost./",
    "http://a.localhost/",
    "http://a.b.localhost.:80/",
    "http://localhost.localdomain/",
    "http://ｌｏｃａｌｈｏｓｔ/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
    "http://ip6-localhost/",
    "http://ip6-loopback:8080/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata.google.internal./",
    "http://instance-data.ec2.internal/latest/meta-data/",
];

/// The ways to write one IPv4 address as a host.
fn spellings(ip: &str) -> Vec<String> {
    let ip: Ipv4Addr = ip.parse().unwrap();
    let [a, b, c, d] = ip.octets();
    let whole = u32::from(ip);
    let (high, low) = (whole >> 16, whole & 0xffff);
    vec![
        format!("{ip}"),
        format!("{ip}."),
        format!("{whole}"),
        format!("0x{whole:x}"),
        format!("0X{whole:08X}"),
        format!("0{whole:o}"),
        format!("0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("00{a:o}.{b}.0x{c:x}.{d}"),
        format!("{a}.{b}.{low}"),
        format!("{a}.{}", whole & 0x00ff_ffff),
        format!("{ip}").chars().map(fullwidth).collect(),
        format!("{ip}").replace('.', "。"),
        format!("{ip}").replace('.', "%2E"),
        format!("[::ffff:{ip}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[0:0:0:0:0:FFFF:{high:X}:{low:X}]"),
        format!("[::{ip}]"),
        format!("[64:ff9b::{ip}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
        format!("[2002:{high:x}:{low:x}::1]"),
    ]
}

fn fullwidth(c: char) -> char {
    match c {
        '0'..='9' => char::from_u32(u32::from(c) - u32::from('0') + 0xff10).unwrap(),
        other => other,
    }
}

/// Every URL of the tables that must lead nowhere.
pub(in crate::callbacks) fn forbidden_urls() -> Vec<String> {
    let mut urls: Vec<String> = ODD.map(str::to_owned).to_vec();
    for ip in FORBIDDEN_V4 {
        urls.extend(
            spellings(ip)
                .into_iter()
                .map(|host| format!("http://{host}/callback?x=1")),
        );
    }
    urls.extend(FORBIDDEN_V6.map(|host| format!("https://[{host}]:8443/callback")));
    urls
}

fn policy(allow: &[&str]) -> CallbackPolicy {
    CallbackPolicy::new(allow.iter().map(|text| text.parse().unwrap()).collect())
}

#[test]
fn more_than_two_hundred_spellings_of_non_public_addresses_are_refused() {
    let urls = forbidden_urls();
    assert!(urls.len() >= 200, "{}", urls.len());
    for url in urls {
        let refusal = policy(&[]).check_url(&url).expect_err(&url);
        assert!(
            matches!(refusal, TargetRefusal::Address(_) | TargetRefusal::LocalName),
            "{url}: {refusal:?}"
        );
    }
}

#[test]
fn the_same_spellings_of_public_addresses_are_accepted() {
    for ip in PUBLIC_V4 {
        for host in spellings(ip) {
            // Mapped and compatible forms are refused even for public addresses.
            let mapped = host.starts_with("[::") || host.starts_with("[0:");
            let checked = policy(&[]).check_url(&format!("http://{host}/"));
            assert_eq!(checked.is_err(), mapped, "{host}: {checked:?}");
        }
    }
    for ip in PUBLIC_V6 {
        policy(&[]).check_url(&format!("https://[{ip}]/")).expect(ip);
    }
}

#[test]
fn a_refusal_names_the_range() {
    for (ip, range) in [
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "cloud metadata"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::1", "loopback"),
        ("::", "unspecified"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:8.8.8.8", "IPv4 in IPv6"),
        ("64:ff9b::10.0.0.1", "private"),
        ("2002:7f00:1::", "loopback"),
        ("fd00:ec2::254", "private"),
        ("5f00::1", "not global unicast"),
        ("100::1", "not global unicast"),
    ] {
        let refused = policy(&[]).check_addr("h.example", Some(80), ip.parse().unwrap());
        assert_eq!(refused, Err(TargetRefusal::Address(range)), "{ip}");
    }
}

#[test]
fn a_url_that_breaks_a_textual_rule_is_refused_by_that_rule() {
    let long = format!("http://a.example/{}", "x".repeat(URL_MAX));
    let grows = format!("http://a.example/{}", "é".repeat(900));
    for (text, refusal) in [
        ("", TargetRefusal::Scheme),
        ("true", TargetRefusal::Scheme),
        ("example.org", TargetRefusal::Scheme),
        ("//example.org/", TargetRefusal::Scheme),
        ("abc://hostname.org", TargetRefusal::Scheme),
        ("htp://hostname.org", TargetRefusal::Scheme),
        ("htp:/hostname.org", TargetRefusal::Scheme),
        ("http:/hostname.org", TargetRefusal::Scheme),
        ("http:hostname.org", TargetRefusal::Scheme),
        ("http:///hostname.org", TargetRefusal::Scheme),
        ("ftp://a.example/", TargetRefusal::Scheme),
        ("file:///etc/passwd", TargetRefusal::Scheme),
        ("gopher://a.example/", TargetRefusal::Scheme),
        ("javascript://a.example/", TargetRefusal::Scheme),
        ("unix:///run/docker.sock", TargetRefusal::Scheme),
        (
            "http://hostname.org:port",
            TargetRefusal::Malformed(url::ParseError::InvalidPort),
        ),
        (
            "http://a.example:65536/",
            TargetRefusal::Malformed(url::ParseError::InvalidPort),
        ),
        ("http://", TargetRefusal::Malformed(url::ParseError::EmptyHost)),
        (
            "http://:80/",
            TargetRefusal::Malformed(url::ParseError::EmptyHost),
        ),
        ("http://?x", TargetRefusal::Malformed(url::ParseError::EmptyHost)),
        (
            "http://256.0.0.1/",
            TargetRefusal::Malformed(url::ParseError::InvalidIpv4Address),
        ),
        (
            "http://1.2.3.4.5/",
            TargetRefusal::Malformed(url::ParseError::InvalidIpv4Address),
        ),
        (
            "http://[::1/",
            TargetRefusal::Malformed(url::ParseError::InvalidIpv6Address),
        ),
        (
            "http://[fe80::1%25eth0]/",
            TargetRefusal::Malformed(url::ParseError::InvalidIpv6Address),
        ),
        (
            "http://a<b/",
            TargetRefusal::Malformed(url::ParseError::IdnaError),
        ),
        ("http://user:pw@a.example/", TargetRefusal::Credentials),
        ("http://user@a.example/", TargetRefusal::Credentials),
        ("http://@a.example/", TargetRefusal::Credentials),
        ("http://:@a.example/", TargetRefusal::Credentials),
        ("http://a.example@127.0.0.1/", TargetRefusal::Credentials),
        ("http://a.example/#x", TargetRefusal::Fragment),
        ("http://a.example#", TargetRefusal::Fragment),
        ("http://a.example//x", TargetRefusal::Path),
        ("http://a.example/.//x", TargetRefusal::Path),
        ("http://a.example:0/", TargetRefusal::Port),
        (" http://a.example/", TargetRefusal::Character),
        ("http://a.example/ ", TargetRefusal::Character),
        ("http://a.example/\r\nHost: b", TargetRefusal::Character),
        ("http://a.exa\tmple/", TargetRefusal::Character),
        ("http://a.example/\0", TargetRefusal::Character),
        ("http://a.example/\u{85}", TargetRefusal::Character),
        ("http://a.example\\@127.0.0.1/", TargetRefusal::Character),
        ("http:\\\\127.0.0.1/", TargetRefusal::Character),
        (&long, TargetRefusal::TooLong),
        (&grows, TargetRefusal::TooLong),
    ] {
        assert_eq!(policy(&[]).check_url(text), Err(refusal), "{text:?}");
    }
}

#[test]
fn ordinary_callback_urls_are_accepted_in_canonical_form() {
    for (text, canonical) in [
        ("http://hostname.org", "http://hostname.org/"),
        (
            "https://hostname.org:8443/path?key=value",
            "https://hostname.org:8443/path?key=value",
        ),
        ("HTTPS://Example.ORG:443/A", "https://example.org/A"),
        ("http://example.org?x", "http://example.org/?x"),
        ("http://example.org./", "http://example.org./"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://receiver/", "http://receiver/"),
        ("http://notlocalhost/", "http://notlocalhost/"),
        ("http://example.org/a//b/..%2f", "http://example.org/a//b/..%2f"),
        (
            "http://example.org/?next=http://u@h//x",
            "http://example.org/?next=http://u@h//x",
        ),
    ] {
        assert_eq!(policy(&[]).check_url(text).unwrap().expose(), canonical);
    }
}

#[test]
fn neither_debug_nor_display_shows_the_query() {
    let url = policy(&[])
        .check_url("https://h.example:444/p?token=geheim")
        .unwrap();
    assert_eq!(url.to_string(), "https://h.example:444/p?…");
    assert_eq!(format!("{url:?}"), "CallbackUrl(https://h.example:444/p?…)");
    assert_eq!(url.authority(), "h.example:444");
    assert_eq!(
        url.receiver(&[0xab; 32]),
        "https://h.example:444#abababababababab"
    );
}

#[test]
fn an_exemption_is_a_host_an_address_or_a_network_with_an_optional_port() {
    let host = |name: &str, port| Allowed::Host {
        name: name.to_owned(),
        port,
    };
    let net = |net: &str, port| Allowed::Network {
        net: net.parse().unwrap(),
        port,
    };
    for (text, allowed) in [
        ("Receiver.Internal.", host("receiver.internal", None)),
        ("localhost:8081", host("localhost", Some(8081))),
        ("bücher.example", host("xn--bcher-kva.example", None)),
        ("10.0.0.7", net("10.0.0.7/32", None)),
        (" 10.0.0.7:81 ", net("10.0.0.7/32", Some(81))),
        ("127.1", net("127.0.0.1/32", None)),
        ("10.1.2.3/8", net("10.0.0.0/8", None)),
        ("::1", net("::1/128", None)),
        ("[::1]", net("::1/128", None)),
        ("[::1]:81", net("::1/128", Some(81))),
        ("fd00::/8", net("fd00::/8", None)),
    ] {
        assert_eq!(text.parse::<Allowed>().unwrap(), allowed, "{text}");
    }
    for bad in [
        "",
        " ",
        ".",
        ":80",
        "a:",
        "a:0",
        "a:65536",
        "a:b",
        "http://a",
        "10.0.0.0/33",
        "*.a",
        "a b",
        "u@a",
        "a,b",
        "a..b",
        "10.0.0.0/8:80",
        "::1]:8",
    ] {
        assert!(bad.parse::<Allowed>().is_err(), "{bad}");
    }
}

#[test]
fn an_exemption_opens_exactly_what_it_names() {
    for (allow, url, accepted) in [
        ("localhost", "http://localhost:9000/", true),
        ("localhost", "http://localhost./", true),
        ("localhost", "http://a.localhost/", false),
        ("localhost", "http://127.0.0.1/", false),
        ("localhost:81", "http://localhost:81/", true),
        ("localhost:81", "http://localhost:82/", false),
        ("localhost:80", "http://localhost/", true),
        ("127.0.0.1", "http://127.0.0.1:9000/", true),
        ("127.0.0.1", "http://2130706433/", true),
        ("127.0.0.1", "http://[::ffff:127.0.0.1]/", true),
        ("127.0.0.1", "http://[::127.0.0.1]/", false),
        ("127.0.0.1", "http://[64:ff9b::127.0.0.1]/", false),
        ("127.0.0.1", "http://127.0.0.2/", false),
        ("127.0.0.1:81", "http://127.0.0.1:81/", true),
        ("127.0.0.1:81", "http://127.0.0.1/", false),
        ("10.0.0.0/8", "http://10.9.8.7/", true),
        ("10.0.0.0/8", "http://11.0.0.1/", true),
        ("10.0.0.0/8", "http://192.168.0.1/", false),
        ("::1", "http://[::1]/", true),
        ("fd00::/8", "http://[fd12::1]/", true),
        ("fd00::/8", "http://[fc12::1]/", false),
        ("64:ff9b::/96", "http://[64:ff9b::10.0.0.1]/", true),
    ] {
        assert_eq!(policy(&[allow]).check_url(url).is_ok(), accepted, "{allow} {url}");
    }
}

#[test]
fn a_name_may_lead_to_a_non_public_address_only_when_it_or_the_address_is_exempt() {
    let ip: IpAddr = "10.0.0.7".parse().unwrap();
    for (allow, port, accepted) in [
        (&[][..], Some(80), false),
        (&["a.example"], Some(80), true),
        (&["A.EXAMPLE."], None, true),
        (&["b.example"], Some(80), false),
        (&["a.example:81"], Some(81), true),
        (&["a.example:81"], Some(80), false),
        (&["a.example:81"], None, false),
        (&["10.0.0.0/24"], None, true),
        (&["b.example", "10.0.0.7:81"], Some(81), true),
    ] {
        assert_eq!(
            policy(allow).check_addr("a.example", port, ip).is_ok(),
            accepted,
            "{allow:?} {port:?}"
        );
    }
}
