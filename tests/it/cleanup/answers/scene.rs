//! An entity's objects in a storage behind a server that meddles with its answers.

use super::case::{Bad, Case, without};
use crate::cleanup::world::World;
use crate::cleanup_clouds::fake as clouds;
use crate::cleanup_s3::fake as s3;
use crate::harness::meddler::{Meddler, Meddling};
use crate::harness::server::Backend;
use archive_ledger::storage::backoff::Backoff;
use archive_ledger::storage::blobs::Blobs;
use archive_ledger::storage::s3::S3Store;
use archive_ledger::storage::uri::Cloud;
use archive_ledger_domain::{EntityKey, State};
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use axum::http::Method;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const BUCKET: &str = s3::BUCKET;

/// How many objects each entity has.
pub const OBJECTS: u64 = 3;

/// One request is tried twice.
const QUICK: Backoff = Backoff {
    first: Duration::from_millis(1),
    cap: Duration::from_millis(1),
    attempts: 2,
};

/// The storage behind the one that meddles.
pub enum Storage {
    S3(s3::Shared),
    Cloud(clouds::Shared),
}

impl Storage {
    pub fn put(&self, name: &str) {
        match self {
            Self::S3(server) => drop(
                server
                    .lock()
                    .unwrap()
                    .objects
                    .insert(name.as_bytes().to_vec(), 10),
            ),
            Self::Cloud(server) => server.lock().unwrap().put(name, clouds::Kind::Current, 10),
        }
    }

    /// How many objects there are whose names begin like this.
    pub fn count(&self, prefix: &str) -> u64 {
        let count = match self {
            Self::S3(server) => {
                let server = server.lock().unwrap();
                let mine = |key: &&Vec<u8>| key.starts_with(prefix.as_bytes());
                server.objects.keys().filter(mine).count()
            }
            Self::Cloud(server) => {
                let server = server.lock().unwrap();
                server
                    .names()
                    .iter()
                    .filter(|name| name.starts_with(prefix))
                    .count()
            }
        };
        count as u64
    }
}

fn s3_store(endpoint: &str) -> S3Store {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .endpoint_url(endpoint)
        .force_path_style(true);
    S3Store::from_config(config).with_backoff(QUICK)
}

pub struct Scene {
    pub world: World,
    pub storage: Storage,
    pub meddler: Meddler,
    pub cloud: Cloud,
    entities: AtomicU32,
}

impl Scene {
    pub async fn new(backend: Backend, cloud: Cloud) -> Self {
        let (storage, endpoint) = match cloud {
            Cloud::S3 => {
                let (server, endpoint) = s3::serve(s3::Faults::default(), []).await;
                (Storage::S3(server), endpoint)
            }
            Cloud::Gcs | Cloud::Azure => {
                let server: clouds::Shared = Arc::new(Mutex::default());
                let endpoint = clouds::serve(cloud, &server).await;
                (Storage::Cloud(server), endpoint)
            }
        };
        let meddler = Meddler::before(&endpoint).await;
        let endpoint = meddler.endpoint().to_owned();
        let buckets = vec![format!("{}://{BUCKET}/root", cloud.scheme())];
        let world = World::with_storage(backend, &["root"], buckets, |roots| match cloud {
            Cloud::S3 => Blobs::with_stores(roots, Some(s3_store(&endpoint))),
            Cloud::Gcs | Cloud::Azure => clouds::connected(cloud, &endpoint, roots, QUICK),
        })
        .await;
        Self {
            world,
            storage,
            meddler,
            cloud,
            entities: AtomicU32::new(0),
        }
    }

    /// An entity with a few objects, whose purge is asked for: its folder, itself, the purge.
    pub async fn purging(&self) -> (String, EntityKey, Uuid) {
        let number = self.entities.fetch_add(1, Ordering::Relaxed);
        let folder = format!("root/e{number}/");
        for object in 0..OBJECTS {
            self.storage.put(&format!("{folder}{object}"));
        }
        let uri = format!("{}://{BUCKET}/root/e{number}", self.cloud.scheme());
        let key = self.world.archive(&[&uri]).await;
        let purge_id = self.world.purge(&key).await;
        (folder, key, purge_id)
    }

    /// Has every listing that a case is about answered badly, so many times. Returns whether any was.
    pub fn meddle(&self, case: &Case, times: u32) -> Arc<AtomicBool> {
        let (bad, of) = (case.bad.clone(), case.of);
        let hides_versions = of == "list-type=2";
        let done = Arc::new(AtomicBool::new(false));
        let (did, mut left) = (Arc::clone(&done), times);
        self.meddler.meddle(move |method, target| {
            // What is left of versions would be deleted before the objects are listed.
            if hides_versions && left > 0 && method == Method::GET && target.contains("versions") {
                return Meddling::Edit(Box::new(|body| {
                    let body = String::from_utf8(body).unwrap();
                    (200, without(&body, "<Version>", "</Version>").into_bytes())
                }));
            }
            let lists = target.contains("prefix=") && target.contains(of);
            if method != Method::GET || !lists || left == 0 {
                return Meddling::Nothing;
            }
            left -= 1;
            let did = Arc::clone(&did);
            match bad.clone() {
                Bad::Instead(status, body) => {
                    did.store(true, Ordering::Relaxed);
                    Meddling::Instead(status, body)
                }
                Bad::Cut(percent) => Meddling::Edit(Box::new(move |mut body| {
                    did.store(true, Ordering::Relaxed);
                    body.truncate(body.len() * percent / 100);
                    (200, body)
                })),
                Bad::Header(name, value) => {
                    did.store(true, Ordering::Relaxed);
                    Meddling::Header(name, value)
                }
                Bad::Edit(edit) => Meddling::Edit(Box::new(move |body| {
                    let before = String::from_utf8(body).unwrap();
                    let after = edit(&before);
                    did.fetch_or(before != after, Ordering::Relaxed);
                    (200, after.into_bytes())
                })),
            }
        });
        done
    }

    pub async fn ends_purged(&self, about: &str, folder: &str, key: &EntityKey, purge_id: Uuid) {
        assert_eq!(self.world.outcome(key, purge_id).await, State::Purged, "{about}");
        assert_eq!(self.storage.count(folder), 0, "{about}");
        let (objects, at_least) = self.world.removed(key).await;
        let exact = if at_least {
            objects <= OBJECTS
        } else {
            objects == OBJECTS
        };
        assert!(exact, "{about}: {objects} {at_least}");
    }
}
