//! From a claimed delivery to what is recorded of its attempt.

use super::body::callback_body;
use super::client::{Attempt, CallbackClient};
use super::outcome::{AttemptOutcome, DeliveryFailure, Evidence};
use super::schedule::{Next, Schedule};
use super::target::{CallbackUrl, callback_context};
use crate::clock::SharedClock;
use crate::keyring::{self, Keyring};
use crate::store::callbacks::{AttemptRecord, ClaimedDelivery, Disposition};
use crate::telemetry;
use archive_ledger_domain::EntityKey;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The error class of a delivery whose URL cannot be opened: the keyring is another one, or the row was changed.
const URL_UNREADABLE: &str = "url_unreadable";

/// What every attempt needs.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) client: Arc<CallbackClient>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) clock: SharedClock,
    pub(super) schedule: Schedule,
}

/// What came of a claimed delivery.
#[derive(Debug)]
pub(super) enum Sent {
    /// An attempt was made: what to record, and what circuits learn from it.
    Made {
        record: Box<AttemptRecord>,
        evidence: Evidence,
    },
    /// It cannot be attempted at all, by nobody's fault out there.
    Unsendable(Box<AttemptRecord>),
    /// The lease is too short by now: somebody else makes the attempt.
    TooLate,
}

/// Opens a sealed callback URL.
pub(super) fn open_url(keyring: &Keyring, key: &EntityKey, sealed: &[u8]) -> Option<CallbackUrl> {
    let opened = keyring
        .open_for_service(&callback_context(&key.stream_id()), sealed)
        .ok()?;
    std::str::from_utf8(&opened).ok()?.parse().ok()
}

impl Sender {
    /// Makes one attempt, unless so much of the lease has passed that it might outlast it. It ends early when it has to give way.
    pub(super) async fn send(
        &self,
        delivery: &ClaimedDelivery,
        lease_until: DateTime<Utc>,
        gives_way: &CancellationToken,
    ) -> Sent {
        let at = self.clock.now();
        let longest = TimeDelta::from_std(self.client.exchange_timeout()).unwrap_or(TimeDelta::MAX);
        if lease_until - at < longest {
            return Sent::TooLate;
        }
        let dataset_id = delivery.dataset_id.as_deref();
        let body = callback_body(delivery.key.id(), dataset_id, delivery.error.as_deref());
        let url = open_url(&self.keyring, &delivery.key, &delivery.url_sealed);
        let (Ok(body), Some(url)) = (body, url) else {
            tracing::error!(
                callback.id = %delivery.delivery_id,
                entity.key = %delivery.key,
                "callback {} is dead: its URL cannot be opened with this keyring",
                delivery.delivery_id,
            );
            return Sent::Unsendable(Box::new(AttemptRecord {
                delivery_id: delivery.delivery_id,
                token: delivery.token,
                attempt: delivery.attempt,
                finished_at: at,
                duration: Duration::ZERO,
                status: None,
                error: Some(URL_UNREADABLE),
                body: Vec::new(),
                body_truncated: false,
                next: Disposition::Dead { gone: false },
            }));
        };
        let attempt = Attempt {
            id: delivery.delivery_id,
            number: delivery.attempt,
            url,
            body: body.into(),
            at,
        };
        let began = Instant::now();
        let outcome = tokio::select! {
            outcome = self.client.attempt(&attempt) => outcome,
            () = gives_way.cancelled() => AttemptOutcome::failed(DeliveryFailure::GaveWay, began.elapsed()),
        };
        let evidence = outcome.evidence(self.client.connects_first());
        let record = self.judge(delivery, outcome);
        report(delivery, &record);
        Sent::Made {
            evidence,
            record: Box::new(record),
        }
    }

    fn judge(&self, delivery: &ClaimedDelivery, outcome: AttemptOutcome) -> AttemptRecord {
        let finished_at = self.clock.now();
        let next = self.schedule.next(
            delivery.step,
            delivery.first_due_at,
            finished_at,
            chance(),
            &outcome,
        );
        AttemptRecord {
            delivery_id: delivery.delivery_id,
            token: delivery.token,
            attempt: delivery.attempt,
            finished_at,
            duration: outcome.duration,
            status: outcome.status,
            error: outcome.error.map(DeliveryFailure::as_str),
            next: match next {
                Next::Delivered => Disposition::Delivered,
                Next::RetryAt { at, gone } => Disposition::RetryAt { at, gone },
                Next::Dead(_) => Disposition::Dead {
                    gone: outcome.status == Some(410),
                },
            },
            body: outcome.body,
            body_truncated: outcome.body_truncated,
        }
    }
}

/// A number in 0–1; the middle when the random generator fails, as a jitter is no reason not to retry.
fn chance() -> f64 {
    keyring::random::<4>().map_or(0.5, |bytes| {
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    })
}

/// Counts an attempt, and logs the ones that an operator has to know of.
fn report(delivery: &ClaimedDelivery, record: &AttemptRecord) {
    let outcome = match (&record.next, record.status) {
        (Disposition::Delivered, _) => "delivered",
        (Disposition::RetryAt { .. } | Disposition::Dead { .. }, Some(_)) => "refused",
        (Disposition::RetryAt { .. } | Disposition::Dead { .. }, None) => "unreachable",
    };
    metrics::counter!(telemetry::CALLBACK_ATTEMPTS_TOTAL, "outcome" => outcome).increment(1);
    match record.next {
        Disposition::Delivered => {}
        Disposition::RetryAt { at, .. } => tracing::debug!(
            callback.id = %delivery.delivery_id,
            callback.attempt = delivery.attempt,
            callback.receiver = delivery.host,
            callback.status = record.status,
            callback.error = record.error,
            "callback {} did not arrive; next attempt at {at}",
            delivery.delivery_id,
        ),
        Disposition::Dead { .. } => tracing::warn!(
            callback.id = %delivery.delivery_id,
            callback.attempt = delivery.attempt,
            callback.receiver = delivery.host,
            callback.status = record.status,
            callback.error = record.error,
            "callback {} is given up; it can be replayed",
            delivery.delivery_id,
        ),
    }
}
