//! The log as one subscriber gets it, block by block.
//!
//! A feed is pulled: it reads a page of the log when the connection has room for it, and holds nothing otherwise. What it
//! gives depends on its position alone, so that whoever goes on at the last position that it was told misses nothing and gets
//! nothing twice, on any instance.

use crate::bus::cloud_event::{CloudEvent, Source};
use crate::clock::SharedClock;
use crate::http::request::cursor::numbered;
use crate::store::{Position, ReadStore, StoreError, StoredEvent};
use crate::telemetry;
use archive_ledger_domain::{EntityType, EventName};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many events are read at a time.
const PAGE: u32 = 128;

/// How long a feed is silent at the most.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the log is asked for what other instances committed.
const POLL: Duration = Duration::from_secs(1);

/// The pause between a commit and the look at it: commits come in crowds.
const GATHER: Duration = Duration::from_millis(10);

/// How long a client should wait before it connects again, in milliseconds.
const RETRY_MILLIS: u32 = 1_000;

/// Which events a subscriber gets. An empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of entities of these types.
    pub entity_types: Vec<EntityType>,
    /// Of these names.
    pub names: Vec<EventName>,
}

impl Filter {
    fn takes(&self, stored: &StoredEvent) -> bool {
        (self.entity_types.is_empty() || self.entity_types.contains(&stored.key.entity_type()))
            && (self.names.is_empty() || self.names.contains(&stored.event.name()))
    }

    /// The names that the store is to look for. Purges have an index of their own. Of anything else every event is read, as
    /// one query for a rare name would go through the whole log at once.
    fn indexed(&self) -> &[EventName] {
        let purges = |name: &EventName| match name {
            EventName::PurgeRequested | EventName::Purged | EventName::PurgeFailed => true,
            EventName::Registered | EventName::SoftDeleted | EventName::Restored | EventName::PurgeForced => {
                false
            }
        };
        if self.names.iter().all(purges) {
            &self.names
        } else {
            &[]
        }
    }
}

/// What a feed is made of.
pub struct FeedParts {
    /// The log.
    pub reads: Arc<dyn ReadStore>,
    /// Tells of this instance's commits.
    pub committed: watch::Receiver<Position>,
    /// For the token's end.
    pub clock: SharedClock,
    /// The events' `source`.
    pub source: Arc<Source>,
    /// Ends the feed at once.
    pub stopping: CancellationToken,
    /// How many pages of the log all feeds together hold at a time.
    pub pages: Arc<Semaphore>,
    /// Which events.
    pub filter: Filter,
    /// After which position.
    pub after: Position,
    /// When the subscriber's token ends, and the feed with it.
    pub valid_until: DateTime<Utc>,
}

/// A subscriber's view of the log.
pub struct Feed {
    parts: FeedParts,
    position: Position,
    greeted: bool,
    /// When something was last given out.
    told: Instant,
    failing: bool,
}

/// What a page of the log came to.
struct Taken {
    text: String,
    /// Whether more may follow at once.
    full: bool,
}

impl Feed {
    /// A feed that begins after `parts.after`.
    #[must_use]
    pub fn new(parts: FeedParts) -> Self {
        Self {
            position: parts.after,
            parts,
            greeted: false,
            told: Instant::now(),
            failing: false,
        }
    }

    /// The next part of the stream, in whole blocks; `None` at its end: the service stops, the token has ended, or the log
    /// cannot be read. Safe to drop and to call again.
    pub async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            // With the id, so that a client that is cut off before the first event goes on here and not at a later head.
            return self.give(format!(
                "retry: {RETRY_MILLIS}\nid: {}\n\n",
                self.id(self.position)
            ));
        }
        let stopping = self.parts.stopping.clone();
        stopping.run_until_cancelled(self.advance()).await.flatten()
    }

    async fn advance(&mut self) -> Option<Bytes> {
        loop {
            if self.parts.clock.now() >= self.parts.valid_until {
                return None;
            }
            // Before the log is read: a commit in between is then still news below.
            self.parts.committed.borrow_and_update();
            let full = match self.take().await {
                Ok(taken) if !taken.text.is_empty() => return self.give(taken.text),
                Ok(taken) => taken.full,
                Err(error) if error.is_transient() => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(error = %telemetry::chain(&error), "a stream of events waits for the log");
                    }
                    false
                }
                Err(error) => {
                    tracing::error!(error = %telemetry::chain(&error), "a stream of events ends: the log cannot be read");
                    return None;
                }
            };
            if self.told.elapsed() >= HEARTBEAT {
                // With the id, so that a client whose filter takes little does not begin far back when it comes again.
                return self.give(format!(": alive\nid: {}\n\n", self.id(self.position)));
            }
            if !full {
                self.wait().await;
            }
        }
    }

    /// What a client sends back to go on behind a position.
    fn id(&self, position: Position) -> String {
        numbered(self.parts.source.numbering().current(), position)
    }

    fn give(&mut self, text: String) -> Option<Bytes> {
        self.told = Instant::now();
        Some(Bytes::from(text))
    }

    /// Reads a page and turns what the subscriber takes of it into blocks.
    async fn take(&mut self) -> Result<Taken, StoreError> {
        // Never closed.
        let _permit = self.parts.pages.acquire().await;
        let filter = &self.parts.filter;
        let page = self
            .parts
            .reads
            .log_after(self.position, filter.indexed(), PAGE)
            .await?;
        self.failing = false;
        let mut text = String::new();
        for stored in page.iter().filter(|stored| filter.takes(stored)) {
            block(&mut text, stored, &self.parts.source);
        }
        self.position = page.last().map_or(self.position, |stored| stored.position);
        Ok(Taken {
            text,
            full: page.len() == PAGE as usize,
        })
    }

    /// Returns when there may be something new or something is to be said.
    async fn wait(&mut self) {
        let silence = HEARTBEAT.saturating_sub(self.told.elapsed());
        let committed = async {
            if self.parts.committed.changed().await.is_err() {
                // The writer has ended; others may still commit.
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GATHER).await;
        };
        // A time that is up is as good as a commit.
        let _ = tokio::time::timeout(POLL.min(silence), committed).await;
    }
}

/// One event: its id, its name, and the CloudEvent, in JSON without line breaks.
fn block(text: &mut String, stored: &StoredEvent, source: &Source) {
    let event = CloudEvent::new(stored, &source.of(stored.position));
    // Writing to a string does not fail, nor does the type cause an error of serde_json's.
    if let Ok(data) = serde_json::to_string(&event) {
        let _ = write!(
            text,
            "id: {}\nevent: {}\ndata: {data}\n\n",
            numbered(source.numbering().current(), stored.position),
            stored.event.name()
        );
    }
}
