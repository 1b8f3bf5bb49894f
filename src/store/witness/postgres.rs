//! PostgreSQL: whether a connection leads to the database that this process knows.

use super::{Question, Sight, Witness};
use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::server::session::{Session, Sessions};
use crate::store::values::{hash, non_negative, signed};
use sqlx::{Executor, PgConnection, Postgres};

const OPERATION: &str = "compare the database with what is known";

/// A relation that does not exist.
const UNDEFINED_TABLE: &str = "42P01";

/// Compares the database behind a connection with what is known.
///
/// # Errors
/// [`StoreError::Diverged`] when it is another one; [`StoreError`] when it cannot be asked.
async fn vouch<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    witness: &Witness,
) -> Result<(), StoreError> {
    let asked = witness.question();
    if asked == Question::default() {
        // Before the ledger is opened there may be no table to ask.
        return witness.check();
    }
    let seen = look(executor, &asked).await?;
    witness.compare(OPERATION, &asked, &seen)
}

/// Compares the database behind a session that was just opened.
///
/// # Errors
/// As [`vouch`].
pub(in crate::store) async fn vouch_session(
    session: &mut Session,
    witness: &Witness,
) -> Result<(), StoreError> {
    if session.is_kept() {
        return vouch(session, witness).await;
    }
    let begin = session.begin();
    session
        .execute(&*begin)
        .await
        .map_err(StoreError::database(OPERATION))?;
    vouch(&mut *session, witness).await?;
    session
        .execute("COMMIT")
        .await
        .map_err(StoreError::database(OPERATION))?;
    Ok(())
}

/// Lets a new connection into a pool only if it leads to the database that this process knows. `begin` is what transactions begin
/// with where the connection is a pooler's.
///
/// # Errors
/// [`sqlx::Error`], as the pool takes it.
pub(in crate::store) async fn admit(
    connection: &mut PgConnection,
    begin: Option<&str>,
    witness: &Witness,
) -> Result<(), sqlx::Error> {
    if let Some(begin) = begin {
        connection.execute(begin).await?;
    }
    let vouched = vouch(&mut *connection, witness).await;
    witness.admitted(&vouched);
    vouched.map_err(|error| sqlx::Error::Configuration(error.into()))?;
    if begin.is_some() {
        connection.execute("COMMIT").await?;
    }
    Ok(())
}

/// Asks.
async fn look<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    asked: &Question,
) -> Result<Sight, StoreError> {
    let row = sqlx::query(
        "SELECT position, root, pg_is_in_recovery() AS standby,
                (SELECT event_id FROM events WHERE position = $1) AS marked,
                (SELECT root FROM checkpoints WHERE ledger = $2 AND size = $3) AS signed,
                EXISTS (SELECT 1 FROM ledger_meta WHERE name = $4) AS forked,
                (SELECT event_id FROM events WHERE position = $5) AS published
         FROM ledger_head WHERE id = 1",
    )
    .bind(asked.mark.map(|mark| signed(mark.position)))
    .bind(asked.signed.map(|known| signed(known.ledger)))
    .bind(asked.signed.map(|known| signed(known.size)))
    .bind(asked.fork())
    .bind(asked.published.map(|known| signed(known.position)))
    // Asked once by each connection.
    .persistent(false)
    .fetch_optional(executor)
    .await
    .map_err(|error| match &error {
        sqlx::Error::Database(cause) if cause.code().as_deref() == Some(UNDEFINED_TABLE) => {
            no_ledger("the database holds no ledger")
        }
        _ => StoreError::database(OPERATION)(error),
    })?
    .ok_or_else(|| no_ledger("the database holds no ledger: the table ledger_head has no row"))?;
    let checkpoint: Option<&[u8]> = row.read(OPERATION, "signed")?;
    Ok(Sight {
        position: non_negative(OPERATION, row.read(OPERATION, "position")?)?,
        root: hash(OPERATION, row.read(OPERATION, "root")?)?,
        marked: row.read(OPERATION, "marked")?,
        signed: checkpoint.map(|root| hash(OPERATION, root)).transpose()?,
        published: row.read(OPERATION, "published")?,
        standby: row.read(OPERATION, "standby")?,
        forked: row.read(OPERATION, "forked")?,
    })
}

/// Tables or rows that are not there are a question: a restore that is under way looks the same.
fn no_ledger(reason: &'static str) -> StoreError {
    StoreError::Unready {
        operation: OPERATION,
        reason: reason.into(),
    }
}

/// Compares what a pool's connections lead to with what is known.
///
/// # Errors
/// As [`vouch`].
pub(in crate::store) async fn vouch_pooled(pool: &Sessions, witness: &Witness) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(StoreError::database(OPERATION))?;
    vouch(&mut connection, witness).await
}
