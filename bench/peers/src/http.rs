//! HTTP/1.1 by hand, so that the measuring costs little of what is measured: a client on one kept connection, and load.

use crate::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use uuid::{Builder, Uuid};

/// The entities' route.
pub const TYPE: &str = "/api/admin/archived/backups";

/// How long an answer may take before the run fails.
const ANSWER: Duration = Duration::from_secs(30);

/// Bytes of an HTTP message as they arrive.
#[derive(Default)]
pub struct Incoming {
    bytes: Vec<u8>,
    /// What the last message took.
    used: usize,
}

impl Incoming {
    /// The next whole message, head and body; none at the end.
    pub async fn next(&mut self, stream: &mut TcpStream) -> Result<Option<(&str, &[u8])>, Failure> {
        self.bytes.drain(..self.used);
        self.used = 0;
        let head = loop {
            if let Some(head) = self.bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break head;
            }
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return if self.bytes.is_empty() {
                    Ok(None)
                } else {
                    Err("cut short".into())
                };
            }
        };
        let length = content_length(std::str::from_utf8(&self.bytes[..head])?)?;
        while self.bytes.len() < head + 4 + length {
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Err("a body was cut short".into());
            }
        }
        self.used = head + 4 + length;
        Ok(Some((
            std::str::from_utf8(&self.bytes[..head])?,
            &self.bytes[head + 4..self.used],
        )))
    }
}

fn content_length(head: &str) -> Result<usize, Failure> {
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else {
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(value.trim().parse()?);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("a body without a length".into());
        }
    }
    Ok(0)
}

/// One kept connection.
pub struct Connection {
    stream: TcpStream,
    incoming: Incoming,
}

impl Connection {
    pub async fn open(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            incoming: Incoming::default(),
        })
    }

    /// The body of a 2xx answer.
    pub async fn ask(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        let answer = tokio::time::timeout(ANSWER, self.incoming.next(&mut self.stream)).await?;
        let (head, body) = answer?.ok_or("the connection was closed")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            let said = String::from_utf8_lossy(body)
                .chars()
                .take(300)
                .collect::<String>();
            return Err(format!("answered {status}: {said}").into());
        }
        Ok(body)
    }
}

/// Where requests go, and by whose right.
#[derive(Clone)]
pub struct Target {
    pub address: String,
    pub token: String,
}

impl Target {
    pub fn request(&self, method: &str, path: &str, body: Option<&str>) -> Vec<u8> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\n",
            self.token
        );
        match body {
            None => format!("{head}\r\n").into_bytes(),
            Some(body) => {
                let length = body.len();
                format!("{head}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
                    .into_bytes()
            }
        }
    }

    pub fn soft_delete(&self, id: Uuid, more: &str) -> Vec<u8> {
        let body = format!(
            r#"{{"id":"{id}","name":"nightly-db-17-2026-11-23","metadata":{{"host":"db-17.example.org","size":1073741824,"region":"eu-central-1"}},"reason":"its retention period is over"{more}}}"#
        );
        self.request("POST", TYPE, Some(&body))
    }

    pub fn purge(&self, id: Uuid, callback: Option<&str>) -> Vec<u8> {
        let body = callback.map(|url| format!(r#"{{"deletedCallback":"{url}"}}"#));
        self.request("DELETE", &format!("{TYPE}/{id}/purge"), body.as_deref())
    }
}

/// The ids of a run: scattered, and the same for the same seed.
pub fn id(seed: u64, number: u64) -> Uuid {
    let mix = |value: u64| {
        let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    let high = mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
    let bytes = (u128::from(high) << 64) | u128::from(mix(high ^ number));
    Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid()
}

/// How requests follow each other.
#[derive(Clone, Copy)]
pub struct Pace {
    pub connections: u64,
    pub count: u64,
    /// Requests begun in a second, whatever the answers take; 0: each connection's next when its last is answered.
    pub rate: f64,
}

/// Sends `pace.count` requests that `make` builds, and tells `done` of each: its number, when it was due and when it was
/// answered. A request that `done` gives is sent on the same connection, and its answer goes to `told`. Any answer but 2xx
/// fails the run. Returns how long it took.
pub async fn drive(
    target: &Target,
    pace: Pace,
    make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    done: impl Fn(u64, Instant, Instant) -> Option<Vec<u8>> + Send + Sync + 'static,
    told: impl Fn(u64, &[u8]) -> Result<(), Failure> + Send + Sync + 'static,
) -> Result<Duration, Failure> {
    let shared = Arc::new((make, done, told, AtomicU64::new(0)));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..pace.connections.min(pace.count.max(1)) {
        let (shared, mut connection) = (Arc::clone(&shared), Connection::open(&target.address).await?);
        tasks.spawn(async move {
            let (make, done, told, next) = &*shared;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= pace.count {
                    return Ok::<_, Failure>(());
                }
                let due = if pace.rate > 0.0 {
                    let due = began + Duration::from_secs_f64(number as f64 / pace.rate);
                    tokio::time::sleep_until(due.into()).await;
                    due
                } else {
                    Instant::now()
                };
                connection.ask(&make(number)).await?;
                if let Some(more) = done(number, due, Instant::now()) {
                    told(number, connection.ask(&more).await?)?;
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(began.elapsed())
}

/// [`drive`] where nothing is asked in between.
pub async fn send(
    target: &Target,
    pace: Pace,
    make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    done: impl Fn(u64, Instant, Instant) + Send + Sync + 'static,
) -> Result<Duration, Failure> {
    let done = move |number, due, answered| {
        done(number, due, answered);
        None
    };
    drive(target, pace, make, done, |_, _| Ok(())).await
}

/// Milliseconds at a share of a list, which is sorted by this.
pub fn quantile(values: &mut [Duration], share: f64) -> f64 {
    values.sort_unstable();
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).map_or(0.0, |value| value.as_secs_f64() * 1000.0)
}
