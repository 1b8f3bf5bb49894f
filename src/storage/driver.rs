//! What a driver does for a cloud: lists a bucket page by page, and deletes from it by exact name. Nothing is decided here.

use super::backoff::Backoff;
use super::request::{Failed, RequestError, patiently};
use async_trait::async_trait;
use futures::stream::{self, StreamExt as _};

/// A cloud, or a server that speaks its protocol.
pub(super) trait Driver: Send + Sync {
    /// One of its buckets. What is learnt of its server is kept for as long as this lives: one purge, or one look.
    fn bucket<'a>(&'a self, name: &'a str) -> Box<dyn Bucket + 'a>;

    /// The waits between the attempts of one request.
    fn backoff(&self) -> Backoff;
}

/// What is listed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// Unfinished uploads. First, because one that is completed meanwhile is then found as an object.
    Uploads,
    /// Every version of every object.
    Versions,
    /// What the names stand for now. Only listed where no versions are left, or where none are kept.
    Objects,
}

/// A bucket, listed and deleted from by exact name.
#[async_trait]
pub(super) trait Bucket: Send + Sync {
    /// The listings that all have to be empty before a place is.
    fn listings(&self) -> &'static [Listing] {
        &[Listing::Versions]
    }

    /// The listing that tells what the names stand for now.
    fn present(&self) -> Listing {
        Listing::Versions
    }

    /// Whether [`Listing::Versions`] was found to be of no use, because the bucket has never kept versions.
    fn is_unversioned(&self) -> bool {
        false
    }

    /// One page of what begins with `prefix`.
    async fn list(
        &self,
        listing: Listing,
        prefix: &str,
        from: Option<&Cursor>,
    ) -> Result<ListingPage, RequestError>;

    /// As little as possible of what the names that begin with `prefix` stand for now.
    async fn glance(&self, prefix: &str) -> Result<ListingPage, RequestError> {
        self.list(self.present(), prefix, None).await
    }

    /// Asks for a batch to be deleted for good; what the storage said to each.
    async fn remove(&self, batch: Vec<Object>) -> Removed;
}

/// One page of a listing, whose answer was whole.
#[derive(Debug, Default)]
pub(super) struct ListingPage {
    pub(super) objects: Vec<Object>,
    /// The names are in the order of their bytes.
    pub(super) in_order: bool,
    pub(super) next: NextPage,
}

impl ListingPage {
    pub(super) fn new(objects: Vec<Object>, next: NextPage) -> Self {
        Self {
            in_order: objects.is_sorted_by_key(|object| &object.name),
            objects,
            next,
        }
    }

    /// The greatest name of the page.
    pub(super) fn greatest(&self) -> Option<&[u8]> {
        self.objects.iter().map(|object| object.name.as_slice()).max()
    }

    pub(super) fn least(&self) -> Option<&[u8]> {
        self.objects.iter().map(|object| object.name.as_slice()).min()
    }
}

/// What comes after a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum NextPage {
    /// Nothing: the listing is complete.
    #[default]
    End,
    /// Another page.
    At(Cursor),
    /// More, behind a name that cannot be sent: what this page has must go first.
    Beyond,
}

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Cursor {
    pub(super) name: Option<String>,
    pub(super) token: Option<String>,
}

impl Cursor {
    pub(super) fn token(token: impl Into<String>) -> Self {
        Self {
            name: None,
            token: Some(token.into()),
        }
    }
}

/// Something to delete: a version of an object, what stands for its deletion, or an unfinished upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// The name, byte for byte as the storage has it.
    pub(super) name: Vec<u8>,
    /// Which version, generation, snapshot or upload of that name.
    pub(super) edition: Option<String>,
    /// The size of an object; none for what is not counted.
    pub(super) bytes: Option<u64>,
    /// It is what the name stands for now, and no older version.
    pub(super) current: bool,
    /// What `edition` is the number of.
    pub(super) kind: EditionKind,
}

/// What an edition is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum EditionKind {
    #[default]
    Version,
    Snapshot,
    Upload,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Removed<E = RequestError> {
    /// What the storage said to each; silence is missing.
    pub(super) answers: Vec<(Object, Result<(), E>)>,
    /// What stands in the way of all others too, and the name that it was met at.
    pub(super) stopped: Option<(E, Option<Vec<u8>>)>,
}

impl<E> Default for Removed<E> {
    fn default() -> Self {
        Self {
            answers: Vec::new(),
            stopped: None,
        }
    }
}

/// Deletes the objects of a batch one by one, `in_flight` at a time, and stops where all others would fail alike.
pub(super) async fn remove_each<E, F, Fut>(
    batch: Vec<Object>,
    in_flight: usize,
    backoff: Backoff,
    remove: F,
) -> Removed<E>
where
    E: Failed,
    F: Fn(Object) -> Fut,
    Fut: Future<Output = Result<(), E>>,
{
    let remove = &remove;
    let mut answers = stream::iter(batch)
        .map(|object| async move {
            let answer = patiently(backoff, || remove(object.clone())).await;
            (object, answer)
        })
        .buffered(in_flight);
    let mut removed = Removed::default();
    while let Some((object, answer)) = answers.next().await {
        match answer {
            Err(error) if error.concerns_all() => {
                removed.stopped = Some((error, Some(object.name)));
                break;
            }
            answer => removed.answers.push((object, answer)),
        }
    }
    removed
}
