//! The summary: a connection of its own, and one query for all who ask at once.
//!
//! The pool asks a connection that comes back whether it is alive, which is as much work as the query. Who asks while a query
//! runs waits for the next one, which begins after the question and so sees what was committed before it; all who wait
//! share its answer.

use crate::store::StoreError;
use crate::store::columns::Columns as _;
use crate::store::damaged::report;
use crate::store::server::session::{Session, Sessions};
use crate::store::server::{CONNECT_TIMEOUT, TRUSTED_FOR};
use crate::store::values::non_negative;
use archive_ledger_domain::EntityType;
use sqlx::{Executor, Postgres};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::Mutex;
use tokio::time::timeout;

const OPERATION: &str = "read the summary";

/// What is counted with every change.
const COUNTERS: &str = "SELECT entity_type, count FROM archived_summary WHERE count <> 0";

/// What the counters count: where one of them cannot be read, this is as exact, and costs more.
const ENTRIES: &str = "SELECT entity_type, count(*) AS count FROM archived_entries GROUP BY entity_type";

type Counts = BTreeMap<EntityType, u64>;

/// Reads the summary for everybody.
#[derive(Debug, Default)]
pub(in crate::store) struct SummaryReader {
    /// How many have asked.
    asked: AtomicU64,
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    /// The session, and when it was last used. Absent while a query runs, so that one that is given up takes it along.
    session: Option<(Session, Instant)>,
    /// The query began after so many had asked.
    answers: u64,
    counts: Counts,
}

impl SummaryReader {
    pub(in crate::store::archived) async fn read(&self, pool: &Sessions) -> Result<Counts, StoreError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        // The queue moves with each query, and while the database is away nobody waits for all before him to find that out.
        let mut latest = timeout(CONNECT_TIMEOUT, self.latest.lock())
            .await
            .map_err(|_| StoreError::database(OPERATION)(sqlx::Error::PoolTimedOut))?;
        if number < latest.answers {
            return Ok(latest.counts.clone());
        }
        let answers = self.asked.load(Ordering::SeqCst);
        let mut session = living(latest.session.take(), pool)
            .await
            .map_err(StoreError::database(OPERATION))?;
        let counted = match &mut session {
            Some(session) => query(session, COUNTERS).await,
            None => query(pool, COUNTERS).await,
        };
        let counts = match counted {
            // Nothing says which kind it was of.
            Err(error) if error.is_of_one_row() => {
                report(&error);
                query(pool, ENTRIES).await?
            }
            counted => counted?,
        };
        *latest = Latest {
            session: session.map(|session| (session, Instant::now())),
            answers,
            counts: counts.clone(),
        };
        Ok(counts)
    }
}

/// The session if it is alive; one out of the pool, which then makes itself another, if not. `None` where none can be kept.
async fn living(kept: Option<(Session, Instant)>, pool: &Sessions) -> Result<Option<Session>, sqlx::Error> {
    if let Some((mut session, used)) = kept {
        if used.elapsed() < TRUSTED_FOR {
            return Ok(Some(session));
        }
        if let Ok(Ok(())) = timeout(CONNECT_TIMEOUT, session.ping()).await {
            return Ok(Some(session));
        }
    }
    pool.detach().await
}

async fn query<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    sql: &'static str,
) -> Result<Counts, StoreError> {
    let rows = sqlx::query(sql)
        .fetch_all(executor)
        .await
        .map_err(StoreError::database(OPERATION))?;
    rows.iter()
        .map(|row| {
            let entity_type = row
                .read::<&str>(OPERATION, "entity_type")?
                .parse()
                .map_err(|_| StoreError::inconsistent(OPERATION, "an unknown entity type"))?;
            Ok((
                entity_type,
                non_negative(OPERATION, row.read(OPERATION, "count")?)?,
            ))
        })
        .collect()
}
