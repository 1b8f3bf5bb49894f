//! What S3 answers to listings and questions, judged by the raw body.

use super::super::driver::{Cursor, EditionKind, ListingPage, NextPage, Object};
use super::super::request::Doubt;
use super::super::xml::{self, Element};

/// What a listing was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) from: Option<&'a Cursor>,
}

/// What every listing may say of itself; each says some more.
const OF_ANY: [&str; 8] = [
    "Prefix",
    "Delimiter",
    "EncodingType",
    "IsTruncated",
    "CommonPrefixes",
    "RequestCharged",
    "Marker",
    "NextMarker",
];
const OF_OBJECTS: [&str; 7] = [
    "Name",
    "KeyCount",
    "MaxKeys",
    "ContinuationToken",
    "NextContinuationToken",
    "StartAfter",
    "Contents",
];
const OF_VERSIONS: [&str; 8] = [
    "Name",
    "MaxKeys",
    "KeyMarker",
    "VersionIdMarker",
    "NextKeyMarker",
    "NextVersionIdMarker",
    "Version",
    "DeleteMarker",
];
const OF_UPLOADS: [&str; 7] = [
    "Bucket",
    "MaxUploads",
    "KeyMarker",
    "UploadIdMarker",
    "NextKeyMarker",
    "NextUploadIdMarker",
    "Upload",
];

/// What a bucket may say of its versions; the last two are MinIO's.
const OF_VERSIONING: [&str; 5] = [
    "Status",
    "MfaDelete",
    "MFADelete",
    "ExcludedPrefixes",
    "ExcludeFolders",
];

/// Keys are asked for in URL encoding, because XML 1.0 cannot carry all of them; a server that did encode says so.
#[derive(Debug, Clone, Copy)]
struct Keys {
    encoded: bool,
}

impl Keys {
    fn announced(root: &Element<'_>) -> Result<Self, Doubt> {
        match root.said("EncodingType")?.map(str::trim) {
            None => Ok(Self { encoded: false }),
            Some("url") => Ok(Self { encoded: true }),
            Some(_) => Err(Doubt("it is encoded as it was not asked to be")),
        }
    }

    fn decode(self, key: &str) -> Result<Vec<u8>, Doubt> {
        if !self.encoded {
            return Ok(key.as_bytes().to_vec());
        }
        // S3 writes a space as `+` and a plus as `%2B`.
        xml::percent_decoded(&key.replace('+', " "))
    }

    /// Whether `told` is `ours`: not every server encodes what it repeats of a question.
    fn is(self, told: &str, ours: &str) -> bool {
        told == ours || self.decode(told).is_ok_and(|told| told == ours.as_bytes())
    }
}

/// What every listing must say: which bucket, which prefix, from where, and whether more follows.
fn head(
    root: &Element<'_>,
    asked: Asked<'_>,
    name: &'static str,
    own: &[&str],
) -> Result<(Keys, bool), Doubt> {
    root.only(&[&OF_ANY, own].concat())?;
    for most in ["MaxKeys", "MaxUploads"] {
        if root.number(most)? == Some(0) {
            return Err(Doubt("it was to list nothing"));
        }
    }
    for unasked in ["Delimiter", "Marker", "NextMarker"] {
        // A server in Python writes nothing so.
        if root.said(unasked)?.is_some_and(|told| told != "None") {
            return Err(Doubt("it is the answer to another question"));
        }
    }
    let keys = Keys::announced(root)?;
    if root.required(name, "it does not say which bucket it lists")? != asked.bucket {
        return Err(Doubt("it lists another bucket"));
    }
    match root.optional_text("Prefix")? {
        Some(prefix) if keys.is(prefix, asked.prefix) => {}
        Some(_) => return Err(Doubt("it lists another prefix")),
        // Of uploads some servers do not repeat it; whatever they list is held against the prefix by name.
        None if asked.prefix.is_empty() || name == "Bucket" => {}
        None => return Err(Doubt("it does not say which prefix it lists")),
    }
    if root.all("CommonPrefixes").next().is_some() {
        return Err(Doubt("it leaves out names that it has summed up"));
    }
    let truncated = root
        .flag("IsTruncated")?
        .ok_or(Doubt("it does not say whether more follows"))?;
    Ok((keys, truncated))
}

