//! The machine's own resolver, asked once at a time for each name.
//!
//! A lookup cannot be called back: one that no name server answers holds its thread for as long as the machine's resolver waits (10 s
//! with the usual `resolv.conf`). So threads are shared out in a way that leaves some for names that hang together with nobody:
//!
//! - names of one domain, which one name server stands for, take a quarter as many threads as are left for all others;
//! - names of one top-level domain take three times as many at the most;
//! - names that took long the last time have a few threads to themselves, and take no others;
//! - of those that wait, names of the domain that has fewest threads are next, and a name that nobody waits for any more is not looked up.

mod share;

use super::Lookup;
use async_trait::async_trait;
use share::Threads;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How many lookups may hold a thread at once: half of tokio's blocking threads, so that name servers that never answer
/// cannot take them all from files and databases.
const LOOKUPS_AT_ONCE: usize = 256;

/// A lookup that takes longer took long: a name server answers in a fraction of it.
const LONG: Duration = Duration::from_secs(2);

/// What a lookup came to, for everybody who waits for it.
type Answer = Result<Vec<IpAddr>, (io::ErrorKind, String)>;

/// How a name is looked up; blocks.
type Ask = fn(&str) -> io::Result<Vec<IpAddr>>;

/// What is asked, and who has a thread.
#[derive(Debug)]
struct Desk {
    /// Where the answers go, by name.
    asked: HashMap<String, watch::Sender<Option<Answer>>>,
    /// Those that have not begun, in the order in which they came.
    waiting: Vec<String>,
    threads: Threads,
}

/// The machine's own resolver (`getaddrinfo`: hosts file, resolv.conf, search domains).
///
/// A name that no name server answers for holds one thread, however many attempts ask for it: others must find one.
#[derive(Debug, Clone)]
pub struct SystemLookup {
    desk: Arc<Mutex<Desk>>,
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
            desk: Arc::new(Mutex::new(Desk {
                asked: HashMap::new(),
                waiting: Vec::new(),
                threads: Threads::new(at_once),
            })),
            ask,
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the answer to the lookup of this name comes, which is under way or a new one.
    fn shared(&self, host: &str) -> watch::Receiver<Option<Answer>> {
        let mut desk = self.desk();
        if let Some(answer) = desk.asked.get(host) {
            return answer.subscribe();
        }
        let (answer, waits) = watch::channel(None);
        desk.asked.insert(host.to_owned(), answer);
        desk.waiting.push(host.to_owned());
        self.begin(&mut desk);
        waits
    }

    /// Begins the lookups that there are threads for.
    fn begin(&self, desk: &mut Desk) {
        let Desk {
            asked,
            waiting,
            threads,
        } = desk;
        // Whoever gave up waiting took the name along.
        waiting.retain(|name| {
            let wanted = asked.get(name).is_some_and(|answer| answer.receiver_count() > 0);
            if !wanted {
                asked.remove(name);
            }
            wanted
        });
        while let Some(next) = threads.next(waiting) {
            let name = waiting.remove(next);
            threads.take(&name);
            let lookup = self.clone();
            // Whoever gives up waiting ends neither the thread nor the others' wait.
            tokio::task::spawn_blocking(move || lookup.answer(&name));
        }
    }

    /// Looks a name up, tells everybody who waits, and leaves the thread to the next.
    fn answer(&self, name: &str) {
        let (began, ask) = (Instant::now(), self.ask);
        let found = std::panic::catch_unwind(|| ask(name))
            .unwrap_or_else(|_| Err(io::Error::other("the lookup panicked")));
        let answer = found.map_err(|error| (error.kind(), error.to_string()));
        let mut desk = self.desk();
        desk.threads.give_back(name, began.elapsed() >= LONG);
        if let Some(waits) = desk.asked.remove(name) {
            waits.send_replace(Some(answer));
        }
        self.begin(&mut desk);
    }
}

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut waits = self.shared(host);
        let answer = waits.wait_for(Option::is_some).await;
        let answer = answer.map_err(io::Error::other)?.clone();
        answer
            .unwrap_or_else(|| Err((io::ErrorKind::Other, "no answer".to_owned())))
            .map_err(|(kind, text)| io::Error::new(kind, text))
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
        assert!(lookup.desk().asked.is_empty());
    }

    /// Silent until it is told otherwise, save for one name.
    fn ask_silent(host: &str) -> io::Result<Vec<IpAddr>> {
        while host != "healthy.test" && ANSWERED.load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(vec![Ipv4Addr::new(192, 0, 2, 1).into()])
    }

    static ANSWERED: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test]
    async fn a_silent_name_server_does_not_delay_the_first_lookup_of_a_name_elsewhere() {
        let lookup = SystemLookup::new(32, ask_silent);
        let waiting: Vec<_> = (0..600)
            .map(|number| {
                let lookup = lookup.clone();
                tokio::spawn(async move { lookup.lookup(&format!("{number}.silent.example")).await })
            })
            .collect();
        tokio::time::timeout(Duration::from_secs(20), async {
            while lookup.desk().asked.len() < 600 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let found = tokio::time::timeout(Duration::from_secs(20), lookup.lookup("healthy.test")).await;
        assert_eq!(found.unwrap().unwrap().len(), 1);
        // Those that gave up are not asked for afterwards.
        let (gave_up, patient) = waiting.split_at(500);
        for one in gave_up {
            one.abort();
        }
        ANSWERED.store(1, Ordering::SeqCst);
        tokio::time::timeout(Duration::from_secs(20), async {
            while patient.iter().any(|one| !one.is_finished()) || !lookup.desk().asked.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        assert!(lookup.desk().waiting.is_empty());
    }

    #[tokio::test]
    async fn the_machines_resolver_knows_localhost() {
        let found = SystemLookup::default().lookup("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty());
    }
}
