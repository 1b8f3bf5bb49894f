//! Signed notes ([c2sp.org/signed-note](https://c2sp.org/signed-note)) with Ed25519 keys.
//!
//! ```text
//! text, any number of lines
//!
//! — <key name> base64(key id ‖ signature of the text)
//! ```
//!
//! The key id is the first four bytes of `SHA-256(name ‖ "\n" ‖ 0x01 ‖ public key)`. A verifier key is written
//! `<name>+<key id in hex>+base64(0x01 ‖ public key)`, as `sumdb/note` does.

use super::sha256;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::str::FromStr;

/// The signature type of Ed25519 in key ids and verifier keys.
const ED25519_TYPE: u8 = 0x01;

/// The largest note that is read, in bytes.
const LARGEST: usize = 1 << 20;

/// The most signature lines that are read; witnesses add theirs.
const MOST_SIGNATURES: usize = 100;

/// Why a note is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is no signed note.
    #[error("the note is malformed: {0}")]
    Malformed(&'static str),
    /// A signature of the key that was asked for does not fit the text.
    #[error("the signature does not fit the text")]
    BadSignature,
    /// The key that was asked for has not signed it.
    #[error("the note is not signed by the key that was asked for")]
    NotSigned,
}

/// Why a text is no verifier key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no verifier key: {0}")]
pub struct InvalidKey(&'static str);

/// The public half of a note key: what an auditor trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: [u8; 32],
}

impl VerifierKey {
    /// The key under another name: the same signer for another origin.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: self.key,
        }
    }

    /// The key's name, which for a log is its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 public key.
    #[must_use]
    pub const fn public_key(&self) -> &[u8; 32] {
        &self.key
    }

    fn id(&self) -> [u8; 4] {
        let hash = sha256(&[self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.key]);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    /// The text of a note that this key has signed.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        let (text, signatures) = split(note)?;
        let mut signed = false;
        for signature in signatures {
            if signature.name == self.name && signature.id == self.id() {
                UnparsedPublicKey::new(&ED25519, self.key)
                    .verify(text.as_bytes(), &signature.signature)
                    .map_err(|_| NoteError::BadSignature)?;
                signed = true;
            }
        }
        if signed {
            Ok(text)
        } else {
            Err(NoteError::NotSigned)
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.key);
        write!(
            f,
            "{}+{}+{}",
            self.name,
            hex::encode(self.id()),
            STANDARD.encode(key)
        )
    }
}

impl FromStr for VerifierKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(InvalidKey("must be <name>+<key id>+<base64>"));
        };
        if !is_key_name(name) {
            return Err(InvalidKey("the name is empty or has spaces"));
        }
        let key = STANDARD
            .decode(key)
            .map_err(|_| InvalidKey("the key is not base64"))?;
        let Some((&ED25519_TYPE, key)) = key.split_first() else {
            return Err(InvalidKey("the key is not an Ed25519 key"));
        };
        let key = key
            .try_into()
            .map_err(|_| InvalidKey("the key is not 32 bytes long"))?;
        let verifier = Self {
            name: name.to_owned(),
            key,
        };
        if hex::encode(verifier.id()) != id {
            return Err(InvalidKey("the key id does not fit name and key"));
        }
        Ok(verifier)
    }
}

/// A key that signs notes.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("name", &self.verifier.name)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032), under a name.
    ///
    /// # Errors
    /// [`InvalidKey`] when the name has spaces or a plus sign, or the seed is refused.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        if !is_key_name(name) {
            return Err(InvalidKey("the name is empty, or has spaces or a plus sign"));
        }
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| InvalidKey("the seed is refused"))?;
        let key = pair
            .public_key()
            .as_ref()
            .try_into()
            .map_err(|_| InvalidKey("the public key is not 32 bytes long"))?;
        let verifier = VerifierKey {
            name: name.to_owned(),
            key,
        };
        Ok(Self { pair, verifier })
    }

    /// The public half.
    #[must_use]
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signed note of a text. The same text has the same note: Ed25519 is deterministic.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when the text is none that a note can hold.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        if !text.ends_with('\n') {
            return Err(NoteError::Malformed("the text must end with a line break"));
        }
        if text.chars().any(is_forbidden) {
            return Err(NoteError::Malformed("the text has control characters"));
        }
        let signature = self.pair.sign(text.as_bytes());
        let mut signed = self.verifier.id().to_vec();
        signed.extend_from_slice(signature.as_ref());
        Ok(format!(
            "{text}\n— {} {}\n",
            self.verifier.name,
            STANDARD.encode(signed)
        ))
    }
}

