//! Only `serve` makes keys: whatever else records in a ledger looks for them first.

use super::start_error::StartError;
use crate::config::Config;
use std::path::absolute;

/// That the keys which a ledger is recorded in with are there. Nothing is made where they are not: a key that was made beside
/// the service would be known to no instance of it.
///
/// # Errors
/// [`StartError::NoKey`], naming the first file that is missing.
pub fn find_keys(config: &Config) -> Result<(), StartError> {
    for (option, path) in [
        ("--keyring-file", &config.keyring_file),
        ("--ledger-key-file", &config.ledger_key_file),
    ] {
        // What cannot be looked at is told of where it is read.
        if let Ok(false) = path.try_exists() {
            return Err(StartError::NoKey {
                option,
                // Whole, because it says where this was run.
                path: absolute(path).unwrap_or_else(|_| path.clone()),
            });
        }
    }
    Ok(())
}
