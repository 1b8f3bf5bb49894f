//! `Host`: exactly one, as HTTP/1.1 demands (RFC 9112, section 3.2), so that nothing between a client and the service takes a
//! request for another one.

use crate::http::answer::error::ApiError;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Version};

/// Refuses a request that names no host, several, or what is none.
///
/// # Errors
/// [`ApiError::MissingRequiredValue`] or [`ApiError::BadData`] naming `Host`.
pub fn check(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
    let mut values = headers.get_all(HOST).iter();
    match (values.next(), values.next()) {
        (None, _) if version < Version::HTTP_11 => Ok(()),
        (None, _) => Err(ApiError::MissingRequiredValue { key: "Host".into() }),
        // Empty where the address has no authority.
        (Some(host), None) if host.is_empty() || is_host(host.as_bytes()) => Ok(()),
        (Some(_), None) => Err(ApiError::bad_data("Host", "must be a host and at most a port")),
        (Some(_), Some(_)) => Err(ApiError::bad_data("Host", "given more than once")),
    }
}

fn is_host(value: &[u8]) -> bool {
    is_plain(value) || !value.contains(&b'@') && Authority::try_from(value).is_ok()
}

/// Whether it is what hosts nearly always are, so that no more is to be parsed: a name or an IPv4 address, and at most a port.
fn is_plain(value: &[u8]) -> bool {
    let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
    let (name, port) = value.split_at(end);
    let of_a_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.' || *byte == b'-';
    let port_is_short = match port {
        [] => true,
        [_, digits @ ..] => (1..=4).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
    };
    !name.is_empty() && name.iter().all(of_a_name) && port_is_short
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_is_plain_is_a_host_by_the_whole_grammar_too() {
        for host in ["a", "example.org:1", "127.0.0.1:8080", "a-.b", "-", ".", "0:0000"] {
            assert!(is_plain(host.as_bytes()), "{host}");
            assert!(Authority::try_from(host.as_bytes()).is_ok(), "{host}");
        }
        for host in [
            "", ":1", "a:", "a:b", "a:1:2", "a:12345", "[::1]", "a_b", "a@b", "a b",
        ] {
            assert!(!is_plain(host.as_bytes()), "{host}");
        }
    }

    fn accepted(version: Version, hosts: &[&str]) -> bool {
        let values = hosts.iter().map(|host| HeaderValue::from_str(host).unwrap());
        check(version, &values.map(|value| (HOST, value)).collect()).is_ok()
    }

    #[test]
    fn there_is_one_host_or_the_request_is_of_another_age() {
        for host in [
            "example.org",
            "example.org:8080",
            "127.0.0.1:1",
            "[::1]:80",
            "[::1]",
            "",
            "a_b",
        ] {
            assert!(accepted(Version::HTTP_11, &[host]), "{host}");
        }
        for host in [
            "a b",
            "a/b",
            "me@example.org",
            "a:b:c",
            "http://a/",
            "a,b:1:2",
            "[::1",
        ] {
            assert!(!accepted(Version::HTTP_11, &[host]), "{host}");
            assert!(!accepted(Version::HTTP_10, &[host]), "{host}");
        }
        assert!(!accepted(Version::HTTP_11, &[]));
        assert!(accepted(Version::HTTP_10, &[]));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert!(!accepted(version, &["a", "a"]));
            assert!(!accepted(version, &["a", "b"]));
        }
    }
}
