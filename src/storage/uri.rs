//! Storage URIs: how they are spelled, and what they name.
//!
//! Four schemes are known. `file:///abs/path` names one file or folder. `s3://bucket/key`, `gs://bucket/key` and
//! `az://container/key` name the object of exactly that key and every object under `key/`; with a `/` at the end they name
//! only the objects under `key/`.
//!
//! **The one decoding rule:** the path is percent-decoded once, and what comes out is the name: the path components of a
//! file, the key of an object, byte for byte and never normalised. A `%` that belongs to the name is written `%25`, a `?`
//! is `%3F`, a `#` is `%23`; a `+` is a plus. Whatever could be read as a different path by a layer that decodes once more
//! or normalises (dot segments, encoded slashes, empty components of a file path) is refused and not repaired.

use crate::storage::roots::local_root::LocalRoot;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use std::sync::Arc;

/// The longest storage URI, in bytes.
pub const MAX_URI_BYTES: usize = 2_048;

/// The longest key that a URI may name, in bytes: one less than the 1,024 of S3, GCS and Azure, because the `/` that ends a
/// listing prefix must still fit.
const MAX_KEY_BYTES: usize = 1_023;

/// The longest component of a file path, in bytes (`NAME_MAX` of every file system that the ledger runs on).
const MAX_COMPONENT_BYTES: usize = 255;

/// A storage URI that was checked against the storage roots: where it leads, decoded.
///
/// Only [`StorageRoots::check`](super::roots::StorageRoots::check) makes one. A URI is personal data, so `Debug` shows the
/// kind of place and not its name.
#[derive(Clone, PartialEq, Eq)]
pub struct StorageUri {
    root: usize,
    place: Place,
}

/// What a storage URI names.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A file or a folder with everything in it.
    Local(LocalPlace),
    /// Objects of a bucket.
    Bucket(BucketPlace),
}

/// Whose protocol a bucket is spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// S3 and its likes.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage, whose buckets are called containers.
    Azure,
}

impl Cloud {
    /// The scheme of its URIs.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    fn of_scheme(scheme: &str) -> Option<Self> {
        [Self::S3, Self::Gcs, Self::Azure]
            .into_iter()
            .find(|cloud| cloud.scheme() == scheme)
    }
}

/// A file or folder below a local storage root.
#[derive(Clone)]
pub struct LocalPlace {
    pub(super) root: Arc<LocalRoot>,
    pub(super) below: Vec<String>,
}

impl PartialEq for LocalPlace {
    fn eq(&self, other: &Self) -> bool {
        self.root.path() == other.root.path() && self.below == other.below
    }
}

impl Eq for LocalPlace {}

/// Objects of a bucket below a storage root.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketPlace {
    pub(crate) cloud: Cloud,
    pub(crate) bucket: String,
    pub(crate) key: String,
}

impl StorageUri {
    pub(crate) fn new(root: usize, place: Place) -> Self {
        Self { root, place }
    }

    /// The index of the storage root that this place lies under, in the order the roots were given.
    #[must_use]
    pub fn root(&self) -> usize {
        self.root
    }

    /// What it names.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// `file`, `s3`, `gs` or `az`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match &self.place {
            Place::Local(_) => "file",
            Place::Bucket(place) => place.cloud.scheme(),
        }
    }
}

impl LocalPlace {
    /// The storage root, as it was configured.
    #[must_use]
    pub fn root(&self) -> &std::path::Path {
        self.root.path()
    }

    /// The decoded path components below the root; at least one, none of them `.`, `..` or empty.
    #[must_use]
    pub fn below(&self) -> &[String] {
        &self.below
    }
}

impl BucketPlace {
    /// Whose bucket it is.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// The bucket, or container.
    #[must_use]
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The key of the one object that is named exactly; none when the URI ends in `/` and so names a folder only.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        (!self.key.ends_with('/')).then_some(self.key.as_str())
    }

    /// The prefix of the objects that lie under it. It ends in `/`, so that `a` never takes `a-sibling` with it.
    #[must_use]
    pub fn folder(&self) -> String {
        if self.key.ends_with('/') {
            self.key.clone()
        } else {
            format!("{}/", self.key)
        }
    }
}

impl fmt::Debug for StorageUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorageUri({}, root {})", self.scheme(), self.root)
    }
}

