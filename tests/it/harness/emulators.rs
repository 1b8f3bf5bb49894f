//! Private emulators of Azure Blob Storage (Azurite) and Google Cloud Storage, one per test that asks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use archive_ledger::storage::azure::{AzureOptions, AzureStore};
use archive_ledger::storage::blobs::Blobs;
use archive_ledger::storage::roots::StorageRoots;
use object_store::azure::{AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::HttpRequestBody;
use tempfile::TempDir;

use super::process::{Guarded, Spec, free_port, tail};
use super::{READY_WITHIN, init};

/// The account that Azurite always has, and its published key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server that speaks HTTP on a port of its own; it dies with this.
struct Emulator {
    /// First, so that it has ended before its directory is removed.
    _process: Guarded,
    _home: TempDir,
    port: u16,
}

impl Emulator {
    async fn start(program: &Path, args: impl Fn(u16, &Path) -> Vec<OsString>) -> Self {
        init();
        assert!(
            program.is_file(),
            "no emulator at {}: run ./test, which installs what the tests need",
            program.display()
        );
        loop {
            let home = tempfile::Builder::new()
                .prefix("archive-ledger-emulator-")
                .tempdir()
                .unwrap();
            let (port, log) = (free_port(), home.path().join("log"));
            let mut process = Guarded::start(&Spec {
                program,
                args: &args(port, home.path()),
                env: &[],
                home: home.path(),
                log: &log,
                last_signal: "KILL",
                remove_home: true,
            });
            let deadline = Instant::now() + READY_WITHIN;
            loop {
                let text = tail(&log, 30);
                let answers = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
                if answers && process.exit_code().is_none() {
                    return Self {
                        _process: process,
                        _home: home,
                        port,
                    };
                }
                if process.exit_code().is_some() {
                    let taken = text.contains("in use");
                    assert!(taken, "the emulator ended at its start:\n{text}");
                    break;
                }
                assert!(Instant::now() < deadline, "the emulator is not ready:\n{text}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// `./test` says where it has put a program; without it, the place where it puts it by default.
fn program(variable: &str, default: &str) -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/tools")
        .join(default);
    std::env::var_os(variable).map_or(default, PathBuf::from)
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Azure Blob Storage, which checks signatures.
pub struct Azurite(Emulator);

impl Azurite {
    pub async fn start() -> Self {
        let program = program("ARCHIVE_LEDGER_AZURITE", "azurite/node_modules/.bin/azurite-blob");
        let emulator = Emulator::start(&program, |port, home| {
            let port = port.to_string();
            let mut args: Vec<OsString> = ["--blobHost", "127.0.0.1", "--blobPort", &port]
                .map(Into::into)
                .into();
            args.extend(["--skipApiVersionCheck", "--disableTelemetry", "--location"].map(Into::into));
            args.push(home.join("blobs").into());
            args
        });
        Self(emulator.await)
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/{ACCOUNT}", self.0.port)
    }

    /// The variables that point the service at this server, for [`super::server::Builder::envs`].
    pub fn env(&self) -> Vec<(String, String)> {
        let variables = [
            ("ARCHIVE_LEDGER_AZURE_ACCOUNT", ACCOUNT),
            ("ARCHIVE_LEDGER_AZURE_ENDPOINT", &self.endpoint()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY),
        ];
        variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// The cleanup, with one storage root.
    pub fn blobs(&self, root: &str) -> Blobs {
        let options = AzureOptions {
            account: Some(ACCOUNT.to_owned()),
            endpoint: Some(self.endpoint().parse().unwrap()),
        };
        let roots = StorageRoots::parse(&[root.to_owned()]).unwrap();
        let store = AzureStore::with_access_key(options, KEY, "any").unwrap();
        Blobs::with_stores(roots, None).with_azure(store)
    }

    pub async fn create_container(&self, name: &str) {
        self.send(&format!("/{name}?restype=container"), b"").await;
    }

    pub async fn put(&self, container: &str, name: &str, body: &[u8]) {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        self.send(&format!("/{container}/{name}"), body).await;
    }

    async fn send(&self, path: &str, body: &[u8]) {
        let store = MicrosoftAzureBuilder::new()
            .with_account(ACCOUNT)
            .with_access_key(KEY)
            .with_container_name("any")
            .build()
            .unwrap();
        let credential: std::sync::Arc<AzureCredential> = store.credentials().get_credential().await.unwrap();
        let mut request = http::Request::put(format!("{}{path}", self.endpoint()))
            .header("content-length", body.len())
            .header("x-ms-blob-type", "BlockBlob")
            .body(HttpRequestBody::empty())
            .unwrap();
        AzureAuthorizer::new(&credential, ACCOUNT)
            .try_authorize(&mut request)
            .unwrap();
        let (parts, _) = request.into_parts();
        let request = client()
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers);
        let answer = request.body(body.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    }
}

/// Google Cloud Storage.
pub struct GcsEmulator(Emulator);

impl GcsEmulator {
    /// With one empty bucket.
    pub async fn start(bucket: &str) -> Self {
        let program = program("ARCHIVE_LEDGER_GCS_EMULATOR", "gcs/bin/gcp-storage-emulator");
        let bucket = format!("--default-bucket={bucket}");
        let emulator = Emulator::start(&program, |port, _| {
            let port = format!("--port={port}");
            ["start", "--host=127.0.0.1", &port, "--in-memory", &bucket]
                .map(Into::into)
                .into()
        });
        Self(emulator.await)
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// The variables that point the service at this server, for [`super::server::Builder::envs`].
    pub fn env(&self) -> Vec<(String, String)> {
        vec![("ARCHIVE_LEDGER_GCS_ENDPOINT".to_owned(), self.endpoint())]
    }

    pub async fn put(&self, bucket: &str, name: &str, body: &[u8]) {
        let name = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let address = format!(
            "{}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={name}",
            self.endpoint()
        );
        let answer = client().post(address).body(body.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}
