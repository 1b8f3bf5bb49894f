//! Nothing is answered from a database that is not the ledger's.

use crate::http::answer::error::ApiError;
use crate::store::witness::Witness;
use std::time::Duration;

/// When to try again where an operator has to bring the database back, or another instance answers.
const RETRY_ELSEWHERE: Duration = Duration::from_secs(30);

/// A service whose database proved to be another one answers nothing from it, on no route that reads or writes the ledger.
///
/// # Errors
/// [`ApiError::TemporaryFailure`].
pub fn refuse_another_database(witness: &Witness) -> Result<(), ApiError> {
    witness.check().map_err(|error| ApiError::TemporaryFailure {
        retry_after: RETRY_ELSEWHERE,
        cause: Some(error.into()),
    })
}
