//! Durable pull consumers: one per handler and event name, because a 2.9 server filters by one subject only.
//!
//! ```text
//! message ─▶ decode ─▶ the log's event at that position, with that id? ─▶ Handler ─▶ acknowledged
//!              └─ no ─────────────┴─ no ─▶ parked: logged, counted, terminated; nothing else happens
//! ```

use super::{NatsBus, NatsError};
use crate::bus::cloud_event::CloudEvent;

use crate::bus::{
    Backoff, BusError, BusEvent, Handler, HandlerError, count_handled, find_in_log, park_event,
};
use crate::store::{Position, ReadStore, StoreError};
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use archive_ledger_domain::EventName;
use async_nats::jetstream::consumer::pull::{Config, MessagesErrorKind, Stream as Messages};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::jetstream::{AckKind, Message};
use futures::future::{BoxFuture, OptionFuture, join, try_join_all};
use futures::{FutureExt, StreamExt};
use metrics::counter;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

/// What a consumer waits for, as the table of tasks tells it; else it is the name of the events.
const LOOKING_UP: &str = "looking up messages";

/// How many messages are looked up and handed over at once.
const BATCH: usize = 256;

/// How many messages are asked for ahead. The client asks for more when half of them are left, so that one batch comes in
/// while the one before is handled.
const AHEAD: usize = 2 * BATCH;

/// How long the server waits for an acknowledgement before it sends a message again. A handler only records the job, so
/// this is never the length of the work.
const ACK_WAIT: Duration = Duration::from_secs(60);

/// How often the server shows that it is alive while there is nothing to send.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long one request for messages stands.
const EXPIRES: Duration = Duration::from_secs(30);

/// The longest pause before a message that had to wait comes again.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Feeds one handler from JetStream. Instances that run the same handler share the work.
pub struct NatsConsumer {
    bus: NatsBus,
    handler: Arc<dyn Handler>,
    reads: Arc<dyn ReadStore>,
}

/// What the log says about a message.
enum Verdict {
    Confirmed(BusEvent),
    Unknown(String),
}

impl NatsConsumer {
    /// A consumer for `handler`; it confirms every message in the log that `reads` reads.
    #[must_use]
    pub fn new(bus: NatsBus, handler: Arc<dyn Handler>, reads: Arc<dyn ReadStore>) -> Self {
        Self { bus, handler, reads }
    }