/// Why a storage URI is refused.
///
/// The text completes "the storage URI is refused: …" in an answer to a client. It never holds the URI or a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriRefusal {
    /// Over [`MAX_URI_BYTES`], or names a key or component longer than any storage takes.
    #[error("it is too long")]
    TooLong,
    /// A control character (NUL, line break, …), plain or percent-encoded.
    #[error("it holds a control character")]
    ControlCharacter,
    /// No `scheme:` at its start.
    #[error("it is not a URI with a scheme")]
    NoScheme,
    /// A scheme that no storage has.
    #[error("its scheme is not one of file, s3, gs and az, in lower case")]
    UnknownScheme,
    /// User name or password before the host.
    #[error("it holds credentials")]
    Credentials,
    /// A file URI with a host, or a bucket with a port.
    #[error("it holds a host or port")]
    Host,
    /// Not `file:///…`.
    #[error("its path is not absolute")]
    Relative,
    /// `s3:///…`, `gs:///…`, `az:///…`.
    #[error("it names no bucket")]
    NoBucket,
    /// `?…` or `#…`.
    #[error("it holds a query or a fragment")]
    QueryOrFragment,
    /// `%` without two hexadecimal digits, or escapes that are no UTF-8.
    #[error("it holds a percent-escape that is incomplete or no UTF-8")]
    BadEscape,
    /// A `.` or `..` component, plain or percent-encoded, also more than once.
    #[error("it holds a dot segment")]
    DotSegment,
    /// `%2F`, or `%5C` in a file path, also encoded more than once.
    #[error("it holds an encoded path separator")]
    EncodedSeparator,
    /// `\` in a file path.
    #[error("it holds a backslash")]
    Backslash,
    /// `//` in a file path.
    #[error("its path holds an empty component")]
    EmptyComponent,
    /// Not below any storage root.
    #[error("it is not under a storage root")]
    OutsideRoots,
    /// A storage root itself, or a folder that holds one.
    #[error("it names a storage root or a folder that holds one")]
    HoldsRoot,
    /// A place in a root of another name, or of another ledger, that lies inside the one that the URI names.
    #[error("it lies inside another storage root, which has another name for it")]
    InsideOtherRoot,
    /// A folder that the ledger keeps its own data in, or a folder around it.
    #[error("it reaches the ledger's own data")]
    Protected,
    /// The file by which a storage root is recognized.
    #[error("it names the marker of a storage root")]
    Marker,
    /// A symbolic link at or above the place, below the root.
    #[error("its path leads through a symbolic link")]
    Symlink,
    /// Something is mounted at or above the place, below the root: what is on it is not the root's.
    #[error("another file system is mounted at or above it")]
    OtherFileSystem,
    /// The storage root is missing, unreadable or not the folder that it was, so that nothing can be said of what is below it.
    #[error("the storage root is unavailable at the moment")]
    RootUnavailable,
    /// The path cannot be looked at (permissions, an I/O error), so that nothing can be said about it.
    #[error("its path cannot be checked")]
    Unreadable,
}

impl UriRefusal {
    /// Whether the cause is on this side: the same URI may pass once the storage is back.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::RootUnavailable | Self::Unreadable)
    }
}

/// A URI taken apart and decoded, not yet held against any root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Spelled {
    /// Decoded components of an absolute path; none at all for `file:///`.
    Local(Vec<String>),
    /// Bucket and decoded key; the key is empty for `s3://bucket` and `s3://bucket/`.
    Bucket {
        cloud: Cloud,
        bucket: String,
        key: String,
    },
}

/// What a storage URI names, spelled in one way only: what is hashed to recognize it by. Two spellings of a local path name the
/// same; `s3://bucket/key` and `s3://bucket/key/` do not.
///
/// # Errors
/// [`UriRefusal`] when it is not spelled as a storage URI.
pub fn canonical_name(uri: &str) -> Result<Vec<u8>, UriRefusal> {
    Ok(match spell(uri)? {
        Spelled::Local(components) => local_name(&components.join("/")),
        Spelled::Bucket { cloud, bucket, key } => bucket_name(cloud, &bucket, &key),
    })
}

/// What stands for itself in the one spelling that a folder is remembered by.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The URI of a folder, given by its decoded components: in ASCII, and one and the same for each path.
pub(crate) fn folder_uri(components: &[String]) -> String {
    below_folder("file://", components)
}

/// The URI of what lies below a folder whose URI is `folder`, in the same spelling.
pub(crate) fn below_folder(folder: &str, below: &[String]) -> String {
    below.iter().fold(folder.to_owned(), |uri, name| {
        format!("{uri}/{}", utf8_percent_encode(name, PLAIN))
    })
}

/// The URI of a key, in ASCII, and one and the same for each key.
pub(crate) fn key_uri(cloud: Cloud, bucket: &str, key: &str) -> String {
    let segments: Vec<String> = key
        .split('/')
        .map(|name| utf8_percent_encode(name, PLAIN).to_string())
        .collect();
    format!("{}://{bucket}/{}", cloud.scheme(), segments.join("/"))
}

