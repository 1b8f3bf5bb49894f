//! What the list of purges may be asked.

use super::*;
use crate::numbering::Numbering;

#[test]
fn the_query_has_defaults_and_refuses_what_it_does_not_know() {
    let cursors = CursorCodec::new(b"a secret", Numbering::default());
    assert_eq!(query(None, &cursors).unwrap(), (PurgeFilter::All, 0, 20));
    for (given, filter) in FILTERS {
        let cursor = cursors.seal_place(&walk(filter), 41);
        for (name, asked) in FILTERS {
            let found = query(
                Some(&format!("state={name}&limit=7&cursor={cursor}&else=x")),
                &cursors,
            );
            assert_eq!(
                found.ok(),
                (asked == filter).then_some((filter, 41, 7)),
                "{given} {name}"
            );
        }
    }
    let cursor = cursors.seal_place(&walk(PurgeFilter::All), 41);
    assert!(query(Some(&format!("cursor={cursor}")), &cursors).is_ok());
    for wrong in [
        "state=done",
        "state=",
        "limit=101",
        "limit=x",
        "cursor=-1",
        "cursor=x",
        "cursor=41",
        "cursor=1-41",
        "limit=1&limit=2",
    ] {
        assert!(query(Some(wrong), &cursors).is_err(), "{wrong}");
    }
}
