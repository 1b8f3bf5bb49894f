//! HTTP as GCS and Azure are spoken to: one request, one bounded answer, and what its status means.

use super::blob::BlobErrorKind;
use super::rounds::Failure;
use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::HeaderMap;
use std::time::Duration;
use url::{Host, Url};

/// The longest answer that is read: a page of a thousand names of a kilobyte, several times over.
const MAX_ANSWER: usize = 32 << 20;

/// The error codes that servers put into the ledger are cut to this length.
const MAX_CODE: usize = 64;

/// What stays as it is in a path segment: a slash of a name is encoded, so that no dot segment can come to be.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A client, and the address that it speaks to.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    http: reqwest::Client,
    base: String,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Rest {
    pub(super) fn new(base: &Url) -> Result<Self, reqwest::Error> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .redirect(reqwest::redirect::Policy::none());
        let here = match base.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if here {
            client = client.no_proxy();
        }
        Ok(Self {
            http: client.build()?,
            base: base.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// The address of `segments` below the base, each one segment of the path whatever it holds.
    pub(super) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut text = self.base.clone();
        for segment in segments {
            text.push('/');
            text.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let mut url = Url::parse(&text).map_err(|_| unbuildable())?;
        // A parser that resolves dot segments or repairs anything else would name some other object.
        if url.as_str() != text {
            return Err(unbuildable());
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Sends a request and reads its answer. Whatever keeps an answer from coming may pass.
    pub(super) async fn send(&self, request: reqwest::Request) -> Result<Answer, Failure> {
        let unavailable = |_| Failure::Stands(BlobErrorKind::Unavailable);
        let mut response = self.http.execute(request).await.map_err(unavailable)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(rejected("tooLargeAnAnswer"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: body.freeze(),
        })
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What a status means where no code of the server says more.
pub(super) fn from_status(status: u16, code: &str) -> Failure {
    match status {
        401 | 403 => Failure::Stands(BlobErrorKind::PermissionDenied),
        429 | 503 => Failure::Stands(BlobErrorKind::Throttled),
        408 | 500 | 502 | 504 => Failure::Stands(BlobErrorKind::Unavailable),
        _ if code.is_empty() => rejected(&format!("status{status}")),
        _ => rejected(code),
    }
}

/// A code of the server's own, letters and digits only.
pub(super) fn rejected(code: &str) -> Failure {
    let code = code
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(MAX_CODE)
        .collect();
    Failure::Stands(BlobErrorKind::Rejected { code })
}

fn unbuildable() -> Failure {
    rejected("aNameThatNoAddressCanHold")
}
