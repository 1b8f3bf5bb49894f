//! Callbacks: what is owed to whom, delivered at least once, isolated receivers, replay. Every scenario on both stores.

mod circuits;
mod claims;
mod deliveries;
mod outcomes;
mod rig;
mod service;
mod worker;

/// Makes two tests of each scenario, one for each store.
macro_rules! on_both_stores {
    ($($name:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::callbacks::rig::Rig::sqlite().await).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::callbacks::rig::Rig::postgres().await).await;
            })*
        }
    };
}
use on_both_stores;
