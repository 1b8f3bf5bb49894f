//! How long an answer of the database is waited for.
//!
//! A server, a machine or a network that is gone without a word answers nothing and breaks nothing: only a limit finds it out.
//! Whoever serves a caller waits as long as a caller does; who works behind the log waits longer, as its statements may take longer.

use std::future::Future;
use std::time::Duration;

/// How long one statement may show no progress while a caller waits for it.
const FOR_A_CALLER: Duration = Duration::from_secs(6);

/// The same where nobody waits.
const UNATTENDED: Duration = Duration::from_secs(30);

tokio::task_local! {
    static CALLER: ();
}

/// Runs what a caller waits for.
pub async fn for_a_caller<F: Future>(work: F) -> F::Output {
    CALLER.scope((), work).await
}

/// How long one statement may show no progress here.
#[must_use]
pub fn of_a_statement() -> Duration {
    if CALLER.try_with(|()| ()).is_ok() {
        FOR_A_CALLER
    } else {
        UNATTENDED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_serves_a_caller_waits_less() {
        assert_eq!(of_a_statement(), UNATTENDED);
        assert_eq!(for_a_caller(async { of_a_statement() }).await, FOR_A_CALLER);
    }
}
