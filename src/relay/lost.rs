//! What the stream has of events that the log has lost.

use crate::bus::cloud_event::{CloudEvent, Source};
use crate::bus::nats::{Access, NatsBus, NatsError, StreamSettings};
use crate::bus::{BusError, find_in_log};
use crate::proofs::losses::{Asked, Elsewhere, Told};
use crate::store::forks::{LostPurge, StreamAsked};
use crate::store::{Position, ReadStore};
use crate::telemetry;
use archive_ledger_domain::{EntityKey, EventName};
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_trait::async_trait;
use chrono::DateTime;
use futures::StreamExt;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many messages are read at a time.
const BATCH: usize = 1_000;

/// How often nothing may come although something must.
const SILENCES: u32 = 20;

/// The pause after each.
const PAUSE: Duration = Duration::from_millis(250);

/// The server forgets the reader so long after it is gone.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Reads the stream from its first message to its last, and makes none.
pub struct LostPart {
    access: Access,
    settings: StreamSettings,
    service: String,
    source: Source,
    reads: Arc<dyn ReadStore>,
}

impl std::fmt::Debug for LostPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LostPart").finish_non_exhaustive()
    }
}

impl LostPart {
    /// What this stream on these servers has of this service that the log which `reads` reads has not.
    #[must_use]
    pub fn new(access: Access, settings: StreamSettings, service: &str, reads: Arc<dyn ReadStore>) -> Self {
        Self {
            access,
            settings,
            service: service.to_owned(),
            // Only told apart by it: what is current is asked with each question.
            source: Source::new(service, crate::numbering::Numbering::default()),
            reads,
        }
    }

    async fn read(&self, asked: &Asked) -> Result<Told, BusError> {
        let bus = NatsBus::reach(&self.access, &self.service, self.settings.clone()).await?;
        let Some(stream) = bus.standing_stream().await? else {
            return Ok(Told::nothing(StreamAsked::Missing));
        };
        // Another ledger's events are no loss of this one.
        bus.names_this_ledger(&stream)?;
        let mut found = Found::default();
        let state = &stream.cached_info().state;
        if state.messages == 0 {
            return Ok(found.told());
        }
        let config = Config {
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::None,
            inactive_threshold: FORGOTTEN,
            ..Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(failed)?;
        let (mut before, mut silences) = (0, 0);
        loop {
            let mut events = Vec::with_capacity(BATCH);
            let mut pending = None;
            let asking = consumer.fetch().max_messages(BATCH).messages();
            let mut messages = asking.await.map_err(failed)?;
            while let Some(message) = messages.next().await {
                let message = message.map_err(failed)?;
                let info = message.info().map_err(failed)?;
                if info.consumer_sequence != before + 1 {
                    return Err(failed("a message was left out").into());
                }
                before = info.consumer_sequence;
                pending = Some(info.pending);
                // What is no event of a ledger is nobody's loss.
                events.extend(CloudEvent::decode(&message.payload).ok());
            }
            self.take(asked, events, &mut found).await?;
            match pending {
                Some(0) => return Ok(found.told()),
                Some(_) => silences = 0,
                None => {
                    silences += 1;
                    if silences > SILENCES {
                        return Err(failed("nothing comes any more").into());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Keeps those of `events` that are lost.
    async fn take(&self, asked: &Asked, events: Vec<CloudEvent>, found: &mut Found) -> Result<(), BusError> {
        let mut lost = Vec::new();
        let mut doubtful = Vec::new();
        for event in events {
            let Some(number) = self.source.number_in(&event.source) else {
                continue;
            };
            match asked.is_lost(number, event.data.position) {
                Some(true) => lost.push((number, event)),
                Some(false) => {}
                // Only purges are looked up: of the others the position is enough.
                None if is_purge(event.data.event) => doubtful.push((number, event)),
                None => {}
            }
        }
        let positions: Vec<Position> = doubtful.iter().map(|(_, event)| event.data.position).collect();
        let log = find_in_log(&*self.reads, &positions).await?;
        let is_another = |event: &CloudEvent| {
            let logged = log.get(&event.data.position);
            logged.is_none_or(|logged| logged.event_id != event.id)
        };
        lost.extend(doubtful.into_iter().filter(|(_, event)| is_another(event)));
        for (number, event) in lost {
            found.add(asked.size, number, &event);
        }
        Ok(())
    }
}

#[async_trait]
impl Elsewhere for LostPart {
    async fn look(&self, asked: &Asked) -> Told {
        match self.read(asked).await {
            Ok(told) => told,
            Err(error) => {
                tracing::warn!(error = %telemetry::chain(&error), "the stream cannot be asked what is lost");
                Told::nothing(StreamAsked::Away)
            }
        }
    }
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> NatsError {
    NatsError::request("reading the stream")(error.into())
}

const fn is_purge(name: EventName) -> bool {
    match name {
        EventName::PurgeRequested | EventName::Purged | EventName::PurgeFailed | EventName::PurgeForced => {
            true
        }
        EventName::Registered | EventName::SoftDeleted | EventName::Restored => false,
    }
}

#[derive(Default)]
struct Found {
    number: u64,
    reached: Position,
    seen: HashSet<Position>,
    purges: HashMap<(String, Option<Uuid>), LostPurge>,
}

impl Found {
    fn add(&mut self, size: Position, number: u64, event: &CloudEvent) {
        let data = &event.data;
        self.number = self.number.max(number);
        self.reached = self.reached.max(data.position);
        if data.position > size {
            self.seen.insert(data.position);
        }
        if !is_purge(data.event) {
            return;
        }
        let key = EntityKey::new(data.entity_type, &data.entity_id);
        let (Ok(key), Ok(time)) = (key, DateTime::parse_from_rfc3339(&event.time)) else {
            return;
        };
        let purge = LostPurge {
            event: data.event,
            event_id: event.id,
            position: data.position,
            recorded_by: number,
            purge_id: data.purge_id,
            recorded_at: time.to_utc(),
            key,
        };
        let place = (purge.key.stream_id(), purge.purge_id);
        match self.purges.get(&place) {
            Some(known) if (known.recorded_by, known.position) >= (number, purge.position) => {}
            Some(_) | None => {
                self.purges.insert(place, purge);
            }
        }
    }

    fn told(self) -> Told {
        let mut purges: Vec<LostPurge> = self.purges.into_values().collect();
        purges.sort_by_key(|purge| (purge.recorded_by, purge.position));
        Told {
            stream: StreamAsked::Read,
            number: self.number,
            reached: self.reached,
            seen: self.seen.len() as u64,
            purges,
        }
    }
}
