//! What every bus must do, as plain async functions. The integration tests run them on the log and on JetStream.
#![expect(
    clippy::unwrap_used,
    reason = "a contract that is broken says where by panicking"
)]

use super::{BusError, BusEvent, Handler, HandlerError};
use archive_ledger_domain::{Command, EntityKey, EntityType, EventName};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything may take here; a working bus needs a fraction.
const PATIENCE: Duration = Duration::from_secs(60);

/// A log and a bus over it.
#[async_trait]
pub trait BusUnderTest: Send + Sync {
    /// Records a command; returns when it is committed.
    async fn submit(&self, key: EntityKey, command: Command);

    /// Runs a consumer until the token is cancelled.
    fn start(
        &self,
        handler: Arc<dyn Handler>,
        shutdown: CancellationToken,
    ) -> JoinHandle<Result<(), BusError>>;
}

/// What an attempt comes to that is told to fail.
pub type Failure = fn() -> HandlerError;

/// A consumer under test: remembers what it is given, and fails where it is told to.
pub struct Recorder {
    name: &'static str,
    events: &'static [EventName],
    seen: Mutex<Vec<BusEvent>>,
    /// What the next attempts at an entity's events come to, by the entity's id.
    failures: Mutex<BTreeMap<String, Vec<Failure>>>,
    attempts: Mutex<BTreeMap<String, usize>>,
}

impl Recorder {
    /// A consumer of that name that wants these events.
    #[must_use]
    pub fn new(name: &'static str, events: &'static [EventName]) -> Arc<Self> {
        Arc::new(Self {
            name,
            events,
            seen: Mutex::default(),
            failures: Mutex::default(),
            attempts: Mutex::default(),
        })
    }

    /// Everything that was taken, in the order in which it was.
    #[must_use]
    pub fn seen(&self) -> Vec<BusEvent> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was taken at least once, by position.
    #[must_use]
    pub fn distinct(&self) -> BTreeMap<u64, BusEvent> {
        self.seen()
            .into_iter()
            .map(|event| (event.position, event))
            .collect()
    }

