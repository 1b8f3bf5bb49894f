//! Deleting a batch from S3: in bulk where that can be, one by one where it cannot.

use super::super::listing::{self, Found, Kind, Removed};
use super::bucket::Bucket;
use super::failure::{Failure, Verdict};
use super::page;
use super::raw::Capture;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::stream::{self, StreamExt as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::collections::HashMap;
use std::sync::atomic::Ordering;

/// How many keys one bulk deletion names. S3 takes 1,000; several smaller ones at the same time are as fast.
const BULK: usize = 250;

/// How many requests of one purge delete in bulk at the same time.
const BULKS_IN_FLIGHT: usize = 4;

/// How many single requests (aborted uploads, servers without bulk deletion) run at the same time beside each other.
const SINGLES_IN_FLIGHT: usize = 8;

/// After so many bulk deletions in a row that the server has not taken, none is tried any more in this purge.
const MAX_REFUSALS: u32 = 3;

/// What stays as it is in a key that is written into an address by its bytes.
const KEY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Takes the place of a key that is no text until its bytes are written there.
const PLACEHOLDER: &str = "archive-ledger-key-by-its-bytes";

pub(super) async fn remove(bucket: &Bucket<'_>, batch: Vec<Found>) -> Removed {
    let chunks: Vec<Vec<Found>> = batch.chunks(BULK).map(<[Found]>::to_vec).collect();
    let parts: Vec<Part> = stream::iter(chunks)
        .map(|chunk| remove_chunk(bucket, chunk))
        .buffered(BULKS_IN_FLIGHT)
        .collect()
        .await;
    let mut removed = Removed::default();
    for part in parts {
        let answers = part.answers.into_iter();
        removed
            .answers
            .extend(answers.map(|(found, answer)| (found, answer.map_err(listing::Failure::from))));
        removed.stopped = removed
            .stopped
            .or(part.stopped.map(|(failure, name)| (failure.into(), name)));
    }
    removed
}

/// What became of a part of a batch.
#[derive(Default)]
struct Part {
    answers: Vec<(Found, Result<(), Failure>)>,
    stopped: Option<(Failure, Option<Vec<u8>>)>,
}

async fn remove_chunk(bucket: &Bucket<'_>, chunk: Vec<Found>) -> Part {
    let bulk = bucket.bulk_refused.load(Ordering::Relaxed) < MAX_REFUSALS;
    let (pending, mut single): (Vec<_>, Vec<_>) = chunk
        .into_iter()
        .partition(|found| bulk && found.kind != Kind::Upload && text(found).is_some_and(fits_xml));
    let mut part = Part::default();
    if !pending.is_empty() {
        single.extend(in_bulk(bucket, pending, &mut part).await);
    }
    if part.stopped.is_none() {
        let mut answers = stream::iter(single)
            .map(|found| async move {
                let answer = patiently(bucket, || one(bucket, &found)).await;
                (found, answer)
            })
            .buffered(SINGLES_IN_FLIGHT);
        while let Some((found, answer)) = answers.next().await {
            match answer {
                Err(failure) if concerns_all(&failure) => {
                    part.stopped = Some((failure, Some(found.name)));
                    break;
                }
                answer => part.answers.push((found, answer)),
            }
        }
    }
    explain(bucket, &mut part.answers).await;
    part
}

fn text(found: &Found) -> Option<&str> {
    std::str::from_utf8(&found.name).ok()
}

/// Whether a key survives an XML 1.0 request body. Those with other control characters are deleted one by one, by URL.
fn fits_xml(key: &str) -> bool {
    key.chars()
        .all(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}'))
}

/// Whether all other requests would fail like this one.
fn concerns_all(failure: &Failure) -> bool {
    match failure.verdict {
        Verdict::NoSuchBucket
        | Verdict::NoCredentials
        | Verdict::Expired
        | Verdict::Unknown
        | Verdict::Throttled
        | Verdict::Unavailable
        | Verdict::Doubtful(_)
        | Verdict::Foreign => true,
        Verdict::Gone
        | Verdict::NotImplemented
        | Verdict::Denied
        | Verdict::Unreadable
        | Verdict::Rejected => false,
    }
}

/// Deletes a batch with one request, and single keys of it again while the server says that it is too busy for them.
///
/// Gives back what is to be deleted one by one: all of it when the server does not take the request, and what it left unanswered.
async fn in_bulk(bucket: &Bucket<'_>, mut pending: Vec<Found>, part: &mut Part) -> Vec<Found> {
    let mut single = Vec::new();
    let mut attempt = 0;
    while !pending.is_empty() {
        attempt += 1;
        let told = match patiently(bucket, || send_bulk(bucket, &pending)).await {
            Ok(told) => told,
            Err(failure) => match failure.verdict {
                Verdict::NotImplemented
                | Verdict::Unreadable
                | Verdict::Rejected
                | Verdict::Doubtful(_)
                | Verdict::Foreign => {
                    bucket.bulk_refused.fetch_add(1, Ordering::Relaxed);
                    single.append(&mut pending);
                    break;
                }
                Verdict::Gone
                | Verdict::Denied
                | Verdict::NoSuchBucket
                | Verdict::NoCredentials
                | Verdict::Expired
                | Verdict::Unknown
                | Verdict::Throttled
                | Verdict::Unavailable => {
                    part.stopped = Some((failure, None));
                    break;
                }
            },
        };
        let mut answers = Answers::new(told);
        let (mut busy, mut worst) = (Vec::new(), None);
        let before = single.len();
        for found in pending {
            match answers.take(&found) {
                None => single.push(found),
                Some(Err(failure)) if failure.is_transient() => {
                    busy.push(found);
                    worst = Some(failure);
                }
                Some(answer) => part.answers.push((found, answer)),
            }
        }
        if single.len() > before {
            bucket.bulk_refused.fetch_add(1, Ordering::Relaxed);
        } else {
            bucket.bulk_refused.store(0, Ordering::Relaxed);
        }
        pending = busy;
        if let Some(failure) = worst {
            let Some(wait) = bucket.store.backoff.after(attempt) else {
                let answers = pending.drain(..).map(|found| (found, Err(failure.clone())));
                part.answers.extend(answers);
                break;
            };
            tokio::time::sleep(wait).await;
        }
    }
    single
}

/// What a bulk deletion said of each key, whichever version it named.
struct Answers(HashMap<String, Vec<page::Outcome>>);

impl Answers {
    fn new(told: Vec<page::Outcome>) -> Self {
        let mut by_key: HashMap<String, Vec<page::Outcome>> = HashMap::new();
        for outcome in told {
            by_key.entry(outcome.key.clone()).or_default().push(outcome);
        }
        Self(by_key)
    }

    /// Not every server names the version; any version of the key will do then, and the next look settles it.
    fn take(&mut self, found: &Found) -> Option<Result<(), Failure>> {
        let outcomes = self.0.get_mut(text(found)?)?;
        let at = outcomes
            .iter()
            .position(|outcome| outcome.version == found.edition)
            .or_else(|| outcomes.iter().position(|outcome| outcome.version.is_none()))?;
        match outcomes.swap_remove(at).error {
            None => Some(Ok(())),
            Some((code, message)) => {
                let failure = Failure::from_code(&code, Some(&message));
                Some(if failure.verdict == Verdict::Gone {
                    Ok(())
                } else {
                    Err(failure)
                })
            }
        }
    }
}

async fn send_bulk(bucket: &Bucket<'_>, batch: &[Found]) -> Result<Vec<page::Outcome>, Failure> {
    let objects = batch
        .iter()
        .map(|found| {
            ObjectIdentifier::builder()
                .key(text(found).unwrap_or_default())
                .set_version_id(found.edition.clone())
                .build()
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Failure::invalid())?;
    let delete = Delete::builder()
        .set_objects(Some(objects))
        // Each key is to be answered for: what the answer leaves out is not deleted.
        .quiet(false)
        .build()
        .map_err(|_| Failure::invalid())?;
    bucket
        .ask(|client| {
            let delete = delete.clone();
            async move {
                let capture = Capture::default();
                let outcome = client
                    .delete_objects()
                    .bucket(bucket.name)
                    .delete(delete)
                    .customize()
                    .interceptor(capture.clone())
                    .send()
                    .await;
                Ok(page::deletions(&capture.body(outcome)?)?)
            }
        })
        .await
}

async fn one(bucket: &Bucket<'_>, found: &Found) -> Result<(), Failure> {
    // A key that is no text cannot be given to the SDK, and is written into the address by its bytes.
    let key = text(found).unwrap_or(PLACEHOLDER);
    let bytes = text(found)
        .is_none()
        .then(|| percent_encode(&found.name, KEY).to_string());
    let place = move |request: &mut aws_sdk_s3::config::http::HttpRequest| {
        if let Some(bytes) = &bytes {
            let address = request.uri().replacen(PLACEHOLDER, bytes, 1);
            // The address that stood there before was one as well.
            let _ = request.set_uri(address);
        }
    };
    let outcome = bucket
        .ask(|client| {
            let place = place.clone();
            async move {
                if found.kind == Kind::Upload {
                    let request = client.abort_multipart_upload().bucket(bucket.name).key(key);
                    let request = request.set_upload_id(found.edition.clone()).customize();
                    let sent = request.mutate_request(place).send().await;
                    sent.map(drop).map_err(|e| Failure::read(&e))
                } else {
                    let request = client.delete_object().bucket(bucket.name).key(key);
                    let request = request.set_version_id(found.edition.clone()).customize();
                    let sent = request.mutate_request(place).send().await;
                    sent.map(drop).map_err(|e| Failure::read(&e))
                }
            }
        })
        .await;
    match outcome {
        Err(failure) if failure.verdict == Verdict::Gone => Ok(()),
        outcome => outcome,
    }
}

/// Finds out whether a lock is behind refusals that do not say why. One look tells for the batch, or a million refusals would ask a
/// million times.
async fn explain(bucket: &Bucket<'_>, answers: &mut [(Found, Result<(), Failure>)]) {
    let denied = |answer: &Result<(), Failure>| matches!(answer, Err(failure) if failure.verdict == Verdict::Denied && !failure.locked);
    let Some((first, _)) = answers.iter().find(|(_, answer)| denied(answer)) else {
        return;
    };
    if !is_locked(bucket, first).await {
        return;
    }
    for (_, answer) in answers.iter_mut() {
        if denied(answer)
            && let Err(failure) = answer
        {
            failure.locked = true;
        }
    }
}

/// Asks for the lock itself.
async fn is_locked(bucket: &Bucket<'_>, found: &Found) -> bool {
    let Some(key) = text(found) else { return false };
    let (client, _) = bucket.store.clients.get().await;
    let request = client.head_object().bucket(bucket.name).key(key);
    let head = request.set_version_id(found.edition.clone()).send().await;
    head.is_ok_and(|head| {
        head.object_lock_mode().is_some()
            || head
                .object_lock_legal_hold_status()
                .is_some_and(|hold| hold.as_str() == "ON")
    })
}

/// Sends a request until it is answered, as long as the backoff has attempts left.
async fn patiently<T, F, Fut>(bucket: &Bucket<'_>, request: F) -> Result<T, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Failure>>,
{
    let mut attempt = 0;
    loop {
        attempt += 1;
        match request().await {
            Err(failure) if failure.is_transient() => match bucket.store.backoff.after(attempt) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure),
            },
            outcome => return outcome,
        }
    }
}
