//! Checkpoints ([c2sp.org/tlog-checkpoint](https://c2sp.org/tlog-checkpoint)): what the ledger signs.
//!
//! ```text
//! ledger.example/ledger/1          the origin, which is the name of the key
//! 70000                            how many entries
//! CsUYapGGPo4dkMgIAUqom/Xa…        base64 of the root
//! ```
//!
//! A ledger that was forked (`archive-ledger ledger fork`) has one more line in every checkpoint of its new origin:
//! `fork <base64 of the SHA-256 of the fork statement>`. The statement is a note that names the last checkpoint of the old
//! origin, so every checkpoint commits to what came before.

use super::Hash;
use super::note::{NoteError, SigningKey, VerifierKey};
use super::sha256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What an extension line of a forked ledger begins with.
const FORK: &str = "fork ";

/// A tree head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries the tree has.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// The hash of the statement that this origin was forked with.
    pub fork: Option<Hash>,
}

/// Why a text is no checkpoint of the log that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Its signature is absent or wrong.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text is no checkpoint.
    #[error("the checkpoint is malformed: {0}")]
    Malformed(&'static str),
    /// It is the checkpoint of another log.
    #[error("the checkpoint is of {actual}, not of {expected}")]
    OtherOrigin {
        /// The log that was asked for.
        expected: String,
        /// The log that it is of.
        actual: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root));
        if let Some(fork) = &self.fork {
            text = format!("{text}{FORK}{}\n", STANDARD.encode(fork));
        }
        text
    }

    /// The signed note.
    ///
    /// # Errors
    /// [`CheckpointError::OtherOrigin`] for another log's key.
    pub fn sign(&self, key: &SigningKey) -> Result<String, CheckpointError> {
        self.expect_origin(key.verifier().name())?;
        Ok(key.sign(&self.text())?)
    }

    /// Reads a note that `key` has signed.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse(key.open(note)?)?;
        checkpoint.expect_origin(key.name())?;
        Ok(checkpoint)
    }

    /// Reads a checkpoint's text. Unknown extension lines are ignored, as the format demands.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let mut lines = text
            .strip_suffix('\n')
            .ok_or(malformed("its last line is not ended"))?
            .split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(malformed("it has fewer than three lines"));
        };
        if origin.is_empty() {
            return Err(malformed("it has no origin"));
        }
        let size = decimal(size).ok_or(malformed("its size is no decimal number"))?;
        let root = hash(root).ok_or(malformed("its root is no hash"))?;
        let mut fork = None;
        for line in lines {
            if line.is_empty() {
                return Err(malformed("it has an empty line"));
            }
            if let Some(statement) = line.strip_prefix(FORK) {
                let statement = hash(statement).ok_or(malformed("its fork line holds no hash"))?;
                if fork.replace(statement).is_some() {
                    return Err(malformed("it has two fork lines"));
                }
            }
        }
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root,
            fork,
        })
    }

    fn expect_origin(&self, expected: &str) -> Result<(), CheckpointError> {
        if self.origin == expected {
            return Ok(());
        }
        Err(CheckpointError::OtherOrigin {
            expected: expected.to_owned(),
            actual: self.origin.clone(),
        })
    }
}

/// What the checkpoints of a forked ledger commit to.
#[must_use]
pub fn statement_hash(statement: &str) -> Hash {
    sha256(&[statement.as_bytes()])
}

/// A decimal number without leading zeros.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A hash in base64.
pub(super) fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "example.org/ledger/1".into(),
            size: 70_000,
            root: [5; 32],
            fork: None,
        }
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_signed() {
        let key = SigningKey::from_seed("example.org/ledger/1", &[1; 32]).unwrap();
        for fork in [None, Some([9; 32])] {
            let signed = Checkpoint { fork, ..checkpoint() };
            let note = signed.sign(&key).unwrap();
            assert_eq!(Checkpoint::open(&note, key.verifier()), Ok(signed));
        }
        let other = SigningKey::from_seed("example.org/ledger/2", &[1; 32]).unwrap();
        assert!(matches!(
            checkpoint().sign(&other),
            Err(CheckpointError::OtherOrigin { .. })
        ));
    }

    #[test]
    fn only_the_exact_form_is_a_checkpoint() {
        let root = STANDARD.encode([5; 32]);
        assert_eq!(
            Checkpoint::parse(&format!("example.org/ledger/1\n70000\n{root}\n")),
            Ok(checkpoint())
        );
        let unknown = format!("example.org/ledger/1\n70000\n{root}\nsomething else\n");
        assert_eq!(Checkpoint::parse(&unknown), Ok(checkpoint()));
        for text in [
            String::new(),
            format!("o\n7\n{root}"),
            format!("\n7\n{root}\n"),
            format!("o\n07\n{root}\n"),
            format!("o\n+7\n{root}\n"),
            format!("o\n\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            "o\n7\nAAAA\n".to_owned(),
            format!("o\n7\n{root}\n\n"),
            format!("o\n7\n{root}\nfork x\n"),
            format!("o\n7\n{root}\nfork {root}\nfork {root}\n"),
        ] {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
        }
    }
}
