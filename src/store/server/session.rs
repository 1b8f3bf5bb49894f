//! Sessions: single ones and those that are shared, directly or through a pooler (`server.rs`).
//!
//! A statement that shows no progress for too long fails, and so does one whose caller goes away: what becomes of either is not
//! known, and nobody uses such a session again. It is closed at once, as a server that does not answer answers no farewell either.
//! A session that has a prepared statement which is of no use any more goes the same way, and all that are older than that answer.

use super::connections::Known;
use crate::patience;
use crate::store::error::is_of_a_stale_statement;
use crate::store::pool::{PoolState, Waits};
use crate::store::witness::Witness;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// How long a session that goes back to its pool may take to be ready for the next user.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

/// When a session of a pool last had a prepared statement that is of no use any more. Those that were open by then have the like:
/// a table was changed, and each would fail once for each statement that it has prepared.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Stale(Arc<Mutex<Option<Instant>>>);

impl Stale {
    fn met(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a session of this age was open by then.
    pub(in crate::store) fn concerns(&self, age: Duration) -> bool {
        let met = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        met.is_some_and(|met| met.elapsed() <= age)
    }
}

/// Sessions that are shared. As an executor it runs one statement, which is committed when its answer is there.
#[derive(Debug, Clone)]
pub(in crate::store) struct Sessions {
    pub(in crate::store) pool: PgPool,
    pub(in crate::store) pooled: bool,
    /// What a transaction begins with.
    pub(in crate::store) begin: Arc<str>,
    /// The same, where its reads see one state.
    pub(in crate::store) begin_snapshot: Arc<str>,
    /// Whether a statement may take as long as it likes.
    pub(in crate::store) patient: bool,
    /// Knows why new sessions are refused that lead to another database.
    pub(in crate::store) witness: Arc<Witness>,
    /// Knows what the server says when it has no connection left.
    pub(in crate::store) refusals: Known,
    /// Knows which sessions have prepared what is of no use any more.
    pub(in crate::store) stale: Stale,
    /// Counts who waits for one.
    pub(in crate::store) waits: Waits,
}

impl Sessions {
    /// Begins a transaction. It is rolled back where it is dropped.
    pub(in crate::store) async fn begin(&self) -> Result<SessionTransaction, sqlx::Error> {
        self.begin_as(&self.begin).await
    }

    /// Begins a transaction whose reads see one state.
    pub(in crate::store) async fn begin_snapshot(&self) -> Result<SessionTransaction, sqlx::Error> {
        self.begin_as(&self.begin_snapshot).await
    }

    async fn begin_as(&self, begin: &Arc<str>) -> Result<SessionTransaction, sqlx::Error> {
        let mut session = self.lent().await?;
        session.begin = Arc::clone(begin);
        session.open = true;
        session.execute(&**begin).await?;
        Ok(SessionTransaction(session))
    }

    async fn connection(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.waits.asked(&self.pool);
        match self.pool.acquire().await {
            Ok(connection) => Ok(connection),
            Err(error) => {
                let error = self.witness.explain(error);
                Err(self.refusals.why(&self.pool, error).await)
            }
        }
    }

    async fn lent(&self) -> Result<Session, sqlx::Error> {
        Ok(Session {
            link: Some(Link::Lent(self.connection().await?)),
            pooled: self.pooled,
            begin: Arc::clone(&self.begin),
            patient: self.patient,
            open: false,
            under_way: false,
            stale: self.stale.clone(),
        })
    }

    /// A session for some reads one after the other.
    pub(in crate::store) async fn acquire(&self) -> Result<Session, sqlx::Error> {
        if self.pooled {
            return Ok(self.begin().await?.0);
        }
        self.lent().await
    }

    /// How the pool is.
    pub(in crate::store) fn state(&self, name: &'static str) -> PoolState {
        self.waits.state(name, &self.pool)
    }

    /// Opens no session any more; those that are in use go on.
    pub(in crate::store) fn close(&self) {
        // Closed from the call on; the rest of the future would wait for those that are in use.
        drop(self.pool.close());
    }

    /// The pool itself, for statements that are prepared by name; `None` where none would be found again.
    pub(in crate::store) fn kept(&self) -> Option<PgPool> {
        (!self.pooled).then(|| self.pool.clone())
    }

