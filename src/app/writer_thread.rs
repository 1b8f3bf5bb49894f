//! The writer's thread.

use super::start_error::{StartError, blame};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::keyring::Keyring;
use crate::ledger::writer::{WriterHandle, writer};
use crate::store::{AppendBackend, StoreError};
use std::io;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What a writer is made of.
pub(super) struct Start<'a> {
    pub(super) config: &'a Config,
    pub(super) clock: &'a SharedClock,
    pub(super) keyring: &'a Arc<Keyring>,
    pub(super) stop: &'a CancellationToken,
}

impl Start<'_> {
    /// Starts the writer, on a thread of its own.
    ///
    /// Everybody waits for it, so it must not wait in turn until the runtime has gone through what hundreds of connections
    /// want: that took about half of each commit's time under load. The thread has the database connection to itself as well.
    pub(super) async fn writer<B, C>(
        &self,
        option: &'static str,
        connect: C,
    ) -> Result<(WriterHandle, JoinHandle<()>), StartError>
    where
        B: AppendBackend + 'static,
        C: AsyncFnOnce() -> Result<B, StoreError> + Send + 'static,
    {
        let limits = self.config.writer;
        let (keyring, clock) = (Arc::clone(self.keyring), Arc::clone(self.clock));
        let stop = self.stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(StartError::Thread)?;
        let (tell, told) = oneshot::channel();
        // It logs where its starter does.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let task = tokio::task::spawn_blocking(move || {
            let _logging = tracing::dispatcher::set_default(&dispatch);
            runtime.block_on(async move {
                let backend = match connect().await {
                    Ok(backend) => backend,
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        return;
                    }
                };
                let (task, handle) = writer(backend, keyring, clock, limits.max_batch, limits.queue_limit);
                if tell.send(Ok(handle)).is_ok() {
                    task.run(stop).await;
                }
            });
        });
        match told.await {
            Ok(Ok(handle)) => Ok((handle, task)),
            Ok(Err(source)) => Err(blame(option, source)),
            Err(_) => Err(StartError::Thread(io::Error::other(
                "the writer's thread broke off",
            ))),
        }
    }
}
