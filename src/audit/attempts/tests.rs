use super::*;
use crate::clock::ManualClock;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Arc;

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_268_800, 0).unwrap()
}

fn denied(ip: &str) -> Attempt {
    Attempt {
        outcome: Outcome::Denied,
        action: AuditAction::Read,
        reason: Some("token_bad_signature".into()),
        actor: None,
        token_issuer: None,
        token_id_hash: None,
        ip: Some(ip.to_owned()),
        user_agent: None,
        request_id: None,
        key: None,
        detail: None,
        first_at: noon(),
        last_at: noon(),
        count: 1,
    }
}

fn gatherer() -> (Arc<ManualClock>, Attempts) {
    let clock = Arc::new(ManualClock::new(noon()));
    (Arc::clone(&clock), Attempts::new(clock))
}

#[test]
fn ten_thousand_forged_tokens_from_anywhere_leave_a_bounded_number_of_rows_and_are_all_counted() {
    let (_, attempts) = gatherer();
    for number in 0..10_000u32 {
        attempts.add(denied(&std::net::Ipv4Addr::from(number).to_string()));
    }
    let (write, _) = attempts.pending();
    assert_eq!(write.added.len(), ROWS_PER_MINUTE);
    assert_eq!(write.added.iter().map(|row| row.count).sum::<u64>(), 10_000);
    let overflow = write.added.last().unwrap();
    assert_eq!(
        (overflow.reason.as_deref(), overflow.ip.as_deref()),
        (Some("overflow"), None)
    );
    // Those of another outcome are not crowded out.
    attempts.add(Attempt {
        outcome: Outcome::Failed,
        ..denied("192.0.2.1")
    });
    let (write, _) = attempts.pending();
    let failed = write
        .added
        .iter()
        .find(|row| row.outcome == Outcome::Failed)
        .unwrap();
    assert_eq!(failed.reason.as_deref(), Some("token_bad_signature"));
}

fn on(number: u128, actor: Option<&str>) -> Attempt {
    let id = uuid::Uuid::from_u128(number).to_string();
    Attempt {
        key: Some(EntityKey::new(archive_ledger_domain::EntityType::Users, &id).unwrap()),
        actor: actor.map(ToOwned::to_owned),
        ..denied("192.0.2.1")
    }
}

#[test]
fn the_first_attempt_on_each_entity_is_named_and_the_others_are_counted() {
    let (_, attempts) = gatherer();
    for _ in 0..3 {
        for number in 0..5 {
            attempts.add(on(number, Some("mallory")));
            attempts.add(on(number, None));
        }
    }
    let (write, _) = attempts.pending();
    assert_eq!(write.added.len(), 10);
    assert!(write.added.iter().all(|row| row.count == 3 && row.key.is_some()));
}

#[test]
fn whoever_tries_every_entity_fills_no_more_rows_and_hides_nobody() {
    let (_, attempts) = gatherer();
    for number in 0..10_000 {
        attempts.add(on(number, None));
    }
    for number in 0..20 {
        attempts.add(on(number, Some("mallory")));
    }
    for number in 0..10_000 {
        attempts.add(on(number, Some("trent")));
    }
    for actor in 0..20 {
        attempts.add(on(actor, Some(&format!("actor {actor}"))));
    }
    let (write, _) = attempts.pending();
    let rows = |actor: Option<&str>| -> Vec<&Attempt> {
        write
            .added
            .iter()
            .filter(|row| row.actor.as_deref() == actor)
            .collect()
    };
    assert!(write.added.len() <= ROWS_PER_MINUTE, "{}", write.added.len());
    assert_eq!(write.added.iter().map(|row| row.count).sum::<u64>(), 20_040);
    assert_eq!(rows(None).len(), NAMED_WITHOUT_TOKEN + 1);
    assert_eq!(
        rows(Some("mallory"))
            .iter()
            .filter(|row| row.key.is_some())
            .count(),
        20
    );
    let trent = rows(Some("trent"));
    assert_eq!(trent.len(), NAMED - NAMED_WITHOUT_TOKEN - 20 + 1);
    assert_eq!(trent.iter().map(|row| row.count).sum::<u64>(), 10_000);
    for actor in 0..20 {
        assert_eq!(
            rows(Some(&format!("actor {actor}"))).len(),
            1,
            "actor {actor} is hidden"
        );
    }
}

#[test]
fn alike_ones_of_a_minute_are_one_row_that_grows_and_the_next_minute_has_its_own() {
    let (clock, attempts) = gatherer();
    attempts.add(denied("192.0.2.1"));
    attempts.add(denied("192.0.2.1"));
    let (write, taken) = attempts.pending();
    assert_eq!((write.added.len(), write.added[0].count), (1, 2));
    clock.advance(TimeDelta::seconds(59));
    // Meanwhile one more comes.
    attempts.add(denied("192.0.2.1"));
    attempts.written(&taken, &[7]);
    let (write, taken) = attempts.pending();
    assert_eq!(
        (write.added.len(), write.grown),
        (0, vec![(7, 1, noon() + TimeDelta::seconds(59))])
    );
    attempts.written(&taken, &[]);
    assert!(attempts.pending().1.is_empty());
    clock.advance(TimeDelta::seconds(1));
    attempts.add(denied("192.0.2.1"));
    let (write, _) = attempts.pending();
    assert_eq!((write.added.len(), write.added[0].count), (1, 1));
}

#[test]
fn what_a_store_that_is_away_has_not_taken_waits_over_the_minute() {
    let (clock, attempts) = gatherer();
    attempts.add(denied("192.0.2.1"));
    clock.advance(TimeDelta::minutes(1));
    attempts.add(denied("192.0.2.2"));
    let (write, taken) = attempts.pending();
    assert_eq!(write.added.len(), 2);
    attempts.written(&taken, &[1, 2]);
    assert!(attempts.pending().1.is_empty());
}

#[test]
fn a_store_that_stays_away_makes_no_more_wait_than_there_is_room_for() {
    let (clock, attempts) = gatherer();
    for minute in 0..40u32 {
        for number in 0..500u32 {
            attempts.add(denied(
                &std::net::Ipv4Addr::from(minute * 1_000 + number).to_string(),
            ));
        }
        clock.advance(TimeDelta::minutes(1));
    }
    let (write, _) = attempts.pending();
    assert!(
        write.added.len() <= WAITING + ROWS_PER_MINUTE,
        "{}",
        write.added.len()
    );
    assert_eq!(write.added.iter().map(|row| row.count).sum::<u64>(), 40 * 500);
}

#[test]
fn texts_are_cut_and_hold_no_null() {
    let (_, attempts) = gatherer();
    attempts.add(Attempt {
        detail: Some("ü".repeat(10_000)),
        user_agent: Some("a\0b".into()),
        ..denied("192.0.2.1")
    });
    let (write, _) = attempts.pending();
    let row = &write.added[0];
    assert_eq!(row.detail.as_ref().unwrap().chars().count(), TEXT_MAX);
    assert_eq!(row.user_agent.as_deref(), Some("a\u{fffd}b"));
}
