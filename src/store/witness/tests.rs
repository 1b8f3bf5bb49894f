use super::*;

const ROOT: Hash = [7; 32];

fn knowing() -> Witness {
    let witness = Witness::default();
    witness.acknowledge(Mark {
        position: 9,
        event_id: Uuid::from_u128(9),
        root: ROOT,
    });
    witness.publish(Signed {
        ledger: 1,
        size: 8,
        root: [8; 32],
    });
    witness
}

fn sound() -> Sight {
    Sight {
        position: 9,
        root: ROOT,
        marked: Some(Uuid::from_u128(9)),
        signed: Some([8; 32]),
        published: None,
        standby: false,
        forked: false,
    }
}

#[test]
fn a_database_that_has_what_is_known_fits_however_much_it_has_beyond() {
    let witness = knowing();
    let grown = Sight {
        position: 12,
        root: [1; 32],
        ..sound()
    };
    let unsigned = Sight {
        signed: None,
        ..sound()
    };
    for seen in [sound(), grown, unsigned] {
        witness.compare("look", &witness.question(), &seen).unwrap();
    }
    assert_eq!(witness.divergence(), None);
    let nothing = Witness::default();
    nothing.compare("look", &nothing.question(), &sound()).unwrap();
}

#[test]
fn a_database_that_lacks_or_replaces_anything_known_is_another_and_stays_so() {
    let behind = Sight {
        position: 8,
        ..sound()
    };
    let other_event = Sight {
        position: 20,
        marked: Some(Uuid::from_u128(1)),
        ..sound()
    };
    let no_event = Sight {
        position: 20,
        marked: None,
        ..sound()
    };
    let other_root = Sight {
        root: [1; 32],
        ..sound()
    };
    let other_checkpoint = Sight {
        signed: Some([1; 32]),
        ..sound()
    };
    let forked = Sight {
        forked: true,
        ..sound()
    };
    let witness = knowing();
    let error = witness.compare("look", &witness.question(), &forked).unwrap_err();
    assert!(error.to_string().contains("was forked"), "{error}");
    for seen in [behind, other_event, no_event, other_root, other_checkpoint] {
        let witness = knowing();
        let error = witness.compare("look", &witness.question(), &seen).unwrap_err();
        assert!(matches!(error, StoreError::Diverged(_)), "{seen:?}: {error:?}");
        assert!(error.to_string().contains("ledger fork --reason"), "{error}");
        // What was found out once is not taken back, whatever comes back.
        let error = witness
            .compare("look", &witness.question(), &sound())
            .unwrap_err();
        assert!(matches!(error, StoreError::Diverged(_)), "{error:?}");
    }
}

#[test]
fn a_standby_may_be_behind_for_a_while_and_may_not_have_anything_else() {
    let witness = knowing();
    let lagging = Sight {
        position: 8,
        marked: None,
        standby: true,
        ..sound()
    };
    let error = witness
        .compare("look", &witness.question(), &lagging)
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let other = Sight {
        marked: Some(Uuid::from_u128(1)),
        standby: true,
        ..sound()
    };
    let error = witness.compare("look", &witness.question(), &other).unwrap_err();
    assert!(matches!(error, StoreError::Diverged(_)), "{error:?}");
}

#[test]
fn the_guard_may_know_more_than_the_process() {
    let witness = knowing();
    witness.guarded_by(|| {
        Some(Signed {
            ledger: 1,
            size: 30,
            root: [3; 32],
        })
    });
    let error = witness
        .compare("look", &witness.question(), &sound())
        .unwrap_err();
    assert!(error.to_string().contains("over 30"), "{error}");
}

#[test]
fn a_database_that_lacks_or_replaces_what_was_published_is_another_and_a_damaged_row_is_not() {
    let beyond = Published {
        position: 30,
        event_id: Uuid::from_u128(30),
    };
    let with = |published| Sight {
        position: 30,
        published,
        ..sound()
    };
    // Of a database that knows nothing else: the guard was lost with the machine.
    let witness = Witness::default();
    witness.published(beyond);
    for fits in [with(Some(beyond.event_id)), with(None)] {
        witness.compare("look", &witness.question(), &fits).unwrap();
    }
    let lagging = Sight {
        standby: true,
        ..sound()
    };
    let error = witness
        .compare("look", &witness.question(), &lagging)
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    for (seen, said) in [
        (sound(), "older copy"),
        (with(Some(Uuid::from_u128(1))), "another log"),
    ] {
        let witness = knowing();
        witness.published(beyond);
        let error = witness.compare("look", &witness.question(), &seen).unwrap_err();
        assert!(matches!(error, StoreError::Diverged(_)), "{error:?}");
        let told = error.to_string();
        assert!(
            told.contains(said) && told.contains("ledger fork --reason"),
            "{told}"
        );
    }
}

#[test]
fn a_pool_that_refuses_every_connection_says_why() {
    let witness = Witness::default();
    let timed_out = || sqlx::Error::PoolTimedOut;
    let reason = |error| StoreError::database("read")(witness.explain(error)).to_string();
    assert!(reason(timed_out()).starts_with("read failed"));
    witness.admitted(&Err(StoreError::Unready {
        operation: "look",
        reason: "there is no head".into(),
    }));
    assert_eq!(reason(timed_out()), "connect to the database: there is no head");
    assert!(reason(sqlx::Error::PoolClosed).starts_with("read failed"));
    let diverged = Witness::default();
    let error = diverged.declare("it is another");
    diverged.admitted(&Err(error));
    let error = StoreError::database("read")(diverged.explain(timed_out()));
    assert!(matches!(error, StoreError::Diverged(_)), "{error:?}");
    witness.admitted(&Ok(()));
    assert!(reason(timed_out()).starts_with("read failed"));
}
