//! Public keys of token issuers: a JSON Web Key Set (RFC 7517) from a file, an address, or the address that an issuer names, cached.
//!
//! A token's `kid` is attacker's text: it looks a key up in a list and does nothing else. What it can cause is bounded: one
//! fetch in 20 seconds, in 5 while fetches fail. A key that is missing is missing only as of a fetch that succeeded: before the
//! next one it is unknown, and while there is none, nobody can say.

mod discovery;
pub mod error;
mod fetch;

pub use error::JwksError;

use super::error::AuthError;
use super::token::{JwsAlgorithm, VerifyingKey};
use crate::clock::SharedClock;
use crate::config::JwksSource;
use crate::http::request::json;
use crate::small_files;
use crate::telemetry;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use discovery::Issuer;
use fetch::{client, fetch};
use jsonwebtoken::DecodingKey;
use metrics::gauge;
use serde_json::{Map, Value};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use url::Url;

/// The largest key set that is read, in bytes.
const MAX_BYTES: u64 = 1024 * 1024;

/// The least time between two fetches, whatever asks for them: with the time that one may take, a key that was rotated in is
/// accepted within 30 seconds.
const FETCH_PAUSE: TimeDelta = TimeDelta::seconds(20);

/// The same after one that failed.
pub const RETRY_PAUSE: Duration = Duration::from_secs(5);
const RETRY: TimeDelta = TimeDelta::seconds(RETRY_PAUSE.as_secs().cast_signed());

/// When keys from an address are fetched again although nobody misses one, so that a withdrawn key is forgotten.
const MAX_AGE: TimeDelta = TimeDelta::minutes(1);

/// How long keys are used while they cannot be fetched again.
const STALE_IF_ERROR: TimeDelta = TimeDelta::hours(24);

/// How often a file is looked at.
const STAT_PAUSE: TimeDelta = TimeDelta::seconds(1);

/// Whether the keys can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysState {
    /// They were, when last asked for.
    Fresh,
    /// They were not, and the last ones are used.
    Stale,
    /// There are none.
    Unavailable,
}

/// The keys of a set that we can use, with their ids.
#[derive(Debug)]
struct KeySet(Vec<(Option<String>, Arc<VerifyingKey>)>);

impl KeySet {
    /// Reads a set. Keys for other purposes, algorithms or curves, and private ones, are left out.
    fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        let set = json::parse_object(bytes).map_err(|_| JwksError::Malformed)?;
        let Some(Value::Array(keys)) = set.get("keys") else {
            return Err(JwksError::Malformed);
        };
        let usable: Vec<_> = keys
            .iter()
            .filter_map(Value::as_object)
            .filter_map(usable_key)
            .collect();
        if usable.is_empty() {
            Err(JwksError::NoUsableKey)
        } else {
            Ok(Self(usable))
        }
    }

    fn find(&self, key_id: Option<&str>, algorithm: JwsAlgorithm) -> Lookup {
        let candidates = || {
            self.0
                .iter()
                .filter(|(id, _)| key_id.is_none() || id.as_deref() == key_id)
        };
        // Without an id, only a set of one key leaves no choice to the token.
        if key_id.is_none() && self.0.len() != 1 {
            return Lookup::Ambiguous;
        }
        match candidates().find(|(_, key)| key.algorithm() == algorithm) {
            Some((_, key)) => Lookup::Found(key.clone()),
            None if candidates().next().is_some() => Lookup::OtherAlgorithm,
            None => Lookup::Absent,
        }
    }
}

enum Lookup {
    Found(Arc<VerifyingKey>),
    OtherAlgorithm,
    Ambiguous,
    Absent,
}

