//! A proxy before PostgreSQL that keeps one statement back while its client believes it lost, and lets it arrive later.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How a client of PostgreSQL sends a bare `COMMIT`: a simple query, its length, its text.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// Forwards to a PostgreSQL server; dropping it ends it.
pub struct Holding {
    port: u16,
    shared: Arc<Shared>,
    held: mpsc::Receiver<Held>,
    looked_up: mpsc::Receiver<()>,
    gate: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// A statement that is on its way, and the server's side of its connection.
pub struct Held {
    server: TcpStream,
    statement: Vec<u8>,
}

impl Held {
    /// Lets it arrive, and returns what the server answers.
    pub async fn arrive(mut self) -> Vec<u8> {
        self.server.write_all(&self.statement).await.unwrap();
        let mut answer = vec![0; 16_384];
        let length = self.server.read(&mut answer).await.unwrap();
        answer.truncate(length);
        answer
    }
}

struct Shared {
    /// The texts that the statement to keep back holds; none: nothing is kept back.
    wanted: Mutex<Vec<Vec<u8>>>,
    held: mpsc::Sender<Held>,
    looked_up: mpsc::Sender<()>,
    gate: watch::Receiver<bool>,
}

impl Holding {
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (hold, held) = mpsc::channel(1);
        let (look_up, looked_up) = mpsc::channel(1);
        let (gate, opened) = watch::channel(true);
        let shared = Arc::new(Shared {
            wanted: Mutex::default(),
            held: hold,
            looked_up: look_up,
            gate: opened,
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await {
                    tokio::spawn(forward(client, server, Arc::clone(&of_task)));
                }
            }
        });
        Self {
            port,
            shared,
            held,
            looked_up,
            gate,
            task,
        }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Keeps the next message back that holds all of these, and ends its client's connection. From then on whoever has
    /// committed something waits with the next message until [`Self::open`].
    pub fn hold(&self, texts: &[&str]) {
        self.gate.send_replace(false);
        *self.shared.wanted.lock().unwrap() = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    }

    /// The message that was kept back.
    pub async fn held(&mut self) -> Held {
        self.held.recv().await.unwrap()
    }

    /// Until a client that reconnected has committed something and wants to go on.
    pub async fn looked_up(&mut self) {
        self.looked_up.recv().await.unwrap();
    }

    /// Lets everybody go on.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(mut client: TcpStream, mut server: TcpStream, shared: Arc<Shared>) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    let mut gate = shared.gate.clone();
    let mut committed = false;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &from_client[..length];
                if shared.takes(bytes) {
                    let statement = bytes.to_vec();
                    let _ = shared.held.send(Held { server, statement }).await;
                    return;
                }
                if committed && !*gate.borrow() {
                    let _ = shared.looked_up.try_send(());
                    if gate.wait_for(|open| *open).await.is_err() {
                        return;
                    }
                }
                committed = bytes == COMMIT;
                if server.write_all(bytes).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Shared {
    /// Whether this is the message to keep back; only one ever is.
    fn takes(&self, bytes: &[u8]) -> bool {
        let mut wanted = self.wanted.lock().unwrap();
        let holds = |text: &Vec<u8>| bytes.windows(text.len()).any(|window| window == text);
        let taken = !wanted.is_empty() && wanted.iter().all(holds);
        if taken {
            wanted.clear();
        }
        taken
    }
}
