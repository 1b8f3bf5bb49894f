//! A proxy before a server that goes silent on order: its connections stand, and nothing passes.

use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passes {
    /// Everything.
    All,
    /// Nothing, not even on new connections.
    Nothing,
    /// What the server says.
    Answers,
    /// What the client says.
    Questions,
    /// Everything on connections that are opened from now on, nothing on those that are there.
    New,
}

/// Forwards to a server on loopback; dropping it ends it.
pub struct Stalling {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    passes: watch::Sender<(Passes, u64)>,
    /// Once a message of the client's holds this, it is let through and nothing else is.
    trap: watch::Sender<Option<&'static str>>,
}

impl Stalling {
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            passes: watch::Sender::new((Passes::All, 0)),
            trap: watch::Sender::new(None),
        });
        let of_task = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                    continue;
                };
                let opened = of_task.passes.borrow().1;
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(forward(
                    from_client,
                    to_server,
                    true,
                    opened,
                    Arc::clone(&of_task),
                ));
                tokio::spawn(forward(
                    from_server,
                    to_client,
                    false,
                    opened,
                    Arc::clone(&of_task),
                ));
            }
        });
        Self { port, shared, task }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on this passes.
    pub fn pass(&self, passes: Passes) {
        self.shared.trap.send_replace(None);
        self.shared
            .passes
            .send_modify(|state| *state = (passes, state.1 + 1));
    }

    /// The next message of a client that holds this text reaches the server, and then nothing passes any more.
    pub fn stall_after(&self, text: &'static str) {
        self.shared.trap.send_replace(Some(text));
    }

    /// Until the message has come.
    pub async fn stalled(&self) {
        let mut passes = self.shared.passes.subscribe();
        passes.wait_for(|state| state.0 != Passes::All).await.unwrap();
    }
}

impl Drop for Stalling {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// Waits until what goes in this direction on a connection of this age may pass.
    async fn may_pass(&self, question: bool, opened: u64) {
        let mut passes = self.passes.subscribe();
        let allowed = passes.wait_for(|(passes, turn)| match passes {
            Passes::All => true,
            Passes::Nothing => false,
            Passes::Answers => !question,
            Passes::Questions => question,
            Passes::New => opened >= *turn,
        });
        if allowed.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn springs(&self, bytes: &[u8]) -> bool {
        let trap = *self.trap.borrow();
        let sprung =
            trap.is_some_and(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()));
        if sprung {
            self.trap.send_replace(None);
        }
        sprung
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    question: bool,
    opened: u64,
    shared: Arc<Shared>,
) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        shared.may_pass(question, opened).await;
        let bytes = &buffer[..length];
        if question && shared.springs(bytes) {
            shared
                .passes
                .send_modify(|state| *state = (Passes::Nothing, state.1 + 1));
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
