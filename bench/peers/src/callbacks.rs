//! Receivers of callbacks, and the purges that they are told of, in one process with one clock.
//!
//! Every receiver has an address and a port of its own, so that the limit for one receiver is not what is measured. Healthy
//! ones keep connections and answer 204 at once; silent ones accept, read and never answer.

use crate::Failure;
use crate::http::{Incoming, Pace, id, quantile, send};
use crate::options::Options;
use serde::Deserialize;
use serde_json::json;
use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "archiveId")]
    archive_id: Uuid,
    error: Option<String>,
}

/// What is known of each purge; times are nanoseconds since the start, 0: not yet.
struct Seen {
    began: Instant,
    numbers: OnceLock<HashMap<Uuid, usize>>,
    due: Vec<AtomicU64>,
    acknowledged: Vec<AtomicU64>,
    arrived: Vec<AtomicU64>,
    times: Vec<AtomicU32>,
    last_arrival: AtomicU64,
    strange: AtomicU64,
}

impl Seen {
    fn new(count: usize) -> Self {
        let zeros = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            began: Instant::now(),
            numbers: OnceLock::new(),
            due: zeros(),
            acknowledged: zeros(),
            arrived: zeros(),
            times: (0..count).map(|_| AtomicU32::new(0)).collect(),
            last_arrival: AtomicU64::new(0),
            strange: AtomicU64::new(0),
        }
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        u64::try_from(at.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn arrived(&self, body: &[u8], at: Instant) {
        let numbers = self.numbers.get();
        let number = serde_json::from_slice::<Body>(body)
            .ok()
            .filter(|body| body.error.is_none())
            .and_then(|body| numbers?.get(&body.archive_id).copied());
        let Some(number) = number else {
            self.strange.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let at = self.nanoseconds(at);
        let _ = self.arrived[number].compare_exchange(0, at, Ordering::Relaxed, Ordering::Relaxed);
        self.times[number].fetch_add(1, Ordering::Relaxed);
        self.last_arrival.fetch_max(at, Ordering::Relaxed);
    }
}

/// Answers on one address of its own, or never does; returns its URL.
async fn receiver(number: usize, seen: Option<Arc<Seen>>) -> Result<String, Failure> {
    let host = format!(
        "127.{}.{}.{}",
        1 + u8::from(seen.is_none()),
        number / 250,
        number % 250 + 1
    );
    let listener = TcpListener::bind((host.as_str(), 0)).await?;
    let url = format!("http://{host}:{}/deleted", listener.local_addr()?.port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, seen.clone()));
        }
    });
    Ok(url)
}

async fn answer(mut stream: TcpStream, seen: Option<Arc<Seen>>) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let mut incoming = Incoming::default();
    while let Some((_, body)) = incoming.next(&mut stream).await? {
        if let Some(seen) = &seen {
            seen.arrived(body, Instant::now());
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        }
    }
    Ok(())
}

fn signal(pid: &str, name: &str) -> Result<(), Failure> {
    let done = Command::new("kill").args([&format!("-{name}"), pid]).status()?;
    done.success().then_some(()).ok_or_else(|| "kill failed".into())
}

