//! An independent subscriber of the stream, and the commands whose events it waits for, in one process.

use crate::Failure;
use crate::http::{Pace, id, quantile, send};
use crate::options::Options;
use async_nats::jetstream;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use chrono::DateTime;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

#[derive(Deserialize)]
struct Envelope {
    time: String,
    sequence: String,
}

/// What the subscriber saw.
#[derive(Default)]
struct Followed {
    events: u64,
    /// Sequences that were not the last one's successor.
    gaps: u64,
    delays: Vec<Duration>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// Follows until `wanted` events came, or nothing for a while.
async fn follow(
    url: &str,
    all: bool,
    wanted: &AtomicU64,
    ready: oneshot::Sender<()>,
) -> Result<Followed, Failure> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let context = jetstream::new(async_nats::connect(url).await?);
    let stream = loop {
        // The service creates it at its start.
        match context.get_stream("ARCHIVE_LEDGER").await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let config = OrderedConfig {
        deliver_policy: if all {
            DeliverPolicy::All
        } else {
            DeliverPolicy::New
        },
        ..OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    let _ = ready.send(());
    let mut seen = Followed::default();
    let mut expected = all.then_some(1);
    while seen.events < wanted.load(Ordering::Relaxed) {
        let message = match tokio::time::timeout(PATIENCE, messages.next()).await {
            Ok(Some(message)) => message?,
            Ok(None) | Err(_) => break,
        };
        let now = SystemTime::now();
        let event: Envelope = serde_json::from_slice(&message.payload)?;
        let recorded = DateTime::parse_from_rfc3339(&event.time)?.timestamp_micros();
        let recorded = UNIX_EPOCH + Duration::from_micros(u64::try_from(recorded)?);
        seen.delays.push(now.duration_since(recorded).unwrap_or_default());
        let sequence: u64 = event.sequence.parse()?;
        if expected.is_some_and(|expected| expected != sequence) {
            seen.gaps += 1;
        }
        expected = Some(sequence + 1);
        seen.events += 1;
        let at = Instant::now();
        seen.first.get_or_insert(at);
        seen.last = Some(at);
    }
    Ok(seen)
}

/// `follow nats= count= [service= token= rate= seed=]`: with a service, soft-deletes at that rate and the delay of their
/// events; without one, how fast `count` events that stand in the log already come.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let url = options.text("nats")?.to_owned();
    let count: u64 = options.number("count", 1_000)?;
    let wanted = Arc::new(AtomicU64::new(count));
    let (ready, is_ready) = oneshot::channel();
    let paced = options.text("service").is_ok();
    let following = {
        let wanted = Arc::clone(&wanted);
        tokio::spawn(async move { follow(&url, !paced, &wanted, ready).await })
    };
    is_ready.await?;
    let mut command_rate = 0.0;
    if paced {
        let target = options.target()?;
        let seed: u64 = options.number("seed", 1)?;
        let pace = Pace {
            connections: 64,
            count,
            rate: options.number("rate", 0.0)?,
        };
        let make = {
            let target = target.clone();
            move |number| target.soft_delete(id(seed, number), "")
        };
        let took = send(&target, pace, make, |_, _, _| ()).await?;
        command_rate = count as f64 / took.as_secs_f64();
    }
    let mut seen = following.await??;
    let between = match (seen.first, seen.last) {
        (Some(first), Some(last)) if last > first => last.duration_since(first).as_secs_f64(),
        _ => f64::INFINITY,
    };
    println!(
        "{}",
        json!({
            "expected": count, "events": seen.events, "gaps": seen.gaps, "commands_per_second": command_rate,
            "events_per_second": seen.events as f64 / between,
            "p50_ms": quantile(&mut seen.delays, 0.5), "p99_ms": quantile(&mut seen.delays, 0.99),
            "max_ms": quantile(&mut seen.delays, 1.0),
        })
    );
    Ok(())
}
