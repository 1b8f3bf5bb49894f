//! What the events of each transition say, and what the entity remembers of them.

use super::{
    DELETION, NEXT_PURGE, PURGE, deleted, done, force, history, noon, obligation, purge, registered, replay,
    report, restored,
};
use State::{Live, PurgeFailed as Failed, Purged as Over, Purging};
use archive_ledger_domain::{
    Action, ArchivedEntity, CleanupOutcome, Command, EntityType, Event, Parent, PurgeFailed, PurgeForced,
    PurgeRequested, Purged, Registered, Rejection, Restored, SoftDeleted, State,
};
use cqrs_es::test::TestFramework;
use uuid::Uuid;

#[test]
fn a_registration_is_recorded_with_its_facts() {
    TestFramework::<ArchivedEntity>::with(())
        .given_no_previous_events()
        .when(Command::Register {
            dataset_id: Some("dataset".into()),
            space_id: Some("space".into()),
            storage_count: 2,
            callback: true,
        })
        .then_expect_events(vec![Event::Registered(Registered {
            dataset_id: Some("dataset".into()),
            space_id: Some("space".into()),
            storage_count: 2,
            callback: true,
        })]);
}

#[test]
fn a_soft_delete_of_an_unknown_entity_takes_it_up_and_deletes_it_in_one_event() {
    let facts = SoftDeleted {
        deletion_id: DELETION,
        deleted_at: noon(),
        parent: Some(Parent {
            entity_type: Some(EntityType::Projects),
            id: "p".into(),
        }),
        storage_count: 1,
    };
    TestFramework::<ArchivedEntity>::with(())
        .given_no_previous_events()
        .when(Command::SoftDelete {
            deletion_id: facts.deletion_id,
            deleted_at: facts.deleted_at,
            parent: facts.parent.clone(),
            storage_count: facts.storage_count,
        })
        .then_expect_events(vec![Event::SoftDeleted(facts)]);
}

#[test]
fn a_restore_undoes_exactly_the_deletion_that_stands() {
    let second = Uuid::from_u128(0xde1f);
    TestFramework::<ArchivedEntity>::with(())
        .given(vec![deleted(0), restored()])
        .and(vec![Event::SoftDeleted(SoftDeleted {
            deletion_id: second,
            deleted_at: noon(),
            parent: None,
            storage_count: 0,
        })])
        .when(Command::Restore)
        .then_expect_events(vec![Event::Restored(Restored { deletion_id: second })]);
}

#[test]
fn a_second_restore_is_refused_because_nothing_is_left_to_undo() {
    TestFramework::<ArchivedEntity>::with(())
        .given(vec![deleted(0), restored()])
        .when(Command::Restore)
        .then_expect_error(Rejection::WrongState {
            action: Action::Restore,
            state: Live,
        });
}

#[test]
fn a_purge_names_the_deletion_that_it_makes_final_and_owes_the_storage_of_registration_and_deletion() {
    TestFramework::<ArchivedEntity>::with(())
        .given(vec![registered(2, false), deleted(3)])
        .when(purge(false, EntityType::Backups))
        .then_expect_events(vec![Event::PurgeRequested(PurgeRequested {
            purge_id: NEXT_PURGE,
            deletion_id: Some(DELETION),
            storage_count: 5,
            callback: false,
        })]);
}

#[test]
fn a_purge_owes_no_storage_of_a_deletion_that_was_undone() {
    TestFramework::<ArchivedEntity>::with(())
        .given(vec![registered(2, false), deleted(3), restored()])
        .when(purge(false, EntityType::Archives))
        .then_expect_events(vec![Event::PurgeRequested(PurgeRequested {
            purge_id: NEXT_PURGE,
            deletion_id: None,
            storage_count: 2,
            callback: false,
        })]);
}

#[test]
fn a_purge_has_a_callback_when_the_registration_or_the_request_names_one() {
    for (registration, request, expected) in [
        (false, false, false),
        (true, false, true),
        (false, true, true),
        (true, true, true),
    ] {
        TestFramework::<ArchivedEntity>::with(())
            .given(vec![registered(1, registration)])
            .when(Command::RequestPurge {
                purge_id: NEXT_PURGE,
                entity_type: EntityType::Archives,
                callback: request,
                join: false,
            })
            .then_expect_events(vec![Event::PurgeRequested(PurgeRequested {
                purge_id: NEXT_PURGE,
                deletion_id: None,
                storage_count: 1,
                callback: expected,
            })]);
    }
}

#[test]
fn a_purge_without_storage_is_requested_and_done_in_one_commit() {
    TestFramework::<ArchivedEntity>::with(())
        .given(vec![deleted(0)])
        .when(purge(false, EntityType::Users))
        .then_expect_events(vec![
            Event::PurgeRequested(PurgeRequested {
                purge_id: NEXT_PURGE,
                deletion_id: Some(DELETION),
                storage_count: 0,
                callback: false,
            }),
            Event::Purged(Purged {
                purge_id: NEXT_PURGE,
                objects: 0,
                bytes: 0,
                at_least: false,
                forced: false,
                skipped: 0,
            }),
        ]);
}

