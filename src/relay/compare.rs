//! Whether the log has what the stream has got from this ledger: asked before anything is appended.

use super::resume::Finder;
use super::stored::Own;
use crate::bus::cloud_event::Source;
use crate::bus::marks::Marks;
use crate::bus::nats::NatsBus;
use crate::bus::{BusError, LogAccess};

/// Compares the log with the end of the stream, and makes no stream where there is none.
///
/// # Errors
/// [`BusError::Store`] with [`crate::store::StoreError::Diverged`] when the stream has an event of this ledger, by its mark, that the
/// log has not; [`BusError`] when either cannot be read, which proves nothing.
pub async fn compare(bus: &NatsBus, log: &LogAccess, source: &Source, marks: &Marks) -> Result<(), BusError> {
    let Some(stream) = bus.standing_stream().await? else {
        return Ok(());
    };
    let own = Own { source, marks };
    let state = &stream.cached_info().state;
    Finder { bus, log, own }
        .last_complete(state, state.last_sequence)
        .await?;
    Ok(())
}
