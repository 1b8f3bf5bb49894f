//! What the process takes of the machine, by the names that Prometheus's own libraries use.

use super::catalogue::{
    PROCESS_CPU_SECONDS_TOTAL, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY_BYTES,
    PROCESS_START_TIME_SECONDS, find,
};
use std::fmt::Write as _;

/// The process's metrics in Prometheus's text format; those that the system does not tell are left out.
///
/// They are written here because the recorder's counters are whole numbers, and seconds of a processor are not.
pub(super) fn render(text: &mut String) {
    for (name, value) in [
        (PROCESS_CPU_SECONDS_TOTAL, system::cpu_seconds()),
        (PROCESS_RESIDENT_MEMORY_BYTES, system::resident_bytes()),
        (PROCESS_OPEN_FDS, system::open_descriptors()),
        (PROCESS_MAX_FDS, system::most_descriptors()),
        (PROCESS_START_TIME_SECONDS, system::started_at()),
    ] {
        if let (Some(value), Some(metric)) = (value, find(name)) {
            let (kind, help) = (metric.kind.as_str(), metric.help);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"
            );
        }
    }
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::process::{Resource, getrlimit};
    use rustix::time::{ClockId, clock_gettime};
    use std::fs;

    /// The unit of times in `/proc`, which Linux has fixed for programs whatever its own is.
    const TICKS_PER_SECOND: f64 = 100.0;

    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    pub(super) fn cpu_seconds() -> Option<f64> {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Some(used.tv_sec as f64 + used.tv_nsec as f64 / 1e9)
    }

    pub(super) fn resident_bytes() -> Option<f64> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0)
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    pub(super) fn open_descriptors() -> Option<f64> {
        // The one that reads the directory is among them.
        Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
    }

    #[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
    pub(super) fn most_descriptors() -> Option<f64> {
        getrlimit(Resource::Nofile).current.map(|most| most as f64)
    }

    pub(super) fn started_at() -> Option<f64> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 = machine
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name stands in parentheses and may hold anything; the time is the 20th field behind it.
        let ticks: f64 = process
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(19)?
            .parse()
            .ok()?;
        Some(booted + ticks / TICKS_PER_SECOND)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(super) const fn cpu_seconds() -> Option<f64> {
        None
    }

    pub(super) const fn resident_bytes() -> Option<f64> {
        None
    }

    pub(super) const fn open_descriptors() -> Option<f64> {
        None
    }

    pub(super) const fn most_descriptors() -> Option<f64> {
        None
    }

    pub(super) const fn started_at() -> Option<f64> {
        None
    }
}
