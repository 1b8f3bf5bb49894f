//! A proxy before PostgreSQL that loses the connection around a commit: the moment at which nobody can know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a client of PostgreSQL sends a bare `COMMIT`: a simple query, its length, its text.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What the one statement holds that writes and commits a batch of soft-deletions.
const EVENT: &[u8] = b"soft_deleted";

/// Whether a message commits: a `COMMIT`; or the values of a batch's one statement, where no transaction is open around it.
fn commits(bytes: &[u8], open: &mut bool) -> bool {
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    match bytes.first() {
        Some(b'Q') if bytes == COMMIT => {
            *open = false;
            true
        }
        Some(b'Q') => {
            *open |= holds(b"BEGIN");
            false
        }
        Some(b'B') => !*open && holds(EVENT),
        _ => false,
    }
}

/// Forwards to a PostgreSQL server; dropping it ends it.
pub struct Lossy {
    port: u16,
    lost: Arc<Lost>,
    task: JoinHandle<()>,
}

/// What was lost so far.
#[derive(Default)]
struct Lost {
    commits: AtomicU64,
    requests: AtomicU64,
    answers: AtomicU64,
}

impl Lossy {
    /// Of the commits that pass, the proxy lets every third reach the server and loses its answer, and loses every
    /// fourth before it reaches the server. The connection is gone with them.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let lost = Arc::new(Lost::default());
        let counted = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                    tokio::spawn(forward(client, server, Arc::clone(&counted)));
                }
            }
        });
        Self { port, lost, task }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many commits never reached the server, and of how many the answer was lost.
    pub fn lost(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.lost.requests), count(&self.lost.answers))
    }
}

impl Drop for Lossy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, lost: Arc<Lost>) {
    let (mut from_client, mut from_server) = ([0; 16_384], [0; 16_384]);
    let mut open = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Some(bytes) = received(read, &from_client) else { return };
                // A client waits for the answer before it commits, so a commit comes alone.
                if commits(bytes, &mut open) {
                    let number = lost.commits.fetch_add(1, Ordering::Relaxed);
                    if number % 4 == 3 {
                        lost.requests.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    if number % 3 == 2 {
                        let sent = server.write_all(bytes).await;
                        if sent.is_ok() && matches!(server.read(&mut from_server).await, Ok(1..)) {
                            lost.answers.fetch_add(1, Ordering::Relaxed);
                        }
                        return;
                    }
                }
                if server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Some(bytes) = received(read, &from_server) else { return };
                if client.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What was read; `None` at the end.
fn received(read: std::io::Result<usize>, buffer: &[u8]) -> Option<&[u8]> {
    match read {
        Ok(length @ 1..) => buffer.get(..length),
        Ok(0) | Err(_) => None,
    }
}