/// Whether a page is the one that was asked for: what it repeats of the marker is the marker, where it repeats it.
fn begins(root: &Element<'_>, keys: Keys, asked: Asked<'_>, id: &str) -> Result<(), Doubt> {
    let (name, token) = asked
        .from
        .map_or((None, None), |from| (from.name.as_deref(), from.token.as_deref()));
    let name_is = root
        .said("KeyMarker")?
        .is_none_or(|told| name.is_some_and(|name| keys.is(told, name)));
    let id_is = root
        .said(id)?
        .is_none_or(|told| token.is_some_and(|token| keys.is(told, token)));
    if name_is && id_is {
        Ok(())
    } else {
        Err(Doubt("it begins elsewhere than it was asked to"))
    }
}

fn key(entry: &Element<'_>, keys: Keys) -> Result<Vec<u8>, Doubt> {
    keys.decode(entry.required("Key", "it has something without a name")?)
}

fn object(name: Vec<u8>, kind: EditionKind, edition: Option<&str>, bytes: Option<u64>) -> Object {
    Object {
        name,
        edition: edition.map(ToOwned::to_owned),
        bytes,
        current: true,
        kind,
    }
}

/// A page of current objects, `ListObjectsV2`.
pub(super) fn objects(body: &[u8], asked: Asked<'_>) -> Result<ListingPage, Doubt> {
    let root = xml::parse(body, "ListBucketResult")?;
    let (keys, truncated) = head(&root, asked, "Name", &OF_OBJECTS)?;
    let token = asked.from.and_then(|from| from.token.as_deref());
    if root
        .said("ContinuationToken")?
        .is_some_and(|told| Some(told) != token)
        || root.said("StartAfter")?.is_some()
    {
        return Err(Doubt("it begins elsewhere than it was asked to"));
    }
    let mut objects = Vec::new();
    for entry in root.all("Contents") {
        let bytes = entry.number("Size")?.unwrap_or(0);
        objects.push(object(key(entry, keys)?, EditionKind::Version, None, Some(bytes)));
    }
    if root
        .number("KeyCount")?
        .is_some_and(|count| count != objects.len() as u64)
    {
        return Err(Doubt("it has not as many names as it says"));
    }
    let next = match (truncated, root.said("NextContinuationToken")?) {
        (true, Some(token)) => NextPage::At(Cursor::token(token)),
        (true, None) => return Err(Doubt("more follows, and it does not say where")),
        (false, None) => NextPage::End,
        (false, Some(_)) => return Err(Doubt("nothing follows, and it says where")),
    };
    Ok(ListingPage::new(objects, next))
}

/// A page of versions and delete markers, `ListObjectVersions`.
pub(super) fn versions(body: &[u8], asked: Asked<'_>) -> Result<ListingPage, Doubt> {
    let root = xml::parse(body, "ListVersionsResult")?;
    let (keys, truncated) = head(&root, asked, "Name", &OF_VERSIONS)?;
    begins(&root, keys, asked, "VersionIdMarker")?;
    let mut all = Vec::new();
    let mut ordered = true;
    for (kind, counts) in [("Version", true), ("DeleteMarker", false)] {
        let before = all.len();
        for entry in root.all(kind) {
            let version = entry.required("VersionId", "it has a version without a number")?;
            let bytes = if counts {
                Some(entry.number("Size")?.unwrap_or(0))
            } else {
                None
            };
            all.push(object(
                key(entry, keys)?,
                EditionKind::Version,
                Some(version),
                bytes,
            ));
        }
        // Some servers list all versions first, and then all delete markers.
        ordered &= all
            .iter()
            .skip(before)
            .map(|object: &Object| &object.name)
            .is_sorted();
    }
    // Of uploads S3 itself names the last one in any case.
    if !truncated && (root.said("NextKeyMarker")?.is_some() || root.said("NextVersionIdMarker")?.is_some()) {
        return Err(Doubt("nothing follows, and it says where"));
    }
    let next = next(&root, keys, truncated, "NextVersionIdMarker")?;
    Ok(ListingPage {
        in_order: ordered,
        ..ListingPage::new(all, next)
    })
}

