//! How long to wait before a storage is asked again.

use std::time::Duration;

/// The waits between the attempts of one request: `first`, doubled up to `cap`, without jitter, `attempts` in all.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// How often a request is sent at most.
    pub attempts: u32,
}

impl Default for Backoff {
    /// Eight attempts over 22.6 s.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(200),
            cap: Duration::from_secs(10),
            attempts: 8,
        }
    }
}

impl Backoff {
    /// The wait after attempt number `attempt` (from 1); none when it was the last.
    pub(super) fn after(self, attempt: u32) -> Option<Duration> {
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        (attempt < self.attempts).then(|| self.first.saturating_mul(factor).min(self.cap))
    }
}
