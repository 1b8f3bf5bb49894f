//! The real binary, run as its operator runs it: killed, ended, started again on the same data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, Method, RequestBuilder};
use tempfile::TempDir;

use super::nats::Nats;
use super::postgres::Postgres;
use super::process::{Guarded, Spec, clean_command, free_port, tail};
use super::{READY_WITHIN, init};

/// The service's binary as this test run built it.
pub const BINARY: &str = env!("CARGO_BIN_EXE_archive-ledger");

/// What the service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// SQLite in the data directory, in-process bus.
    Embedded,
    /// A fresh database on the shared PostgreSQL, a NATS server of its own.
    Clustered,
}

/// What outlives the process: the directories, the database, the bus. Instances of one cluster share it.
struct Place {
    /// `data/`, the service's data directory, and a log per instance.
    home: TempDir,
    database_url: Option<String>,
    nats: Option<Nats>,
}

/// How a [`Server`] is to be started.
pub struct Builder {
    backend: Backend,
    place: Option<Arc<Place>>,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    program: PathBuf,
    said: Option<PathBuf>,
    /// The most file descriptors that the process may have; the caller's limit unless it is named.
    descriptors: Option<u32>,
}

impl Builder {
    /// Has it write both output streams to this file, which need not be one that takes or keeps anything.
    pub fn saying_to(mut self, file: impl Into<PathBuf>) -> Self {
        self.said = Some(file.into());
        self
    }

    /// Has another program start it, which gets the arguments.
    pub fn through(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Lets it have so many file descriptors at the most.
    pub fn with_descriptors(mut self, most: u32) -> Self {
        self.descriptors = Some(most);
        self
    }

    /// Has it run on this PostgreSQL database, which the caller may stop and replace.
    pub async fn on_database(mut self, url: String) -> Self {
        assert_eq!(self.backend, Backend::Clustered, "an embedded service has a file");
        self.place = Some(Arc::new(Place::on(Some(url)).await));
        self
    }

    /// Has it keep its data directory in this directory, on a disk of the caller's, and nothing else.
    pub async fn with_data_on(mut self, disk: &Path) -> Self {
        let place = match self.place.take() {
            Some(place) => place,
            None => Arc::new(Place::new(self.backend).await),
        };
        let data = tempfile::tempdir_in(disk).unwrap().keep();
        std::os::unix::fs::symlink(data, place.data_dir()).unwrap();
        self.place = Some(place);
        self
    }

    /// Adds an argument to `serve`.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds an environment variable.
    pub fn env(self, name: &str, value: impl Into<String>) -> Self {
        self.envs([(name.to_owned(), value.into())])
    }

    /// Adds environment variables, e.g. those of [`super::s3::S3::env`].
    pub fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(variables);
        self
    }

    /// Allows objects under this URI, e.g. `file:///…` or `s3://bucket/prefix`, to be deleted.
    pub fn storage_root(self, uri: impl Into<OsString>) -> Self {
        self.arg("--storage-root").arg(uri)
    }

    /// Allows callbacks to loopback addresses, where every [`super::receiver::Receiver`] is.
    pub fn callbacks_to_loopback(self) -> Self {
        self.arg("--callback-allow").arg("127.0.0.0/8")
    }

    /// Starts the process and waits until it is ready; panics with its log if it never is.
    pub async fn start(self) -> Server {
        init();
        let place = match self.place {
            Some(place) => place,
            None => Arc::new(Place::new(self.backend).await),
        };
        let port = free_port();
        let server = Server {
            log: place.home.path().join(format!("server-{port}.log")),
            backend: self.backend,
            place,
            port,
            args: self.args,
            env: self.env,
            program: self.program,
            said: self.said,
            descriptors: self.descriptors,
            client: client(),
            process: Mutex::new(None),
        };
        server.run().await;
        server
    }
}

impl Place {
    async fn new(backend: Backend) -> Self {
        match backend {
            Backend::Embedded => Self::on(None).await,
            Backend::Clustered => Self::on(Some(Postgres::shared().await.create_database().await)).await,
        }
    }

