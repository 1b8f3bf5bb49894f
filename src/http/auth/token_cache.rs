//! Tokens that were verified a moment ago: a client sends the same one with every request.
//!
//! A token is remembered by its hash, never past its own expiry, and not for longer than [`REMEMBERED`], so that a key which is
//! taken out of a key set stops working as soon as it would without this. Only tokens that were accepted are remembered.

use super::rights::Principal;
use crate::merkle::sha256;
use crate::store::Hash;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// How long a verification counts.
const REMEMBERED: TimeDelta = TimeDelta::seconds(10);

/// How many tokens are remembered; beyond it, all are forgotten and verified again.
const LIMIT: usize = 4_096;

struct Verified {
    principal: Arc<Principal>,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
}

/// Verified tokens. Each belongs to the one authenticator that verified it.
#[derive(Default)]
pub(super) struct TokenCache(RwLock<HashMap<Hash, Verified>>);

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

impl TokenCache {
    /// What a token is remembered by.
    pub(super) fn key(token: &str) -> Hash {
        sha256(&[token.as_bytes()])
    }

    /// Whom a token stands for, if it was verified a moment ago and has not expired since.
    pub(super) fn get(&self, key: &Hash, now: DateTime<Utc>) -> Option<Arc<Principal>> {
        let verified = self.0.read().unwrap_or_else(PoisonError::into_inner);
        verified
            .get(key)
            .filter(|one| one.from <= now && now < one.until)
            .map(|one| Arc::clone(&one.principal))
    }

    /// Forgets all of them.
    pub(super) fn forget(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Remembers a token that was verified at `now` and expires at `expires`.
    pub(super) fn put(
        &self,
        key: Hash,
        principal: &Arc<Principal>,
        now: DateTime<Utc>,
        expires: DateTime<Utc>,
    ) {
        let mut verified = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if verified.len() >= LIMIT {
            verified.clear();
        }
        let one = Verified {
            principal: Arc::clone(principal),
            from: now,
            until: expires.min(now + REMEMBERED),
        };
        verified.insert(key, one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::auth::rights::RightSet;
    use std::collections::BTreeMap;

    fn principal() -> Arc<Principal> {
        Arc::new(Principal {
            subject: "a".into(),
            issuer: None,
            token_id_hash: None,
            valid_until: DateTime::<Utc>::MAX_UTC,
            rights: RightSet::default(),
            privileges: Default::default(),
            spaces: BTreeMap::new(),
        })
    }

    #[test]
    fn a_token_is_remembered_until_it_expires_and_no_longer_than_a_moment() {
        let cache = TokenCache::default();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let (short, long) = (TokenCache::key("short"), TokenCache::key("long"));
        cache.put(short, &principal(), now, now + TimeDelta::seconds(2));
        cache.put(long, &principal(), now, now + TimeDelta::days(2));
        let held = |key, seconds| cache.get(key, now + TimeDelta::seconds(seconds)).is_some();
        assert!(held(&short, 1) && held(&long, 9));
        assert!(!held(&short, 2) && !held(&long, 10));
        assert!(!held(&long, -1), "a clock that went back verifies again");
        assert!(cache.get(&TokenCache::key("other"), now).is_none());
    }

    #[test]
    fn no_flood_of_tokens_fills_the_memory() {
        let cache = TokenCache::default();
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        for number in 0..2 * LIMIT {
            cache.put(
                TokenCache::key(&number.to_string()),
                &principal(),
                now,
                now + TimeDelta::days(1),
            );
        }
        assert!(cache.0.read().unwrap().len() <= LIMIT);
    }
}