fn usable_key(jwk: &Map<String, Value>) -> Option<(Option<String>, Arc<VerifyingKey>)> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
    // A private key in a public set is a leak: whatever it signs proves nothing.
    let private = jwk.contains_key("d") || jwk.contains_key("k");
    let for_signatures = match (jwk.get("use"), jwk.get("key_ops")) {
        (Some(purpose), _) if purpose != "sig" => false,
        (_, Some(operations)) => operations
            .as_array()
            .is_some_and(|list| list.iter().any(|operation| operation == "verify")),
        (_, None) => true,
    };
    if private || !for_signatures {
        return None;
    }
    let (algorithm, key) = match (text("kty")?, text("crv")) {
        ("RSA", _) => (JwsAlgorithm::Rs256, rsa_key(&bytes("n")?, &bytes("e")?)?),
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            let point = [&[4][..], &x, &y].concat();
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?;
            (JwsAlgorithm::Es256, DecodingKey::from_ec_der(&point))
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x")?;
            ParsedPublicKey::new(&ED25519, &x).ok()?;
            (JwsAlgorithm::EdDsa, DecodingKey::from_ed_der(&x))
        }
        _ => return None,
    };
    if jwk.contains_key("alg") && text("alg").and_then(JwsAlgorithm::from_name) != Some(algorithm) {
        return None;
    }
    let key_id = match jwk.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    Some((key_id, Arc::new(VerifyingKey::new(algorithm, key))))
}

/// A modulus of 2048 to 8192 bits and an odd exponent: what the signature check takes.
fn rsa_key(modulus: &[u8], exponent: &[u8]) -> Option<DecodingKey> {
    let modulus = &modulus[modulus.iter().position(|byte| *byte != 0)?..];
    let exponent = &exponent[exponent.iter().position(|byte| *byte != 0)?..];
    let bits = modulus.len() * 8 - modulus[0].leading_zeros() as usize;
    let sound =
        (2048..=8192).contains(&bits) && exponent.len() <= 8 && exponent.last()? % 2 == 1 && exponent != [1];
    sound.then(|| DecodingKey::from_rsa_raw_components(modulus, exponent))
}

/// What tells one version of a file from the next.
type Stamp = (Option<SystemTime>, u64);

/// The keys of one source. Shared by all requests; no lock is held while anything is read or fetched but the one that lets a
/// single reader through.
#[derive(Debug)]
pub struct JwksCache {
    source: Source,
    /// Which of several it is.
    name: Option<String>,
    clock: SharedClock,
    state: Mutex<State>,
    loading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(Url, Mutex<reqwest::Client>),
    /// The address that the issuer named when it was asked last.
    Issuer(Issuer, Mutex<reqwest::Client>, Mutex<Option<Url>>),
}

#[derive(Debug, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    loaded_at: Option<DateTime<Utc>>,
    tried_at: Option<DateTime<Utc>>,
    looked_at: Option<DateTime<Utc>>,
    stamp: Option<Stamp>,
    failing: bool,
}

impl JwksCache {
    /// A cache of the keys at `source`. A file is read now, an address when a key is first asked for.
    ///
    /// # Errors
    /// [`JwksError`] for a file without usable keys, or an address that no client can be set up for.
    pub fn new(source: JwksSource, clock: SharedClock) -> Result<Self, JwksError> {
        Self::of(source, None, clock)
    }