/// The name of a local path, given without the slash at its beginning.
pub(crate) fn local_name(path: &str) -> Vec<u8> {
    format!("file\0/{path}").into_bytes()
}

/// The name of a key.
pub(crate) fn bucket_name(cloud: Cloud, bucket: &str, key: &str) -> Vec<u8> {
    format!("{}\0{bucket}\0{key}", cloud.scheme()).into_bytes()
}

/// Takes a URI apart by the rules at the top of this file.
///
/// It is done by hand because general URL parsers repair what must be refused here: they resolve dot segments, turn `\`
/// into `/` and drop tabs.
pub(crate) fn spell(uri: &str) -> Result<Spelled, UriRefusal> {
    if uri.len() > MAX_URI_BYTES {
        return Err(UriRefusal::TooLong);
    }
    if uri.chars().any(char::is_control) {
        return Err(UriRefusal::ControlCharacter);
    }
    let (scheme, rest) = uri.split_once(':').ok_or(UriRefusal::NoScheme)?;
    if scheme.is_empty()
        || !scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    {
        return Err(UriRefusal::NoScheme);
    }
    let cloud = Cloud::of_scheme(scheme);
    if cloud.is_none() && scheme != "file" {
        return Err(UriRefusal::UnknownScheme);
    }
    if rest.contains(['?', '#']) {
        return Err(UriRefusal::QueryOrFragment);
    }
    let rest = rest.strip_prefix("//").ok_or(UriRefusal::Relative)?;
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if authority.contains('@') {
        return Err(UriRefusal::Credentials);
    }
    let Some(cloud) = cloud else {
        if !authority.is_empty() {
            return Err(UriRefusal::Host);
        }
        let path = path.strip_prefix('/').ok_or(UriRefusal::Relative)?;
        return spell_local(path).map(Spelled::Local);
    };
    if authority.contains(':') {
        return Err(UriRefusal::Host);
    }
    if authority.is_empty() {
        return Err(UriRefusal::NoBucket);
    }
    let key = spell_key(path.strip_prefix('/').unwrap_or(path))?;
    Ok(Spelled::Bucket {
        cloud,
        bucket: authority.to_owned(),
        key,
    })
}

fn spell_local(path: &str) -> Result<Vec<String>, UriRefusal> {
    // One slash at the end says "folder", which a path on disk does not need to be told.
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let mut components = Vec::new();
    for raw in path.split('/') {
        let name = decode(raw, Separators::SlashAndBackslash)?;
        if name.is_empty() {
            return Err(UriRefusal::EmptyComponent);
        }
        if name.len() > MAX_COMPONENT_BYTES {
            return Err(UriRefusal::TooLong);
        }
        components.push(name);
    }
    Ok(components)
}

fn spell_key(path: &str) -> Result<String, UriRefusal> {
    let segments: Vec<String> = path
        .split('/')
        .map(|raw| decode(raw, Separators::Slash))
        .collect::<Result<_, _>>()?;
    // `a//b` is a key of its own in a bucket, so that empty segments stay.
    let key = segments.join("/");
    if key.len() > MAX_KEY_BYTES {
        return Err(UriRefusal::TooLong);
    }
    Ok(key)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Separators {
    Slash,
    SlashAndBackslash,
}

/// Decodes one path segment once, and refuses it if it would be a path trick to anyone who decodes it again.
fn decode(raw: &str, separators: Separators) -> Result<String, UriRefusal> {
    if separators == Separators::SlashAndBackslash && raw.contains('\\') {
        return Err(UriRefusal::Backslash);
    }
    let bytes = raw.as_bytes();
    for (at, _) in bytes.iter().enumerate().filter(|(_, b)| **b == b'%') {
        let digits = bytes.get(at + 1..at + 3).ok_or(UriRefusal::BadEscape)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(UriRefusal::BadEscape);
        }
    }
    let name = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| UriRefusal::BadEscape)?
        .into_owned();
    if name.chars().any(char::is_control) {
        return Err(UriRefusal::ControlCharacter);
    }
    let mut stage = name.as_bytes().to_vec();
    loop {
        if stage.contains(&b'/') || (separators == Separators::SlashAndBackslash && stage.contains(&b'\\')) {
            return Err(UriRefusal::EncodedSeparator);
        }
        if stage == b"." || stage == b".." {
            return Err(UriRefusal::DotSegment);
        }
        if stage.iter().any(u8::is_ascii_control) {
            return Err(UriRefusal::ControlCharacter);
        }
        // Each round shortens the text, so that the loop ends.
        let next: Vec<u8> = percent_encoding::percent_decode(&stage).collect();
        if next == stage {
            return Ok(name);
        }
        stage = next;
    }
}
