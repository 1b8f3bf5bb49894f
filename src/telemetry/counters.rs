//! Counters of one name, by labels that are known as they come.

use metrics::Counter;
use std::fmt;
use std::sync::{PoisonError, RwLock};

/// Counters that are looked up in the recorder once each: by name and labels, that costs more than the counting. To be used where
/// labels have few values.
pub struct Counters<K>(RwLock<Vec<(K, Counter)>>);

impl<K: PartialEq> Counters<K> {
    /// Adds one to the counter of `key`, which is looked up when it is needed first.
    pub fn increment(&self, key: K, look_up: impl FnOnce(&K) -> Counter) {
        let counters = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = counters.iter().find(|(known, _)| *known == key) {
            counter.increment(1);
            return;
        }
        drop(counters);
        let counter = look_up(&key);
        counter.increment(1);
        // Whoever looked it up meanwhile has the same counter.
        let mut counters = self.0.write().unwrap_or_else(PoisonError::into_inner);
        counters.push((key, counter));
    }
}

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K> fmt::Debug for Counters<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters").finish_non_exhaustive()
    }
}
