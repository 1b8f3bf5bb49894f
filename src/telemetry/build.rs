//! What this program was built from.

/// Its version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from; empty where the build did not know.
pub const COMMIT: &str = env!("ARCHIVE_LEDGER_BUILD_COMMIT");

/// Both, as people are told: the version alone where the commit is not known.
pub const VERSION_AND_COMMIT: &str = env!("ARCHIVE_LEDGER_BUILD_VERSION");
