//! Watches the machine's clock, and the database's where that decides, while the service runs, and lets an operator accept one that
//! has moved.

use super::backend::Store;
use super::start_error::{StartError, blame, store_option};
use crate::clock::{Clock, ClockMoved, SharedClock, SystemClock, told_skew};
use crate::config::Config;
use crate::store::audit::{Attempt, AttemptsWrite, AuditAction, Outcome};
use crate::store::clock_moves::{Accepted, ClockMoveStore};
use crate::telemetry;
use metrics::gauge;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often the clock is looked at; commands look at it themselves.
const EVERY: Duration = Duration::from_millis(500);

/// How often the database is asked for its time; whoever appends is told it anyway.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// How long its answer is worth waiting for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);

/// How long an acceptance waits for an instance to tell that its clock has moved.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Tells when the clock has moved and when it is believed again, until `stop`.
pub(super) async fn watch(
    clock: SharedClock,
    moves: Arc<dyn ClockMoveStore>,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let mut doubted: Option<(Uuid, ClockMoved)> = None;
    let mut skew = Skew::default();
    while tokio::time::timeout(EVERY, stop.cancelled()).await.is_err() {
        skew.look(&clock, &*moves).await;
        let moved = clock.moved();
        gauge!(telemetry::CLOCK_OK).set(if moved.is_some() { 0.0 } else { 1.0 });
        match (doubted, moved) {
            (None, None) => {}
            (None, Some(moved)) => {
                tracing::error!(
                    "no command is recorded: {moved}. Set the clock right, or accept it with `archive-ledger ledger accept-clock \
                     --reason …`"
                );
                doubted = Some((clock.new_id(), moved));
            }
            (Some((id, _)), None) => {
                tracing::info!("the machine's clock is right again, commands are recorded");
                end(&*moves, id, &clock).await;
                doubted = None;
            }
            (Some((id, first)), Some(_)) => {
                let asked = async {
                    moves.notice_move(id, &first).await?;
                    moves.accepted_move(id).await
                };
                match asked.await {
                    Ok(Some(accepted)) => {
                        clock.accept();
                        tracing::warn!(
                            "the machine's clock was accepted by {}: {}; commands are recorded",
                            accepted.by,
                            accepted.reason
                        );
                        end(&*moves, id, &clock).await;
                        doubted = None;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(error = %telemetry::chain(&error), "it cannot be asked whether the clock was accepted");
                    }
                }
            }
        }
    }
    Ok(())
}

/// How far the machine's clock is from the database's.
#[derive(Default)]
struct Skew {
    asked: Option<Instant>,
    told: bool,
}

impl Skew {
    /// Asks the database for its time when it is time to, and tells when the clocks part and when they agree again.
    async fn look(&mut self, clock: &SharedClock, moves: &dyn ClockMoveStore) {
        if self.asked.is_none_or(|asked| asked.elapsed() >= ASKED_EVERY) {
            let asked = Instant::now();
            self.asked = Some(asked);
            // A database that is away is told of elsewhere; the time goes on meanwhile.
            if let Ok(Ok(Some(shown))) = tokio::time::timeout(ANSWERED_WITHIN, moves.time()).await {
                clock.observe(shown, asked.elapsed());
            }
        }
        if let Some(skew) = clock.skew() {
            gauge!(telemetry::CLOCK_SKEW_SECONDS).set(skew.as_seconds_f64());
        }
        match (told_skew(&**clock), self.told) {
            (Some(skew), false) => tracing::warn!("{skew}"),
            (None, true) => tracing::info!("the machine's clock agrees with the database's again"),
            (Some(_), true) | (None, false) => return,
        }
        self.told = !self.told;
    }
}

async fn end(moves: &dyn ClockMoveStore, id: Uuid, clock: &SharedClock) {
    if let Err(error) = moves.end_move(id, clock.now()).await {
        // It is in nobody's way: nobody waits with it any more.
        tracing::debug!(error = %telemetry::chain(&error), "the end of the clock's doubt was not told");
    }
}

/// Accepts the clocks of all instances that wait with one, and has the audit say so.
///
/// # Errors
/// [`StartError`]: no instance waits.
pub async fn accept_clock(config: &Config, actor: &str, reason: &str) -> Result<Vec<ClockMoved>, StartError> {
    let store: Store = super::existing(config).await?;
    let failed = |source| blame(store_option(config), source);
    let by = Accepted {
        by: actor.to_owned(),
        reason: reason.to_owned(),
    };
    let moves = store.clock_moves();
    let deadline = tokio::time::Instant::now() + TOLD_WITHIN;
    let accepted = loop {
        let accepted = moves.accept_moves(&by, SystemClock.now()).await.map_err(failed)?;
        if !accepted.is_empty() {
            break accepted;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(StartError::option(
                store_option(config),
                "no running instance doubts its clock: there is nothing to accept",
            ));
        }
        tokio::time::sleep(EVERY).await;
    };
    let now = SystemClock.now();
    let added = accepted.iter().map(|moved| Attempt {
        outcome: Outcome::Allowed,
        action: AuditAction::AcceptClock,
        reason: Some(reason.to_owned()),
        actor: Some(actor.to_owned()),
        token_issuer: None,
        token_id_hash: None,
        ip: None,
        user_agent: None,
        request_id: None,
        key: None,
        detail: Some(moved.to_string()),
        first_at: now,
        last_at: now,
        count: 1,
    });
    let write = AttemptsWrite {
        added: added.collect(),
        grown: Vec::new(),
    };
    store.audit().add_attempts(&write).await.map_err(failed)?;
    Ok(accepted)
}
