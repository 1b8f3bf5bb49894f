//! Whose a stream is: its description names the ledger.
//!
//! Two ledgers on one stream would interleave their events, and neither could tell. So a stream that names another ledger is refused,
//! and one that names none is taken by the first that uses it.

use uuid::Uuid;

/// What the description says in front of the ledger's id.
const BEFORE: &str = "The events of archive-ledger ";

/// What it says behind it.
const BEHIND: &str = ", in the order of its log";

/// What the description said before it named the ledger.
const FORMER: &str = "The events of archive-ledger, in the order of its log";

/// The description of a ledger's stream.
pub(super) fn description(ledger: Option<Uuid>) -> String {
    match ledger {
        Some(ledger) => format!("{BEFORE}{ledger}{BEHIND}"),
        None => FORMER.to_owned(),
    }
}

/// The ledger that a description names. An operator may have written around it.
pub(super) fn named(description: Option<&str>) -> Option<Uuid> {
    let (_, behind) = description?.split_once(BEFORE)?;
    behind.get(..uuid::fmt::Hyphenated::LENGTH)?.parse().ok()
}

/// A description that named nobody, once it names `ledger`; what an operator wrote stays.
pub(super) fn naming(description: Option<&str>, ledger: Uuid) -> String {
    let own = self::description(Some(ledger));
    match description {
        None | Some("" | FORMER) => own,
        Some(others) => format!("{others} ({own})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_names_the_ledger_whatever_stands_around_it() {
        let ledger = Uuid::from_u128(7);
        let own = description(Some(ledger));
        assert_eq!(named(Some(&own)), Some(ledger));
        for former in [None, Some(""), Some(FORMER), Some("ours; ask Ada")] {
            assert_eq!(named(former), None);
            assert_eq!(named(Some(&naming(former, ledger))), Some(ledger));
        }
        assert_eq!(naming(Some(FORMER), ledger), own);
        assert!(naming(Some("ours; ask Ada"), ledger).starts_with("ours; ask Ada"));
        for torn in [
            "The events of archive-ledger 0000",
            "The events of archive-ledger é",
        ] {
            assert_eq!(named(Some(torn)), None);
        }
    }
}