/// `callbacks service= token= count= rate= healthy= silent= share= warm= seed= pause=`: `share` of the purges are for silent
/// receivers; `warm` purges come before those that count; the process `pause` is stopped while the purges are made.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let target = options.target()?;
    let (count, warm) = (
        options.number("count", 1_000_usize)?,
        options.number("warm", 0_usize)?,
    );
    let share: f64 = options.number("share", 0.0)?;
    let seed: u64 = options.number("seed", 1)?;
    let seen = Arc::new(Seen::new(count + warm));
    let mut healthy = Vec::new();
    for number in 0..options.number("healthy", 64)? {
        healthy.push(receiver(number, Some(Arc::clone(&seen))).await?);
    }
    let mut silent = Vec::new();
    for number in 0..options.number("silent", 0)? {
        silent.push(receiver(number, None).await?);
    }
    let all = count + warm;
    let ids: Vec<Uuid> = (0..all as u64).map(|number| id(seed, number)).collect();
    let numbers = ids.iter().enumerate().map(|(number, id)| (*id, number)).collect();
    let _ = seen.numbers.set(numbers);
    // Those for silent receivers stand evenly between the others.
    let is_silent = move |number: usize| {
        number >= warm && (number as f64 * share).floor() != ((number + 1) as f64 * share).floor()
    };
    let full = Pace {
        connections: 128,
        count: all as u64,
        rate: 0.0,
    };
    let make = {
        let target = target.clone();
        move |number| target.soft_delete(id(seed, number), "")
    };
    send(&target, full, make, |_, _, _| ()).await?;

    phase("purging");
    let urls = Arc::new((healthy, silent));
    let purge = |from: usize, count: usize, rate: f64| {
        let (make, note) = (target.clone(), Arc::clone(&seen));
        let (urls, target) = (Arc::clone(&urls), target.clone());
        let make = move |number: u64| {
            let number = from + number as usize;
            let of = if is_silent(number) { &urls.1 } else { &urls.0 };
            make.purge(id(seed, number as u64), Some(&of[number % of.len()]))
        };
        let note = move |number: u64, due, answered| {
            let number = from + number as usize;
            note.due[number].store(note.nanoseconds(due), Ordering::Relaxed);
            note.acknowledged[number].store(note.nanoseconds(answered), Ordering::Relaxed);
        };
        async move {
            let pace = Pace {
                connections: 128,
                count: count as u64,
                rate,
            };
            send(&target, pace, make, note).await
        }
    };
    let rate: f64 = options.number("rate", 0.0)?;
    if warm > 0 {
        purge(0, warm, if rate > 0.0 { rate } else { 1_000.0 }).await?;
        wait(&seen, 0..warm, is_silent).await;
    }
    let pause = options.text("pause").ok();
    if let Some(pid) = pause {
        signal(pid, "STOP")?;
    }
    let began = Instant::now();
    let purged = purge(warm, count, rate).await;
    if let Some(pid) = pause {
        signal(pid, "CONT")?;
    }
    let purging = purged?;
    phase("delivering");
    wait(&seen, warm..all, is_silent).await;
    phase("done");

    let told = warm..all;
    let expected: Vec<usize> = told.filter(|number| !is_silent(*number)).collect();
    let (mut delays, mut whole, mut doubled) = (Vec::new(), Vec::new(), 0_u64);
    let mut arrivals = Vec::new();
    for number in &expected {
        let at = |times: &[AtomicU64]| times[*number].load(Ordering::Relaxed);
        doubled += u64::from(seen.times[*number].load(Ordering::Relaxed)).saturating_sub(1);
        let arrived = at(&seen.arrived);
        if arrived > 0 {
            arrivals.push(arrived);
            delays.push(Duration::from_nanos(
                arrived.saturating_sub(at(&seen.acknowledged)),
            ));
            whole.push(Duration::from_nanos(arrived.saturating_sub(at(&seen.due))));
        }
    }
    arrivals.sort_unstable();
    let between = match (arrivals.first(), arrivals.last()) {
        (Some(first), Some(last)) if last > first => (last - first) as f64 / 1e9,
        _ => f64::INFINITY,
    };
    println!(
        "{}",
        json!({
            "expected": expected.len(), "arrived": arrivals.len(), "lost": expected.len() - arrivals.len(),
            "doubled": doubled, "strange": seen.strange.load(Ordering::Relaxed),
            "purges_per_second": count as f64 / purging.as_secs_f64(),
            "callbacks_per_second": arrivals.len() as f64 / between,
            "seconds": began.elapsed().as_secs_f64(),
            "p50_ms": quantile(&mut delays, 0.5), "p99_ms": quantile(&mut delays, 0.99), "max_ms": quantile(&mut delays, 1.0),
            "whole_p50_ms": quantile(&mut whole, 0.5), "whole_p99_ms": quantile(&mut whole, 0.99),
        })
    );
    Ok(())
}

/// Tells whoever measures what happens from now on.
fn phase(name: &str) {
    println!("{}", json!({ "phase": name }));
}

/// Until all have arrived, or nothing has for a while.
async fn wait(seen: &Seen, numbers: std::ops::Range<usize>, is_silent: impl Fn(usize) -> bool) {
    // Longer than the bus waits for an acknowledgement: what is late is not lost.
    const PATIENCE: Duration = Duration::from_secs(75);
    let since = Instant::now();
    for number in numbers {
        while !is_silent(number) && seen.arrived[number].load(Ordering::Relaxed) == 0 {
            let last = seen.began + Duration::from_nanos(seen.last_arrival.load(Ordering::Relaxed));
            if last.max(since).elapsed() > PATIENCE {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // Those that come twice come soon.
    tokio::time::sleep(Duration::from_millis(300)).await;
}
