//! Private NATS servers with JetStream: one per cluster under test.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{Guarded, Spec, find_program, free_port, tail};
use super::{READY_WITHIN, init};

/// A `nats-server -js` of the test's own; dropping it ends it and removes its store.
pub struct Nats {
    /// First, so that it has ended before its directory is removed.
    process: Mutex<Option<Guarded>>,
    program: PathBuf,
    home: TempDir,
    port: u16,
    /// Whether it has a configuration of its own, by which strangers may be refused.
    configured: bool,
}

impl Nats {
    /// Starts a server with an empty store and waits until JetStream answers.
    pub async fn start() -> Self {
        Self::prepared(None::<fn(&Path) -> String>).await
    }

    /// Starts a server with this configuration, which is told the server's directory.
    pub async fn configured(configuration: impl FnOnce(&Path) -> String) -> Self {
        Self::prepared(Some(configuration)).await
    }

    /// Gives the server another configuration, which holds from its next start on.
    pub fn configure(&self, configuration: &str) {
        std::fs::write(self.home.path().join("nats.conf"), configuration).unwrap();
    }

    /// The server's directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    async fn prepared(configuration: Option<impl FnOnce(&Path) -> String>) -> Self {
        init();
        let program = find_program("nats-server", &[])
            .expect("`nats-server` is not installed: run ./test, which installs what the tests need");
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-nats-")
            .tempdir()
            .unwrap();
        let mut server = Self {
            program,
            home,
            port: free_port(),
            configured: configuration.is_some(),
            process: Mutex::new(None),
        };
        if let Some(configuration) = configuration {
            server.configure(&configuration(server.home()));
        }
        while !server.run().await {
            server.port = free_port();
        }
        server
    }

    /// `nats://127.0.0.1:PORT`; the same before and after a restart.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Shuts the server down in order, as its operator would.
    pub async fn stop(&self) {
        self.end("TERM").await;
    }

    /// Ends the server as `kill -9` does.
    pub async fn kill9(&self) {
        self.end("KILL").await;
    }

    /// Stops the server where it stands (`SIGSTOP`).
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused server go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let mut process = self.process.lock().unwrap();
        process.as_mut().expect("the server is not running").signal(name);
    }

    /// Starts the server again: same store, same port. A running one is stopped first.
    pub async fn restart(&self) {
        self.stop().await;
        assert!(
            self.run().await,
            "port {} was taken while NATS was down",
            self.port
        );
    }

    async fn end(&self, signal: &str) {
        let process = self.process.lock().unwrap().take();
        if let Some(mut process) = process {
            process.signal(signal);
            process.wait(READY_WITHIN).await;
        }
    }

    /// Starts the server and waits until JetStream answers; false if its port was taken.
    async fn run(&self) -> bool {
        let log = self.home.path().join("log");
        let args = ["-js", "-a", "127.0.0.1", "-p", &self.port.to_string(), "-sd"].map(OsString::from);
        let mut args = [&args[..], &[self.home.path().join("store").into()]].concat();
        if self.configured {
            args.extend(["-c".into(), self.home.path().join("nats.conf").into()]);
            // What it said when it was started last is not about this start.
            let _ = std::fs::remove_file(&log);
        }
        let mut process = Guarded::start(&Spec {
            program: &self.program,
            args: &args,
            env: &[],
            home: self.home.path(),
            log: &log,
            last_signal: "KILL",
            remove_home: true,
        });
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let ready = if self.configured {
                tail(&log, usize::MAX).contains("Server is ready")
            } else {
                self.answers().await
            };
            if ready && process.exit_code().is_none() {
                *self.process.lock().unwrap() = Some(process);
                return true;
            }
            let text = tail(&log, 30);
            if process.exit_code().is_some() && text.contains("address already in use") {
                return false;
            }
            assert!(
                process.exit_code().is_none(),
                "nats-server ended at its start:\n{text}"
            );
            assert!(Instant::now() < deadline, "nats-server is not ready:\n{text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn answers(&self) -> bool {
        match async_nats::connect(self.url()).await {
            // By hand: the client's `query_account` expects fields that a 2.9 server does not send.
            Ok(client) => client.request("$JS.API.INFO", "".into()).await.is_ok(),
            Err(_) => false,
        }
    }
}
