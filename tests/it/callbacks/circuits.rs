//! Whose failure delays whom: nobody's delays another URL, and an operator's replay waits for no circuit.

use super::on_both_stores;
use super::rig::{Rig, Running, SOON};
use crate::harness::eventually;
use archive_ledger::callbacks::worker::WorkerOptions;
use archive_ledger::store::callbacks::{Circuit, DeliveryRow, DeliveryState, Replay};
use chrono::TimeDelta;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const TIMEOUT: Duration = Duration::from_secs(20);
/// A healthy URL's delivery arrives within this time, whatever others do.
const PROMPTLY: Duration = Duration::from_secs(5);
/// So many silent URLs are tried within it too, on a machine that has other things to do: each for its whole time would take minutes.
const SILENT: usize = 2_500;
const IN_A_CROWD: Duration = Duration::from_secs(60);

on_both_stores! {
    bad_urls_of_an_endpoint_do_not_delay_a_healthy_one,
    a_replay_goes_out_through_an_open_circuit_and_closes_it,
    a_circuit_outlives_its_worker_and_binds_every_instance,
    urls_that_are_silent_at_one_host_do_not_delay_a_healthy_one_there,
    hosts_that_are_silent_do_not_delay_a_healthy_one,
}

/// A server that treats each path in its own way, and remembers what came to `/healthy…`.
struct Mixed {
    address: SocketAddr,
    healthy: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Mixed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mixed {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let healthy: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = Arc::clone(&healthy);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            healthy,
            task,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn healthy(&self) -> usize {
        self.healthy.lock().unwrap().len()
    }

    /// How many healthy URLs have had a callback. A worker that gives way to others may have sent one whose answer it then did not wait
    /// for, and sends it again.
    fn healthy_urls(&self) -> usize {
        let seen = self.healthy.lock().unwrap();
        seen.iter().collect::<BTreeSet<_>>().len()
    }
}

async fn serve(mut stream: TcpStream, healthy: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // The greeting of a TLS client is no HTTP.
        if bytes[0] == 0x16 {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if !text.ends_with('}') {
            continue;
        }
        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer: &[u8] = match path.split('?').next().unwrap_or_default() {
            // Until the client gives up: what is under way here at once is what the worker has under way.
            "/silent" => {
                while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {}
                return;
            }
            "/slow" => {
                tokio::time::sleep(Duration::from_secs(2)).await;
                healthy.lock().unwrap().push(path);
                b"HTTP/1.1 204 No Content\r\n\r\n"
            }
            "/closing" => return,
            "/garbage" => b"hello\r\n\r\n",
            "/failing" => b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
            "/missing" => b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
            _ => {
                healthy.lock().unwrap().push(path);
                b"HTTP/1.1 204 No Content\r\n\r\n"
            }
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
        bytes.clear();
    }
}

fn quick() -> WorkerOptions {
    WorkerOptions {
        poll: Duration::from_millis(20),
        ..WorkerOptions::default()
    }
}

async fn open_circuits(rig: &Rig, what: &str, enough: impl Fn(&[Circuit]) -> bool) -> Vec<Circuit> {
    eventually(what, SOON, || async {
        Some(rig.store.circuits().await.unwrap()).filter(|open| enough(open))
    })
    .await
}

fn made(all: &[DeliveryRow]) -> u32 {
    all.iter().map(|row| row.attempts).sum()
}

async fn bad_urls_of_an_endpoint_do_not_delay_a_healthy_one(rig: Rig) {
    let server = Mixed::start().await;
    let plain = server.address;
    // One URL with a backlog for each way to fail, and many URLs that each fail.
    for path in ["/closing", "/garbage", "/failing", "/missing", "/silent"] {
        rig.owe(&server.url(path), 30).await;
    }
    rig.owe(&format!("https://{plain}/"), 30).await;
    rig.owe(&format!("http://never.invalid:{}/", plain.port()), 30)
        .await;
    for number in 0..60 {
        rig.owe(&server.url(&format!("/silent?tenant={number}")), 2).await;
        rig.owe(&server.url(&format!("/closing?tenant={number}")), 2)
            .await;
        rig.owe(&format!("https://{plain}/{number}"), 2).await;
    }
    let worker = rig.work(quick(), TIMEOUT);
    let open = open_circuits(&rig, "bad URLs are left alone", |open| open.len() >= 3).await;
    assert!(open.iter().all(|circuit| !circuit.is_of_endpoint()), "{open:?}");

    let mut slowest = Duration::ZERO;
    for number in 0..20 {
        let (before, began) = (server.healthy(), Instant::now());
        rig.owe(&server.url(&format!("/healthy?tenant={number}")), 1)
            .await;
        eventually("a healthy URL has its callback", SOON, || async {
            (server.healthy() > before).then_some(())
        })
        .await;
        slowest = slowest.max(began.elapsed());
        // Time passes, and the bad ones fall due again and again.
        rig.clock.advance(TimeDelta::seconds(40));
    }
    assert!(slowest < PROMPTLY, "{slowest:?}");
    worker.kill().await;
}

async fn a_replay_goes_out_through_an_open_circuit_and_closes_it(rig: Rig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = Mixed::start().await;
    drop(listener);
    let refused = format!("http://{address}/healthy");
    rig.owe(&refused, 12).await;
    rig.owe(&silent.url("/closing"), 12).await;
    let worker = rig.work(quick(), TIMEOUT);
    let open = open_circuits(&rig, "both circuits are open", |open| open.len() == 2).await;
    let scopes: Vec<bool> = open.iter().map(Circuit::is_of_endpoint).collect();
    assert!(scopes.contains(&true) && scopes.contains(&false), "{open:?}");
    let before = rig
        .until("nothing is under way", |all| all.iter().all(|row| !row.leased))
        .await;

    // One that fails changes nothing.
    let of_host = |host: &str| {
        let row = before.iter().find(|row| row.host == host).unwrap();
        row.delivery_id
    };
    let closing = of_host(&silent.address.to_string());
    assert_eq!(rig.admin().replay(closing).await.unwrap(), Replay::Due);
    rig.until("the replay was attempted", |all| {
        made(all) == made(&before) + 1 && all.iter().all(|row| !row.leased)
    })
    .await;
    assert_eq!(rig.store.circuits().await.unwrap(), open);

    // One that arrives brings the others along.
    let server = Mixed::on(TcpListener::bind(address).await.unwrap());
    assert_eq!(
        rig.admin().replay(of_host(&address.to_string())).await.unwrap(),
        Replay::Due
    );
    open_circuits(&rig, "the circuit is closed", |open| open.len() == 1).await;
    rig.clock.advance(TimeDelta::seconds(5));
    rig.until("all others arrive", |all| {
        let delivered = |row: &&DeliveryRow| row.state == DeliveryState::Delivered;
        all.iter().filter(delivered).count() == 12
    })
    .await;
    assert_eq!(server.healthy(), 12);
    worker.kill().await;
}

async fn a_circuit_outlives_its_worker_and_binds_every_instance(rig: Rig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    rig.owe(&format!("http://{address}/healthy"), 40).await;
    let first = rig.work(quick(), TIMEOUT);
    open_circuits(&rig, "the circuit is open", |open| open.len() == 1).await;
    rig.until("nothing is under way", |all| all.iter().all(|row| !row.leased))
        .await;
    first.kill().await;
    let before = made(&rig.all().await);
    let server = Mixed::on(TcpListener::bind(address).await.unwrap());
    let (second, third) = (rig.work(quick(), TIMEOUT), rig.work(quick(), TIMEOUT));
    // The next delivery to somebody else is made, so both have looked.
    let other = Mixed::start().await;
    for number in 1..=10 {
        rig.owe(&other.url(&format!("/healthy?{number}")), 1).await;
        eventually("another receiver has its callback", SOON, || async {
            (other.healthy() == number).then_some(())
        })
        .await;
    }
    let rows = rig.all().await;
    let of_endpoint: u32 = rows
        .iter()
        .filter(|row| row.host == address.to_string())
        .map(|row| row.attempts)
        .sum();
    assert_eq!(of_endpoint, before, "the circuit is open");
    rig.clock.advance(TimeDelta::seconds(31));
    eventually("all arrive once it is probed", SOON, || async {
        (server.healthy() == 40).then_some(())
    })
    .await;
    assert_eq!(rig.store.circuits().await.unwrap(), []);
    second.stop().await;
    third.stop().await;
}

async fn urls_that_are_silent_at_one_host_do_not_delay_a_healthy_one_there(rig: Rig) {
    let server = Mixed::start().await;
    let silent = |number: usize| server.url(&format!("/silent?tenant={number}"));
    let worker = healthy_among_silent(&rig, &server, silent).await;

    // As many again, and one that takes its time at a host where nobody is silent: it does not have to give way.
    let more: Vec<String> = (SILENT..2 * SILENT).map(silent).collect();
    rig.owe_each(&more).await;
    let elsewhere = Mixed::start().await;
    rig.owe(&elsewhere.url("/slow"), 1).await;
    let of_slow = |row: &&DeliveryRow| row.host == elsewhere.address.to_string();
    let rows = rig
        .until("the slow one has its callback", |all| {
            let slow = all.iter().find(of_slow);
            slow.is_some_and(|row| row.state == DeliveryState::Delivered)
        })
        .await;
    assert_eq!(rows.iter().find(of_slow).unwrap().attempts, 1);
    worker.kill().await;
}

async fn hosts_that_are_silent_do_not_delay_a_healthy_one(rig: Rig) {
    let server = Mixed::on(TcpListener::bind("0.0.0.0:0").await.unwrap());
    let port = server.address.port();
    let worker = healthy_among_silent(&rig, &server, |number| {
        format!("http://127.1.{}.{}:{port}/silent", number / 250, number % 250)
    })
    .await;
    worker.kill().await;
}

/// Works among many silent URLs, all of them due for the first time, and then again and again.
async fn healthy_among_silent(rig: &Rig, server: &Mixed, silent: impl Fn(usize) -> String) -> Running {
    // The last host in the alphabet, where it is not the only one.
    let host = if server.address.ip().is_loopback() {
        "127.0.0.1"
    } else {
        "127.9.9.9"
    };
    let healthy = |number: usize| format!("http://{host}:{}/healthy?{number}", server.address.port());
    let mut urls: Vec<String> = (0..SILENT).map(silent).collect();
    urls.extend((0..10).map(healthy));
    rig.owe_each(&urls).await;
    let began = Instant::now();
    let worker = rig.work(quick(), TIMEOUT);
    let all_there = async |what: &str, count: usize| {
        let mut seen = Instant::now();
        eventually(what, IN_A_CROWD, || {
            // Whoever had to give way on a busy machine is asked again in time.
            let passed = seen.elapsed();
            seen += passed;
            rig.clock.advance(TimeDelta::from_std(passed).unwrap());
            async { (server.healthy_urls() == count).then_some(()) }
        })
        .await;
    };
    all_there("healthy URLs have their callbacks", 10).await;
    let took = began.elapsed();
    assert!(took < IN_A_CROWD, "{took:?}");
    for number in 10..15 {
        let began = Instant::now();
        rig.owe(&healthy(number), 1).await;
        all_there("another healthy URL has its callback", number + 1).await;
        let took = began.elapsed();
        assert!(took < IN_A_CROWD, "{took:?}");
        rig.clock.advance(TimeDelta::seconds(40));
    }
    worker
}
