//! Whether the log has what the stream has got from this ledger: asked before anything is appended.

use super::resume::{Finder, REGION};
use super::stored::{Own, stretch_at};
use crate::bus::cloud_event::Source;
use crate::bus::marks::Marks;
use crate::bus::nats::NatsBus;
use crate::bus::{BusError, LogAccess};

/// Compares the log with the end of the stream, and makes no stream where there is none.
///
/// # Errors
/// [`crate::bus::nats::NatsError::OtherLedger`] when the stream is another ledger's: by its name, or, where it names none, because
/// relays have published there last, and none of this ledger. [`BusError::Store`] with [`crate::store::StoreError::Diverged`] when the stream has an event of this ledger, by its mark, that the
/// log has not; [`BusError`] when either cannot be read, which proves nothing.
pub async fn compare(bus: &NatsBus, log: &LogAccess, source: &Source, marks: &Marks) -> Result<(), BusError> {
    let Some(stream) = bus.standing_stream().await? else {
        return Ok(());
    };
    let own = Own { source, marks };
    let state = &stream.cached_info().state;
    if !bus.names_this_ledger(&stream)? {
        let first = state.last_sequence.saturating_sub(REGION).max(1);
        let end = stretch_at(bus, log, own, first..=state.last_sequence).await?;
        if end.foreign && end.found.is_empty() && end.lacking.is_none() {
            return Err(bus.other_ledger(None).into());
        }
    }
    Finder { bus, log, own }
        .last_complete(state, state.last_sequence)
        .await?;
    Ok(())
}
