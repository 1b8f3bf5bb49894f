//! Where a walk through the audit goes on: bound to its filters, its order and its snapshot.

use super::cursor::{CursorCodec, Walk};
use crate::http::answer::error::ApiError;
use crate::numbering::Numbering;
use crate::store::audit::{AuditFilter, AuditPlace, AuditSnapshot, Order};

/// What its cursors are given out for.
const CURSORS: &str = "audit";

/// Gives out cursors of the audit and recognizes those it gave out.
#[derive(Debug)]
pub struct AuditCursors(CursorCodec);

/// Where a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditCursor {
    /// What the walk stays within.
    pub snapshot: AuditSnapshot,
    /// Where the page before ended.
    pub after: AuditPlace,
}

/// Position and sequence of the snapshot, and of the place in it.
type At = ((u64, u64), (u64, u64));

fn walk(filter: &AuditFilter, order: Order) -> Walk {
    let order = match order {
        Order::Ascending => "asc",
        Order::Descending => "desc",
    };
    Walk::new(CURSORS, (order, filter.canonical()))
}

impl AuditCursors {
    /// Cursors under a key that is derived from `secret`.
    #[must_use]
    pub fn new(secret: &[u8], numbering: Numbering) -> Self {
        Self(CursorCodec::with_purpose(
            secret,
            b"archive-ledger/audit-cursor/v1",
            numbering,
        ))
    }

    /// The text of a cursor.
    #[must_use]
    pub fn seal(&self, filter: &AuditFilter, order: Order, cursor: AuditCursor) -> String {
        let AuditCursor { snapshot, after } = cursor;
        let at: At = (
            (snapshot.position, snapshot.sequence),
            (after.position, after.sequence),
        );
        self.0.seal_place(&walk(filter, order), at)
    }

    /// The cursor that `text` stands for, if it was given out for a walk with these filters in this order.
    ///
    /// # Errors
    /// [`ApiError::BadData`] when it was not, [`ApiError::LedgerForked`] when it was before a fork.
    pub fn open(&self, filter: &AuditFilter, order: Order, text: &str) -> Result<AuditCursor, ApiError> {
        // Newest first, what was seen lies behind.
        let seen = |(_, (position, _)): &At| match order {
            Order::Ascending => Some(*position),
            Order::Descending => None,
        };
        let (snapshot, after) = self.0.open_place(&walk(filter, order), text, seen)?;
        Ok(AuditCursor {
            snapshot: AuditSnapshot {
                position: snapshot.0,
                sequence: snapshot.1,
            },
            after: AuditPlace {
                position: after.0,
                sequence: after.1,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    fn cursor() -> AuditCursor {
        AuditCursor {
            snapshot: AuditSnapshot {
                position: 1_000_000,
                sequence: 77,
            },
            after: AuditPlace {
                position: 999_900,
                sequence: i64::MAX.unsigned_abs(),
            },
        }
    }

    fn by(actor: &str) -> AuditFilter {
        AuditFilter {
            actors: vec![actor.to_owned()],
            ..AuditFilter::default()
        }
    }

    #[test]
    fn a_cursor_goes_on_with_the_walk_that_it_was_given_out_for_and_no_other() {
        let cursors = AuditCursors::new(b"a secret", Numbering::default());
        let text = cursors.seal(&by("alice"), Order::Ascending, cursor());
        assert_eq!(
            cursors.open(&by("alice"), Order::Ascending, &text).ok(),
            Some(cursor())
        );
        assert_eq!(cursors.open(&by("alice"), Order::Descending, &text).ok(), None);
        assert_eq!(cursors.open(&by("bob"), Order::Ascending, &text).ok(), None);
        let other = AuditCursors::new(b"another secret", Numbering::default());
        assert_eq!(other.open(&by("alice"), Order::Ascending, &text).ok(), None);
        let list = CursorCodec::new(b"a secret", Numbering::default());
        assert!(
            list.open_json(&text).is_none(),
            "one kind of cursor passes for another"
        );
    }

    #[test]
    fn a_cursor_with_any_bit_changed_is_none() {
        let cursors = AuditCursors::new(b"a secret", Numbering::default());
        let filter = AuditFilter::default();
        let sealed = cursors.seal(&filter, Order::Ascending, cursor());
        let sealed = URL_SAFE_NO_PAD.decode(sealed).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = URL_SAFE_NO_PAD.encode(forged);
            assert_eq!(cursors.open(&filter, Order::Ascending, &forged).ok(), None);
        }
        for text in ["", "x", "AAAA", &"A".repeat(10_000)] {
            assert_eq!(cursors.open(&filter, Order::Ascending, text).ok(), None);
        }
    }
}
