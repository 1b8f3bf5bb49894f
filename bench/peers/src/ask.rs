//! Many different GETs, from standard input: one path per line.

use crate::Failure;
use crate::http::{Pace, quantile, send};
use crate::options::Options;
use serde_json::json;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

/// `ask service= token= connections= count=`: the paths in turn, `count` requests in all.
pub async fn run(options: &Options) -> Result<(), Failure> {
    let target = options.target()?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let requests: Vec<Vec<u8>> = text
        .lines()
        .map(|path| target.request("GET", path, None))
        .collect();
    if requests.is_empty() {
        return Err("no paths".into());
    }
    let pace = Pace {
        connections: options.number("connections", 1)?,
        count: options.number("count", requests.len() as u64)?,
        rate: 0.0,
    };
    let times = Arc::new(Mutex::new(Vec::new()));
    let make = move |number: u64| requests[number as usize % requests.len()].clone();
    let note = {
        let times = Arc::clone(&times);
        move |_, due, answered: std::time::Instant| {
            times
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(answered.duration_since(due));
        }
    };
    let took = send(&target, pace, make, note).await?;
    let mut times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    println!(
        "{}",
        json!({
            "count": times.len(), "per_second": times.len() as f64 / took.as_secs_f64(),
            "p50_ms": quantile(&mut times, 0.5), "p99_ms": quantile(&mut times, 0.99), "max_ms": quantile(&mut times, 1.0),
        })
    );
    Ok(())
}
