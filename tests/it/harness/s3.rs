//! A private S3-compatible server (moto): buckets, versions, delete markers and multipart uploads, all in memory.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{
    BucketVersioningStatus, ObjectLockLegalHold, ObjectLockLegalHoldStatus, VersioningConfiguration,
};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::process::{Guarded, Spec, free_port, tail};
use super::{READY_WITHIN, init};

const REGION: &str = "us-east-1";
const KEY: &str = "test";

/// An object store of the tests' own.
pub struct S3 {
    /// First, so that it has ended before its directory is removed.
    process: Mutex<Option<Guarded>>,
    home: TempDir,
    port: u16,
    buckets: AtomicU32,
}

impl S3 {
    /// The one server of this test process, started when first asked for. A test takes buckets of its own from it and
    /// never stops it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<S3> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A server of the caller's own, which it may [stop](Self::stop) and [restart](Self::restart).
    pub async fn start() -> Self {
        init();
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-s3-")
            .tempdir()
            .unwrap();
        let mut server = Self {
            home,
            port: free_port(),
            process: Mutex::new(None),
            buckets: AtomicU32::new(0),
        };
        while !server.run().await {
            server.port = free_port();
        }
        server
    }

    /// `http://127.0.0.1:PORT`
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The variables that point any AWS client at this server, for [`super::server::Builder::envs`].
    pub fn env(&self) -> Vec<(String, String)> {
        let variables = [
            ("AWS_ENDPOINT_URL", self.endpoint().as_str()),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", KEY),
            ("AWS_REGION", REGION),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        variables.into()
    }

    /// A client for the test itself, to fill and inspect buckets with.
    pub fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(self.endpoint())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(KEY, KEY, None, None, "test"))
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }

    /// Creates an empty bucket and returns its name.
    pub async fn create_bucket(&self) -> String {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        self.client().create_bucket().bucket(&name).send().await.unwrap();
        name
    }

    /// Creates an empty bucket that keeps every version of its objects, and returns its name.
    pub async fn create_versioned_bucket(&self) -> String {
        let name = self.create_bucket().await;
        let versioning = VersioningConfiguration::builder()
            .status(BucketVersioningStatus::Enabled)
            .build();
        let request = self.client().put_bucket_versioning().bucket(&name);
        request.versioning_configuration(versioning).send().await.unwrap();
        name
    }

    /// Creates an empty bucket whose objects can be held, and returns its name.
    pub async fn create_lockable_bucket(&self) -> String {
        let name = format!("{}-locked", self.create_bucket().await);
        let request = self.client().create_bucket().bucket(&name);
        request.object_lock_enabled_for_bucket(true).send().await.unwrap();
        name
    }

    /// Puts a legal hold on an object, or takes it off.
    pub async fn hold(&self, bucket: &str, key: &str, status: ObjectLockLegalHoldStatus) {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let request = self.client().put_object_legal_hold().bucket(bucket).key(key);
        request.legal_hold(hold).send().await.unwrap();
    }

    /// Writes one object.
    pub async fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        let request = self
            .client()
            .put_object()
            .bucket(bucket)
            .key(key)
            .body(body.to_vec().into());
        request.send().await.unwrap();
    }

    /// The keys of a bucket's current objects that start with `prefix` (at most 1,000), in order.
    pub async fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let answer = self
            .client()
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .send()
            .await
            .unwrap();
        answer
            .contents()
            .iter()
            .filter_map(|object| object.key().map(str::to_owned))
            .collect()
    }

    /// How many versions and delete markers start with `prefix` (at most 1,000): what is really still there.
    pub async fn versions(&self, bucket: &str, prefix: &str) -> usize {
        let answer = self
            .client()
            .list_object_versions()
            .bucket(bucket)
            .prefix(prefix)
            .send()
            .await
            .unwrap();
        answer.versions().len() + answer.delete_markers().len()
    }

    /// Ends the server; its buckets are gone with it.
    pub async fn stop(&self) {
        let process = self.process.lock().unwrap().take();
        if let Some(mut process) = process {
            process.signal("KILL");
            process.wait(READY_WITHIN).await;
        }
    }

    /// Starts the server again on the same port, empty.
    pub async fn restart(&self) {
        self.stop().await;
        assert!(
            self.run().await,
            "port {} was taken while the object store was down",
            self.port
        );
    }

    /// Starts the server and waits until it answers; false if its port was taken.
    async fn run(&self) -> bool {
        let log = self.home.path().join("log");
        let port = self.port.to_string();
        let mut process = Guarded::start(&Spec {
            program: &program(),
            args: &["-H", "127.0.0.1", "-p", &port].map(Into::into),
            env: &[],
            home: self.home.path(),
            log: &log,
            last_signal: "KILL",
            remove_home: true,
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = client.get(format!("{}/moto-api/", self.endpoint())).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) && process.exit_code().is_none() {
                *self.process.lock().unwrap() = Some(process);
                return true;
            }
            let text = tail(&log, 30);
            if process.exit_code().is_some() && text.contains("Address already in use") {
                return false;
            }
            assert!(
                process.exit_code().is_none(),
                "the object store ended at its start:\n{text}"
            );
            assert!(
                Instant::now() < deadline,
                "the object store is not ready:\n{text}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `./test` says where it has put the program; without it, the place where it puts it by default.
fn program() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/moto/bin/moto_server");
    let program = std::env::var_os("ARCHIVE_LEDGER_MOTO").map_or(default, PathBuf::from);
    assert!(
        program.is_file(),
        "no object store at {}: run ./test, which installs what the tests need",
        program.display()
    );
    program
}
