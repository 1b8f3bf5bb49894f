//! What a fork states: a signed note with which the new origin begins.
//!
//! ```text
//! archive-ledger fork v1
//! new <verifier key of the new origin>
//! old <verifier key of the old origin>
//! lost <base64 of the last checkpoint of the old origin>
//! from 1200 <root>                       the tree that the new origin goes on from
//! time 2025-11-23T05:00:00Z
//! reason the disk of db1 failed, restored from the copy of 22 November
//! ```

use super::ProofError;
use crate::merkle::checkpoint::Checkpoint;
use crate::merkle::note::{self, SigningKey, VerifierKey};
use crate::store::Hash;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};

/// The first line.
const HEADER: &str = "archive-ledger fork v1";

/// What a fork states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The new origin.
    pub new: VerifierKey,
    /// The old origin.
    pub old: VerifierKey,
    /// The last checkpoint of the old origin, a signed note; absent when none was ever signed.
    pub lost: Option<String>,
    /// How many entries the new origin goes on from.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// When.
    pub time: DateTime<Utc>,
    /// Why.
    pub reason: String,
}

impl Statement {
    /// The signed statement.
    ///
    /// # Errors
    /// [`ProofError::Note`] when the reason has control characters.
    pub fn sign(&self, key: &SigningKey) -> Result<String, ProofError> {
        let lost = self
            .lost
            .as_ref()
            .map_or_else(|| "none".to_owned(), |note| STANDARD.encode(note));
        let text = format!(
            "{HEADER}\nnew {}\nold {}\nlost {lost}\nfrom {} {}\ntime {}\nreason {}\n",
            self.new,
            self.old,
            self.size,
            STANDARD.encode(self.root),
            self.time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            self.reason,
        );
        Ok(key.sign(&text)?)
    }

    /// Reads a statement and checks that the new origin's key has signed it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(statement: &str) -> Result<Self, &'static str> {
        let text = note::unverified_text(statement).map_err(|_| "the fork statement is no signed note")?;
        let read = Self::parse(text).ok_or("the fork statement is malformed")?;
        read.new
            .open(statement)
            .map_err(|_| "the fork statement is not signed by its new origin")?;
        if let Some(lost) = &read.lost {
            Checkpoint::open(lost, &read.old)
                .map_err(|_| "the fork statement names a checkpoint that the old origin never signed")?;
        }
        Ok(read)
    }

    /// The last checkpoint of the old origin.
    #[must_use]
    pub fn lost_checkpoint(&self) -> Option<Checkpoint> {
        Checkpoint::open(self.lost.as_ref()?, &self.old).ok()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next() != Some(HEADER) {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let new = field("new")?.parse().ok()?;
        let old = field("old")?.parse().ok()?;
        let lost = match field("lost")? {
            "none" => None,
            encoded => Some(String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?),
        };
        let (size, root) = field("from")?.split_once(' ')?;
        let (size, root) = (size.parse().ok()?, STANDARD.decode(root).ok()?.try_into().ok()?);
        let time = DateTime::parse_from_rfc3339(field("time")?).ok()?.to_utc();
        let reason = field("reason")?.to_owned();
        Some(Self {
            new,
            old,
            lost,
            size,
            root,
            time,
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_read_as_it_was_signed_and_no_flipped_byte_is_accepted() {
        let old = SigningKey::from_seed("o/ledger/1", &[1; 32]).unwrap();
        let new = SigningKey::from_seed("o/ledger/2", &[1; 32]).unwrap();
        let lost = Checkpoint {
            origin: "o/ledger/1".into(),
            size: 9,
            root: [3; 32],
            fork: None,
        };
        for lost in [None, Some(lost.sign(&old).unwrap())] {
            let statement = Statement {
                new: new.verifier().clone(),
                old: old.verifier().clone(),
                lost,
                size: 7,
                root: [2; 32],
                time: DateTime::UNIX_EPOCH,
                reason: "the disk failed".into(),
            };
            let signed = statement.sign(&new).unwrap();
            assert_eq!(Statement::open(&signed), Ok(statement.clone()));
            assert!(Statement::open(&statement.sign(&old).unwrap()).is_err());
            for index in 0..signed.len() {
                let mut bytes = signed.clone().into_bytes();
                bytes[index] ^= 1;
                if let Ok(changed) = String::from_utf8(bytes) {
                    assert!(Statement::open(&changed).is_err(), "{changed}");
                }
            }
        }
    }
}
