//! Receivers and name servers for tests.

use super::resolve::Lookup;
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A private server on loopback that counts its connections and keeps what it was sent.
pub struct Receiver {
    /// Where it listens.
    pub addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Reads one request after the other from each connection and lets `answer` write to it.
    pub async fn new(
        answer: impl Fn(TcpStream) -> BoxFuture<'static, Option<TcpStream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (accepted, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (count, kept, answer) = (Arc::clone(&accepted), Arc::clone(&requests), Arc::new(answer));
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                connections.spawn(async move {
                    while let Some(request) = read_request(&mut stream).await {
                        kept.lock().unwrap().push(request);
                        match answer(stream).await {
                            Some(open) => stream = open,
                            None => return,
                        }
                    }
                });
            }
        });
        Self {
            addr,
            accepted,
            requests,
            task,
        }
    }

    /// Answers every request with these bytes and keeps the connection open.
    pub async fn answering(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes: Arc<Vec<u8>> = Arc::new(bytes.into());
        Self::new(move |mut stream| {
            let bytes = Arc::clone(&bytes);
            Box::pin(async move { stream.write_all(&bytes).await.ok().map(|()| stream) })
        })
        .await
    }

    /// Reads, and never answers.
    pub async fn silent() -> Self {
        Self::new(|stream| {
            Box::pin(async move {
                std::future::pending::<()>().await;
                Some(stream)
            })
        })
        .await
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// `http://<host>:<port>/callback?key=1`.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/callback?key=1", self.addr.port())
    }
}

/// Head and body of the next request, or `None` at the end of the connection.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Knows every name, gives its answers in turn and the last one for ever, and counts.
#[derive(Debug)]
pub struct Names(Mutex<Vec<Vec<IpAddr>>>, AtomicUsize);

impl Names {
    pub fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers
            .iter()
            .map(|answer| answer.iter().map(|ip| ip.parse().unwrap()).collect());
        Arc::new(Self(Mutex::new(answers.collect()), AtomicUsize::new(0)))
    }

    pub fn asked(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Lookup for Names {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.0.lock().unwrap();
        match answers.len() {
            0 => Err(io::Error::other("no such name")),
            1 => Ok(answers[0].clone()),
            _ => Ok(answers.remove(0)),
        }
    }
}

/// Never answers.
#[derive(Debug)]
pub struct DeafNameServer;

#[async_trait]
impl Lookup for DeafNameServer {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        std::future::pending().await
    }
}
