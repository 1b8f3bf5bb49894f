//! One purge of a place in GCS or Azure: rounds of listing and deleting by exact name, until a round finds nothing.
//!
//! `gcs` and `azure` speak the protocols; here it is decided what goes and when it is over. (S3 has a loop of its own, with
//! bulk deletion and unfinished uploads.)

use super::backoff::Backoff;
use super::blob::{BlobError, BlobErrorKind, Cleaned, Progress};
use super::survey::{Met, Unread};
use super::uri::BucketPlace;
use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

/// How many single deletions of one purge run at the same time.
const IN_FLIGHT: usize = 16;

/// How many rounds in a row may find the same first object still there, although the storage said that it is deleted.
const MAX_REPEATS: u32 = 3;

/// How many rounds a purge takes at most, should a writer keep adding objects.
const MAX_ROUNDS: u32 = 100_000;

/// A bucket, listed and deleted from by exact name.
#[async_trait]
pub(super) trait Container: Send + Sync {
    /// One page of what begins with `prefix`, by name, with every older version and snapshot that the storage keeps.
    async fn list(&self, prefix: &str, from: Option<&str>) -> Result<Page, Failure>;

    /// Deletes one of them for good.
    async fn remove(&self, victim: &Victim) -> Result<(), Failure>;
}

/// One page of a listing.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) victims: Vec<Victim>,
    /// Where the next page begins; none after the last.
    pub(super) next: Option<String>,
}

/// Something to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Victim {
    /// The name, byte for byte as the storage has it.
    pub(super) name: String,
    /// The query parameter that picks one version or snapshot of that name.
    pub(super) edition: Option<(&'static str, String)>,
    /// Whether it is what the name stands for now, and no older version.
    pub(super) current: bool,
    pub(super) bytes: u64,
}

/// A failed request.
#[derive(Debug)]
pub(super) enum Failure {
    /// What was to be deleted does not exist.
    Gone,
    Stands(BlobErrorKind),
}

impl Failure {
    fn kind(self) -> BlobErrorKind {
        match self {
            Self::Gone => BlobErrorKind::NotEmpty,
            Self::Stands(kind) => kind,
        }
    }
}

/// What one round came to.
#[derive(Debug, Default)]
struct Tally {
    seen: u64,
    /// How many the storage says are deleted now, or were already.
    removed: u64,
    locked: u64,
    refused: Option<BlobErrorKind>,
    /// The first that the storage said is deleted, to recognise one that does not go.
    first: Option<Victim>,
}

impl Tally {
    /// Why nothing went although there was something.
    fn reason(self) -> BlobErrorKind {
        if self.locked > 0 {
            BlobErrorKind::ObjectLocked {
                remaining: self.locked,
            }
        } else {
            self.refused.unwrap_or(BlobErrorKind::NotEmpty)
        }
    }
}

/// Deletes everything that `place` names, as [`BlobStore::purge`](super::blob::BlobStore::purge) promises.
pub(super) async fn purge(
    container: &dyn Container,
    backoff: Backoff,
    place: &BucketPlace,
    progress: Progress<'_>,
) -> Result<Cleaned, BlobError> {
    let mut purge = Purge {
        container,
        backoff,
        progress,
        done: Cleaned::default(),
    };
    let outcome = purge.run(place).await;
    let done = purge.done;
    match outcome {
        Ok(()) => {
            progress(done);
            Ok(done)
        }
        Err(kind) => Err(kind.after(done)),
    }
}

/// Lists one page under a root, without patience: to tell at start what would fail later.
pub(super) async fn probe(container: &dyn Container, prefix: &str) -> Result<(), BlobErrorKind> {
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    };
    container
        .list(&prefix, None)
        .await
        .map(drop)
        .map_err(Failure::kind)
}

/// What of a listing is meant: the names under a folder, or one name.
enum Scope<'a> {
    Folder(&'a str),
    Object(&'a str),
}

impl Scope<'_> {
    fn prefix(&self) -> &str {
        match self {
            Self::Folder(name) | Self::Object(name) => name,
        }
    }

    /// Also holds what a server lists beyond what it was asked for away from the deletion.
    fn holds(&self, name: &str) -> bool {
        match self {
            Self::Folder(prefix) => name.starts_with(prefix),
            Self::Object(key) => name == *key,
        }
    }

    /// Whether a listing by name has nothing more to show after `page`.
    fn ends_with(&self, page: &Page) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Object(key) => page.victims.last().is_some_and(|last| last.name != **key),
        }
    }
}

struct Purge<'a> {
    container: &'a dyn Container,
    backoff: Backoff,
    progress: Progress<'a>,
    done: Cleaned,
}

