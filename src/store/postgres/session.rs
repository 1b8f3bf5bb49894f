//! Sessions: single ones and those that are shared, directly or through a pooler (`server.rs`).

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use sqlx::error::BoxDynError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Connection, Describe, Either, Execute, Executor, PgConnection, PgPool, Postgres, Transaction};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Sessions that are shared. As an executor it runs one statement, which is committed when its answer is there.
#[derive(Debug, Clone)]
pub(super) struct Sessions {
    pub(super) pool: PgPool,
    pub(super) pooled: bool,
    /// What a transaction begins with.
    pub(super) begin: Arc<str>,
    /// The same, where its reads see one state.
    pub(super) begin_snapshot: Arc<str>,
}

impl Sessions {
    /// Begins a transaction. It is rolled back where it is dropped.
    pub(super) async fn begin(&self) -> Result<SessionTransaction, sqlx::Error> {
        self.begin_as(&self.begin).await
    }

    /// Begins a transaction whose reads see one state.
    pub(super) async fn begin_snapshot(&self) -> Result<SessionTransaction, sqlx::Error> {
        self.begin_as(&self.begin_snapshot).await
    }

    async fn begin_as(&self, begin: &Arc<str>) -> Result<SessionTransaction, sqlx::Error> {
        Ok(SessionTransaction(Session {
            link: Link::Transaction(self.pool.begin_with(begin.to_string()).await?),
            pooled: self.pooled,
            begin: Arc::clone(begin),
        }))
    }

    /// A session for some reads one after the other.
    pub(super) async fn acquire(&self) -> Result<Session, sqlx::Error> {
        if self.pooled {
            return Ok(self.begin().await?.0);
        }
        Ok(Session {
            link: Link::Lent(self.pool.acquire().await?),
            pooled: false,
            begin: Arc::clone(&self.begin),
        })
    }

    /// Opens no session any more; those that are in use go on.
    pub(super) fn close(&self) {
        // Closed from the call on; the rest of the future would wait for those that are in use.
        drop(self.pool.close());
    }

    /// The pool itself, for statements that are prepared by name; `None` where none would be found again.
    pub(super) fn kept(&self) -> Option<PgPool> {
        (!self.pooled).then(|| self.pool.clone())
    }

    /// A session that leaves the pool, which makes itself another; `None` where none can be kept.
    pub(super) async fn detach(&self) -> Result<Option<Session>, sqlx::Error> {
        if self.pooled {
            return Ok(None);
        }
        Ok(Some(Session {
            link: Link::Own(self.pool.acquire().await?.detach()),
            pooled: false,
            begin: Arc::clone(&self.begin),
        }))
    }
}

#[derive(Debug)]
enum Link {
    Own(PgConnection),
    Lent(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

/// A session: statements follow each other on it.
#[derive(Debug)]
pub(super) struct Session {
    link: Link,
    pooled: bool,
    begin: Arc<str>,
}

impl Session {
    /// A connection of one's own. Through a pooler it is used within transactions alone, which begin with `begin`.
    pub(super) const fn own(connection: PgConnection, pooled: bool, begin: Arc<str>) -> Self {
        Self {
            link: Link::Own(connection),
            pooled,
            begin,
        }
    }

    fn connection(&mut self) -> &mut PgConnection {
        match &mut self.link {
            Link::Own(connection) => connection,
            Link::Lent(connection) => connection,
            Link::Transaction(transaction) => transaction,
        }
    }

    /// Whether what a statement leaves behind is there for the next one outside a transaction.
    pub(super) const fn is_kept(&self) -> bool {
        !self.pooled
    }

    /// What a transaction begins with and its first statement, for one message that takes one round trip.
    pub(super) fn begin_with(&self, statement: &str) -> String {
        format!("{}; {statement}", self.begin)
    }

    /// What a transaction begins with.
    pub(super) fn begin(&self) -> Arc<str> {
        Arc::clone(&self.begin)
    }

    /// Whether the server still answers.
    pub(super) async fn ping(&mut self) -> Result<(), sqlx::Error> {
        self.connection().ping().await
    }

    /// The session as the schema's migrator takes it.
    pub(super) fn migrating(&mut self) -> &mut PgConnection {
        self.connection()
    }

    /// Ends the session, and says so to the server.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self.link {
            Link::Own(connection) => connection.close().await,
            Link::Lent(connection) => connection.close().await,
            Link::Transaction(transaction) => transaction.rollback().await,
        }
    }
}

/// A transaction. It is rolled back where it is dropped.
#[derive(Debug)]
pub(super) struct SessionTransaction(Session);

impl SessionTransaction {
    /// Commits it.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.0.link {
            Link::Transaction(transaction) => transaction.commit().await,
            // None is ever made of another.
            Link::Own(_) | Link::Lent(_) => Err(sqlx::Error::BeginFailed),
        }
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
        let kept = !self.pooled;
        self.connection().fetch_many(Sent { query, kept })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let kept = !self.pooled;
        self.connection().fetch_optional(Sent { query, kept })
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement<'q>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection().prepare_with(sql, parameters)
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.connection().describe(sql)
    }
}

impl<'p> Executor<'p> for &'_ Sessions {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Step, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.pooled {
            return self.pool.fetch_many(query);
        }
        let sessions = self.clone();
        let steps = async move {
            let mut transaction = sessions.begin().await?;
            let steps: Vec<Step> = transaction.fetch_many(query).try_collect().await?;
            transaction.commit().await?;
            Ok::<_, sqlx::Error>(stream::iter(steps.into_iter().map(Ok)))
        };
        stream::once(steps).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        if !self.pooled {
            return self.pool.fetch_optional(query);
        }
        let mut rows = self.fetch(query);
        Box::pin(async move { rows.try_next().await })
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