#[test]
fn only_archives_are_purged_from_live() {
    for entity_type in EntityType::ALL {
        let asked = TestFramework::<ArchivedEntity>::with(())
            .given(vec![registered(1, false)])
            .when(purge(false, entity_type));
        if entity_type == EntityType::Archives {
            assert!(asked.inspect_result().is_ok());
        } else {
            asked.then_expect_error(Rejection::WrongState {
                action: Action::Purge,
                state: Live,
            });
        }
    }
}

#[test]
fn a_cleanup_report_brings_its_counts_into_the_event() {
    TestFramework::<ArchivedEntity>::with(())
        .given(history(Purging, 3))
        .when(report(
            PURGE,
            CleanupOutcome::Done {
                objects: 7,
                bytes: u64::from(u32::MAX) + 1,
                at_least: false,
            },
        ))
        .then_expect_events(vec![Event::Purged(Purged {
            purge_id: PURGE,
            objects: 7,
            bytes: u64::from(u32::MAX) + 1,
            at_least: false,
            forced: false,
            skipped: 0,
        })]);
    TestFramework::<ArchivedEntity>::with(())
        .given(history(Purging, 3))
        .when(report(
            PURGE,
            CleanupOutcome::Failed {
                objects: 2,
                bytes: 9,
                at_least: true,
                error: "access denied".into(),
            },
        ))
        .then_expect_events(vec![Event::PurgeFailed(PurgeFailed {
            purge_id: PURGE,
            objects: 2,
            bytes: 9,
            at_least: true,
            error: "access denied".into(),
        })]);
}

#[test]
fn a_purge_asked_for_again_after_a_failure_is_a_new_purge_that_the_old_report_does_not_end() {
    let mut given = history(Failed, 3);
    given.push(Event::PurgeRequested(PurgeRequested {
        purge_id: NEXT_PURGE,
        deletion_id: Some(DELETION),
        storage_count: 3,
        callback: false,
    }));
    TestFramework::<ArchivedEntity>::with(())
        .given(given.clone())
        .when(report(PURGE, done()))
        .then_expect_error(Rejection::StalePurge);
    TestFramework::<ArchivedEntity>::with(())
        .given(given)
        .when(report(NEXT_PURGE, done()))
        .then_expect_events(vec![Event::Purged(Purged {
            purge_id: NEXT_PURGE,
            objects: 7,
            bytes: 70,
            at_least: false,
            forced: false,
            skipped: 0,
        })]);
}

#[test]
fn a_forced_purge_says_what_was_given_up_and_its_end_does_not_pretend_that_the_rest_is_gone() {
    for state in [Purging, Failed] {
        TestFramework::<ArchivedEntity>::with(())
            .given(history(state, 3))
            .when(force(PURGE, true))
            .then_expect_events(vec![
                Event::PurgeForced(PurgeForced {
                    purge_id: PURGE,
                    obligations: vec![obligation(1, false), obligation(2, true), obligation(3, true)],
                    reason_sealed: "c2VhbGVk".into(),
                }),
                Event::Purged(Purged {
                    purge_id: PURGE,
                    objects: 6,
                    bytes: 60,
                    at_least: false,
                    forced: true,
                    skipped: 2,
                }),
            ]);
    }
}

#[test]
fn a_report_that_comes_after_its_purge_was_forced_changes_nothing() {
    let mut given = history(Purging, 3);
    let forced = TestFramework::<ArchivedEntity>::with(())
        .given(given.clone())
        .when(force(PURGE, true))
        .inspect_result()
        .unwrap_or_default();
    assert_eq!(forced.len(), 2);
    given.extend(forced);
    for outcome in [
        done(),
        CleanupOutcome::Failed {
            objects: 1,
            bytes: 1,
            at_least: false,
            error: "too late".into(),
        },
    ] {
        TestFramework::<ArchivedEntity>::with(())
            .given(given.clone())
            .when(report(PURGE, outcome))
            .then_expect_events(Vec::new());
    }
}

#[test]
fn a_refusal_says_what_was_asked_and_which_state_forbids_it() {
    TestFramework::<ArchivedEntity>::with(())
        .given(history(Purging, 3))
        .when(Command::Restore)
        .then_expect_error_message("restore is not allowed while the entity is purging");
    TestFramework::<ArchivedEntity>::with(())
        .given(history(Failed, 3))
        .when(Command::SoftDelete {
            deletion_id: DELETION,
            deleted_at: noon(),
            parent: None,
            storage_count: 0,
        })
        .then_expect_error_message("soft_delete is not allowed while the entity is purge_failed");
}

#[test]
fn the_entity_remembers_what_decisions_and_answers_need() {
    let entity = replay(vec![registered(2, true), deleted(3)]);
    assert_eq!(
        (entity.space_id(), entity.dataset_id()),
        (Some("space"), Some("dataset"))
    );
    assert_eq!(
        entity.deletion().map(|deletion| deletion.deletion_id),
        Some(DELETION)
    );
    assert_eq!((entity.storage_count(), entity.purge_id()), (5, None));

    let entity = replay(history(Over, 3));
    assert_eq!(entity.purge_id(), Some(PURGE));
    assert_eq!(
        entity.deletion().map(|deletion| deletion.deletion_id),
        Some(DELETION)
    );
}

#[test]
fn storage_counts_that_no_number_holds_are_capped_instead_of_wrapping_to_nothing() {
    let entity = replay(vec![registered(u32::MAX, false), deleted(u32::MAX)]);
    assert_eq!(entity.storage_count(), u32::MAX);
}
