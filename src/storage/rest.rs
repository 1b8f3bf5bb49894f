//! HTTP as GCS and Azure are spoken to: one request, one bounded answer, and what its status means.

use super::request::{RequestError, plain};
use crate::storage::deletion::BlobErrorKind;
use bytes::{Bytes, BytesMut};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use std::time::Duration;
use url::{Host, Url};

/// The longest answer that is read: a page of a thousand names of a kilobyte, several times over.
const MAX_ANSWER: usize = 32 << 20;

/// How many single deletions of one purge run at the same time.
pub(super) const IN_FLIGHT: usize = 16;

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
    pub(super) fn url(&self, segments: &[&[u8]], query: &[(&str, &str)]) -> Result<Url, RequestError> {
        let mut text = self.base.clone();
        for segment in segments {
            text.push('/');
            text.extend(percent_encode(segment, SEGMENT));
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
    pub(super) async fn send(&self, request: reqwest::Request) -> Result<Answer, RequestError> {
        let unavailable = |_| RequestError::Transient(BlobErrorKind::Unavailable);
        let mut response = self.http.execute(request).await.map_err(unavailable)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(RequestError::doubt("it has no end"));
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

    /// The body of an answer that says it is a whole one; `None` where it refuses.
    pub(super) fn whole(&self) -> Result<Option<&Bytes>, RequestError> {
        match self.status {
            200 if self.headers.contains_key(CONTENT_RANGE) => {
                Err(RequestError::doubt("it is a part, and the whole was asked for"))
            }
            200 => Ok(Some(&self.body)),
            _ if self.is_success() => Err(RequestError::doubt("its status is not that of a whole answer")),
            _ => Ok(None),
        }
    }
}

/// What a status means where no code of the server says more. Without any code it never means something that lasts: proxies,
/// gateways and login pages refuse as well.
pub(super) fn from_status(status: u16, code: &str) -> RequestError {
    let code = plain(code);
    let coded = !code.is_empty();
    let said = if coded { code } else { format!("status{status}") };
    match status {
        // Credentials that have expired: others are loaded before the next attempt.
        401 => RequestError::Transient(BlobErrorKind::CredentialsRefused { code: said }),
        429 | 503 => RequestError::Transient(BlobErrorKind::Throttled),
        // Both clouds do all that they are asked for here.
        405 | 501 => RequestError::Transient(BlobErrorKind::ForeignRefusal { code: said }),
        // Also what proxies and gateways have made up.
        408 | 425 | 500..=599 => RequestError::Transient(BlobErrorKind::Unavailable),
        _ if !coded => RequestError::Transient(BlobErrorKind::ForeignRefusal { code: said }),
        403 => RequestError::Permanent(BlobErrorKind::PermissionDenied),
        _ => rejected(&said),
    }
}

/// A code of the server's own, letters and digits only.
pub(super) fn rejected(code: &str) -> RequestError {
    RequestError::Permanent(BlobErrorKind::Rejected { code: plain(code) })
}

fn unbuildable() -> RequestError {
    rejected("aNameThatNoAddressCanHold")
}
