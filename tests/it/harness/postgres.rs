//! Private PostgreSQL servers: fresh directory, free loopback port, durability on, nothing of the machine's own.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::process::{Guarded, Spec, find_program, free_port, tail};
use super::{READY_WITHIN, init};

/// A PostgreSQL server of the tests' own.
pub struct Postgres {
    /// First, so that it has ended before its directory is removed.
    process: Mutex<Option<Guarded>>,
    /// `data/` and `log`. When the server is shared, the guard removes it at the end, as nothing ever drops it.
    home: TempDir,
    bin: PathBuf,
    port: u16,
    /// The account that runs it, if not the one that runs the tests.
    account: Option<Account>,
    /// Settings beyond the usual ones.
    settings: Vec<String>,
    databases: AtomicU32,
}

impl Postgres {
    /// The one server of this test process, started when first asked for. A test takes a database of its own from it
    /// and never stops it.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Postgres> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A server of the caller's own, which it may [crash](Self::crash) and [restart](Self::restart).
    pub async fn start() -> Self {
        Self::start_in(&std::env::temp_dir()).await
    }

    /// The same, with all that it writes below this directory.
    pub async fn start_in(parent: &Path) -> Self {
        Self::prepared(parent, |_, _| Vec::new()).await
    }

    /// A server of the caller's own that is `prepare`d in its directory, with the settings that this returns. What it makes there
    /// can be handed to the server's account.
    pub async fn prepared(
        parent: &Path,
        prepare: impl FnOnce(&Path, Option<&Account>) -> Vec<String>,
    ) -> Self {
        init();
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-postgres-")
            .tempdir_in(parent)
            .unwrap();
        // `initdb` refuses to run as root.
        let account = (home.path().metadata().unwrap().uid() == 0).then(Account::find);
        if let Some(account) = &account {
            chown(home.path(), Some(account.uid), Some(account.gid)).unwrap();
        }
        let mut server = Self {
            bin: binaries(),
            port: free_port(),
            account,
            process: Mutex::new(None),
            settings: Vec::new(),
            databases: AtomicU32::new(0),
            home,
        };
        server.init_database();
        server.settings = prepare(server.home.path(), server.account.as_ref());
        while !server.run().await {
            server.port = free_port();
        }
        server
    }

    /// Creates an empty database and returns its URL.
    pub async fn create_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        // A connection of its own: a pool would belong to the runtime of whichever test came first.
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection
            .execute(format!("CREATE DATABASE {name}").as_str())
            .await
            .unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    /// Runs SQL as the superuser, in the database of that name.
    pub async fn run_sql(&self, database: &str, sql: &str) {
        let mut connection = PgConnection::connect(&self.url(database)).await.unwrap();
        connection
            .execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.unwrap();
    }

    /// The port; the same before and after a restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory that holds everything that the server writes: its data, its write-ahead log and its messages.
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// The URL of the database of that name, whether it exists or not.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends the server as a crash does: at once, all connections cut, no checkpoint, so that the next start recovers
    /// from the write-ahead log.
    pub async fn crash(&self) {
        let process = self.process.lock().unwrap().take();
        if let Some(mut process) = process {
            process.signal("QUIT");
            process.wait(READY_WITHIN).await;
        }
    }

    /// Starts the server again after a [crash](Self::crash): same data, same port.
    pub async fn restart(&self) {
        self.crash().await;
        assert!(
            self.run().await,
            "port {} was taken while PostgreSQL was down",
            self.port
        );
    }

    /// Ends the server as its operator does, and at once where that takes too long: either way its folder has all that it holds.
    pub async fn stop(&self) {
        let process = self.process.lock().unwrap().take();
        if let Some(mut process) = process {
            process.signal("INT");
            if process.ends(READY_WITHIN / 2).await.is_none() {
                process.signal("QUIT");
                process.wait(READY_WITHIN).await;
            }
        }
    }

    /// Keeps a copy of everything that the stopped server holds.
    pub fn keep_copy(&self, name: &str) {
        self.copy("data", name);
    }

