//! One purge of one S3 place: rounds of listing and deleting, until a round finds nothing.

use super::super::blob::{BlobErrorKind, Cleaned, Progress};
use super::super::uri::BucketPlace;
use super::Backoff;
use super::failure::{Failure, Verdict};
use super::page::{self, Listing, Marker, Scope, Victim};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures::future::join_all;
use futures::stream::{FuturesOrdered, StreamExt as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What one `DeleteObjects` request takes, by S3's definition.
const MAX_BATCH: usize = 1_000;

/// How many batches of one purge are deleted at the same time, while the next page is being listed.
const BATCHES_IN_FLIGHT: usize = 4;

/// How many single requests (aborted uploads, servers without bulk deletion) run at the same time within a batch.
const SINGLES_IN_FLIGHT: usize = 8;

/// How many rounds in a row may find the same first object still there, although the storage said that it is deleted.
const MAX_REPEATS: u32 = 3;

/// How many rounds a purge takes at most, should a writer keep adding objects.
const MAX_ROUNDS: u32 = 100_000;

/// One purge: its counts, and what was learnt about the server.
pub(super) struct Purge<'a> {
    client: &'a Client,
    backoff: Backoff,
    bucket: &'a str,
    progress: Progress<'a>,
    done: Mutex<Cleaned>,
    /// The server lists versions.
    versions: AtomicBool,
    /// The server lists unfinished uploads.
    uploads: AtomicBool,
    /// The server deletes in bulk.
    bulk: AtomicBool,
}

/// What one round, or one batch of it, came to.
#[derive(Debug, Default)]
struct Tally {
    seen: u64,
    removed: u64,
    locked: u64,
    denied: u64,
    /// The code of one that was refused for any other reason.
    code: Option<String>,
    /// The first that the server said is deleted, in the order of the listing, to recognise one that does not go.
    first: Option<Victim>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.seen += other.seen;
        self.removed += other.removed;
        self.locked += other.locked;
        self.denied += other.denied;
        self.code = self.code.take().or(other.code);
        self.first = self.first.take().or(other.first);
    }

    /// Why nothing went although there was something.
    fn reason(self) -> BlobErrorKind {
        if self.locked > 0 {
            BlobErrorKind::ObjectLocked {
                remaining: self.locked,
            }
        } else if self.denied > 0 {
            BlobErrorKind::PermissionDenied
        } else if let Some(code) = self.code {
            BlobErrorKind::Rejected { code }
        } else {
            BlobErrorKind::NotEmpty
        }
    }
}

impl<'a> Purge<'a> {
    pub(super) fn new(client: &'a Client, backoff: Backoff, bucket: &'a str, progress: Progress<'a>) -> Self {
        Self {
            client,
            backoff,
            bucket,
            progress,
            done: Mutex::default(),
            versions: AtomicBool::new(true),
            uploads: AtomicBool::new(true),
            bulk: AtomicBool::new(true),
        }
    }

