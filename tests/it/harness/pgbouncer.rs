//! Private PgBouncers before a private PostgreSQL.

use std::os::unix::fs::{MetadataExt, chown};
use std::time::Instant;

use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::postgres::{Account, Postgres};
use super::process::{Guarded, Spec, find_program, free_port, tail};
use super::{READY_WITHIN, init};

/// A PgBouncer of the test's own; dropping it ends it.
pub struct PgBouncer {
    /// First, so that it has ended before its directory is removed.
    _process: Guarded,
    _home: TempDir,
    port: u16,
}

impl PgBouncer {
    /// Starts one before `server`, with these further lines of its configuration. `None`, said on standard error, where none is
    /// installed.
    pub async fn start(server: &Postgres, settings: &str) -> Option<Self> {
        init();
        let Some(program) = find_program("pgbouncer", &[]) else {
            eprintln!("SKIPPED: pgbouncer is not installed: run ./test, which installs what the tests need");
            return None;
        };
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-pgbouncer-")
            .tempdir()
            .unwrap();
        // It refuses to run as root.
        let account = (home.path().metadata().unwrap().uid() == 0).then(Account::find);
        if let Some(account) = &account {
            chown(home.path(), Some(account.uid), Some(account.gid)).unwrap();
        }
        let (log, config) = (home.path().join("log"), home.path().join("config.ini"));
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let port = free_port();
            let text = format!(
                "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = any\n{settings}\n",
                server.port()
            );
            std::fs::write(&config, text).unwrap();
            let (program, args) = match &account {
                None => (program.clone(), vec![config.clone().into()]),
                Some(account) => {
                    let mut args = account.arguments(&program);
                    args.push(config.clone().into());
                    ("setpriv".into(), args)
                }
            };
            let mut process = Guarded::start(&Spec {
                program: &program,
                args: &args,
                env: &[],
                home: home.path(),
                log: &log,
                last_signal: "KILL",
                remove_home: true,
            });
            loop {
                let ready = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
                if ready && process.exit_code().is_none() {
                    return Some(Self {
                        _process: process,
                        _home: home,
                        port,
                    });
                }
                let text = tail(&log, 30);
                if process.exit_code().is_some() && text.contains("in use") {
                    break;
                }
                assert!(
                    process.exit_code().is_none(),
                    "pgbouncer ended at its start:\n{text}"
                );
                assert!(Instant::now() < deadline, "pgbouncer is not ready:\n{text}");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }

    /// The URL of the database of that name, through it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection to that database as any client has it: without what the service's own sessions rely on.
    pub async fn neighbour(&self, database: &str) -> PgConnection {
        let options: sqlx::postgres::PgConnectOptions = self.url(database).parse().unwrap();
        PgConnection::connect_with(&options.extra_float_digits(None).statement_cache_capacity(0))
            .await
            .unwrap()
    }
}
