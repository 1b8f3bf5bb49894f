//! The loop that anyone would write on the client crate: list, delete in batches of a thousand, list again until it is empty.

use crate::Failure;
use crate::options::Options;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::types::{Delete, ObjectIdentifier, ObjectVersion};
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use serde_json::json;
use std::time::Instant;

/// As many as the service has under way for one purge, and as many purges as it works on at once.
const BATCHES: usize = 4;
const PREFIXES: usize = 4;

async fn delete(client: &Client, bucket: &str, versions: Vec<ObjectVersion>) -> Result<u64, Failure> {
    let count = versions.len() as u64;
    let objects = versions
        .into_iter()
        .map(|version| {
            ObjectIdentifier::builder()
                .set_key(version.key)
                .set_version_id(version.version_id)
                .build()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build()?;
    let answer = client
        .delete_objects()
        .bucket(bucket)
        .delete(delete)
        .send()
        .await?;
    match answer.errors.unwrap_or_default().first() {
        None => Ok(count),
        Some(error) => Err(format!("{error:?}").into()),
    }
}

async fn sweep(client: &Client, bucket: &str, prefix: &str) -> Result<u64, Failure> {
    let mut deleted = 0;
    loop {
        let before = deleted;
        let mut marker = (None, None);
        let mut batches = FuturesUnordered::new();
        loop {
            let page = client
                .list_object_versions()
                .bucket(bucket)
                .prefix(prefix)
                .set_key_marker(marker.0)
                .set_version_id_marker(marker.1)
                .send();
            let mut page = std::pin::pin!(page);
            let page = loop {
                tokio::select! {
                    page = &mut page => break page?,
                    Some(done) = batches.next() => deleted += done?,
                }
            };
            if let Some(versions) = page.versions.filter(|versions| !versions.is_empty()) {
                while batches.len() >= BATCHES {
                    if let Some(done) = batches.next().await {
                        deleted += done?;
                    }
                }
                batches.push(delete(client, bucket, versions));
            }
            if page.is_truncated != Some(true) {
                break;
            }
            marker = (page.next_key_marker, page.next_version_id_marker);
        }
        while let Some(done) = batches.next().await {
            deleted += done?;
        }
        if deleted == before {
            return Ok(deleted);
        }
    }
}

/// `sweep endpoint= bucket=`: every prefix that standard input names, one a line.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(options.text("endpoint")?)
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("bench", "bench", None, None, "bench"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    let (client, bucket) = (Client::from_conf(config), options.text("bucket")?);
    let prefixes = std::io::read_to_string(std::io::stdin())?;
    let began = Instant::now();
    let deleted: u64 = stream::iter(prefixes.lines())
        .map(|prefix| sweep(&client, bucket, prefix))
        .buffer_unordered(PREFIXES)
        .try_fold(0, async |sum, deleted| Ok(sum + deleted))
        .await?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", json!({ "objects": deleted, "seconds": seconds }));
    Ok(())
}
