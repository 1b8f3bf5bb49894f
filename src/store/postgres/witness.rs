//! PostgreSQL: whether a connection leads to the database that this process knows.

use super::PostgresStore;
use super::append::signed;
use super::read::{hash, non_negative};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::witness::{Question, Sight, Witness};
use sqlx::PgConnection;

const OPERATION: &str = "compare the database with what is known";

/// A relation that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// Compares the database behind a connection with what is known.
///
/// # Errors
/// [`StoreError::Diverged`] when it is another one; [`StoreError`] when it cannot be asked.
pub(super) async fn vouch(connection: &mut PgConnection, witness: &Witness) -> Result<(), StoreError> {
    let asked = witness.question();
    if asked == Question::default() {
        // Before the ledger is opened there may be no table to ask.
        return witness.check();
    }
    let seen = look(connection, &asked).await?;
    witness.compare(OPERATION, &asked, &seen)
}

/// Asks.
async fn look(connection: &mut PgConnection, asked: &Question) -> Result<Sight, StoreError> {
    let row = sqlx::query(
        "SELECT position, root, pg_is_in_recovery() AS standby,
                (SELECT event_id FROM events WHERE position = $1) AS marked,
                (SELECT root FROM checkpoints WHERE ledger = $2 AND size = $3) AS signed
         FROM ledger_head WHERE id = 1",
    )
    .bind(asked.mark.map(|mark| signed(mark.position)))
    .bind(asked.signed.map(|known| signed(known.ledger)))
    .bind(asked.signed.map(|known| signed(known.size)))
    // The connection may be one of a pooler's, which keeps no statements.
    .persistent(false)
    .fetch_optional(connection)
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(cause) if cause.code().as_deref() == Some(UNDEFINED_TABLE) => NO_LEDGER,
        _ => StoreError::database(OPERATION)(error),
    })?
    .ok_or(NO_LEDGER)?;
    let checkpoint: Option<&[u8]> = row.read(OPERATION, "signed")?;
    Ok(Sight {
        position: non_negative(OPERATION, row.read(OPERATION, "position")?)?,
        root: hash(OPERATION, row.read(OPERATION, "root")?)?,
        marked: row.read(OPERATION, "marked")?,
        signed: checkpoint.map(|root| hash(OPERATION, root)).transpose()?,
        standby: row.read(OPERATION, "standby")?,
    })
}

/// Tables or rows that are not there are a question: a restore that is under way looks the same.
const NO_LEDGER: StoreError = StoreError::Unready {
    operation: OPERATION,
    reason: "the database holds no ledger",
};

impl PostgresStore {
    /// Compares what the pool's connections lead to with what is known.
    ///
    /// # Errors
    /// [`StoreError`], as [`crate::store::ReadStore::vouch`].
    pub(super) async fn vouch_pooled(&self) -> Result<(), StoreError> {
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(StoreError::database(OPERATION))?;
        vouch(&mut connection, &self.witness).await
    }
}
