//! The log as a bus: a consumer that reads it by position through a durable cursor.
//!
//! In embedded mode this is the bus. In clustered mode it is the safety net under JetStream: the redriver.

use super::{
    Backoff, BusError, BusEvent, CommitSignal, Handler, HandlerError, LogAccess, count_handled, park_event,
};
use crate::store::{Head, Position, StoreError};
use crate::task_states::{self, TaskFailure};
use crate::telemetry;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What a consumer waits for, as the table of tasks tells it.
const READING: &str = "reading the log";
const HANDLING: &str = "handling an event";

/// How many events are read and handed over at once.
const BATCH: u32 = 256;

/// How long a consumer of the log waits without a signal: other instances commit too.
const POLL: Duration = Duration::from_secs(1);

/// How long a cursor may lag behind events that the consumer does not want: moving it costs a write.
const IDLE_CURSOR_LAG: Duration = Duration::from_secs(5);

/// When the redriver runs, and how far behind the log it stays. Together: the longest that work waits for when the bus does not
/// deliver, whatever holds it up.
#[derive(Debug, Clone, Copy)]
pub struct Redrive {
    /// The pause between two runs; one is made at start.
    pub every: Duration,
    /// The age that an event must have: the bus gets this long to deliver it first.
    pub delay: Duration,
}

impl Default for Redrive {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(4),
            delay: Duration::from_secs(8),
        }
    }
}

/// Feeds one handler from the log.
///
/// Events come in the order of their positions. The cursor moves only over events that were handled or parked, after they
/// were; a crash repeats what the cursor does not cover yet.
pub struct LogConsumer {
    handler: Arc<dyn Handler>,
    log: LogAccess,
    signal: CommitSignal,
    cursor: String,
    via: &'static str,
    pause: Duration,
    delay: Option<Duration>,
    position: Position,
    saved: Position,
    saved_at: Instant,
    /// Heads that were not old enough, and when each was first seen.
    heads: VecDeque<(Head, Instant)>,
    /// Up to here everything is old enough, whatever the clock that dated it said.
    aged: Position,
}

impl LogConsumer {
    /// The in-process bus: every event at once, cursor `<handler's name>`.
    #[must_use]
    pub fn direct(handler: Arc<dyn Handler>, log: LogAccess, signal: CommitSignal) -> Self {
        let cursor = handler.name().to_owned();
        Self::new(handler, log, signal, cursor, "log", POLL, None)
    }

    /// The safety net under JetStream: every event again once it is old enough, cursor `redrive:<handler's name>`.
    ///
    /// Every instance may run it: they share the cursor, and what two of them hand over twice the handler knows already.
    #[must_use]
    pub fn redriver(handler: Arc<dyn Handler>, log: LogAccess, redrive: Redrive) -> Self {
        let cursor = format!("redrive:{}", handler.name());
        let signal = CommitSignal::polling();
        Self::new(
            handler,
            log,
            signal,
            cursor,
            "redrive",
            redrive.every,
            Some(redrive.delay),
        )
    }

    fn new(
        handler: Arc<dyn Handler>,
        log: LogAccess,
        signal: CommitSignal,
        cursor: String,
        via: &'static str,
        pause: Duration,
        delay: Option<Duration>,
    ) -> Self {
        Self {
            handler,
            log,
            signal,
            cursor,
            via,
            pause,
            delay,
            position: 0,
            saved: 0,
            saved_at: Instant::now(),
            heads: VecDeque::new(),
            aged: 0,
        }
    }

