//! What cannot be opened: said once for each entity, and counted.

use super::{Keyring, KeyringError};
use crate::telemetry;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Of how many entities it is remembered that they were told of.
const REMEMBERED: usize = 10_000;

/// The entities that were told of, by their streams.
#[derive(Debug, Default)]
pub(super) struct Unreadable(Mutex<HashSet<String>>);

impl Keyring {
    /// Tells the log and the metrics that something sealed of a stream cannot be opened. Whoever reads it goes on: it concerns
    /// this entity and nobody else on the same page.
    pub fn report_unreadable(&self, stream_id: &str, error: &KeyringError) {
        metrics::counter!(telemetry::UNREADABLE_TOTAL).increment(1);
        let mut told = self.unreadable.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED || !told.insert(stream_id.to_owned()) {
            return;
        }
        drop(told);
        tracing::error!(
            entity.key = stream_id,
            error = %telemetry::chain(error),
            "what is sealed of {stream_id} cannot be opened: it is shown as unreadable"
        );
    }
}
