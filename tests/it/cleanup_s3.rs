//! Storage cleanup on a private S3 server, and (`faults`) on one that misbehaves on order.

pub mod fake;
mod faults;

use crate::harness::s3::S3;
use archive_ledger::storage::blobs::Blobs;
use archive_ledger::storage::deletion::{BlobErrorKind, Cleaned};
use archive_ledger::storage::roots::StorageRoots;
use archive_ledger::storage::s3::S3Store;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ObjectLockLegalHoldStatus;
use futures::stream::{self, StreamExt as _};
use std::collections::BTreeSet;
use std::sync::Mutex;

fn config(endpoint: &str) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(endpoint)
        .force_path_style(true)
}

fn blobs(bucket: &str, endpoint: &str) -> Blobs {
    let roots = StorageRoots::parse(&[format!("s3://{bucket}/root")]).unwrap();
    Blobs::with_stores(roots, Some(S3Store::from_config(config(endpoint))))
}

struct Scene {
    client: aws_sdk_s3::Client,
    blobs: Blobs,
    bucket: String,
}

impl Scene {
    async fn new() -> Self {
        let server = S3::shared().await;
        Self::on(server, server.create_bucket().await)
    }

    async fn versioned() -> Self {
        let server = S3::shared().await;
        Self::on(server, server.create_versioned_bucket().await)
    }

    async fn with_object_lock() -> Self {
        let server = S3::shared().await;
        Self::on(server, server.create_lockable_bucket().await)
    }

    fn on(server: &S3, bucket: String) -> Self {
        Self {
            client: server.client(),
            blobs: blobs(&bucket, &server.endpoint()),
            bucket,
        }
    }

    fn uri(&self, below: &str) -> String {
        format!("s3://{}/root/{below}", self.bucket)
    }

    async fn put(&self, key: &str) {
        let body = ByteStream::from_static(b"1234567890");
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(body)
            .send()
            .await
            .unwrap();
    }

    async fn put_all(&self, keys: impl Iterator<Item = String>) {
        stream::iter(keys)
            .for_each_concurrent(16, |key| async move { self.put(&key).await })
            .await;
    }

    async fn begin_upload(&self, key: &str) {
        let upload = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .unwrap();
        let part = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(key)
            .part_number(1);
        let part = part
            .upload_id(upload.upload_id.unwrap())
            .body(ByteStream::from_static(b"part"));
        part.send().await.unwrap();
    }

    /// Every key that has a version or a delete marker left.
    async fn keys(&self) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            keys.extend(
                page.unwrap()
                    .contents
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|o| o.key),
            );
        }
        let page = self
            .client
            .list_object_versions()
            .bucket(&self.bucket)
            .send()
            .await
            .unwrap();
        keys.extend(
            page.versions
                .unwrap_or_default()
                .into_iter()
                .filter_map(|v| v.key),
        );
        keys.extend(
            page.delete_markers
                .unwrap_or_default()
                .into_iter()
                .filter_map(|m| m.key),
        );
        keys
    }

    async fn uploads(&self) -> BTreeSet<String> {
        let page = self
            .client
            .list_multipart_uploads()
            .bucket(&self.bucket)
            .send()
            .await
            .unwrap();
        page.uploads
            .unwrap_or_default()
            .into_iter()
            .filter_map(|u| u.key)
            .collect()
    }

    async fn purge(&self, below: &str) -> Result<Cleaned, BlobErrorKind> {
        self.blobs
            .purge(&self.uri(below), &|_| {})
            .await
            .map_err(|e| e.kind)
    }
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[tokio::test]
async fn thousands_of_objects_go_in_batches_and_siblings_stay() {
    let scene = Scene::new().await;
    scene
        .put_all((0..2_500).map(|i| format!("root/entity/{}/{i}", i % 13)))
        .await;
    let siblings = [
        "root/entity-sibling/a",
        "root/entity2",
        "root/entit",
        "entity/a",
        "root/entity.",
    ];
    scene.put_all(siblings.iter().map(|key| (*key).to_owned())).await;
    let told = Mutex::new(Vec::new());
    let cleaned = scene
        .blobs
        .purge(&scene.uri("entity"), &|so_far| {
            told.lock().unwrap().push(so_far.objects)
        })
        .await
        .unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            objects: 2_500,
            bytes: 25_000
        }
    );
    assert_eq!(scene.keys().await, set(&siblings));
    let told = told.into_inner().unwrap();
    assert!(
        told.len() >= 3 && told.is_sorted() && told.last() == Some(&2_500),
        "{told:?}"
    );
    assert_eq!(scene.purge("entity").await.unwrap(), Cleaned::default());
}

#[tokio::test]
async fn odd_keys_go_by_their_exact_name() {
    for scene in [Scene::new().await, Scene::versioned().await] {
        let odd = [
            "a//b",
            "a/./b",
            "a/../b",
            "//",
            "/",
            ".",
            "..",
            "a b",
            " ",
            "a+b",
            "a%b",
            "a%20b",
            "a%2Fb",
            "a&b<c>d\"e'f",
            "été",
            "日本語/ключ",
            "🗑️",
            "a\\b",
            "a?b#c",
            "a=b&c",
            "~a!b*c(d)",
            "a:b;c,d@e$",
            "e\u{301}",
            "\u{feff}x",
            "trailing/",
            "a\tb",
            "A",
            "a",
        ];
        scene
            .put_all(odd.iter().map(|key| format!("root/entity/{key}")))
            .await;
        assert_eq!(scene.keys().await.len(), odd.len());
        scene.put("root/entity").await;
        scene.put("root/a/b").await;
        let cleaned = scene.purge("entity").await.unwrap();
        assert_eq!(cleaned.objects, odd.len() as u64 + 1);
        assert_eq!(scene.keys().await, set(&["root/a/b"]));
    }
}