    /// What this purge deleted so far.
    pub(super) fn done(&self) -> Cleaned {
        *self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rounds of listing and deleting, until one finds nothing at all.
    pub(super) async fn run(&self, place: &BucketPlace) -> Result<(), BlobErrorKind> {
        let mut scopes = vec![Scope::Folder(place.folder())];
        scopes.extend(place.object().map(|key| Scope::Object(key.to_owned())));
        let (mut last_first, mut repeats) = (None, 0);
        for _ in 0..MAX_ROUNDS {
            let mut round = Tally::default();
            for scope in &scopes {
                round.add(self.round(scope).await?);
            }
            if round.seen == 0 {
                return Ok(());
            }
            if round.removed == 0 {
                return Err(round.reason());
            }
            if round.first == last_first {
                repeats += 1;
                if repeats >= MAX_REPEATS {
                    return Err(round.reason());
                }
                tokio::time::sleep(self.backoff.first).await;
            } else {
                repeats = 0;
                last_first = round.first;
            }
        }
        Err(BlobErrorKind::NotEmpty)
    }

    async fn round(&self, scope: &Scope) -> Result<Tally, BlobErrorKind> {
        let mut round = Tally::default();
        // Uploads first: one that is completed meanwhile is then found as an object.
        if self.uploads.load(Ordering::Relaxed) {
            round.add(self.sweep(Listing::Uploads, scope, &self.uploads).await?);
        }
        let mut versions = 0;
        if self.versions.load(Ordering::Relaxed) {
            let tally = self.sweep(Listing::Versions, scope, &self.versions).await?;
            versions = tally.seen;
            round.add(tally);
        }
        // While versions are left this would only put delete markers on top of those that are locked.
        if versions == 0 {
            round.add(
                self.sweep(Listing::Objects, scope, &AtomicBool::new(true))
                    .await?,
            );
        }
        Ok(round)
    }

    /// Lists one kind of thing in `scope` and deletes it. Clears `supported` when the server does not know the listing.
    async fn sweep(
        &self,
        listing: Listing,
        scope: &Scope,
        supported: &AtomicBool,
    ) -> Result<Tally, BlobErrorKind> {
        let mut tally = Tally::default();
        let mut batches = FuturesOrdered::new();
        let mut marker = Some(Marker::default());
        while let Some(from) = marker.take() {
            let mut fetch = std::pin::pin!(self.patiently(|| page::fetch(
                self.client,
                self.bucket,
                listing,
                scope,
                &from
            )));
            let page = loop {
                tokio::select! {
                    page = &mut fetch => break page,
                    Some(batch) = batches.next() => tally.add(settled(batch)?),
                }
            };
            let page = match page {
                Err(Failure {
                    verdict: Verdict::NotImplemented,
                    ..
                }) if listing != Listing::Objects => {
                    supported.store(false, Ordering::Relaxed);
                    break;
                }
                page => page.map_err(Failure::kind)?,
            };
            for batch in page.victims.chunks(MAX_BATCH) {
                while batches.len() >= BATCHES_IN_FLIGHT {
                    let Some(batch) = batches.next().await else { break };
                    tally.add(settled(batch)?);
                }
                batches.push_back(self.remove(listing, batch.to_vec()));
            }
            marker = page.next;
        }
        while let Some(batch) = batches.next().await {
            tally.add(settled(batch)?);
        }
        Ok(tally)
    }

    async fn remove(&self, listing: Listing, batch: Vec<Victim>) -> Result<Tally, Failure> {
        let mut tally = Tally {
            seen: batch.len() as u64,
            ..Tally::default()
        };
        let (bulk, mut single): (Vec<_>, Vec<_>) = match listing {
            Listing::Uploads => (Vec::new(), batch),
            Listing::Versions | Listing::Objects if self.bulk.load(Ordering::Relaxed) => {
                batch.into_iter().partition(|victim| fits_xml(&victim.key))
            }
            Listing::Versions | Listing::Objects => (Vec::new(), batch),
        };
        if let Some(given_back) = self.remove_bulk(bulk, &mut tally).await? {
            self.bulk.store(false, Ordering::Relaxed);
            single.extend(given_back);
        }
        for few in single.chunks(SINGLES_IN_FLIGHT) {
            let outcomes = join_all(few.iter().map(|victim| self.remove_one(victim))).await;
            for (victim, outcome) in few.iter().zip(outcomes) {
                match outcome {
                    Ok(()) => self.count(&mut tally, std::slice::from_ref(victim)),
                    Err(failure) => self.keep(&mut tally, victim, failure).await?,
                }
            }
        }
        (self.progress)(self.done());
        Ok(tally)
    }

    /// Deletes a batch with one request, and single keys of it again while the server says that it is too busy for them.
    ///
    /// Gives the batch back when the server does not delete in bulk.
    async fn remove_bulk(
        &self,
        mut pending: Vec<Victim>,
        tally: &mut Tally,
    ) -> Result<Option<Vec<Victim>>, Failure> {
        let mut attempt = 0;
        while !pending.is_empty() {
            attempt += 1;
            let answer = match self.patiently(|| self.send_bulk(&pending)).await {
                Ok(answer) => answer,
                Err(Failure {
                    verdict: Verdict::NotImplemented,
                    ..
                }) => return Ok(Some(pending)),
                Err(failure) => return Err(failure),
            };
            let mut busy: Vec<Victim> = Vec::new();
            let mut worst = None;
            for error in answer {
                let failure = Failure::from_code(error.code().unwrap_or_default(), error.message());
                // Not every server names the version; any version of the key will do then, and a re-listing settles it.
                let Some(at) = pending.iter().position(|victim| {
                    error.key() == Some(victim.key.as_str())
                        && error
                            .version_id()
                            .is_none_or(|version| victim.version.as_deref() == Some(version))
                }) else {
                    return Err(failure);
                };
                if failure.verdict == Verdict::Gone {
                    continue;
                }
                let victim = pending.remove(at);
                if failure.is_transient() {
                    busy.push(victim);
                    worst = Some(failure);
                } else {
                    self.keep(tally, &victim, failure).await?;
                }
            }
            self.count(tally, &pending);
            pending = busy;
            if let Some(failure) = worst {
                let Some(wait) = self.backoff.after(attempt) else {
                    return Err(failure);
                };
                tokio::time::sleep(wait).await;
            }
        }
        Ok(None)
    }

    async fn send_bulk(&self, batch: &[Victim]) -> Result<Vec<aws_sdk_s3::types::Error>, Failure> {
        let objects = batch
            .iter()
            .map(|victim| {
                ObjectIdentifier::builder()
                    .key(&victim.key)
                    .set_version_id(victim.version.clone())
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Failure::invalid())?;
        let delete = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(|_| Failure::invalid())?;
        let answer = self
            .client
            .delete_objects()
            .bucket(self.bucket)
            .delete(delete)
            .send()
            .await;
        answer
            .map(|answer| answer.errors.unwrap_or_default())
            .map_err(|e| Failure::read(&e))
    }

    async fn remove_one(&self, victim: &Victim) -> Result<(), Failure> {
        let outcome = self
            .patiently(|| async {
                if let Some(upload) = &victim.upload {
                    let request = self
                        .client
                        .abort_multipart_upload()
                        .bucket(self.bucket)
                        .key(&victim.key);
                    request
                        .upload_id(upload)
                        .send()
                        .await
                        .map(drop)
                        .map_err(|e| Failure::read(&e))
                } else {
                    let request = self.client.delete_object().bucket(self.bucket).key(&victim.key);
                    let request = request.set_version_id(victim.version.clone());
                    request.send().await.map(drop).map_err(|e| Failure::read(&e))
                }
            })
            .await;
        match outcome {
            Err(failure) if failure.verdict == Verdict::Gone => Ok(()),
            outcome => outcome,
        }
    }

    fn count(&self, tally: &mut Tally, removed: &[Victim]) {
        tally.first = tally.first.take().or_else(|| removed.first().cloned());
        tally.removed += removed.len() as u64;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        for victim in removed {
            if let Some(bytes) = victim.bytes {
                *done = done.plus(Cleaned { objects: 1, bytes });
            }
        }
    }

    /// Notes one object that the server refuses to delete. Others are still tried, so that one that is locked keeps no
    /// other alive.
    async fn keep(&self, tally: &mut Tally, victim: &Victim, failure: Failure) -> Result<(), Failure> {
        match failure.verdict {
            Verdict::Denied => {
                // One look tells for the batch, or a million refusals would ask a million times.
                let unexplained = !failure.locked && tally.locked == 0 && tally.denied == 0;
                let looked = unexplained && self.is_locked(victim).await;
                if failure.locked || looked || (tally.locked > 0 && tally.denied == 0) {
                    tally.locked += 1;
                } else {
                    tally.denied += 1;
                }
            }
            Verdict::Rejected | Verdict::NotImplemented => {
                tally.code.get_or_insert(failure.code);
            }
            Verdict::Gone => {}
            Verdict::NoSuchBucket | Verdict::NoCredentials | Verdict::Throttled | Verdict::Unavailable => {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Asks for the lock itself, for servers whose refusal does not say that it is one.
    async fn is_locked(&self, victim: &Victim) -> bool {
        let request = self.client.head_object().bucket(self.bucket).key(&victim.key);
        let head = request.set_version_id(victim.version.clone()).send().await;
        head.is_ok_and(|head| {
            head.object_lock_mode().is_some()
                || head
                    .object_lock_legal_hold_status()
                    .is_some_and(|hold| hold.as_str() == "ON")
        })
    }

    /// Sends a request until it is answered, as long as the backoff has attempts left.
    async fn patiently<T, F, Fut>(&self, request: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match request().await {
                Err(failure) if failure.is_transient() => match self.backoff.after(attempt) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(failure),
                },
                outcome => return outcome,
            }
        }
    }
}

fn settled(batch: Result<Tally, Failure>) -> Result<Tally, BlobErrorKind> {
    batch.map_err(Failure::kind)
}

/// Whether a key survives an XML 1.0 request body. Those with other control characters are deleted one by one, by URL.
fn fits_xml(key: &str) -> bool {
    key.chars()
        .all(|c| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}'))
}