    async fn on(database_url: Option<String>) -> Self {
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-server-")
            .tempdir()
            .unwrap();
        let nats = match database_url {
            None => None,
            Some(_) => Some(Nats::start().await),
        };
        Self {
            home,
            database_url,
            nats,
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// The options that name the data directory, the database and the bus, as environment variables, so that every
    /// subcommand takes from them what it knows.
    fn env(&self) -> Vec<(String, String)> {
        let mut env = vec![(
            "ARCHIVE_LEDGER_DATA_DIR".to_owned(),
            self.data_dir().display().to_string(),
        )];
        env.extend(
            self.database_url
                .clone()
                .map(|url| ("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), url)),
        );
        env.extend(
            self.nats
                .as_ref()
                .map(|nats| ("ARCHIVE_LEDGER_NATS_URL".to_owned(), nats.url())),
        );
        env
    }

    /// The same as flags.
    fn flags(&self) -> Vec<OsString> {
        let mut flags = vec!["--data-dir".into(), self.data_dir().into()];
        flags.extend(
            self.database_url
                .iter()
                .flat_map(|url| ["--database-url".into(), url.into()]),
        );
        flags.extend(
            self.nats
                .iter()
                .flat_map(|nats| ["--nats-url".into(), nats.url().into()]),
        );
        flags
    }
}

/// A running service. Dropping it kills it; if the test is panicking, its log is printed first.
pub struct Server {
    /// First, so that it has ended before its directory is removed.
    process: Mutex<Option<Guarded>>,
    place: Arc<Place>,
    backend: Backend,
    port: u16,
    log: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    program: PathBuf,
    /// Where its output goes instead of `log`.
    said: Option<PathBuf>,
    descriptors: Option<u32>,
    client: Client,
}

impl Server {
    /// Starts the service with nothing but what the backend needs.
    pub async fn start(backend: Backend) -> Self {
        Self::builder(backend).start().await
    }

    /// For a service with options of its own.
    pub fn builder(backend: Backend) -> Builder {
        Builder {
            backend,
            place: None,
            args: Vec::new(),
            env: Vec::new(),
            program: BINARY.into(),
            said: None,
            descriptors: None,
        }
    }

    /// For one more instance beside this one: same data directory (so the same keys), database and bus, another port.
    /// Only a clustered service may have one. It starts with this one's arguments and environment.
    pub fn another(&self) -> Builder {
        assert_eq!(self.backend, Backend::Clustered, "an embedded service is alone");
        Builder {
            backend: self.backend,
            place: Some(Arc::clone(&self.place)),
            args: self.args.clone(),
            env: self.env.clone(),
            program: BINARY.into(),
            said: None,
            descriptors: self.descriptors,
        }
    }

    /// What it runs on.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The full URL of a path, e.g. `/readyz`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A client with a timeout of 30 s that follows no redirects.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A request to a path with a bearer token, to be completed and sent by the caller.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        self.client.request(method, self.url(path)).bearer_auth(token)
    }

    /// `GET` with a bearer token.
    pub fn get(&self, path: &str, token: &str) -> RequestBuilder {
        self.request(Method::GET, path, token)
    }

    /// `POST` of a JSON body with a bearer token.
    pub fn post(&self, path: &str, token: &str, body: &serde_json::Value) -> RequestBuilder {
        self.request(Method::POST, path, token).json(body)
    }

    /// `DELETE` with a bearer token.
    pub fn delete(&self, path: &str, token: &str) -> RequestBuilder {
        self.request(Method::DELETE, path, token)
    }

    /// The token that `archive-ledger token ARGS…` prints for this service's keys, e.g. `&["--role", "admin"]`.
    pub async fn token(&self, args: &[&str]) -> String {
        let output = self.run_command(&[&["token"], args].concat()).await;
        let text = |bytes| String::from_utf8(bytes).unwrap();
        assert!(output.status.success(), "token {args:?}: {}", text(output.stderr));
        text(output.stdout).trim().to_owned()
    }

    /// Runs a subcommand on this service's data directory, database and bus, to its end.
    pub async fn run_command(&self, args: &[&str]) -> Output {
        let env = [&self.place.env()[..], &self.env].concat();
        run_binary(args, &env, self.place.home.path()).await
    }

    /// Ends the process as `kill -9` does; returns when it is gone.
    pub async fn kill9(&self) {
        self.end("KILL").await;
    }

    /// Ends the process as its operator does (`SIGTERM`) and returns its exit code; panics if it takes over a minute.
    pub async fn terminate(&self) -> i32 {
        self.end("TERM").await.expect("the service was not running")
    }

    /// Has it read its secrets and certificates anew (`SIGHUP`).
    pub fn hang_up(&self) {
        self.signal("HUP");
    }

    /// Stops the process where it stands (`SIGSTOP`), as a machine does that is paused or starved.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Starts the process again: same data, same port, same arguments. A running one is killed first.
    pub async fn restart(&self) {
        self.kill9().await;
        self.run().await;
    }

    /// The exit code if the process has ended by itself (128 + the signal's number if a signal ended it).
    pub fn exit_code(&self) -> Option<i32> {
        self.process.lock().unwrap().as_mut().and_then(Guarded::exit_code)
    }

    /// The number of the process.
    pub fn process_id(&self) -> u32 {
        self.process
            .lock()
            .unwrap()
            .as_ref()
            .expect("the service is not running")
            .child_id()
    }

    /// The service's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.place.data_dir()
    }

    /// A directory for this service's other files; it lives as long as the service.
    pub fn home(&self) -> &Path {
        self.place.home.path()
    }

    /// Both output streams of this instance so far, across restarts.
    pub fn log(&self) -> String {
        tail(&self.log, usize::MAX)
    }

    /// The database's URL; nothing if it is the SQLite file in the data directory.
    pub fn database_url(&self) -> Option<&str> {
        self.place.database_url.as_deref()
    }

    /// The cluster's NATS server, to watch, stop and restart; panics if there is none.
    pub fn nats(&self) -> &Nats {
        self.place.nats.as_ref().expect("an embedded service has no NATS")
    }

    fn signal(&self, name: &str) {
        let mut process = self.process.lock().unwrap();
        process.as_mut().expect("the service is not running").signal(name);
    }

    async fn end(&self, signal: &str) -> Option<i32> {
        let process = self.process.lock().unwrap().take();
        let mut process = process?;
        process.signal(signal);
        Some(process.wait(READY_WITHIN).await)
    }

    async fn run(&self) {
        let mut args: Vec<OsString> = vec!["serve".into(), "--listen".into()];
        args.push(format!("127.0.0.1:{}", self.port).into());
        args.extend(self.place.flags());
        args.extend(self.args.iter().cloned());
        let mut program = &*self.program;
        if let Some(descriptors) = self.descriptors {
            let limited = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
            args.splice(0..0, ["-c".into(), limited.into(), program.into()]);
            program = Path::new("sh");
        }
        let mut process = Guarded::start(&Spec {
            program,
            args: &args,
            env: &self.env,
            home: self.place.home.path(),
            log: self.said.as_deref().unwrap_or(&self.log),
            last_signal: "KILL",
            // Another instance may still use it; a killed test run leaves only this small directory.
            remove_home: false,
        });
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let answer = self.client.get(self.url("/readyz")).send().await;
            let status = answer.map(|answer| answer.status());
            let log = || tail(&self.log, 50);
            if let Some(code) = process.exit_code() {
                panic!("the service ended with {code} at its start:\n{}", log());
            }
            match status {
                Ok(status) if status.is_success() => break,
                last => assert!(
                    Instant::now() < deadline,
                    "the service is not ready: {last:?}\n{}",
                    log()
                ),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        *self.process.lock().unwrap() = Some(process);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- the service on port {} said:\n{}\n---",
                self.port,
                tail(&self.log, 200)
            );
        }
    }
}

/// Runs the binary to its end with this environment (and none of the caller's `ARCHIVE_LEDGER_*`).
pub async fn run_binary(args: &[&str], env: &[(String, String)], directory: &Path) -> Output {
    let mut command = clean_command(BINARY);
    command
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .current_dir(directory);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

fn client() -> Client {
    let no_redirects = reqwest::redirect::Policy::none();
    let builder = Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .redirect(no_redirects);
    builder.build().unwrap()
}
