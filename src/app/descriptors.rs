//! Who may have how many file descriptors.
//!
//! Callers are the only ones who can take any number of them, so they are bounded below the system's limit: what is left is for files,
//! the database, storage and callbacks, which must not fail because somebody else came first.

use super::start_error::StartError;
use crate::config::Config;
use crate::http::server::Places;

/// What the process has open whatever it does, with a reserve: standard streams, the runtime's own, lock and key files, the guard,
/// NATS, a few connections to each storage.
const OWN: u64 = 64;

/// What a connection to the database may need: SQLite's has three files and a journal.
const PER_DATABASE_CONNECTION: u64 = 4;

/// The writer's connection, the log mover's and those for callbacks, beside `--database-connections`.
const MORE_DATABASE_CONNECTIONS: u64 = 6;

/// Attempts of callbacks at the same time: what the delivery allows itself at the most.
const CALLBACKS_MAX: u64 = 1_280;

/// Callers that are told that there is no place for them.
const BEYOND: u64 = 32;

/// The most connections unless more are asked for: each takes memory.
const SERVED_MAX: u64 = 16_384;

/// The fewest that a service is worth starting for.
const SERVED_MIN: u64 = 8;

/// More descriptors than anybody here will ever need; some systems' limit is beyond what can be set.
const ENOUGH: u64 = 1 << 20;

/// Who may have how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Callers.
    pub(super) places: Places,
    /// Attempts of callbacks.
    pub(super) callbacks: usize,
}

impl Descriptors {
    /// Raises the process's own limit as far as the system lets it, and divides what there is.
    ///
    /// # Errors
    /// [`StartError::Option`] where more connections are asked for than there are descriptors.
    pub(super) fn of(config: &Config) -> Result<Self, StartError> {
        Self::divide(
            raised_limit(),
            u64::from(config.database_connections),
            config.http.max_connections,
        )
    }

    fn divide(limit: u64, database: u64, asked: Option<usize>) -> Result<Self, StartError> {
        let callbacks = (limit / 4).clamp(2, CALLBACKS_MAX);
        let own = OWN + PER_DATABASE_CONNECTION * (database + MORE_DATABASE_CONNECTIONS);
        let left = limit.saturating_sub(own + BEYOND + callbacks);
        let served = match asked {
            None => usize::try_from(left.clamp(SERVED_MIN, SERVED_MAX)).unwrap_or(usize::MAX),
            Some(asked) if asked as u64 <= left.max(SERVED_MIN) => asked,
            Some(asked) => {
                return Err(StartError::option(
                    "--max-connections",
                    format!(
                        "{asked} connections need {} file descriptors, and the process may have {limit} (`ulimit -n`): {} are possible",
                        own + BEYOND + callbacks + asked as u64,
                        left.max(SERVED_MIN),
                    ),
                ));
            }
        };
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            places: Places {
                served,
                beyond: count(BEYOND),
            },
            callbacks: count(callbacks),
        })
    }
}

/// The limit, raised to what the system allows.
fn raised_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limits = getrlimit(Resource::Nofile);
    let (soft, hard) = (limits.current.unwrap_or(ENOUGH), limits.maximum.unwrap_or(ENOUGH));
    let wanted = hard.min(ENOUGH);
    if soft >= wanted {
        return soft;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limits.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, "the limit of file descriptors stays at {soft}");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_limit_is_the_parts_stay_below_it_and_callers_get_most_of_it() {
        for (limit, least) in [
            (256, 40),
            (512, 200),
            (1_024, 500),
            (4_096, 2_500),
            (1 << 20, 16_384),
        ] {
            let parts = Descriptors::divide(limit, 8, None).unwrap();
            let callers = parts.places.served + parts.places.beyond;
            assert!(
                (callers + parts.callbacks) as u64 + OWN < limit,
                "{limit}: {parts:?}"
            );
            assert!(parts.places.served >= least, "{limit}: {parts:?}");
        }
        // Too few for anything: it is tried.
        assert_eq!(Descriptors::divide(64, 8, None).unwrap().places.served, 8);
    }

    #[test]
    fn more_connections_than_there_are_descriptors_are_refused_naming_the_option() {
        assert_eq!(
            Descriptors::divide(1_024, 8, Some(100)).unwrap().places.served,
            100
        );
        let refused = Descriptors::divide(1_024, 8, Some(1_000))
            .unwrap_err()
            .to_string();
        assert!(
            refused.starts_with("--max-connections: 1000 connections need"),
            "{refused}"
        );
    }
}