/// One signature line.
struct SignatureLine<'n> {
    name: &'n str,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// Takes a note apart, without checking any signature.
fn split(note: &str) -> Result<(&str, Vec<SignatureLine<'_>>), NoteError> {
    let malformed = NoteError::Malformed;
    if note.len() > LARGEST {
        return Err(malformed("it is too large"));
    }
    if note.chars().any(is_forbidden) {
        return Err(malformed("it has control characters"));
    }
    let end = note.rfind("\n\n").ok_or(malformed("it has no signatures"))?;
    let text = &note[..=end];
    let lines = note[end + 2..]
        .strip_suffix('\n')
        .ok_or(malformed("its last line is not ended"))?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == MOST_SIGNATURES {
            return Err(malformed("it has too many signatures"));
        }
        signatures.push(signature_line(line).ok_or(malformed("a signature line is malformed"))?);
    }
    Ok((text, signatures))
}

fn signature_line(line: &str) -> Option<SignatureLine<'_>> {
    let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    if !is_key_name(name) || signature.is_empty() {
        return None;
    }
    Some(SignatureLine {
        name,
        id: *id,
        signature: signature.to_vec(),
    })
}

/// The text of a note whose signatures nobody has checked, for messages only.
pub fn unverified_text(note: &str) -> Result<&str, NoteError> {
    Ok(split(note)?.0)
}

fn is_forbidden(character: char) -> bool {
    character.is_ascii_control() && character != '\n'
}

/// Whether a key may have this name.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty()
        && !name
            .chars()
            .any(|character| character.is_whitespace() || character.is_control() || character == '+')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed("example.org/ledger/1", &[7; 32]).unwrap()
    }

    /// The published example of golang.org/x/mod/sumdb/note.
    #[test]
    fn the_published_note_opens_with_its_published_key() {
        let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
            .parse()
            .unwrap();
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let note = format!(
            "{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(key.open(&note), Ok(text));
        assert_eq!(
            key.to_string(),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
    }

    #[test]
    fn no_flipped_byte_of_a_note_is_accepted() {
        let (key, text) = (key(), "example.org/ledger/1\n7\nAAAA\n");
        let note = key.sign(text).unwrap();
        assert_eq!(key.verifier().open(&note), Ok(text));
        for index in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[index] ^= 1 << bit;
                if let Ok(changed) = String::from_utf8(bytes) {
                    assert!(
                        key.verifier().open(&changed).is_err(),
                        "byte {index} bit {bit}: {changed}"
                    );
                }
            }
        }
    }

    #[test]
    fn signatures_of_others_are_ignored_and_do_not_count() {
        let (ours, text) = (key(), "text\n");
        let theirs = SigningKey::from_seed("witness.example", &[8; 32]).unwrap();
        let note = ours.sign(text).unwrap();
        let cosigned = format!(
            "{note}{}\n",
            theirs.sign(text).unwrap().lines().last().unwrap_or_default()
        );
        assert_eq!(ours.verifier().open(&cosigned), Ok(text));
        assert_eq!(theirs.verifier().open(&cosigned), Ok(text));
        assert_eq!(theirs.verifier().open(&note), Err(NoteError::NotSigned));
    }

    #[test]
    fn a_verifier_key_with_a_changed_character_is_none() {
        let text = key().verifier().to_string();
        assert_eq!(text.parse::<VerifierKey>().as_ref(), Ok(key().verifier()));
        for index in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[index] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert!(changed.parse::<VerifierKey>().is_err(), "{changed}");
        }
    }

    #[test]
    fn what_no_note_can_hold_is_not_signed() {
        for text in ["", "no line break", "a\tb\n"] {
            assert!(key().sign(text).is_err(), "{text:?}");
        }
        for name in ["", "a b", "a+b", "a\u{a0}b"] {
            assert!(SigningKey::from_seed(name, &[0; 32]).is_err(), "{name:?}");
        }
    }
}