#[tokio::test]
async fn a_uri_of_an_odd_key_names_that_key_and_no_tidier_one() {
    let scene = Scene::new().await;
    let neighbours = ["root/a/b", "root/a b", "root/c", "root/c/"];
    scene
        .put_all(neighbours.iter().map(|key| (*key).to_owned()))
        .await;
    for (uri, key) in [
        ("a//b", "root/a//b"),
        ("a+b", "root/a+b"),
        ("a%252b", "root/a%2b"),
        ("%C3%A9", "root/é"),
    ] {
        scene.put(key).await;
        assert_eq!(scene.purge(uri).await.unwrap().objects, 1, "{uri}");
        assert_eq!(scene.keys().await, set(&neighbours), "{uri}");
    }
}

#[tokio::test]
async fn an_exact_key_goes_with_its_folder_and_a_trailing_slash_means_the_folder_alone() {
    let scene = Scene::new().await;
    let keys = [
        "root/entity",
        "root/entity/a",
        "root/entity/",
        "root/entity-b",
        "root/entity0",
    ];
    scene.put_all(keys.iter().map(|key| (*key).to_owned())).await;
    assert_eq!(scene.purge("entity/").await.unwrap().objects, 2);
    assert_eq!(
        scene.keys().await,
        set(&["root/entity", "root/entity-b", "root/entity0"])
    );
    assert_eq!(scene.purge("entity").await.unwrap().objects, 1);
    assert_eq!(scene.keys().await, set(&["root/entity-b", "root/entity0"]));
    assert_eq!(scene.purge("nothing/here").await.unwrap(), Cleaned::default());
}

#[tokio::test]
async fn every_version_and_delete_marker_goes() {
    let scene = Scene::versioned().await;
    for _ in 0..3 {
        scene.put_all((0..400).map(|i| format!("root/entity/{i}"))).await;
        scene.put("root/entity").await;
        scene.put("root/entity-sibling").await;
        for key in ["root/entity/7", "root/entity", "root/entity-sibling"] {
            scene
                .client
                .delete_object()
                .bucket(&scene.bucket)
                .key(key)
                .send()
                .await
                .unwrap();
        }
    }
    let cleaned = scene.purge("entity").await.unwrap();
    assert_eq!(
        cleaned,
        Cleaned {
            objects: 1_203,
            bytes: 12_030
        }
    );
    assert_eq!(scene.keys().await, set(&["root/entity-sibling"]));
    let left = scene
        .client
        .list_object_versions()
        .bucket(&scene.bucket)
        .send()
        .await
        .unwrap();
    assert_eq!((left.versions().len(), left.delete_markers().len()), (3, 3));
}

#[tokio::test]
async fn unfinished_uploads_are_aborted() {
    let scene = Scene::new().await;
    for key in [
        "root/entity/a",
        "root/entity/a",
        "root/entity/b//c",
        "root/entity",
        "root/entity-sibling",
        "root/x",
    ] {
        scene.begin_upload(key).await;
    }
    assert_eq!(scene.purge("entity").await.unwrap(), Cleaned::default());
    assert_eq!(scene.uploads().await, set(&["root/entity-sibling", "root/x"]));
}

#[tokio::test]
async fn locked_objects_are_reported_and_keep_nothing_else_alive() {
    let (server, scene) = (S3::shared().await, Scene::with_object_lock().await);
    for i in 0..20 {
        let key = format!("root/entity/{i}");
        scene.put(&key).await;
        if i % 7 == 0 {
            let hold = ObjectLockLegalHoldStatus::On;
            server.hold(&scene.bucket, &key, hold).await;
        }
    }
    let error = scene
        .blobs
        .purge(&scene.uri("entity"), &|_| {})
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "objects are under Object Lock: 3 remain");
    assert!(!error.retryable);
    assert_eq!(
        error.done,
        Cleaned {
            objects: 17,
            bytes: 170
        }
    );
    let left = scene
        .client
        .list_object_versions()
        .bucket(&scene.bucket)
        .send()
        .await
        .unwrap();
    assert_eq!((left.versions().len(), left.delete_markers().len()), (3, 0));
    for version in left.versions() {
        let release = ObjectLockLegalHoldStatus::Off;
        server.hold(&scene.bucket, version.key().unwrap(), release).await;
    }
    assert_eq!(scene.purge("entity").await.unwrap().objects, 3);
}

#[tokio::test]
async fn a_missing_bucket_is_never_taken_for_a_clean_one() {
    let blobs = blobs("no-such-bucket", &S3::shared().await.endpoint());
    let error = blobs
        .purge("s3://no-such-bucket/root/entity", &|_| {})
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, BlobErrorKind::NoSuchBucket) && !error.retryable,
        "{error}"
    );
    assert_eq!(
        blobs.probe().await.unwrap_err().to_string(),
        "storage root s3://no-such-bucket/root cannot be listed: the bucket of the storage root does not exist"
    );
}