    /// A session that leaves the pool, which makes itself another; `None` where none can be kept.
    pub(in crate::store) async fn detach(&self) -> Result<Option<Session>, sqlx::Error> {
        if self.pooled {
            return Ok(None);
        }
        let begin = Arc::clone(&self.begin);
        let connection = self.connection().await?.detach();
        let mut session = Session::own(connection, false, begin);
        session.patient = self.patient;
        session.stale = self.stale.clone();
        Ok(Some(session))
    }
}

#[derive(Debug)]
enum Link {
    Own(Box<PgConnection>),
    Lent(PoolConnection<Postgres>),
}

impl Link {
    fn connection(&mut self) -> &mut PgConnection {
        match self {
            Self::Own(connection) => connection,
            Self::Lent(connection) => connection,
        }
    }
}

/// A session: statements follow each other on it.
#[derive(Debug)]
pub(in crate::store) struct Session {
    /// Absent once it is given back or given up.
    link: Option<Link>,
    pooled: bool,
    begin: Arc<str>,
    patient: bool,
    /// Whether a transaction may be open that ends with the session's use.
    open: bool,
    /// Whether a statement was begun whose end nobody has seen, or one that the session has prepared is of no use any more.
    under_way: bool,
    /// Is told of the latter, for the pool that it came from.
    stale: Stale,
}

impl Session {
    /// A connection of one's own, whose statements may take as long as they like. Through a pooler it is used within transactions
    /// alone, which begin with `begin`.
    pub(in crate::store) fn own(connection: PgConnection, pooled: bool, begin: Arc<str>) -> Self {
        Self {
            link: Some(Link::Own(Box::new(connection))),
            pooled,
            begin,
            patient: true,
            open: false,
            under_way: false,
            stale: Stale::default(),
        }
    }

    /// Lets statements take as long as they like.
    pub(in crate::store) const fn be_patient(&mut self) {
        self.patient = true;
    }

    /// The connection, and what notes whether a statement is under way on it.
    fn statement(&mut self) -> Result<(&mut PgConnection, &mut bool), sqlx::Error> {
        match &mut self.link {
            // What was left behind would be taken for the answer to what comes now.
            Some(link) if !self.under_way => Ok((link.connection(), &mut self.under_way)),
            Some(_) | None => Err(sqlx::Error::PoolClosed),
        }
    }

    const fn limit(patient: bool) -> Option<fn() -> Duration> {
        if patient {
            None
        } else {
            Some(patience::of_a_statement)
        }
    }

    /// Whether what a statement leaves behind is there for the next one outside a transaction.
    pub(in crate::store) const fn is_kept(&self) -> bool {
        !self.pooled
    }

    /// What a transaction begins with and its first statement, for one message that takes one round trip.
    pub(in crate::store) fn begin_with(&self, statement: &str) -> String {
        format!("{}; {statement}", self.begin)
    }

    /// What a transaction begins with.
    pub(in crate::store) fn begin(&self) -> Arc<str> {
        Arc::clone(&self.begin)
    }

    /// Commits what is open, where anything is.
    async fn settle(&mut self) -> Result<(), sqlx::Error> {
        if self.open {
            self.execute("COMMIT").await?;
            self.open = false;
        }
        Ok(())
    }

    /// Whether the server still answers.
    pub(in crate::store) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        let limit = Self::limit(self.patient);
        let (connection, under_way) = self.statement()?;
        *under_way = true;
        progress(limit, connection.ping()).await??;
        *under_way = false;
        Ok(())
    }

    /// The session as the schema's migrator takes it.
    ///
    /// # Errors
    /// [`sqlx::Error::PoolClosed`] when it was given up.
    pub(in crate::store) fn migrating(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        Ok(self.statement()?.0)
    }

