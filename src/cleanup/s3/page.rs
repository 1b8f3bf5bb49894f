//! One page of a listing, whichever of the three kinds.

use super::failure::Failure;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    /// Unfinished multipart uploads.
    Uploads,
    /// Object versions and delete markers.
    Versions,
    /// Current objects.
    Objects,
}

/// Which keys a listing is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those that start with this, which ends in `/`.
    Folder(String),
    /// This one.
    Object(String),
}

impl Scope {
    fn prefix(&self) -> &str {
        match self {
            Self::Folder(prefix) => prefix,
            Self::Object(key) => key,
        }
    }

    /// Decides on each listed key, so that a server that lists more than it was asked for loses nothing.
    fn holds(&self, key: &str) -> bool {
        match self {
            Self::Folder(prefix) => key.starts_with(prefix.as_str()),
            Self::Object(exact) => key == exact,
        }
    }

    /// Whether the sorted listing has nothing for this scope after `key`: the key sorts before all that it is a prefix of.
    fn ends_before(&self, key: &str) -> bool {
        match self {
            Self::Folder(_) => false,
            Self::Object(exact) => key.as_bytes() > exact.as_bytes(),
        }
    }
}

/// One thing to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Victim {
    pub(super) key: String,
    pub(super) version: Option<String>,
    pub(super) upload: Option<String>,
    /// The size of an object; none for what is not counted.
    pub(super) bytes: Option<u64>,
}

/// Where the next page starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marker {
    key: Option<String>,
    id: Option<String>,
}

#[derive(Debug)]
pub(super) struct Page {
    pub(super) victims: Vec<Victim>,
    pub(super) next: Option<Marker>,
}

/// Keys are asked for in URL encoding, because XML 1.0 cannot carry all of them; a server that did encode says so.
struct Keys {
    encoded: bool,
}

impl Keys {
    fn of(encoding: Option<&EncodingType>) -> Self {
        Self {
            encoded: encoding == Some(&EncodingType::Url),
        }
    }

    fn decode(&self, key: String) -> Result<String, Failure> {
        if !self.encoded {
            return Ok(key);
        }
        // S3 writes a space as `+` and a plus as `%2B`.
        let spaced = key.replace('+', " ");
        percent_decode_str(&spaced)
            .decode_utf8()
            .map(|key| key.into_owned())
            .map_err(|_| Failure::invalid())
    }
}

pub(super) async fn fetch(
    client: &Client,
    bucket: &str,
    listing: Listing,
    scope: &Scope,
    marker: &Marker,
) -> Result<Page, Failure> {
    let (victims, next) = match listing {
        Listing::Uploads => uploads(client, bucket, scope, marker).await?,
        Listing::Versions => versions(client, bucket, scope, marker).await?,
        Listing::Objects => objects(client, bucket, scope, marker).await?,
    };
    let past = victims.iter().any(|victim| scope.ends_before(&victim.key));
    // A server that hands out the same place again would keep this in a circle.
    let next = next.filter(|next| !past && next != marker);
    Ok(Page {
        victims: victims
            .into_iter()
            .filter(|victim| scope.holds(&victim.key))
            .collect(),
        next,
    })
}

async fn uploads(
    client: &Client,
    bucket: &str,
    scope: &Scope,
    marker: &Marker,
) -> Result<(Vec<Victim>, Option<Marker>), Failure> {
    let page = client
        .list_multipart_uploads()
        .bucket(bucket)
        .prefix(scope.prefix())
        .encoding_type(EncodingType::Url)
        .set_key_marker(marker.key.clone())
        .set_upload_id_marker(marker.id.clone())
        .send()
        .await
        .map_err(|e| Failure::read(&e))?;
    let keys = Keys::of(page.encoding_type());
    let mut victims = Vec::new();
    for upload in page.uploads.unwrap_or_default() {
        let (Some(key), Some(id)) = (upload.key, upload.upload_id) else {
            return Err(Failure::invalid());
        };
        victims.push(Victim {
            key: keys.decode(key)?,
            version: None,
            upload: Some(id),
            bytes: None,
        });
    }
    let next = match (page.is_truncated, page.next_key_marker) {
        (Some(true), Some(key)) => Some(Marker {
            key: Some(keys.decode(key)?),
            id: page.next_upload_id_marker,
        }),
        _ => None,
    };
    Ok((victims, next))
}

async fn versions(
    client: &Client,
    bucket: &str,
    scope: &Scope,
    marker: &Marker,
) -> Result<(Vec<Victim>, Option<Marker>), Failure> {
    let page = client
        .list_object_versions()
        .bucket(bucket)
        .prefix(scope.prefix())
        .encoding_type(EncodingType::Url)
        .set_key_marker(marker.key.clone())
        .set_version_id_marker(marker.id.clone())
        .send()
        .await
        .map_err(|e| Failure::read(&e))?;
    let keys = Keys::of(page.encoding_type());
    let mut victims = Vec::new();
    for version in page.versions.unwrap_or_default() {
        let Some(key) = version.key else {
            return Err(Failure::invalid());
        };
        let bytes = u64::try_from(version.size.unwrap_or_default()).unwrap_or_default();
        victims.push(Victim {
            key: keys.decode(key)?,
            version: version.version_id,
            upload: None,
            bytes: Some(bytes),
        });
    }
    for mark in page.delete_markers.unwrap_or_default() {
        let Some(key) = mark.key else {
            return Err(Failure::invalid());
        };
        victims.push(Victim {
            key: keys.decode(key)?,
            version: mark.version_id,
            upload: None,
            bytes: None,
        });
    }
    let next = match (page.is_truncated, page.next_key_marker) {
        (Some(true), Some(key)) => Some(Marker {
            key: Some(keys.decode(key)?),
            id: page.next_version_id_marker,
        }),
        _ => None,
    };
    Ok((victims, next))
}

async fn objects(
    client: &Client,
    bucket: &str,
    scope: &Scope,
    marker: &Marker,
) -> Result<(Vec<Victim>, Option<Marker>), Failure> {
    let page = client
        .list_objects_v2()
        .bucket(bucket)
        .prefix(scope.prefix())
        .encoding_type(EncodingType::Url)
        .set_continuation_token(marker.id.clone())
        .send()
        .await
        .map_err(|e| Failure::read(&e))?;
    let keys = Keys::of(page.encoding_type());
    let mut victims = Vec::new();
    for object in page.contents.unwrap_or_default() {
        let Some(key) = object.key else {
            return Err(Failure::invalid());
        };
        let bytes = u64::try_from(object.size.unwrap_or_default()).unwrap_or_default();
        victims.push(Victim {
            key: keys.decode(key)?,
            version: None,
            upload: None,
            bytes: Some(bytes),
        });
    }
    let next = match (page.is_truncated, page.next_continuation_token) {
        (Some(true), Some(token)) => Some(Marker {
            key: None,
            id: Some(token),
        }),
        _ => None,
    };
    Ok((victims, next))
}
