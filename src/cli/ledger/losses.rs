//! What a fork has lost, for people and for programs.

use archive_ledger::proofs::fork::Forked;
use archive_ledger::store::forks::{Losses, LostPurge, StreamAsked};
use chrono::SecondsFormat;
use serde_json::{Value, json};

/// A fork for people; the first line is the new verifier key alone.
pub(super) fn fork_as_text(forked: &Forked) -> String {
    let statement = &forked.statement;
    let lost = statement
        .lost_checkpoint()
        .map_or(statement.size, |lost| lost.size.max(statement.size));
    format!(
        "{}\nThe ledger goes on from {} events under this verifier key; {} that were signed are lost.\n{}",
        statement.new,
        statement.size,
        lost - statement.size,
        as_text(&forked.losses)
    )
}

/// The same as one JSON object.
pub(super) fn fork_as_json(forked: &Forked) -> String {
    let statement = &forked.statement;
    json!({
        "verifier_key": statement.new.to_string(),
        "former_verifier_key": statement.old.to_string(),
        "reason": statement.reason,
        "time": statement.time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        "losses": as_json(&forked.losses),
    })
    .to_string()
}

/// What was lost, for people.
pub(super) fn as_text(losses: &Losses) -> String {
    let mut lines = Vec::new();
    let asked = match losses.stream {
        StreamAsked::None => "There is no stream (--nats-url) that could tell what is lost.",
        StreamAsked::Away => {
            "The stream could not be asked what is lost: ask again with `archive-ledger ledger losses` when it is back."
        }
        StreamAsked::Missing => "The stream is gone that could have told what is lost.",
        StreamAsked::Read => "The stream was asked what is lost.",
    };
    lines.push(asked.to_owned());
    if losses.purges.is_empty() {
        lines.push("No purge is known of that the ledger does not know.".to_owned());
    } else {
        lines.push(format!(
            "Purges that the ledger does not know: {}. What they deleted is gone; the ledger shows it as it was before.",
            losses.purges.len()
        ));
        lines.push(row(["EVENT", "ENTITY", "POSITION", "TIME"]));
        lines.extend(losses.purges.iter().map(|purge| {
            row([
                purge.event.as_str(),
                &purge.key.to_string(),
                &format!("{}-{}", purge.recorded_by, purge.position),
                &time(purge),
            ])
        }));
    }
    lines.push(match (losses.lost(), losses.unaccounted()) {
        (0, _) => format!(
            "Nothing is known of that was recorded behind position {}; whatever was is unaccounted for.",
            losses.size
        ),
        (lost, 0) => format!(
            "All {lost} positions that are known to be lost are accounted for, up to {}; what came behind it is not.",
            losses.reached
        ),
        (lost, unaccounted) => format!(
            "Of {lost} positions that are known to be lost ({} to {}), {unaccounted} are unaccounted for: which purges were among \
             them, and behind them, cannot be told.",
            losses.size + 1,
            losses.reached
        ),
    });
    lines.join("\n")
}

/// The same as JSON.
pub(super) fn as_json(losses: &Losses) -> Value {
    let purges = losses.purges.iter().map(|purge| {
        json!({
            "event": purge.event.as_str(),
            "event_id": purge.event_id,
            "ledger": purge.recorded_by,
            "position": purge.position,
            "entity_type": purge.key.entity_type().to_string(),
            "entity_id": purge.key.id(),
            "purge_id": purge.purge_id,
            "time": time(purge),
        })
    });
    json!({
        "ledger": losses.ledger,
        "size": losses.size,
        "reached": losses.reached,
        "lost": losses.lost(),
        "unaccounted": losses.unaccounted(),
        "stream": losses.stream.as_str(),
        "purges": purges.collect::<Vec<_>>(),
        "told_at": losses.told_at.to_rfc3339_opts(SecondsFormat::Micros, true),
    })
}

fn time(purge: &LostPurge) -> String {
    purge.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn row(cells: [&str; 4]) -> String {
    let [event, entity, position, time] = cells;
    format!("{event:<15}  {entity:<49}  {position:>12}  {time}")
}
