//! Marks: what tells the ledger's own messages from others', whatever they say of themselves.
//!
//! Anybody who may publish on the stream can send an event under the ledger's name. A header of each message that a relay
//! publishes says that somebody with the ledger's key has found this event at this position in its log: a copy has it too, and
//! nobody can make one. So the stream bears witness for the log, and no stranger can bear false witness.

use crate::store::Position;
use aws_lc_rs::hmac;
use uuid::Uuid;

/// The header that has the mark.
pub const HEADER: &str = "Archive-Ledger-Mark";

/// Makes and knows the marks of one ledger.
#[derive(Clone)]
pub struct Marks(hmac::Key);

impl std::fmt::Debug for Marks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marks").finish_non_exhaustive()
    }
}

impl Marks {
    /// The marks of the ledger that is signed with the key of this seed, before and after a fork.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        let derived = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, seed),
            b"archive-ledger/stream-mark/v1",
        );
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// The mark of an event that the ledger `number` recorded at a position: 64 hexadecimal digits.
    #[must_use]
    pub fn of(&self, number: u64, position: Position, event_id: Uuid) -> String {
        hex::encode(hmac::sign(&self.0, &marked(number, position, event_id)))
    }

    /// Whether a mark is the one of this event.
    #[must_use]
    pub fn is(&self, mark: &str, number: u64, position: Position, event_id: Uuid) -> bool {
        let tag = hex::decode(mark);
        tag.is_ok_and(|tag| hmac::verify(&self.0, &marked(number, position, event_id), &tag).is_ok())
    }
}

/// What a mark is over: of a fixed length, so that no two events have the same.
fn marked(number: u64, position: Position, event_id: Uuid) -> [u8; 32] {
    let mut marked = [0; 32];
    marked[..8].copy_from_slice(&number.to_be_bytes());
    marked[8..16].copy_from_slice(&position.to_be_bytes());
    marked[16..].copy_from_slice(event_id.as_bytes());
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_of_one_event_of_one_ledger() {
        let (marks, id) = (Marks::new(&[1; 32]), Uuid::from_u128(7));
        let mark = marks.of(1, 42, id);
        assert!(marks.is(&mark, 1, 42, id));
        for (number, position, id) in [(2, 42, id), (1, 43, id), (1, 42, Uuid::from_u128(8))] {
            assert!(!marks.is(&mark, number, position, id));
        }
        assert!(!Marks::new(&[2; 32]).is(&mark, 1, 42, id));
        for other in ["", "00", "no mark", &mark[..62]] {
            assert!(!marks.is(other, 1, 42, id), "{other}");
        }
    }
}