    /// Returns once `count` different events were taken.
    pub async fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.distinct().len() < count {
            assert!(
                Instant::now() < deadline,
                "{}: {} of {count} events in {PATIENCE:?}",
                self.name,
                self.distinct().len()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets the next attempts at an entity's events fail.
    pub fn fail(&self, entity_id: &str, failures: Vec<Failure>) {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(entity_id.to_owned(), failures);
    }

    fn attempts(&self, entity_id: &str) -> usize {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.get(entity_id).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Handler for Recorder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn events(&self) -> &'static [EventName] {
        self.events
    }

    async fn handle(&self, event: &BusEvent) -> Result<(), HandlerError> {
        let id = event.key.id();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        *attempts.entry(id.to_owned()).or_default() += 1;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = failures.get_mut(id).and_then(Vec::pop) {
            return Err(next());
        }
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event.clone());
        Ok(())
    }
}

const PURGES: &[EventName] = &[EventName::PurgeRequested, EventName::Purged];

/// Everything that is asked for arrives, in the order of the log for each name, and nothing else does.
pub async fn a_consumer_gets_every_event_that_it_asks_for_in_order_and_no_other(bus: &dyn BusUnderTest) {
    let recorder = Recorder::new("contract-order", PURGES);
    let shutdown = CancellationToken::new();
    let before = archives(10, "before");
    purge_all(bus, &before).await;
    let running = bus.start(recorder.clone(), shutdown.clone());
    let after = archives(40, "after");
    purge_all(bus, &after).await;
    recorder.wait_for(100).await;
    stop(shutdown, running).await;

    let seen = recorder.seen();
    for name in PURGES {
        let positions: Vec<u64> = first_times(&seen)
            .iter()
            .filter(|event| event.event.name() == *name)
            .map(|event| event.position)
            .collect();
        assert_eq!(positions.len(), 50);
        assert!(positions.is_sorted(), "{name}: {positions:?}");
    }
    assert!(seen.iter().all(|event| PURGES.contains(&event.event.name())));
}

/// A consumer that was stopped goes on where it was; what it has taken does not come again.
pub async fn a_stopped_consumer_goes_on_where_it_was(bus: &dyn BusUnderTest) {
    let recorder = Recorder::new("contract-restart", PURGES);
    let shutdown = CancellationToken::new();
    purge_all(bus, &archives(20, "first")).await;
    let running = bus.start(recorder.clone(), shutdown.clone());
    recorder.wait_for(40).await;
    stop(shutdown, running).await;

    purge_all(bus, &archives(20, "second")).await;
    assert_eq!(recorder.distinct().len(), 40);
    let shutdown = CancellationToken::new();
    let running = bus.start(recorder.clone(), shutdown.clone());
    recorder.wait_for(80).await;
    stop(shutdown, running).await;
    assert_eq!(recorder.seen().len(), 80);
}

/// What a handler cannot take now comes again until it can.
pub async fn an_event_that_has_to_wait_comes_again(bus: &dyn BusUnderTest) {
    let recorder = Recorder::new("contract-retry", PURGES);
    let keys = archives(10, "retry");
    recorder.fail(keys[4].id(), vec![|| HandlerError::retry("not now"); 4]);
    let shutdown = CancellationToken::new();
    let running = bus.start(recorder.clone(), shutdown.clone());
    purge_all(bus, &keys).await;
    recorder.wait_for(20).await;
    stop(shutdown, running).await;
    assert!(recorder.attempts(keys[4].id()) >= 6);
}

/// What a handler can never take is set aside and holds nothing up.
pub async fn a_poison_event_is_parked_and_holds_nothing_up(bus: &dyn BusUnderTest) {
    let recorder = Recorder::new("contract-poison", &[EventName::PurgeRequested]);
    let keys = archives(10, "poison");
    // More failures than a parked event is ever tried: once with others, once alone.
    recorder.fail(keys[4].id(), vec![|| HandlerError::poison("never"); 20]);
    let shutdown = CancellationToken::new();
    let running = bus.start(recorder.clone(), shutdown.clone());
    purge_all(bus, &keys).await;
    recorder.wait_for(9).await;
    let more = archives(10, "healthy");
    purge_all(bus, &more).await;
    recorder.wait_for(19).await;
    stop(shutdown, running).await;
    assert!((1..=2).contains(&recorder.attempts(keys[4].id())));
}

/// Each consumer gets everything that it asks for, whatever others have taken or refuse.
pub async fn consumers_do_not_depend_on_each_other(bus: &dyn BusUnderTest) {
    let healthy = Recorder::new("contract-healthy", PURGES);
    let stuck = Recorder::new("contract-stuck", &[EventName::PurgeRequested]);
    let keys = archives(10, "both");
    for key in &keys {
        stuck.fail(key.id(), vec![|| HandlerError::retry("not now"); 1000]);
    }
    let shutdown = CancellationToken::new();
    let running = [
        bus.start(healthy.clone(), shutdown.clone()),
        bus.start(stuck.clone(), shutdown.clone()),
    ];
    purge_all(bus, &keys).await;
    healthy.wait_for(20).await;
    assert!(stuck.seen().is_empty());
    for running in running {
        stop(shutdown.clone(), running).await;
    }
}

/// The first time that each event was taken, in order.
#[must_use]
pub fn first_times(seen: &[BusEvent]) -> Vec<BusEvent> {
    let mut known = std::collections::BTreeSet::new();
    seen.iter()
        .filter(|event| known.insert(event.position))
        .cloned()
        .collect()
}

/// Archives that no other contract uses.
#[must_use]
pub fn archives(count: usize, prefix: &str) -> Vec<EntityKey> {
    (0..count)
        .map(|number| EntityKey::new(EntityType::Archives, &format!("{prefix}-{number}")).unwrap())
        .collect()
}

/// Registers and purges archives without storage: `registered`, then `purge_requested` and `purged` in one commit.
pub async fn purge_all(bus: &dyn BusUnderTest, keys: &[EntityKey]) {
    for (number, key) in keys.iter().enumerate() {
        let register = Command::Register {
            dataset_id: None,
            space_id: None,
            storage_count: 0,
            callback: false,
        };
        bus.submit(key.clone(), register).await;
        let purge = Command::RequestPurge {
            purge_id: Uuid::from_u128(number as u128 + 1),
            entity_type: key.entity_type(),
            callback: false,
            join: false,
        };
        bus.submit(key.clone(), purge).await;
    }
}

/// Ends a consumer in order.
pub async fn stop(shutdown: CancellationToken, running: JoinHandle<Result<(), BusError>>) {
    shutdown.cancel();
    let ended = tokio::time::timeout(PATIENCE, running).await;
    ended.unwrap().unwrap().unwrap();
}
