//! Child processes that cannot outlive the test process.
//!
//! A test process may end by `exit`, a panic, an abort or `kill -9`, and a shared server lives in a static that is never
//! dropped. So each server runs under a small shell that reads a pipe whose other end only the test process holds: a
//! line on it is a signal to send, and its end, which the kernel brings about whatever happened, stops the server and
//! removes its directory. (`PR_SET_PDEATHSIG` would not do: it fires when the *thread* that started the child ends, and
//! tests run on threads that come and go.)

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::hash::BuildHasher;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// `$1`: the signal that ends the server when the test process is gone. `$2`: a directory to remove then, or nothing.
/// Standard input is the pipe; the rest of the arguments is the server's command line.
const GUARD: &str = r#"
last=$1; home=$2; shift 2
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
exec 2>/dev/null
{
    while read -r signal; do kill -s "$signal" "$server"; done
    trap '' TERM
    kill -s "$last" "$server"
    while kill -s 0 "$server"; do sleep 0.05; done
    [ -z "$home" ] || rm -rf "$home"
} <&3 >/dev/null &
orders=$!
exec 3<&-
wait "$server"
status=$?
kill "$orders"
wait "$orders"
exit "$status"
"#;

/// What a [`Guarded`] process is started from.
pub struct Spec<'a> {
    /// The program, found in `PATH` if it is no path.
    pub program: &'a Path,
    pub args: &'a [OsString],
    /// Added to the environment, after every inherited `ARCHIVE_LEDGER_*` has been taken out of it.
    pub env: &'a [(String, String)],
    /// The working directory.
    pub home: &'a Path,
    /// Appended to: both output streams.
    pub log: &'a Path,
    /// The signal that ends the process when the test process is gone, e.g. `KILL`.
    pub last_signal: &'a str,
    /// Whether `home` is removed as well when the test process is gone.
    pub remove_home: bool,
}

/// A running child. Dropping it kills it and waits for its end.
pub struct Guarded {
    guard: Child,
    orders: Option<ChildStdin>,
    last_signal: String,
}

impl Guarded {
    /// Starts the process; it is running, not ready, when this returns.
    pub fn start(spec: &Spec<'_>) -> Self {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(spec.log)
            .unwrap();
        let mut command = clean_command("sh");
        command
            .args(["-c", GUARD, "guard", spec.last_signal])
            .arg(if spec.remove_home {
                spec.home.as_os_str()
            } else {
                OsStr::new("")
            })
            .arg(spec.program)
            .args(spec.args)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .current_dir(spec.home)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // A Ctrl-C is for the test process alone; its end is what ends this one.
            .process_group(0);
        let mut guard = command.spawn().unwrap();
        let orders = guard.stdin.take();
        Self {
            guard,
            orders,
            last_signal: spec.last_signal.to_owned(),
        }
    }

    /// Sends a signal by its name without `SIG`, e.g. `KILL`. A process that is gone already makes no difference.
    pub fn signal(&mut self, name: &str) {
        if let Some(orders) = &mut self.orders {
            let _ = writeln!(orders, "{name}");
        }
    }

    /// The number of the process itself, the first child of the shell that guards it.
    pub fn child_id(&self) -> u32 {
        let guard = self.guard.id();
        let path = format!("/proc/{guard}/task/{guard}/children");
        let children = std::fs::read_to_string(path).unwrap();
        children.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Closes the pipe without a word, as the kernel does when the test process is killed.
    pub fn abandon(&mut self) {
        self.orders = None;
    }

    /// The exit code if the process has ended; one that a signal ended has 128 + its number.
    pub fn exit_code(&mut self) -> Option<i32> {
        let status = self.guard.try_wait().unwrap()?;
        Some(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        )
    }

    /// Waits for the process to end and returns its exit code, as [`Self::exit_code`] does; panics after `within`.
    pub async fn wait(&mut self, within: Duration) -> i32 {
        let code = self.ends(within).await;
        code.unwrap_or_else(|| panic!("the process did not end within {within:?}"))
    }

    /// Waits for the process to end, for so long at most.
    pub async fn ends(&mut self, within: Duration) -> Option<i32> {
        let deadline = Instant::now() + within;
        loop {
            let code = self.exit_code();
            if code.is_some() || Instant::now() >= deadline {
                return code;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let last = self.last_signal.clone();
        self.signal(&last);
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.guard.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// A command without the `ARCHIVE_LEDGER_*` variables of whoever runs the tests.
pub fn clean_command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ARCHIVE_LEDGER_") {
            command.env_remove(name);
        }
    }
    command
}

/// A loopback port that nobody listens on and that this process has not handed out before.
///
/// Below the ports that outgoing connections are given, so that a server that is down for a moment finds its port free
/// again; from a random start, so that test processes side by side seldom try the same one.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 22_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(RandomState::new().hash_one(std::process::id()) as u16));
    for _ in 0..COUNT {
        let port = FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free loopback port between {FIRST} and {}", FIRST + COUNT);
}

/// The program of that name in one of `directories`, in `PATH` or in the system's directories, which an ordinary
/// account's `PATH` leaves out.
pub fn find_program(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    directories
        .iter()
        .cloned()
        .chain(std::env::split_paths(&path))
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// The last `lines` lines of a log, for the message of a failure.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
