//! Issuers whose tokens are checked with their key sets, and which of them a token is of.

use super::AuthError;
use super::claims::ClaimNames;
use super::jwks::{JwksCache, JwksError, KeysState};
use super::token::{Expected, JwsAlgorithm, UnverifiedToken};
use crate::clock::SharedClock;
use crate::config::JwksSource;
use chrono::TimeDelta;
use serde_json::{Map, Value};

/// One issuer, as it is configured.
#[derive(Debug, Clone)]
pub struct IssuerConfig {
    /// What its tokens name as `iss`; any or none when absent.
    pub issuer: Option<String>,
    /// What its tokens must name as `aud`. When absent, a token that names one is refused.
    pub audience: Option<String>,
    /// Where its keys are.
    pub jwks: JwksSource,
    /// Where its tokens say what they grant.
    pub claims: ClaimNames,
    /// The algorithms that its tokens may be signed with.
    pub algorithms: Vec<JwsAlgorithm>,
}

#[derive(Debug)]
struct Issuer {
    expected: Expected,
    algorithms: Vec<JwsAlgorithm>,
    keys: JwksCache,
}

/// All issuers with key sets. No two name the same `iss`.
#[derive(Debug)]
pub(super) struct Issuers(Vec<Issuer>);

impl Issuers {
    pub(super) fn new(
        configured: Vec<IssuerConfig>,
        leeway: TimeDelta,
        clock: &SharedClock,
    ) -> Result<Self, JwksError> {
        let several = configured.len() > 1;
        let issuers = configured.into_iter().map(|one| {
            let name = one.issuer.clone().filter(|_| several);
            Ok(Issuer {
                keys: JwksCache::of(one.jwks, name, clock.clone())?,
                expected: Expected {
                    issuer: one.issuer,
                    audience: one.audience,
                    leeway,
                    claims: one.claims,
                },
                algorithms: one.algorithms,
            })
        });
        Ok(Self(issuers.collect::<Result<_, _>>()?))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The claims of a token whose signature holds, and what they are to be held against.
    pub(super) async fn verify(
        &self,
        token: &UnverifiedToken<'_>,
    ) -> Result<(Map<String, Value>, &Expected), AuthError> {
        let issuer = self.issuer_of(token)?;
        if !issuer.algorithms.contains(&token.algorithm()) {
            return Err(AuthError::UnsupportedAlgorithm);
        }
        let key = issuer.keys.find(token.key_id(), token.algorithm()).await?;
        let claims = match token.verify(&key) {
            Err(AuthError::BadSignature) => {
                let key = issuer.keys.find_again(token.key_id(), token.algorithm()).await?;
                token.verify(&key)?
            }
            verified => verified?,
        };
        Ok((claims, &issuer.expected))
    }

    /// Whose keys a token is to be checked with, by what it says itself. That its `iss` is the issuer's is checked once more with the
    /// claims that the signature covers.
    fn issuer_of(&self, token: &UnverifiedToken<'_>) -> Result<&Issuer, AuthError> {
        match &*self.0 {
            [] => Err(AuthError::UnsupportedAlgorithm),
            [only] => Ok(only),
            several => {
                let named = token.claimed_issuer()?;
                several
                    .iter()
                    .find(|one| one.expected.issuer == named)
                    .or_else(|| several.iter().find(|one| one.expected.issuer.is_none()))
                    .ok_or(AuthError::WrongIssuer)
            }
        }
    }

    /// Whether the keys can be had: all of them, or at least those of one issuer; `None` where there is none.
    pub(super) fn state(&self) -> Option<KeysState> {
        let states: Vec<_> = self.0.iter().map(|one| one.keys.keys_state()).collect();
        match &*states {
            [] => None,
            states if states.iter().all(|state| *state == KeysState::Fresh) => Some(KeysState::Fresh),
            states if states.iter().all(|state| *state == KeysState::Unavailable) => {
                Some(KeysState::Unavailable)
            }
            _ => Some(KeysState::Stale),
        }
    }

    /// Loads keys that have aged, changed, or never been had.
    pub(super) async fn refresh(&self) {
        futures::future::join_all(self.0.iter().map(|one| one.keys.refresh())).await;
    }

    /// Has what is fetched from now on vouched for by the authorities that the system trusts now.
    pub(super) fn renew_clients(&self) -> Result<(), JwksError> {
        self.0.iter().try_for_each(|one| one.keys.renew_client())
    }
}
