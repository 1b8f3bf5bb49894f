//! Deleting a batch from S3: in bulk where that can be, one by one where it cannot.

use super::super::driver::{EditionKind, Object, Removed, remove_each};
use super::super::request::{Failed as _, patiently};
use super::bucket::S3Bucket;
use super::error::{S3Error, Verdict};
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

pub(super) async fn remove(bucket: &S3Bucket<'_>, batch: Vec<Object>) -> Removed {
    let chunks: Vec<Vec<Object>> = batch.chunks(BULK).map(<[Object]>::to_vec).collect();
    let parts: Vec<Removed<S3Error>> = stream::iter(chunks)
        .map(|chunk| remove_chunk(bucket, chunk))
        .buffered(BULKS_IN_FLIGHT)
        .collect()
        .await;
    let mut removed = Removed::default();
    for part in parts {
        let answers = part.answers.into_iter();
        removed
            .answers
            .extend(answers.map(|(object, answer)| (object, answer.map_err(Into::into))));
        removed.stopped = removed
            .stopped
            .or(part.stopped.map(|(error, name)| (error.into(), name)));
    }
    removed
}

async fn remove_chunk(bucket: &S3Bucket<'_>, chunk: Vec<Object>) -> Removed<S3Error> {
    let bulk = bucket.bulk_refused.load(Ordering::Relaxed) < MAX_REFUSALS;
    let (pending, mut single): (Vec<_>, Vec<_>) = chunk
        .into_iter()
        .partition(|object| bulk && object.kind != EditionKind::Upload && text(object).is_some_and(fits_xml));
    let mut removed = Removed::default();
    if !pending.is_empty() {
        single.extend(in_bulk(bucket, pending, &mut removed).await);
    }
    if removed.stopped.is_none() {
        let backoff = bucket.store.backoff;
        let singly = remove_each(single, SINGLES_IN_FLIGHT, backoff, |object| one(bucket, object)).await;
        removed.answers.extend(singly.answers);
        removed.stopped = singly.stopped;
    }
    explain(bucket, &mut removed.answers).await;
    removed
}

fn text(object: &Object) -> Option<&str> {
    std::str::from_utf8(&object.name).ok()
}

/// Whether a key survives an XML 1.0 request body. Those with other control characters are deleted one by one, by URL.
fn fits_xml(key: &str) -> bool {
    key.chars()
        .all(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}'))
}

/// Deletes a batch with one request, and single keys of it again while the server says that it is too busy for them.
///
/// Gives back what is to be deleted one by one: all of it when the server does not take the request, and what it left unanswered.
async fn in_bulk(
    bucket: &S3Bucket<'_>,
    mut pending: Vec<Object>,
    removed: &mut Removed<S3Error>,
) -> Vec<Object> {
    let mut single = Vec::new();
    let mut attempt = 0;
    while !pending.is_empty() {
        attempt += 1;
        let told = match patiently(bucket.store.backoff, || send_bulk(bucket, &pending)).await {
            Ok(told) => told,
            Err(error) => match error.verdict {
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
                    removed.stopped = Some((error, None));
                    break;
                }
            },
        };
        let mut answers = Answers::new(told);
        let (mut busy, mut worst) = (Vec::new(), None);
        let before = single.len();
        for object in pending {
            match answers.take(&object) {
                None => single.push(object),
                Some(Err(error)) if error.is_transient() => {
                    busy.push(object);
                    worst = Some(error);
                }
                Some(answer) => removed.answers.push((object, answer)),
            }
        }
        if single.len() > before {
            bucket.bulk_refused.fetch_add(1, Ordering::Relaxed);
        } else {
            bucket.bulk_refused.store(0, Ordering::Relaxed);
        }
        pending = busy;
        if let Some(error) = worst {
            let Some(wait) = bucket.store.backoff.after(attempt) else {
                let answers = pending.drain(..).map(|object| (object, Err(error.clone())));
                removed.answers.extend(answers);
                break;
            };
            tokio::time::sleep(wait).await;
        }
    }
    single
}

/// What a bulk deletion said of each key, whichever version it named.
struct Answers(HashMap<String, Vec<page::KeyOutcome>>);

