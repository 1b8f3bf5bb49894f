//! The `archive-ledger` command.
//!
//! Exit codes: 0 done; 2 the command line, the configuration, a key file or a server that it names is at fault, told in one
//! line `archive-ledger: --option: cause`; 1 anything else that failed.

mod cli;

use archive_ledger::app::{self, ServeError, StartError};
use archive_ledger::clock;
use archive_ledger::config::Config;
use archive_ledger::foreign_text::harmless;
use archive_ledger::telemetry;
use cli::{Cli, Command};
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::SignalKind;

// The C library's allocator keeps what a burst of commands took, in an arena per thread; this one gives it back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    small_pages();
    own_files_stay_open();
    let cli = match Cli::from_command_line() {
        Ok(cli) => cli,
        Err(error) => return cli::report_usage(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say_in_time(failure.line);
            ExitCode::from(failure.code)
        }
    }
}

/// How long threads that look at disks, or a pipe that nobody reads, may keep the process from ending.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Where huge pages are on, the first touch of each of the allocator's regions takes 2 MiB: an idle service would hold three
/// times what it uses. Where the system refuses, the memory is all that it costs.
#[cfg(target_os = "linux")]
fn small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
const fn small_pages() {}

/// What the process makes it must be able to use: a mask that takes that away from the owner keeps nobody else out. What it takes away
/// from others stays taken.
fn own_files_stay_open() {
    use rustix::fs::Mode;
    // The mask can only be read by setting it; no other thread makes files yet.
    let mask = rustix::process::umask(Mode::RWXU);
    rustix::process::umask(mask - Mode::RWXU);
}

fn run(cli: Cli) -> Result<(), Failure> {
    let misused = |error: &dyn Error| Failure::usage(error).with_code(cli::usage_code());
    let (flags, command) = cli.into_parts().map_err(|error| misused(&error))?;
    let configured = || {
        let config = Config::load(&flags).map_err(|error| misused(&error))?;
        clock::check().map_err(|error| misused(&error))?;
        // reqwest, async-nats, sqlx and the AWS client bring more than one provider along; none is the default by itself.
        // An error means that one is installed already.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(config)
    };
    match command {
        // These are asked where the configuration may be at fault.
        Command::Config(arguments) => cli::config::run(&flags, arguments),
        Command::Completions(arguments) => cli::shell::completions(&arguments),
        Command::Man(arguments) => cli::shell::manual(&arguments),
        Command::Serve(_) => configured().and_then(|config| work(&config, app::serve(config.clone()))),
        Command::Token(arguments) => configured().and_then(|config| cli::token::run(&config, arguments)),
        Command::Migrate(_) => configured().and_then(|config| work(&config, app::migrate(&config))),
        Command::Rebuild(arguments) => {
            configured().and_then(|config| aside(&config, cli::rebuild::run(&config, arguments)))
        }
        Command::Reconcile(arguments) => {
            configured().and_then(|config| aside(&config, cli::reconcile::run(&config, arguments)))
        }
        Command::Verify(arguments) => {
            configured().and_then(|config| aside(&config, cli::verify::run(&config, arguments)))
        }
        Command::Export(arguments) => {
            configured().and_then(|config| aside(&config, cli::export::run(&config, arguments)))
        }
        Command::Ledger(arguments) => {
            configured().and_then(|config| work(&config, cli::ledger::run(&config, arguments)))
        }
        Command::Import(arguments) => {
            configured().and_then(|config| work(&config, cli::import::run(&config, arguments)))
        }
    }
}

/// Runs what works on the ledger beside a service, which comes first where both want the machine.
fn aside<E: Into<Failure>>(
    config: &Config,
    task: impl Future<Output = Result<(), E>>,
) -> Result<(), Failure> {
    step_back();
    work(config, task)
}

/// Before the runtime's threads are made: they inherit it. Where the system refuses, the two share the machine evenly.
#[cfg(target_os = "linux")]
fn step_back() {
    let _ = rustix::process::nice(10);
}

#[cfg(not(target_os = "linux"))]
const fn step_back() {}

/// A file that would grow beyond the limit of `ulimit -f` ends a process that does not take the signal; one that does is told by
/// the write that failed, as by a full disk.
fn survive_file_limits(runtime: &tokio::runtime::Runtime) {
    let _entered = runtime.enter();
    let kind = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    // The signal stays taken when what would hear of it is dropped. Where it cannot be taken, nothing else is worse.
    let _ = tokio::signal::unix::signal(kind);
}

/// Runs what works on the ledger: with logs, on a runtime.
fn work<E: Into<Failure>>(config: &Config, work: impl Future<Output = Result<(), E>>) -> Result<(), Failure> {
    let _written_out = telemetry::init_logs(&config.log).map_err(|error| Failure::runtime(&error))?;
    telemetry::hide_panic_messages();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::runtime(&error).in_context("cannot start the runtime"))?;
    survive_file_limits(&runtime);
    let done = runtime.block_on(work).map_err(Into::into);
    // Everything that has an end has come to it by now. What waits for a file system that does not answer has none.
    runtime.shutdown_timeout(LAST_WORDS);
    done
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::usage(&error)
    }
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Self {
        match &error {
            ServeError::Start(start) => Self::usage(start),
            ServeError::Diverged { .. } => Self::usage(&error),
            ServeError::Task(_) | ServeError::Writer(_) => Self::runtime(&error),
        }
    }
}

/// Why the command failed: what is said on standard error, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    /// What the caller can set right: exit code 2.
    pub(crate) fn usage(error: &dyn Error) -> Self {
        Self {
            line: one_line(error),
            code: 2,
        }
    }

    /// What failed on the way: exit code 1.
    pub(crate) fn runtime(error: &dyn Error) -> Self {
        Self {
            line: one_line(error),
            code: 1,
        }
    }

    /// What was looked for and found: exit code 1.
    pub(crate) const fn found(line: String) -> Self {
        Self { line, code: 1 }
    }

    /// The same failure with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The same failure, said of `context`: an option with its dashes, or what could not be done.
    pub(crate) fn in_context(self, context: &str) -> Self {
        Self {
            line: format!("{context}: {}", self.line),
            ..self
        }
    }
}

/// Says why on standard error; that nobody can read it changes nothing about the exit code.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "archive-ledger: {}", harmless(line));
}

/// The same as the last thing that the process does, which does not wait for ever for whoever reads a pipe.
fn say_in_time(line: String) {
    let (said, heard) = std::sync::mpsc::channel::<()>();
    let saying = std::thread::Builder::new().spawn(move || {
        let _ends_with_this = said;
        say(&line);
    });
    // Without a thread to spare, what it ended for is in its exit code.
    if saying.is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS);
    }
}

/// The error and its causes on one line; a cause that an error already tells is not told twice.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line.split(['\n', '\r'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
