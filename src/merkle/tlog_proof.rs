//! Inclusion proofs as text ([c2sp.org/tlog-proof](https://c2sp.org/tlog-proof)): all that it takes to check one entry offline.

use super::Hash;
use super::checkpoint::{decimal, hash};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// An entry's inclusion proof, with the checkpoint that it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The entry itself, for whoever does not have it. Not trusted: the proof shows whether it is the one.
    pub extra: Option<Vec<u8>>,
    /// The entry's index, from 0: its position less one.
    pub index: u64,
    /// The hashes from the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub checkpoint: String,
}

/// A text that is no such proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof is malformed: {0}")]
pub struct MalformedProof(&'static str);

impl fmt::Display for TlogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl std::str::FromStr for TlogProof {
    type Err = MalformedProof;

    fn from_str(text: &str) -> Result<Self, MalformedProof> {
        let (head, checkpoint) = text
            .split_once("\n\n")
            .ok_or(MalformedProof("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(MalformedProof("it does not begin as a proof"));
        }
        let mut line = lines.next().ok_or(MalformedProof("it has no index"))?;
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            let decoded = STANDARD
                .decode(encoded)
                .map_err(|_| MalformedProof("its extra data is not base64"))?;
            extra = Some(decoded);
            line = lines.next().ok_or(MalformedProof("it has no index"))?;
        }
        let index = line
            .strip_prefix("index ")
            .and_then(decimal)
            .ok_or(MalformedProof("it has no index"))?;
        let hashes = lines
            .map(|line| hash(line).ok_or(MalformedProof("a line is no hash")))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            extra,
            index,
            hashes,
            checkpoint: checkpoint.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_read_as_it_was_written() {
        for (extra, hashes) in [(None, vec![]), (Some(b"entry".to_vec()), vec![[1; 32], [2; 32]])] {
            let proof = TlogProof {
                extra,
                index: 73_894,
                hashes,
                checkpoint: "o\n1\nx\n\n— o abc\n".into(),
            };
            assert_eq!(proof.to_string().parse(), Ok(proof));
        }
    }

    #[test]
    fn the_text_is_that_of_the_specification() {
        let proof = TlogProof {
            extra: None,
            index: 0,
            hashes: vec![[0; 32]],
            checkpoint: "note\n".into(),
        };
        assert_eq!(
            proof.to_string(),
            "c2sp.org/tlog-proof@v1\nindex 0\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nnote\n"
        );
    }

    #[test]
    fn a_malformed_proof_is_refused() {
        for text in [
            "",
            "c2sp.org/tlog-proof@v1\nindex 0\n",
            "c2sp.org/tlog-proof@v2\nindex 0\n\nnote\n",
            "c2sp.org/tlog-proof@v1\nindex 00\n\nnote\n",
            "c2sp.org/tlog-proof@v1\nextra x\n\nnote\n",
            "c2sp.org/tlog-proof@v1\nindex 1\nabc\n\nnote\n",
        ] {
            assert!(text.parse::<TlogProof>().is_err(), "{text:?}");
        }
    }
}
