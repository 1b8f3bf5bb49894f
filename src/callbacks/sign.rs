//! Signatures after Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
//!
//! A receiver computes HMAC-SHA256 over `id.timestamp.body` with the secret it was given and compares. While a secret is
//! being replaced every secret of the file signs, so that receivers may change over in their own time.

use crate::secret_files::{self, SecretFileError};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

/// What every secret starts with.
const PREFIX: &str = "whsec_";
/// Secret sizes that the standard permits, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// The size of a generated secret, in bytes.
const GENERATED_BYTES: usize = 32;
/// More signatures than this would only make the header long.
const SECRETS_MAX: usize = 10;

/// Why the signing secrets cannot be used. No variant's text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file cannot be read or made.
    #[error("the callback secrets cannot be used")]
    File(#[source] SecretFileError),
    /// The file is not text.
    #[error("the callback secrets are not text")]
    NotText,
    /// A line is not `whsec_` and the base64 of 24 to 64 bytes.
    #[error("line {line} of the callback secrets is not 'whsec_' and the base64 of 24 to 64 bytes")]
    Line {
        /// The line's number, from 1.
        line: usize,
    },
    /// The file holds no secret, or more than ten.
    #[error("the callback secrets must hold 1 to 10 secrets, but hold {0}")]
    Count(usize),
    /// The machine's random source failed.
    #[error("the random source failed")]
    Random,
}

/// The secrets that callbacks are signed with, newest first.
#[derive(Clone)]
pub struct SigningSecrets(Vec<hmac::Key>);

impl fmt::Debug for SigningSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningSecrets({})", self.0.len())
    }
}

/// The header values of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// `webhook-timestamp`: Unix seconds.
    pub timestamp: String,
    /// `webhook-signature`: one `v1,<base64>` for each secret, separated by spaces.
    pub signature: String,
}

impl SigningSecrets {
    /// Reads the secrets from `path` again, which must be there.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn existing(path: &Path) -> Result<Self, SecretsError> {
        let content = Zeroizing::new(secret_files::existing(path).map_err(SecretsError::File)?);
        Self::parse(std::str::from_utf8(&content).map_err(|_| SecretsError::NotText)?)
    }

    /// Reads the secrets from `path`: one on each line, newest first; empty lines and lines that start with `#` are
    /// skipped. When there is no file, makes one with a fresh secret, readable by its owner only (mode 0600); of
    /// several processes that do so at once one wins and all use its secret.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn load_or_create(path: &Path) -> Result<Self, SecretsError> {
        let fresh = generated_file()?;
        let content =
            secret_files::load_or_create(path, || fresh.as_bytes().to_vec()).map_err(SecretsError::File)?;
        let content = Zeroizing::new(content);
        Self::parse(std::str::from_utf8(&content).map_err(|_| SecretsError::NotText)?)
    }

    /// The secrets of a file's text.
    ///
    /// # Errors
    /// [`SecretsError::Line`] and [`SecretsError::Count`].
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let invalid = || SecretsError::Line { line: index + 1 };
            let encoded = line.strip_prefix(PREFIX).ok_or_else(invalid)?;
            let secret = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| invalid())?);
            if !SECRET_BYTES.contains(&secret.len()) {
                return Err(invalid());
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &secret));
        }
        if keys.is_empty() || keys.len() > SECRETS_MAX {
            return Err(SecretsError::Count(keys.len()));
        }
        Ok(Self(keys))
    }

    /// A text's tag under each secret, newest first: what tells secrets apart without telling them.
    #[must_use]
    pub fn tags(&self, text: &[u8]) -> Vec<Vec<u8>> {
        let tags = self.0.iter().map(|key| hmac::sign(key, text));
        tags.map(|tag| tag.as_ref().to_vec()).collect()
    }

    /// Signs `id.<at in Unix seconds>.body` with every secret. `id` must hold no full stop (a UUID does not), or two
    /// different messages could have the same signature.
    #[must_use]
    pub fn sign(&self, id: &str, at: DateTime<Utc>, body: &[u8]) -> Signature {
        let timestamp = at.timestamp().to_string();
        let mut signature = String::new();
        for key in &self.0 {
            let mut context = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            if !signature.is_empty() {
                signature.push(' ');
            }
            signature.push_str("v1,");
            STANDARD.encode_string(context.sign(), &mut signature);
        }
        Signature { timestamp, signature }
    }
}

