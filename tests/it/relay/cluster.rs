//! Three NATS servers that hold the stream together.

use crate::harness::process::{Guarded, Spec, find_program, free_port, tail};
use crate::harness::{READY_WITHIN, eventually, init};
use std::ffi::OsString;
use std::path::PathBuf;
use tempfile::TempDir;

/// A cluster of three; dropping it ends all of them.
pub struct Cluster {
    /// First, so that they have ended before their directories are removed.
    running: [Option<Guarded>; 3],
    homes: [TempDir; 3],
    ports: [u16; 3],
    routes: [u16; 3],
    program: PathBuf,
}

impl Cluster {
    /// Starts three servers and waits until they have a leader.
    pub async fn start() -> Self {
        init();
        let mut cluster = Self {
            running: [None, None, None],
            homes: [home(), home(), home()],
            ports: [free_port(), free_port(), free_port()],
            routes: [free_port(), free_port(), free_port()],
            program: find_program("nats-server", &[]).expect("`nats-server` is not installed: run ./test"),
        };
        for node in 0..3 {
            cluster.run(node);
        }
        eventually("the cluster answers", READY_WITHIN, || async {
            let client = async_nats::connect(cluster.urls()).await.ok()?;
            let answer = client.request("$JS.API.STREAM.NAMES", "".into()).await.ok()?;
            (!String::from_utf8_lossy(&answer.payload).contains("error")).then_some(())
        })
        .await;
        cluster
    }

    /// Every server's address.
    pub fn urls(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect()
    }

    /// Which server leads the stream.
    pub async fn leader(&self, stream: &str) -> Option<usize> {
        let client = async_nats::jetstream::new(async_nats::connect(self.urls()).await.ok()?);
        let stream = client.get_stream(stream).await.ok()?;
        let leader = stream.cached_info().cluster.as_ref()?.leader.as_ref()?.clone();
        leader.strip_prefix("node-")?.parse().ok()
    }

    /// Ends one server as `kill -9` does.
    pub async fn kill9(&mut self, node: usize) {
        if let Some(mut process) = self.running[node].take() {
            process.signal("KILL");
            process.wait(READY_WITHIN).await;
        }
    }

    /// Starts one server: same store, same ports. It is running, not caught up, when this returns.
    pub fn run(&mut self, node: usize) {
        let home = self.homes[node].path();
        let routes: Vec<String> = self
            .routes
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let args = [
            "-js".into(),
            "-a".into(),
            "127.0.0.1".into(),
            "-p".into(),
            self.ports[node].to_string(),
            "-n".into(),
            format!("node-{node}"),
            "--cluster_name".into(),
            "test".into(),
            "--cluster".into(),
            routes[node].clone(),
            "--routes".into(),
            routes.join(","),
        ];
        let mut args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        args.extend(["-sd".into(), home.join("store").into()]);
        let log = home.join("log");
        let mut process = Guarded::start(&Spec {
            program: &self.program,
            args: &args,
            env: &[],
            home,
            log: &log,
            last_signal: "KILL",
            remove_home: true,
        });
        assert!(
            process.exit_code().is_none(),
            "nats-server ended at its start:\n{}",
            tail(&log, 30)
        );
        self.running[node] = Some(process);
    }
}

fn home() -> TempDir {
    tempfile::Builder::new()
        .prefix("archive-ledger-nats-")
        .tempdir()
        .unwrap()
}