impl Purge<'_> {
    async fn run(&mut self, place: &BucketPlace) -> Result<(), BlobErrorKind> {
        let folder = place.folder();
        let mut scopes = vec![Scope::Folder(&folder)];
        scopes.extend(place.object().map(Scope::Object));
        let (mut last_first, mut repeats) = (None, 0);
        for _ in 0..MAX_ROUNDS {
            let mut round = Tally::default();
            for scope in &scopes {
                self.sweep(scope, &mut round).await?;
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

    /// Lists `scope` to its end and deletes what is there, page by page.
    async fn sweep(&mut self, scope: &Scope<'_>, tally: &mut Tally) -> Result<(), BlobErrorKind> {
        let (container, backoff) = (self.container, self.backoff);
        let mut from: Option<String> = None;
        loop {
            let list = || container.list(scope.prefix(), from.as_deref());
            let page = patiently(backoff, list).await.map_err(Failure::kind)?;
            let over = scope.ends_with(&page);
            let mut victims = page.victims;
            victims.retain(|victim| scope.holds(&victim.name));
            // Older versions and snapshots first: the deletion of what they belong to may take them along, uncounted.
            victims.sort_by_key(|victim| victim.current);
            let mut outcomes = stream::iter(victims)
                .map(|victim| async move {
                    let outcome = patiently(backoff, || container.remove(&victim)).await;
                    (victim, outcome)
                })
                .buffered(IN_FLIGHT);
            while let Some((victim, outcome)) = outcomes.next().await {
                tally.seen += 1;
                self.done = self.done.plus(settle(tally, victim, outcome)?);
            }
            (self.progress)(self.done);
            match page.next {
                Some(next) if !over => from = Some(next),
                Some(_) | None => return Ok(()),
            }
        }
    }
}

/// Notes what became of one deletion. Others are still tried, so that one that is refused keeps no other alive; what stands
/// in the way of all of them ends the purge.
fn settle(tally: &mut Tally, victim: Victim, outcome: Result<(), Failure>) -> Result<Cleaned, BlobErrorKind> {
    let mut cleaned = Cleaned::default();
    match outcome {
        Ok(()) => {
            cleaned = Cleaned {
                objects: 1,
                bytes: victim.bytes,
            };
            tally.removed += 1;
            tally.first.get_or_insert(victim);
        }
        Err(Failure::Gone) => {
            tally.removed += 1;
            tally.first.get_or_insert(victim);
        }
        Err(Failure::Stands(BlobErrorKind::ObjectLocked { remaining })) => tally.locked += remaining,
        Err(Failure::Stands(kind @ (BlobErrorKind::PermissionDenied | BlobErrorKind::Rejected { .. }))) => {
            tally.refused.get_or_insert(kind);
        }
        Err(Failure::Stands(kind)) => return Err(kind),
    }
    Ok(cleaned)
}

/// Whether there is a current object at the place, or below it.
pub(super) async fn holds(
    container: &dyn Container,
    backoff: Backoff,
    place: &BucketPlace,
) -> Result<bool, BlobErrorKind> {
    if let Some(key) = place.object() {
        let page = patiently(backoff, || container.list(key, None))
            .await
            .map_err(Failure::kind)?;
        if page
            .victims
            .iter()
            .any(|found| found.current && found.name == key)
        {
            return Ok(true);
        }
    }
    let folder = place.folder();
    let mut from: Option<String> = None;
    loop {
        let page = patiently(backoff, || container.list(&folder, from.as_deref()))
            .await
            .map_err(Failure::kind)?;
        if page
            .victims
            .iter()
            .any(|found| found.current && found.name.starts_with(&folder))
        {
            return Ok(true);
        }
        from = match page.next {
            Some(next) => Some(next),
            None => return Ok(false),
        };
    }
}

/// Tells of everything under a prefix, until nobody listens.
pub(super) async fn walk(
    container: &dyn Container,
    backoff: Backoff,
    prefix: &str,
    tell: &mpsc::Sender<Result<Met, Unread>>,
) -> Result<(), BlobErrorKind> {
    let folder = if prefix.is_empty() {
        String::new()
    } else {
        format!("{prefix}/")
    };
    let mut from: Option<String> = None;
    loop {
        let page = patiently(backoff, || container.list(&folder, from.as_deref()))
            .await
            .map_err(Failure::kind)?;
        for found in page
            .victims
            .into_iter()
            .filter(|found| found.name.starts_with(&folder))
        {
            let met = Met {
                name: found.name,
                bytes: found.bytes,
            };
            if tell.send(Ok(met)).await.is_err() {
                return Ok(());
            }
        }
        from = match page.next {
            Some(next) => Some(next),
            None => return Ok(()),
        };
    }
}

/// Sends a request until it is answered, as long as the backoff has attempts left.
async fn patiently<T, F, Fut>(backoff: Backoff, request: F) -> Result<T, Failure>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<T, Failure>>,
{
    let mut attempt = 0;
    loop {
        attempt += 1;
        match request().await {
            Err(Failure::Stands(kind @ (BlobErrorKind::Throttled | BlobErrorKind::Unavailable))) => {
                match backoff.after(attempt) {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => return Err(Failure::Stands(kind)),
                }
            }
            outcome => return outcome,
        }
    }
}
