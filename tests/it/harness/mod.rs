//! Everything a test needs around the service: private servers on free loopback ports, the real binary, a receiver of
//! callbacks. Nothing here touches a server that it did not start, and nothing that it starts outlives the test
//! process, however that ends (see [`process`]).

pub mod described;
pub mod emulators;
pub mod holding;
pub mod ledger;
pub mod lossy;
pub mod meddler;
pub mod nats;

pub mod pgbouncer;
pub mod postgres;
pub mod process;
pub mod receiver;
pub mod roots;
pub mod s3;
pub mod server;
pub mod stalling;

mod smoke;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a server may take to become ready. Generous, because tests share two cores with each other: a server that
/// is up answers at once, so only a broken one ever waits this long.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// Prepares the process for anything that may build a TLS configuration. Idempotent; every harness entry calls it, and
/// a test that uses no part of the harness but opens a client itself calls it first.
pub fn init() {
    // An error only says that an earlier call has installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Asks `probe` until it answers `Some`, every 20 ms, and returns that answer; panics with `what` after `within`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = probe().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes two tests, `NAME::embedded` and `NAME::clustered`, of one scenario, so that no route is proved on one backend
/// only. Ask for a `Server` to get one started with its defaults, for a `Backend` to start it yourself:
///
/// ```ignore
/// on_both_backends! {
///     async fn a_restored_entity_leaves_the_list(server: Server) { … }
///     async fn a_kill_loses_nothing(backend: Backend) { let server = Server::builder(backend)…; … }
/// }
/// ```
macro_rules! on_both_backends {
    () => {};
    ($(#[$meta:meta])* async fn $name:ident($server:ident : Server) $body:block $($rest:tt)*) => {
        $crate::harness::on_both_backends! {
            $(#[$meta])* async fn $name(backend: Backend) {
                let $server = $crate::harness::server::Server::start(backend).await;
                $body
            }
            $($rest)*
        }
    };
    ($(#[$meta:meta])* async fn $name:ident($backend:ident : Backend) $body:block $($rest:tt)*) => {
        mod $name {
            use super::*;

            async fn scenario($backend: $crate::harness::server::Backend) $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                scenario($crate::harness::server::Backend::Embedded).await;
            }

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn clustered() {
                scenario($crate::harness::server::Backend::Clustered).await;
            }
        }

        $crate::harness::on_both_backends! { $($rest)* }
    };
}
pub(crate) use on_both_backends;

/// An id that nothing else has.
pub fn fresh_id() -> uuid::Uuid {
    use archive_ledger::clock::Clock as _;
    archive_ledger::clock::SystemClock.new_id()
}
