//! `Host`: exactly one, as HTTP/1.1 demands (RFC 9112, section 3.2), so that nothing between a client and the service takes a
//! request for another one.

use super::error::ApiError;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, Version};

/// Refuses a request that names no host, several, or what is none.
pub async fn one_host(request: Request, next: Next) -> Response {
    match check(request.version(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check(version: Version, headers: &HeaderMap) -> Result<(), ApiError> {
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
    !value.contains(&b'@') && Authority::try_from(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