impl Answers {
    fn new(told: Vec<page::KeyOutcome>) -> Self {
        let mut by_key: HashMap<String, Vec<page::KeyOutcome>> = HashMap::new();
        for outcome in told {
            by_key.entry(outcome.key.clone()).or_default().push(outcome);
        }
        Self(by_key)
    }

    /// Not every server names the version; any version of the key will do then, and the next look settles it.
    fn take(&mut self, object: &Object) -> Option<Result<(), S3Error>> {
        let outcomes = self.0.get_mut(text(object)?)?;
        let at = outcomes
            .iter()
            .position(|outcome| outcome.version == object.edition)
            .or_else(|| outcomes.iter().position(|outcome| outcome.version.is_none()))?;
        match outcomes.swap_remove(at).error {
            None => Some(Ok(())),
            Some((code, message)) => {
                let error = S3Error::from_code(&code, Some(&message));
                Some(if error.verdict == Verdict::Gone {
                    Ok(())
                } else {
                    Err(error)
                })
            }
        }
    }
}

async fn send_bulk(bucket: &S3Bucket<'_>, batch: &[Object]) -> Result<Vec<page::KeyOutcome>, S3Error> {
    let objects = batch
        .iter()
        .map(|object| {
            ObjectIdentifier::builder()
                .key(text(object).unwrap_or_default())
                .set_version_id(object.edition.clone())
                .build()
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| S3Error::invalid())?;
    let delete = Delete::builder()
        .set_objects(Some(objects))
        // Each key is to be answered for: what the answer leaves out is not deleted.
        .quiet(false)
        .build()
        .map_err(|_| S3Error::invalid())?;
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

async fn one(bucket: &S3Bucket<'_>, object: Object) -> Result<(), S3Error> {
    let object = &object;
    // A key that is no text cannot be given to the SDK, and is written into the address by its bytes.
    let key = text(object).unwrap_or(PLACEHOLDER);
    let bytes = text(object)
        .is_none()
        .then(|| percent_encode(&object.name, KEY).to_string());
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
                if object.kind == EditionKind::Upload {
                    let request = client.abort_multipart_upload().bucket(bucket.name).key(key);
                    let request = request.set_upload_id(object.edition.clone()).customize();
                    let sent = request.mutate_request(place).send().await;
                    sent.map(drop).map_err(|e| S3Error::read(&e))
                } else {
                    let request = client.delete_object().bucket(bucket.name).key(key);
                    let request = request.set_version_id(object.edition.clone()).customize();
                    let sent = request.mutate_request(place).send().await;
                    sent.map(drop).map_err(|e| S3Error::read(&e))
                }
            }
        })
        .await;
    match outcome {
        Err(error) if error.verdict == Verdict::Gone => Ok(()),
        outcome => outcome,
    }
}

/// Finds out whether a lock is behind refusals that do not say why. One look tells for the batch, or a million refusals would ask a
/// million times.
async fn explain(bucket: &S3Bucket<'_>, answers: &mut [(Object, Result<(), S3Error>)]) {
    let denied = |answer: &Result<(), S3Error>| matches!(answer, Err(error) if error.verdict == Verdict::Denied && !error.locked);
    let Some((first, _)) = answers.iter().find(|(_, answer)| denied(answer)) else {
        return;
    };
    if !is_locked(bucket, first).await {
        return;
    }
    for (_, answer) in answers.iter_mut() {
        if denied(answer)
            && let Err(error) = answer
        {
            error.locked = true;
        }
    }
}

/// Asks for the lock itself.
async fn is_locked(bucket: &S3Bucket<'_>, object: &Object) -> bool {
    let Some(key) = text(object) else { return false };
    let (client, _) = bucket.store.clients.get().await;
    let request = client.head_object().bucket(bucket.name).key(key);
    let head = request.set_version_id(object.edition.clone()).send().await;
    head.is_ok_and(|head| {
        head.object_lock_mode().is_some()
            || head
                .object_lock_legal_hold_status()
                .is_some_and(|hold| hold.as_str() == "ON")
    })
}
