//! Deciding: what the aggregate makes of a command, asked where nothing can be awaited.

use super::CommandError;
use super::proposal::Decision;
use crate::store::StoreError;
use archive_ledger_domain::{ArchivedEntity, Event, Rejection};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use futures::FutureExt as _;
use std::sync::Arc;

/// Has the aggregate handle a command, as `CqrsFramework` does: the events that come of it, with `entity` moved past them. A
/// refusal leaves `entity` as it was.
///
/// # Errors
/// [`CommandError::Rejected`].
pub(super) fn decide(entity: &mut ArchivedEntity, decision: &Decision) -> Result<Vec<Event>, CommandError> {
    let handled = async {
        let sink = EventSink::default();
        match decision {
            Decision::Command(command) => entity.handle(command.clone(), &(), &sink).await?,
            Decision::Events(events) => {
                for event in events {
                    sink.write(event.clone(), entity).await;
                }
            }
        }
        Ok::<_, Rejection>(sink.collect().await)
    };
    // Neither the aggregate nor a sink that nobody shares waits for anything; but tokio counts every lock that a task takes,
    // and would have it pause in a batch of many commands.
    match tokio::task::unconstrained(handled).now_or_never() {
        Some(decided) => Ok(decided?),
        None => Err(CommandError::Store(Arc::new(StoreError::inconsistent(
            "decide a command",
            "the aggregate waits for something",
        )))),
    }
}