    /// Has the stopped server hold what it held when the copy was kept.
    pub fn bring_back(&self, name: &str) {
        std::fs::remove_dir_all(self.home.path().join("data")).unwrap();
        self.copy(name, "data");
    }

    fn copy(&self, from: &str, to: &str) {
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.home.path().join(from))
            .arg(self.home.path().join(to))
            .status();
        assert!(copied.unwrap().success(), "cp failed");
    }

    fn init_database(&self) {
        let args = [
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            // Text that must sort by bytes has to say so, as most servers sort by a language.
            "--locale-provider=icu",
            "--icu-locale=en-US",
            "--no-sync",
            "--pgdata",
        ];
        let (program, mut all) = self.command("initdb");
        all.extend(args.map(OsString::from));
        all.push(self.home.path().join("data").into());
        let output = Command::new(program)
            .args(all)
            .current_dir(self.home.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Starts the server and waits until it answers; false if its port was taken.
    async fn run(&self) -> bool {
        let (program, mut args) = self.command("postgres");
        args.push("-D".into());
        args.push(self.home.path().join("data").into());
        args.extend(["-p".into(), self.port.to_string().into()]);
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=300",
            "shared_buffers=64MB",
            "fsync=on",
            "full_page_writes=on",
            "synchronous_commit=on",
        ];
        args.extend(
            settings
                .into_iter()
                .map(ToOwned::to_owned)
                .chain(self.settings.iter().cloned())
                .flat_map(|setting| ["-c".into(), setting.into()]),
        );
        let log = self.log();
        let mut process = Guarded::start(&Spec {
            program: &program,
            args: &args,
            env: &[],
            home: self.home.path(),
            log: &log,
            last_signal: "QUIT",
            remove_home: true,
        });
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(connection) = PgConnection::connect(&self.url("postgres")).await {
                let _ = connection.close().await;
                // Whoever answered could be another process's server on the same port; ours would have ended then.
                if process.exit_code().is_none() {
                    *self.process.lock().unwrap() = Some(process);
                    return true;
                }
            }
            let text = tail(&log, 30);
            if process.exit_code().is_some() && text.contains("could not bind") {
                return false;
            }
            assert!(
                process.exit_code().is_none(),
                "PostgreSQL ended at its start:\n{text}"
            );
            assert!(Instant::now() < deadline, "PostgreSQL is not ready:\n{text}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// One of the server's programs, under the account that it has to run as.
    fn command(&self, program: &str) -> (PathBuf, Vec<OsString>) {
        let program = self.bin.join(program);
        match &self.account {
            None => (program, Vec::new()),
            Some(account) => ("setpriv".into(), account.arguments(&program)),
        }
    }
}

/// Who runs a server that does not run as root.
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// The account that Debian's package creates for the server.
    pub fn find() -> Self {
        let id = |flag| {
            let output = Command::new("id").args([flag, "postgres"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim().parse().ok()
        };
        match (id("-u"), id("-g")) {
            (Some(uid), Some(gid)) => Self { uid, gid },
            _ => panic!("PostgreSQL does not run as root, and there is no account `postgres`: run ./test"),
        }
    }

    /// What has `setpriv` run the program as this account.
    pub fn arguments(&self, program: &Path) -> Vec<OsString> {
        let (uid, gid) = (self.uid, self.gid);
        let identity = [
            format!("--reuid={uid}"),
            format!("--regid={gid}"),
            "--clear-groups".to_owned(),
        ];
        identity
            .into_iter()
            .map(OsString::from)
            .chain([program.into()])
            .collect()
    }
}

/// The directory of the newest installed server's programs: Debian keeps them outside `PATH`.
fn binaries() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let newest = versions
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .parse::<u32>()
                .ok()
                .map(|version| (version, entry.path()))
        })
        .map(|(version, path)| (version, path.join("bin")))
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .max();
    let in_path = || find_program("initdb", &[])?.parent().map(Path::to_owned);
    newest
        .map(|(_, bin)| bin)
        .or_else(in_path)
        .expect("PostgreSQL's `initdb` is not installed: run ./test, which installs what the tests need")
}
