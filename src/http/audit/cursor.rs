//! Where a walk through the audit goes on: bound to its filters, its order and its snapshot.

use crate::http::cursor::{CursorCodec, of_this_ledger};
use crate::http::error::ApiError;
use crate::merkle::sha256;
use crate::numbering::Numbering;
use crate::store::audit::{AuditFilter, AuditPlace, AuditSnapshot, Order};
use serde::{Deserialize, Serialize};

const VERSION: u8 = 2;

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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    v: u8,
    /// The ledger's number.
    ledger: u64,
    /// Which filters, in which order.
    walk: String,
    position: u64,
    sequence: u64,
    at: (u64, u64),
}

/// What tells walks apart.
fn walk(filter: &AuditFilter, order: Order) -> String {
    let order: &[u8] = match order {
        Order::Ascending => b"asc\0",
        Order::Descending => b"desc\0",
    };
    hex::encode(&sha256(&[order, filter.canonical().as_bytes()])[..16])
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
        let payload = Payload {
            v: VERSION,
            ledger: self.0.numbering().current(),
            walk: walk(filter, order),
            position: cursor.snapshot.position,
            sequence: cursor.snapshot.sequence,
            at: (cursor.after.position, cursor.after.sequence),
        };
        // Strings and integers only, which always serialize.
        self.0
            .seal_json(&serde_json::to_vec(&payload).unwrap_or_default())
    }

    /// The cursor that `text` stands for, if it was given out for a walk with these filters in this order.
    ///
    /// # Errors
    /// [`ApiError::BadData`] when it was not, [`ApiError::LedgerForked`] when it was before a fork.
    pub fn open(&self, filter: &AuditFilter, order: Order, text: &str) -> Result<AuditCursor, ApiError> {
        let read = || {
            let payload: Payload = serde_json::from_slice(&self.0.open_json(text)?).ok()?;
            (payload.v == VERSION && payload.walk == walk(filter, order)).then_some(payload)
        };
        let payload = read().ok_or_else(|| ApiError::bad_data("cursor", "not a cursor of this query"))?;
        // Newest first, what was seen lies behind.
        let seen = match order {
            Order::Ascending => Some(payload.at.0),
            Order::Descending => None,
        };
        of_this_ledger(self.0.numbering(), "cursor", payload.ledger, seen)?;
        Ok(AuditCursor {
            snapshot: AuditSnapshot {
                position: payload.position,
                sequence: payload.sequence,
            },
            after: AuditPlace {
                position: payload.at.0,
                sequence: payload.at.1,
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