    /// Runs until `shutdown`. A server or database that is away is waited for, and so is a stream that cannot hold the events; a
    /// stream or consumer that was deleted is created again.
    ///
    /// # Errors
    /// [`BusError::Store`] when the database proves to be another one.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), BusError> {
        try_join_all(
            self.handler
                .events()
                .iter()
                .map(|name| self.follow(*name, &shutdown)),
        )
        .await?;
        Ok(())
    }

    async fn follow(&self, name: EventName, shutdown: &CancellationToken) -> Result<(), BusError> {
        let mut backoff = Backoff::new();
        while !shutdown.is_cancelled() {
            let failure = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                opened = self.open(name) => match opened {
                    Ok(messages) => {
                        backoff.reset();
                        task_states::goes_on(name.as_str());
                        self.consume(name, messages, shutdown).await?
                    }
                    Err(error) => {
                        let brief = error.brief();
                        task_states::waits_for(name.as_str(), || brief);
                        Some(error.into())
                    }
                },
            };
            if let Some(error) = failure {
                if !backoff.is_failing() {
                    tracing::warn!(
                        consumer = self.handler.name(),
                        event.name = name.as_str(),
                        error = %telemetry::chain(error.as_ref()),
                        "{} opens its messages again",
                        self.handler.name(),
                    );
                }
                tokio::select! {
                    () = shutdown.cancelled() => {}
                    () = tokio::time::sleep(backoff.next_pause()) => {}
                }
            }
        }
        Ok(())
    }

    async fn open(&self, name: EventName) -> Result<Messages, NatsError> {
        let durable = format!("{}-{name}", self.handler.name());
        let config = Config {
            durable_name: Some(durable.clone()),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            filter_subject: self.bus.subjects().one_event(name),
            max_ack_pending: 4 * i64::try_from(BATCH).unwrap_or(i64::MAX),
            num_replicas: self.bus.replicas(),
            ..Config::default()
        };
        let stream = self.bus.stream().await?;
        let consumer = stream
            .get_or_create_consumer(&durable, config)
            .await
            .map_err(|error| NatsError::request("opening the consumer")(error.into()))?;
        consumer
            .stream()
            .max_messages_per_batch(AHEAD)
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await
            .map_err(|error| NatsError::request("asking for messages")(error.into()))
    }

    /// Takes messages until they end; what ended them, unless it was `shutdown`.
    async fn consume(
        &self,
        name: EventName,
        messages: Messages,
        shutdown: &CancellationToken,
    ) -> Result<Option<Box<dyn Error + Send + Sync>>, BusError> {
        let mut chunks = messages.ready_chunks(BATCH);
        let mut silent = false;
        // The server's answer comes behind all that it has to send: the next batch is handled meanwhile.
        let mut unheard: Option<BoxFuture<'static, ()>> = None;
        let failure = loop {
            let chunk = tokio::select! {
                biased;
                () = shutdown.cancelled() => break None,
                // As many as are there, not as many as tokio lets a task take before others had a turn.
                chunk = unconstrained(chunks.next()) => chunk,
                () = heard(&mut unheard) => {
                    unheard = None;
                    continue;
                }
            };
            let Some(chunk) = chunk else {
                break Some("the messages ended".into());
            };
            let mut failure = None;
            let mut taken = Vec::with_capacity(chunk.len());
            for message in chunk {
                match message {
                    Ok(message) => taken.push(message),
                    Err(error) => failure = Some(error),
                }
            }
            silent &= taken.is_empty();
            let before = OptionFuture::from(unheard.take());
            let (answers, _) = join(self.take(name, taken, shutdown), before).await;
            unheard = Some(acknowledge(self.handler.name(), answers?).boxed());
            if let Some(error) = failure {
                // What was asked for still stands at a server that was only slow. Asked for anew, it would come to where nobody
                // takes it any more, and a second time only when its acknowledgement is overdue.
                let once = error.kind() == MessagesErrorKind::MissingHeartbeat && !silent;
                if !once {
                    break Some(error.into());
                }
                silent = true;
            }
        };
        if let Some(unheard) = unheard {
            unheard.await;
        }
        Ok(failure)
    }

    /// Has messages handled, and returns what to tell the server of each.
    async fn take(
        &self,
        name: EventName,
        messages: Vec<Message>,
        shutdown: &CancellationToken,
    ) -> Result<Vec<(Message, AckKind)>, StoreError> {
        let Some(verdicts) = self.judge(name, &messages, shutdown).await? else {
            return Ok(Vec::new());
        };
        let mut confirmed = Vec::new();
        let mut answers = Vec::new();
        for (message, verdict) in messages.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Confirmed(event) => confirmed.push((event, message)),
                Verdict::Unknown(reason) => {
                    self.park_message(&message, &reason);
                    answers.push((message, AckKind::Term));
                }
            }
        }
        // The first delivery of an entity's events is in order; the log decides it, whatever the stream says.
        confirmed.sort_by_key(|(event, _)| event.position);
        let events: Vec<BusEvent> = confirmed.iter().map(|(event, _)| event.clone()).collect();
        if !events.is_empty() && self.handler.handle_batch(&events).await.is_ok() {
            count_handled(self.handler.name(), "nats", events.len());
            answers.extend(confirmed.into_iter().map(|(_, message)| (message, AckKind::Ack)));
        } else {
            for (event, message) in confirmed {
                let answer = self.handle_one(&event, &message).await;
                answers.push((message, answer));
            }
        }
        Ok(answers)
    }

    async fn handle_one(&self, event: &BusEvent, message: &Message) -> AckKind {
        let consumer = self.handler.name();
        match self.handler.handle(event).await {
            Ok(()) => {
                count_handled(consumer, "nats", 1);
                AckKind::Ack
            }
            Err(HandlerError::Poison(cause)) => {
                park_event(consumer, event, cause.as_ref());
                AckKind::Term
            }
            Err(HandlerError::Retry(cause)) => {
                let delivered = message.info().map_or(1, |info| info.delivered).max(1);
                let pause = LONGEST_RETRY.min(Duration::from_millis(100) * (1 << delivered.min(10)));
                if delivered == 1 {
                    tracing::warn!(
                        consumer,
                        event.position,
                        event.id = %event.event_id,
                        error = %telemetry::chain(cause.as_ref()),
                        "event {} has to wait: {consumer} cannot handle it now",
                        event.position,
                    );
                }
                AckKind::Nak(Some(pause))
            }
        }
    }

    /// Looks every message up in the log; waits for the database. `None` when the service stops before it answers.
    async fn judge(
        &self,
        name: EventName,
        messages: &[Message],
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<Verdict>>, StoreError> {
        let claims: Vec<Result<CloudEvent, String>> = messages
            .iter()
            .map(|message| CloudEvent::decode(&message.payload).map_err(|error| error.to_string()))
            .collect();
        let positions: Vec<Position> = claims.iter().flatten().map(|claim| claim.data.position).collect();
        let mut backoff = Backoff::new();
        let found = loop {
            match find_in_log(&*self.reads, &positions).await {
                Ok(found) => {
                    task_states::goes_on(LOOKING_UP);
                    break found;
                }
                Err(error) if error.is_proven() => return Err(error),
                Err(error) => {
                    task_states::waits(LOOKING_UP, &error);
                    if !backoff.is_failing() {
                        tracing::warn!(
                            consumer = self.handler.name(),
                            error = %telemetry::chain(&error),
                            "{} cannot read the log",
                            self.handler.name(),
                        );
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(None),
                        () = tokio::time::sleep(backoff.next_pause()) => {}
                    }
                }
            }
        };
        let verdicts = messages.iter().zip(claims).map(|(message, claim)| match claim {
            Err(reason) => Verdict::Unknown(reason),
            Ok(claim) => match found.get(&claim.data.position) {
                Some(event)
                    if event.event_id == claim.id
                        && event.event.name() == name
                        && message.subject.as_str() == self.bus.subjects().of(&event.key, name) =>
                {
                    Verdict::Confirmed(event.clone().into())
                }
                Some(_) | None => Verdict::Unknown(format!(
                    "the log holds no such event at position {}",
                    claim.data.position
                )),
            },
        });
        Ok(Some(verdicts.collect()))
    }

    fn park_message(&self, message: &Message, reason: &str) {
        let consumer = self.handler.name();
        counter!(telemetry::BUS_PARKED_TOTAL, "consumer" => consumer).increment(1);
        let sequence = message.info().map_or(0, |info| info.stream_sequence);
        // The subject and the body are whatever their sender wrote: neither is worth a log line.
        tracing::error!(
            consumer,
            stream.sequence = sequence,
            reason,
            "message {sequence} of the stream is parked: {reason}"
        );
    }
}

/// Returns when the server has heard; never, when there is nothing that it has to hear.
async fn heard(unheard: &mut Option<BoxFuture<'static, ()>>) {
    match unheard {
        Some(unheard) => unheard.await,
        None => std::future::pending().await,
    }
}

/// Tells the server what became of the messages, and returns when it has heard.
///
/// It reads one connection in order, so that its answer to the last one stands for all: a request of its own for each would
/// cost it and this side a subscription. An acknowledgement that is lost all the same only brings its message again, and its
/// handler knows it.
async fn acknowledge(consumer: &'static str, mut answers: Vec<(Message, AckKind)>) {
    let Some((last, answer)) = answers.pop() else {
        return;
    };
    let mut lost = None;
    for (message, answer) in answers {
        lost = message.ack_with(answer).await.err().or(lost);
    }
    lost = last.double_ack_with(answer).await.err().or(lost);
    if let Some(error) = lost {
        tracing::debug!(consumer, error = %telemetry::chain(error.as_ref()), "an acknowledgement was lost");
    }
}