    /// Runs until `shutdown`. Whatever fails is tried again.
    ///
    /// # Errors
    /// [`BusError::Store`] when the database proves to be another one.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), BusError> {
        let mut backoff = Backoff::new();
        while !shutdown.is_cancelled() {
            match self.pass(&shutdown).await {
                Ok(()) => {
                    backoff.reset();
                    task_states::goes_on(READING);
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = self.signal.wait(self.pause) => {}
                    }
                }
                Err(error) if error.is_proven() => return Err(error.into()),
                Err(error) => {
                    task_states::waits(READING, &error);
                    if !backoff.is_failing() {
                        tracing::warn!(consumer = self.cursor, error = %telemetry::chain(&error), "{} waits for the database", self.cursor);
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => {}
                        () = tokio::time::sleep(backoff.next_pause()) => {}
                    }
                }
            }
        }
        if let Err(error) = self.save().await {
            // What is not saved is only repeated at the next start.
            tracing::debug!(consumer = self.cursor, error = %telemetry::chain(&error), "{} was not saved", self.cursor);
        }
        Ok(())
    }

    /// Handles everything that is due now.
    async fn pass(&mut self, shutdown: &CancellationToken) -> Result<(), StoreError> {
        // Another instance may have come further than this one.
        if self.position == 0 || self.delay.is_some() {
            self.saved = self.log.coordination.cursor(&self.cursor).await?;
            self.position = self.position.max(self.saved);
        }
        loop {
            // The head comes first: of what stands at or below it, `log_after` misses nothing.
            let head = self.log.reads.head().await?;
            let position = head.position;
            self.show_lag(position);
            let cutoff = self.cutoff();
            let horizon = self.horizon(head, cutoff);
            if position <= self.position {
                return Ok(());
            }
            let found = self
                .log
                .reads
                .log_after(self.position, self.handler.events(), BATCH)
                .await?;
            let exhausted = found.len() < BATCH as usize;
            let (count, aged) = (found.len(), self.aged);
            let is_due = |event: &BusEvent| {
                event.position <= aged || cutoff.is_none_or(|cutoff| event.recorded_at <= cutoff)
            };
            let found = found.into_iter().map(BusEvent::from);
            // None behind one that has to wait: the cursor would pass over that one.
            let due: Vec<BusEvent> = found.take_while(is_due).collect();
            let all_due = due.len() == count;
            if !self.hand_over(&due, shutdown).await {
                return Ok(());
            }
            if exhausted {
                self.position = self.position.max(horizon);
            }
            self.show_lag(position);
            if !due.is_empty() || self.saved_at.elapsed() >= IDLE_CURSOR_LAG {
                self.save().await?;
            }
            if exhausted || !all_due || shutdown.is_cancelled() {
                return Ok(());
            }
        }
    }

    fn show_lag(&self, head: Position) {
        let lag = head.saturating_sub(self.position);
        let consumer = self.handler.name();
        metrics::gauge!(telemetry::CONSUMER_LAG_POSITIONS, "consumer" => consumer, "via" => self.via)
            .set(lag as f64);
    }

    /// What was recorded after this is too young; `None` when nothing is.
    fn cutoff(&self) -> Option<DateTime<Utc>> {
        let delay = TimeDelta::from_std(self.delay?).unwrap_or(TimeDelta::MAX);
        // A delay longer than time itself lets nothing through.
        let now = self.log.clock.now();
        Some(now.checked_sub_signed(delay).unwrap_or(DateTime::<Utc>::MIN_UTC))
    }

    /// The last position that is known to be old enough, whatever event stands there: by its time, or because it was seen so
    /// long ago. The clock that dated it may have run ahead.
    ///
    /// Without it a consumer of rare events would read the same stretch of the log again at every pass.
    fn horizon(&mut self, head: Head, cutoff: Option<DateTime<Utc>>) -> Position {
        let (Some(delay), Some(cutoff)) = (self.delay, cutoff) else {
            return head.position;
        };
        if self
            .heads
            .back()
            .is_none_or(|(last, _)| last.position < head.position)
        {
            self.heads.push_back((head, Instant::now()));
        }
        while let Some((head, seen)) = self.heads.front()
            && (head.recorded_at.is_none_or(|at| at <= cutoff) || seen.elapsed() >= delay)
        {
            self.aged = self.aged.max(head.position);
            self.heads.pop_front();
        }
        self.aged
    }

    /// Hands events over in order; false when the service stops before the last one.
    async fn hand_over(&mut self, events: &[BusEvent], shutdown: &CancellationToken) -> bool {
        let Some(last) = events.last() else { return true };
        if self.handler.handle_batch(events).await.is_ok() {
            self.position = last.position;
            count_handled(self.handler.name(), self.via, events.len());
            return true;
        }
        for event in events {
            if !self.hand_over_one(event, shutdown).await {
                return false;
            }
            self.position = event.position;
        }
        true
    }

    async fn hand_over_one(&self, event: &BusEvent, shutdown: &CancellationToken) -> bool {
        let consumer = self.handler.name();
        let mut backoff = Backoff::new();
        loop {
            match self.handler.handle(event).await {
                Ok(()) => {
                    count_handled(consumer, self.via, 1);
                    task_states::goes_on(HANDLING);
                    return true;
                }
                Err(HandlerError::Poison(cause)) => {
                    park_event(consumer, event, cause.as_ref());
                    task_states::goes_on(HANDLING);
                    return true;
                }
                Err(HandlerError::Retry(cause)) => {
                    task_states::waits_for(HANDLING, || {
                        format!("event {} cannot be handled now", event.position)
                    });
                    if !backoff.is_failing() {
                        tracing::warn!(
                            consumer,
                            event.position,
                            event.id = %event.event_id,
                            error = %telemetry::chain(cause.as_ref()),
                            "event {} has to wait: {consumer} cannot handle it now",
                            event.position,
                        );
                    }
                    tokio::select! {
                        () = shutdown.cancelled() => return false,
                        () = tokio::time::sleep(backoff.next_pause()) => {}
                    }
                }
            }
        }
    }

    async fn save(&mut self) -> Result<(), StoreError> {
        if self.position > self.saved {
            self.log
                .coordination
                .advance_cursor(&self.cursor, self.position)
                .await?;
            self.saved = self.position;
        }
        self.saved_at = Instant::now();
        Ok(())
    }
}
