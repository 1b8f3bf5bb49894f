//! HTTP as GCS and Azure are spoken to: one request, one bounded answer, and what its status means.

use super::backoff::Backoff;
use super::blob::BlobErrorKind;
use super::listing::{Failure, Found, Removed, patiently};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use reqwest::header::{CONTENT_RANGE, HeaderMap};
use std::time::Duration;
use url::{Host, Url};

/// The longest answer that is read: a page of a thousand names of a kilobyte, several times over.
const MAX_ANSWER: usize = 32 << 20;

/// How many single deletions of one purge run at the same time.
const IN_FLIGHT: usize = 16;

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
    pub(super) fn url(&self, segments: &[&[u8]], query: &[(&str, &str)]) -> Result<Url, Failure> {
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
    pub(super) async fn send(&self, request: reqwest::Request) -> Result<Answer, Failure> {
        let unavailable = |_| Failure::Passing(BlobErrorKind::Unavailable);
        let mut response = self.http.execute(request).await.map_err(unavailable)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Failure::doubt("it has no end"));
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

    /// It says that it is a part of something, and no part was asked for.
    pub(super) fn is_part(&self) -> bool {
        self.headers.contains_key(CONTENT_RANGE)
    }
}

/// What a status means where no code of the server says more. Without any code it never means something that lasts: proxies,
/// gateways and login pages refuse as well.
pub(super) fn from_status(status: u16, code: &str) -> Failure {
    let code = plain(code);
    let coded = !code.is_empty();
    let said = if coded { code } else { format!("status{status}") };
    match status {
        // Credentials that have expired: others are loaded before the next attempt.
        401 => Failure::Passing(BlobErrorKind::CredentialsRefused { code: said }),
        429 | 503 => Failure::Passing(BlobErrorKind::Throttled),
        // Both clouds do all that they are asked for here.
        405 | 501 => Failure::Passing(BlobErrorKind::ForeignRefusal { code: said }),
        // Also what proxies and gateways have made up.
        408 | 425 | 500..=599 => Failure::Passing(BlobErrorKind::Unavailable),
        _ if !coded => Failure::Passing(BlobErrorKind::ForeignRefusal { code: said }),
        403 => Failure::Stands(BlobErrorKind::PermissionDenied),
        _ => rejected(&said),
    }
}

/// A code of the server's own, letters and digits only.
pub(super) fn rejected(code: &str) -> Failure {
    Failure::Stands(BlobErrorKind::Rejected { code: plain(code) })
}

/// Letters and digits of a code, as many as go into the ledger.
pub(super) fn plain(code: &str) -> String {
    code.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(MAX_CODE)
        .collect()
}

/// Deletes the parts of a batch, some at a time, and stops where all others would fail alike.
pub(super) async fn remove_each<F, Fut>(batch: Vec<Found>, backoff: Backoff, remove: F) -> Removed
where
    F: Fn(Found) -> Fut,
    Fut: Future<Output = Result<(), Failure>>,
{
    let remove = &remove;
    let mut answers = stream::iter(batch)
        .map(|found| async move {
            let answer = patiently(backoff, || remove(found.clone())).await;
            (found, answer)
        })
        .buffered(IN_FLIGHT);
    let mut removed = Removed::default();
    while let Some((found, answer)) = answers.next().await {
        match answer {
            Err(failure) if concerns_all(&failure) => {
                removed.stopped = Some((failure, Some(found.name)));
                break;
            }
            answer => removed.answers.push((found, answer)),
        }
    }
    removed
}

/// Whether all other requests would fail like this one.
fn concerns_all(failure: &Failure) -> bool {
    match failure {
        Failure::Gone => false,
        Failure::Passing(_) => true,
        Failure::Stands(kind) => !matches!(
            kind,
            BlobErrorKind::ObjectLocked { .. }
                | BlobErrorKind::PermissionDenied
                | BlobErrorKind::Rejected { .. }
        ),
    }
}

fn unbuildable() -> Failure {
    rejected("aNameThatNoAddressCanHold")
}