/// A page of unfinished uploads, `ListMultipartUploads`.
pub(super) fn uploads(body: &[u8], asked: Asked<'_>) -> Result<ListingPage, Doubt> {
    let root = xml::parse(body, "ListMultipartUploadsResult")?;
    let (keys, truncated) = head(&root, asked, "Bucket", &OF_UPLOADS)?;
    begins(&root, keys, asked, "UploadIdMarker")?;
    let mut uploads = Vec::new();
    for entry in root.all("Upload") {
        let upload = entry.required("UploadId", "it has an upload without a number")?;
        uploads.push(object(key(entry, keys)?, EditionKind::Upload, Some(upload), None));
    }
    let next = next(&root, keys, truncated, "NextUploadIdMarker")?;
    Ok(ListingPage::new(uploads, next))
}

fn next(root: &Element<'_>, keys: Keys, truncated: bool, id: &str) -> Result<NextPage, Doubt> {
    if !truncated {
        return Ok(NextPage::End);
    }
    let name = keys.decode(root.required("NextKeyMarker", "more follows, and it does not say where")?)?;
    let token = root.said(id)?.map(ToOwned::to_owned);
    Ok(match String::from_utf8(name) {
        Ok(name) => NextPage::At(Cursor {
            name: Some(name),
            token,
        }),
        Err(_) => NextPage::Beyond,
    })
}

/// Whether a bucket may hold versions that a listing of current objects does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versioning {
    /// It has never kept any.
    Never,
    /// It keeps them, or did once.
    Kept,
}

/// `GetBucketVersioning`.
pub(super) fn versioning(body: &[u8]) -> Result<Versioning, Doubt> {
    let root = xml::parse(body, "VersioningConfiguration")?;
    root.only(&OF_VERSIONING)?;
    match root.optional_text("Status")?.map(str::trim) {
        // Whatever else it is configured with is of versions, and says that they are or were kept.
        None => root.only(&[]).map(|()| Versioning::Never),
        Some("Enabled" | "Suspended") => Ok(Versioning::Kept),
        Some(_) => Err(Doubt(
            "it says neither that versions are kept nor that they are not",
        )),
    }
}

/// What became of one key of a bulk deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyOutcome {
    pub(super) key: String,
    pub(super) version: Option<String>,
    /// Code and message; none when it is said to be deleted.
    pub(super) error: Option<(String, String)>,
}

/// `DeleteObjects`: what it says of each key, in the order of the answer.
pub(super) fn deletions(body: &[u8]) -> Result<Vec<KeyOutcome>, Doubt> {
    let root = xml::parse(body, "DeleteResult")?;
    let mut outcomes = Vec::new();
    for (kind, failed) in [("Deleted", false), ("Error", true)] {
        for entry in root.all(kind) {
            let error = if failed {
                let code = entry.required("Code", "it refuses something and does not say why")?;
                let message = entry.optional_text("Message")?.unwrap_or_default();
                Some((code.to_owned(), message.to_owned()))
            } else {
                None
            };
            outcomes.push(KeyOutcome {
                key: entry.optional_text("Key")?.unwrap_or_default().to_owned(),
                version: entry.said("VersionId")?.map(ToOwned::to_owned),
                error,
            });
        }
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests;