/// A new file's text: one fresh secret and how to replace it.
fn generated_file() -> Result<Zeroizing<String>, SecretsError> {
    let mut secret = Zeroizing::new([0_u8; GENERATED_BYTES]);
    rand::fill(secret.as_mut()).map_err(|_| SecretsError::Random)?;
    let encoded = Zeroizing::new(STANDARD.encode(secret.as_ref()));
    Ok(Zeroizing::new(format!(
        "# Secrets that callbacks are signed with (Standard Webhooks), newest first. Give them to the receivers.\n\
         # To replace one: add the new one above it, restart, and remove the old one once every receiver has the new.\n\
         {PREFIX}{}\n",
        encoded.as_str()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn the_standards_own_example_gives_the_standards_own_signature() {
        let secrets = SigningSecrets::parse(OLD).unwrap();
        let at = DateTime::from_timestamp(1_614_265_330, 0).unwrap();
        let signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#);
        assert_eq!(
            signed.signature,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
        assert_eq!(signed.timestamp, "1614265330");
    }

    #[test]
    fn during_rotation_a_receiver_with_either_secret_verifies_and_another_does_not() {
        let secrets = SigningSecrets::parse(&format!("# new\n{NEW}\n\n  # old\n  {OLD}  \r\n")).unwrap();
        let body = br#"{"archiveId":"a","datasetId":null,"error":null}"#;
        let id = SystemClock.new_id().to_string();
        let signed = secrets.sign(&id, SystemClock.now(), body);
        let mut headers = http::HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", signed.timestamp.parse().unwrap());
        headers.insert("webhook-signature", signed.signature.parse().unwrap());
        for secret in [NEW, OLD] {
            standardwebhooks::Webhook::new(secret)
                .unwrap()
                .verify(body, &headers)
                .unwrap();
        }
        let other = standardwebhooks::Webhook::from_bytes(vec![7; 32]).unwrap();
        assert!(other.verify(body, &headers).is_err());
        let mut forged = body.to_vec();
        forged[15] = b'b';
        assert!(
            standardwebhooks::Webhook::new(NEW)
                .unwrap()
                .verify(&forged, &headers)
                .is_err()
        );
    }

    #[test]
    fn a_missing_file_is_made_once_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("callback-secrets");
        let at = DateTime::from_timestamp(1, 0).unwrap();
        let first = SigningSecrets::load_or_create(&path)
            .unwrap()
            .sign("id", at, b"x");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            SigningSecrets::load_or_create(&path)
                .unwrap()
                .sign("id", at, b"x"),
            first
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no draft is left"
        );
        let text = fs::read_to_string(&path).unwrap();
        let secret = text.lines().find(|line| line.starts_with(PREFIX)).unwrap();
        assert_eq!(
            STANDARD.decode(&secret[PREFIX.len()..]).unwrap().len(),
            GENERATED_BYTES
        );
    }

    #[test]
    fn a_bad_line_is_named_by_its_number_and_never_quoted() {
        let short = format!("whsec_{}", STANDARD.encode([1; 23]));
        let long = format!("whsec_{}", STANDARD.encode([1; 65]));
        for bad in [
            "secret",
            "whsec_",
            "whsec_!!!!",
            "WHSEC_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
            &short,
            &long,
        ] {
            let error = SigningSecrets::parse(&format!("{OLD}\n{bad}")).unwrap_err();
            assert!(matches!(error, SecretsError::Line { line: 2 }), "{bad}");
            assert!(!error.to_string().contains("AAEC"));
        }
        assert!(matches!(
            SigningSecrets::parse("# none\n"),
            Err(SecretsError::Count(0))
        ));
        assert!(matches!(
            SigningSecrets::parse(&format!("{OLD}\n").repeat(11)),
            Err(SecretsError::Count(11))
        ));
        assert_eq!(
            format!("{:?}", SigningSecrets::parse(OLD).unwrap()),
            "SigningSecrets(1)"
        );
    }
}
