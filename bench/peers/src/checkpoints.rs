//! From the answer to a command to the first checkpoint that covers its event, as an auditor sees it.

use crate::Failure;
use crate::http::{Connection, Pace, TYPE, drive, id, quantile};
use crate::options::Options;
use serde::Deserialize;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the checkpoint is asked for.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Deserialize)]
struct History {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    position: u64,
}

/// The size in a checkpoint: its second line.
fn size(note: &[u8]) -> Result<u64, Failure> {
    let line = std::str::from_utf8(note)?.lines().nth(1).ok_or("no checkpoint")?;
    Ok(line.parse()?)
}

/// `checkpoints service= token= rate= count= every= seed=`: one in `every` commands is followed to its checkpoint.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let target = options.target()?;
    let count: u64 = options.number("count", 1_000)?;
    let every: u64 = options.number("every", 50)?;
    let seed: u64 = options.number("seed", 1)?;
    let pace = Pace {
        connections: 128,
        count,
        rate: options.number("rate", 0.0)?,
    };
    let answers: Arc<Mutex<Vec<(u64, Instant)>>> = Arc::default();
    let positions: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();

    let make = {
        let target = target.clone();
        move |number| target.soft_delete(id(seed, number), "")
    };
    let done = {
        let (target, answers) = (target.clone(), Arc::clone(&answers));
        move |number: u64, _, answered| {
            number.is_multiple_of(every).then(|| {
                answers
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((number, answered));
                target.request("GET", &format!("{TYPE}/{}/history", id(seed, number)), None)
            })
        }
    };
    let told = {
        let positions = Arc::clone(&positions);
        move |number: u64, body: &[u8]| {
            let history: History = serde_json::from_slice(body)?;
            let position = history.items.first().ok_or("an empty history")?.position;
            positions
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((number, position));
            Ok(())
        }
    };
    let looking = {
        let target = target.clone();
        let request = target.request("GET", "/api/ledger/checkpoint", None);
        let mut connection = Connection::open(&target.address).await?;
        let mut sizes: Vec<(Instant, u64)> = Vec::new();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let mut tail = None;
            loop {
                let seen = size(connection.ask(&request).await?)?;
                if sizes.last().is_none_or(|(_, last)| *last < seen) {
                    sizes.push((Instant::now(), seen));
                }
                if tail.is_none() && stopped.try_recv().is_ok() {
                    tail = Some(Instant::now());
                }
                // What was committed last is covered a little later.
                if tail.is_some_and(|at| at.elapsed() > Duration::from_secs(3)) {
                    return Ok::<_, Failure>(sizes);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        (task, stop)
    };
    let took = drive(&target, pace, make, done, told).await?;
    let _ = looking.1.send(());
    let sizes = looking.0.await??;

    let mut positions = std::mem::take(&mut *positions.lock().unwrap_or_else(PoisonError::into_inner));
    positions.sort_unstable();
    let (mut delays, mut uncovered) = (Vec::new(), 0_u64);
    for (number, answered) in answers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let at = positions.binary_search_by_key(number, |(number, _)| *number);
        let position = at
            .ok()
            .and_then(|at| positions.get(at))
            .map_or(u64::MAX, |(_, position)| *position);
        match sizes.get(sizes.partition_point(|(_, size)| *size < position)) {
            Some((seen, _)) => delays.push(seen.saturating_duration_since(*answered)),
            None => uncovered += 1,
        }
    }
    println!(
        "{}",
        json!({
            "commands_per_second": count as f64 / took.as_secs_f64(), "followed": delays.len(), "uncovered": uncovered,
            "checkpoints": sizes.len(),
            "p50_ms": quantile(&mut delays, 0.5), "p99_ms": quantile(&mut delays, 0.99), "max_ms": quantile(&mut delays, 1.0),
        })
    );
    Ok(())
}