    /// The same of one issuer of several, whose `name` logs and metrics tell.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(source: JwksSource, name: Option<String>, clock: SharedClock) -> Result<Self, JwksError> {
        let mut state = State::default();
        let source = match source {
            JwksSource::File(path) => {
                let (keys, stamp) = read_file(&path)?;
                state.accept(keys, Some(stamp), clock.now(), name.as_deref());
                Source::File(path)
            }
            JwksSource::Url(url) if !matches!(url.scheme(), "http" | "https") => {
                return Err(JwksError::Scheme);
            }
            JwksSource::Url(url) => Source::Url(url, Mutex::new(client()?)),
            JwksSource::Issuer(issuer) => {
                Source::Issuer(Issuer::new(&issuer)?, Mutex::new(client()?), Mutex::default())
            }
        };
        Ok(Self {
            source,
            name,
            clock,
            state: Mutex::new(state),
            loading: tokio::sync::Mutex::new(()),
        })
    }

    /// Has what is fetched from now on vouched for by the authorities that the system trusts now.
    ///
    /// # Errors
    /// [`JwksError::Client`]; then the former ones count.
    pub fn renew_client(&self) -> Result<(), JwksError> {
        match &self.source {
            Source::File(_) => {}
            Source::Url(_, held) | Source::Issuer(_, held, _) => *locked(held) = client()?,
        }
        Ok(())
    }

    /// The key called `key_id`, if it is for `algorithm`. Without an id: the only key there is.
    ///
    /// # Errors
    /// [`AuthError::UnknownKey`], [`AuthError::UnsupportedAlgorithm`] for a key that is there for another algorithm, and
    /// [`AuthError::KeysUnavailable`] when the key is not there and that may be because the keys cannot be had.
    pub async fn find(
        &self,
        key_id: Option<&str>,
        algorithm: JwsAlgorithm,
    ) -> Result<Arc<VerifyingKey>, AuthError> {
        self.keep_fresh().await;
        if let Some(Lookup::Found(key)) = self.keys().map(|keys| keys.find(key_id, algorithm)) {
            return Ok(key);
        }
        self.find_again(key_id, algorithm).await
    }

    /// The same, of keys that are looked for anew if that was not done a moment ago: the one that was found may have been
    /// rotated out under its name.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub async fn find_again(
        &self,
        key_id: Option<&str>,
        algorithm: JwsAlgorithm,
    ) -> Result<Arc<VerifyingKey>, AuthError> {
        self.look_again().await?;
        let keys = self
            .keys()
            .ok_or(AuthError::KeysUnavailable(JwksError::Unavailable))?;
        let lookup = keys.find(key_id, algorithm);
        let failing = self.state().failing;
        match lookup {
            Lookup::Found(key) => Ok(key),
            Lookup::OtherAlgorithm => Err(AuthError::UnsupportedAlgorithm),
            // Nobody can say while the set that may hold it cannot be had.
            Lookup::Absent if failing => Err(AuthError::KeysUnavailable(JwksError::Unavailable)),
            Lookup::Ambiguous | Lookup::Absent => Err(AuthError::UnknownKey),
        }
    }

    /// Loads keys that have aged, changed, or never been had.
    pub async fn refresh(&self) {
        let unknown = {
            let state = self.state();
            state.loaded_at.is_none() || state.failing
        };
        if !unknown {
            return self.keep_fresh().await;
        }
        if let Ok(_one) = self.loading.try_lock() {
            // A failure is in the log, and shows in the state.
            let _ = self.load().await;
        }
    }

    /// Whether the keys can be had.
    #[must_use]
    pub fn keys_state(&self) -> KeysState {
        match (self.keys(), self.state().failing) {
            (None, _) => KeysState::Unavailable,
            (Some(_), true) => KeysState::Stale,
            (Some(_), false) => KeysState::Fresh,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The keys, unless they are too old to be trusted.
    fn keys(&self) -> Option<Arc<KeySet>> {
        let now = self.clock.now();
        let state = self.state();
        let usable = match self.source {
            Source::File(_) => true,
            Source::Url(..) | Source::Issuer(..) => state
                .loaded_at
                .is_some_and(|loaded| now - loaded <= STALE_IF_ERROR),
        };
        state.keys.clone().filter(|_| usable)
    }

    /// Loads keys that have aged or changed. One request does it, the others go on with what is there.
    async fn keep_fresh(&self) {
        let now = self.clock.now();
        let due = {
            let state = self.state();
            match self.source {
                Source::File(_) => state
                    .looked_at
                    .is_none_or(|looked| (now - looked).abs() >= STAT_PAUSE),
                // What was never loaded is waited for in `look_again`.
                Source::Url(..) | Source::Issuer(..) => state
                    .loaded_at
                    .is_some_and(|loaded| (now - loaded).abs() >= MAX_AGE),
            }
        };
        if !due {
            return;
        }
        if let Ok(_one) = self.loading.try_lock() {
            // A failure is in the log, and the keys that are there stay.
            let _ = self.load().await;
        }
    }

    /// Loads keys because one is missing. All requests that miss one wait for a single load.
    async fn look_again(&self) -> Result<(), AuthError> {
        let before = self.state().loaded_at;
        let _one = self.loading.lock().await;
        if self.state().loaded_at != before {
            return Ok(());
        }
        match self.load().await {
            // As long as there are keys, one that is missing is unknown rather than unavailable.
            Err(error) if self.keys().is_none() => Err(AuthError::KeysUnavailable(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether enough time has passed since the last fetch; notes that there is one now.
    fn may_fetch(&self, now: DateTime<Utc>) -> Result<(), JwksError> {
        let mut state = self.state();
        let pause = if state.failing { RETRY } else { FETCH_PAUSE };
        if state.tried_at.is_some_and(|tried| (now - tried).abs() < pause) {
            return Err(JwksError::Unavailable);
        }
        state.tried_at = Some(now);
        Ok(())
    }

    /// Loads the keys, unless that was done or tried a moment ago. Called with the `loading` lock held.
    async fn load(&self) -> Result<(), JwksError> {
        let now = self.clock.now();
        let loaded = match &self.source {
            Source::File(path) => {
                self.state().looked_at = Some(now);
                let stamp = tokio::fs::metadata(path)
                    .await
                    .ok()
                    .map(|metadata| stamp(&metadata));
                if stamp.is_some() && stamp == self.state().stamp {
                    return Ok(());
                }
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read_file(&path)).await;
                read.map_err(|_| JwksError::Interrupted)
                    .flatten()
                    .map(|(keys, stamp)| (keys, Some(stamp)))
            }
            Source::Url(url, client) => {
                self.may_fetch(now)?;
                let client = locked(client).clone();
                fetch(&client, url).await.map(|keys| (keys, None))
            }
            Source::Issuer(issuer, client, found) => {
                self.may_fetch(now)?;
                let (client, known) = (locked(client).clone(), locked(found).take());
                let fetched = issuer.keys(&client, known).await;
                fetched.map(|(keys, address)| {
                    *locked(found) = Some(address);
                    (keys, None)
                })
            }
        };
        let mut state = self.state();
        match loaded {
            Ok((keys, stamp)) => {
                state.accept(keys, stamp, now, self.name.as_deref());
                Ok(())
            }
            Err(error) => {
                show_up(self.name.as_deref(), 0.0);
                if !std::mem::replace(&mut state.failing, true) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(error = %error, error.cause = cause, issuer = self.name, "the key set for tokens cannot be loaded");
                }
                Err(error)
            }
        }
    }
}

impl State {
    fn accept(&mut self, keys: KeySet, stamp: Option<Stamp>, now: DateTime<Utc>, name: Option<&str>) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(issuer = name, "the key set for tokens is loaded again");
        }
        show_up(name, 1.0);
        self.keys = Some(Arc::new(keys));
        self.stamp = stamp;
        self.loaded_at = Some(now);
    }
}

/// Shows whether the keys can be had: of each issuer where there are several.
fn show_up(name: Option<&str>, up: f64) {
    match name {
        None => gauge!(telemetry::JWKS_UP).set(up),
        Some(name) => gauge!(telemetry::JWKS_UP, "issuer" => name.to_owned()).set(up),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    (metadata.modified().ok(), metadata.len())
}

fn read_file(path: &Path) -> Result<(KeySet, Stamp), JwksError> {
    let failed = |source| JwksError::ReadFile {
        path: path.to_owned(),
        source,
    };
    let file = small_files::open(path).map_err(failed)?;
    let stamp = stamp(&file.metadata().map_err(failed)?);
    let bytes = small_files::rest(file, MAX_BYTES).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => JwksError::TooLarge,
        _ => failed(error),
    })?;
    Ok((KeySet::parse(&bytes)?, stamp))
}

#[cfg(test)]
mod tests;
