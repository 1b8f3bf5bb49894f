//! The machine's own resolver, asked once at a time for each name.

use super::Lookup;
use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// How many lookups may hold a thread at once: half of tokio's blocking threads, so that name servers that never answer
/// cannot take them all from files and databases.
const LOOKUPS_AT_ONCE: usize = 256;

/// What a lookup came to, for everybody who waited for it.
type Answer = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

/// Lookups under way, by name.
type UnderWay = Arc<Mutex<HashMap<String, Shared<BoxFuture<'static, Answer>>>>>;

/// How a name is looked up; blocks.
type Ask = fn(&str) -> io::Result<Vec<IpAddr>>;

/// The machine's own resolver (`getaddrinfo`: hosts file, resolv.conf, search domains).
///
/// A name that no name server answers for holds one thread, however many attempts ask for it: others must find one.
#[derive(Debug)]
pub struct SystemLookup {
    slots: Arc<Semaphore>,
    under_way: UnderWay,
    ask: Ask,
}

impl Default for SystemLookup {
    fn default() -> Self {
        Self::new(LOOKUPS_AT_ONCE, |host| {
            let found = (host, 0).to_socket_addrs()?;
            Ok(found.map(|socket| socket.ip()).collect())
        })
    }
}

impl SystemLookup {
    fn new(at_once: usize, ask: Ask) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(at_once)),
            under_way: UnderWay::default(),
            ask,
        }
    }

    /// The lookup of this name that is under way, or a new one.
    fn shared(&self, host: &str) -> Shared<BoxFuture<'static, Answer>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lookup) = under_way.get(host) {
            return lookup.clone();
        }
        let (slots, ask, name) = (Arc::clone(&self.slots), self.ask, host.to_owned());
        let others = Arc::clone(&self.under_way);
        // A task of its own: whoever gives up waiting ends neither the thread nor the others' wait.
        let task = tokio::spawn(async move {
            let asked = name.clone();
            let answer = match slots.acquire_owned().await {
                Ok(slot) => {
                    let asking = tokio::task::spawn_blocking(move || {
                        // The slot goes with the thread.
                        let _slot = slot;
                        ask(&asked)
                    });
                    asking.await.map_err(io::Error::other).flatten()
                }
                Err(closed) => Err(io::Error::other(closed)),
            };
            others
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
            answer.map_err(|error| (error.kind(), error.to_string()))
        });
        let lookup = async move {
            task.await
                .unwrap_or_else(|error| Err((io::ErrorKind::Other, error.to_string())))
        };
        let lookup = lookup.boxed().shared();
        under_way.insert(host.to_owned(), lookup.clone());
        lookup
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let answer = self.shared(host).await;
        answer.map_err(|(kind, text)| io::Error::new(kind, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    static DEAF: AtomicUsize = AtomicUsize::new(0);
    static RELEASED: AtomicUsize = AtomicUsize::new(0);

    fn ask(host: &str) -> io::Result<Vec<IpAddr>> {
        match host {
            "deaf.example" => {
                DEAF.fetch_add(1, Ordering::SeqCst);
                while RELEASED.load(Ordering::SeqCst) == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(io::Error::new(io::ErrorKind::TimedOut, "nobody answered"))
            }
            _ => Ok(vec![Ipv4Addr::new(192, 0, 2, 1).into()]),
        }
    }

    #[tokio::test]
    async fn a_name_that_nobody_answers_for_holds_one_thread_and_leaves_the_others_to_other_names() {
        let lookup = Arc::new(SystemLookup::new(2, ask));
        let waiting: Vec<_> = (0..500)
            .map(|_| {
                let lookup = Arc::clone(&lookup);
                tokio::spawn(async move { lookup.lookup("deaf.example").await })
            })
            .collect();
        for number in 0..20 {
            let name = format!("{number}.example");
            let found = tokio::time::timeout(Duration::from_secs(20), lookup.lookup(&name)).await;
            assert_eq!(found.unwrap().unwrap().len(), 1);
        }
        assert!(DEAF.load(Ordering::SeqCst) <= 1);
        RELEASED.store(1, Ordering::SeqCst);
        for one in waiting {
            let error = one.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        // It is asked again once it was answered.
        lookup.lookup("deaf.example").await.unwrap_err();
        assert_eq!(DEAF.load(Ordering::SeqCst), 2);
        assert!(lookup.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_machines_resolver_knows_localhost() {
        let found = SystemLookup::default().lookup("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    }
}