    /// Ends the session, and says so to the server.
    pub(in crate::store) async fn close(mut self) -> Result<(), sqlx::Error> {
        match self.link.take() {
            Some(Link::Own(connection)) => connection.close().await,
            Some(Link::Lent(connection)) => connection.close().await,
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    /// Gives a shared session back; one whose state is not known is closed.
    fn drop(&mut self) {
        let Some(Link::Lent(mut connection)) = self.link.take() else {
            return;
        };
        let runtime = tokio::runtime::Handle::try_current();
        let (Ok(runtime), false) = (runtime, self.under_way) else {
            drop(connection.detach());
            return;
        };
        let open = self.open;
        runtime.spawn(async move {
            let rolled_back = async {
                if open {
                    connection.execute("ROLLBACK").await?;
                }
                Ok::<(), sqlx::Error>(())
            };
            if !matches!(timeout(GIVEN_BACK_WITHIN, rolled_back).await, Ok(Ok(()))) {
                drop(connection.detach());
                return;
            }
            // The pool asks it whether it is alive. Where no answer comes it is closed, and its place in the pool is free.
            let _ = timeout(GIVEN_BACK_WITHIN, connection.return_to_pool()).await;
        });
    }
}

/// Waits for one step of a statement as long as it may take.
async fn progress<T>(
    limit: Option<fn() -> Duration>,
    step: impl Future<Output = T>,
) -> Result<T, sqlx::Error> {
    match limit {
        None => Ok(step.await),
        Some(limit) => timeout(limit(), step)
            .await
            .map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// A transaction. It is rolled back where it is dropped.
#[derive(Debug)]
pub(in crate::store) struct SessionTransaction(Session);

impl SessionTransaction {
    /// Commits it.
    pub(in crate::store) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.0.settle().await
    }
}

impl Deref for SessionTransaction {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl DerefMut for SessionTransaction {
    fn deref_mut(&mut self) -> &mut Session {
        &mut self.0
    }
}

/// A statement on its way to a session.
struct Sent<E> {
    query: E,
    /// Whether it may be prepared under a name, and found there again.
    kept: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Sent<E> {
    fn sql(&self) -> &'q str {
        self.query.sql()
    }

    fn statement(&self) -> Option<&PgStatement<'q>> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.kept && self.query.persistent()
    }
}

type Step = Either<PgQueryResult, PgRow>;

impl<'c> Executor<'c> for &'c mut Session {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (kept, limit) = (!self.pooled, Session::limit(self.patient));
        let stale = self.stale.clone();
        let (connection, under_way) = match self.statement() {
            Ok(statement) => statement,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        *under_way = true;
        let steps = connection.fetch_many(Sent { query, kept });
        let state = Some((steps, under_way, stale));
        stream::unfold(state, move |state| async move {
            let (mut steps, under_way, stale) = state?;
            match progress(limit, steps.next()).await {
                Ok(None) => {
                    *under_way = false;
                    None
                }
                Ok(Some(Ok(step))) => Some((Ok(step), Some((steps, under_way, stale)))),
                Ok(Some(Err(error))) => {
                    *under_way = ends_the_session(&error, &stale);
                    Some((Err(error), None))
                }
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let (kept, limit) = (!self.pooled, Session::limit(self.patient));
        let stale = self.stale.clone();
        Box::pin(async move {
            let (connection, under_way) = self.statement()?;
            *under_way = true;
            let fetched = progress(limit, connection.fetch_optional(Sent { query, kept })).await?;
            *under_way = fetched
                .as_ref()
                .is_err_and(|error| ends_the_session(error, &stale));
            fetched
        })
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement<'q>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.statement()?.0.prepare_with(sql, parameters).await })
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.statement()?.0.describe(sql).await })
    }
}

/// Whether nobody may use the session again after an error. Where it is what the server answered, the session is ready for the next
/// statement, unless the answer is that it has prepared what is of no use any more: it would be the same for ever.
fn ends_the_session(error: &sqlx::Error, stale: &Stale) -> bool {
    let sqlx::Error::Database(answer) = error else {
        return true;
    };
    let ends = is_of_a_stale_statement(&**answer);
    if ends {
        stale.met();
    }
    ends
}

impl<'p> Executor<'p> for &'_ Sessions {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let sessions = self.clone();
        let steps = async move {
            let mut session = sessions.acquire().await?;
            let steps: Vec<Step> = session.fetch_many(query).try_collect().await?;
            session.settle().await?;
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(steps).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let sessions = self.clone();
        Box::pin(async move {
            let mut session = sessions.acquire().await?;
            let row = session.fetch_optional(query).await?;
            session.settle().await?;
            Ok(row)
        })
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement<'q>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}
