//! What pools of connections tell of themselves.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteQueryResult, SqliteRow, SqliteStatement, SqliteTypeInfo};
use sqlx::{Database, Describe, Either, Execute, Executor, Pool, Sqlite, SqlitePool, Transaction};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a pool is at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// What it is for.
    pub pool: &'static str,
    /// How many connections it may open.
    pub most: u32,
    /// Open connections that nobody uses.
    pub idle: u32,
    /// Open connections that somebody uses.
    pub in_use: u32,
    /// How often somebody has asked while all that it may have were in use.
    pub waits: u64,
}

/// Counts who has to wait for a connection; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Waits(Arc<AtomicU64>);

impl Waits {
    /// Somebody asks the pool for a connection.
    pub(in crate::store) fn asked<D: Database>(&self, pool: &Pool<D>) {
        if pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How the pool is that they are counted of.
    pub(in crate::store) fn state<D: Database>(&self, name: &'static str, pool: &Pool<D>) -> PoolState {
        // The two are not read at one moment.
        let size = pool.size();
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX).min(size);
        PoolState {
            pool: name,
            most: pool.options().get_max_connections(),
            idle,
            in_use: size - idle,
            waits: self.0.load(Ordering::Relaxed),
        }
    }
}

/// Reading connections to a SQLite file, which count who waits for them.
#[derive(Debug, Clone)]
pub(in crate::store) struct Readers {
    pool: SqlitePool,
    waits: Waits,
}

impl From<SqlitePool> for Readers {
    fn from(pool: SqlitePool) -> Self {
        Self {
            pool,
            waits: Waits::default(),
        }
    }
}

impl Readers {
    /// The pool itself, for a reader that is not our own.
    pub(in crate::store) const fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// How it is.
    pub(in crate::store) fn state(&self) -> PoolState {
        self.waits.state("readers", &self.pool)
    }

    fn asked(&self) -> &SqlitePool {
        self.waits.asked(&self.pool);
        &self.pool
    }

    /// A connection for some reads one after the other.
    pub(in crate::store) async fn acquire(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        self.asked().acquire().await
    }

    /// Begins a transaction, whose reads see one state.
    pub(in crate::store) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, sqlx::Error> {
        self.asked().begin().await
    }

    /// Opens no connection any more; those that are in use go on.
    pub(in crate::store) fn close(&self) {
        // Closed from the call on; the rest of the future would wait for those that are in use.
        drop(self.pool.close());
    }
}

impl<'p> Executor<'p> for &'_ Readers {
    type Database = Sqlite;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<SqliteQueryResult, SqliteRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        self.asked().fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<SqliteRow>, sqlx::Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Sqlite>,
    {
        self.asked().fetch_optional(query)
    }

    fn prepare_with<'e, 'q: 'e>(
        self,
        sql: &'q str,
        parameters: &'e [SqliteTypeInfo],
    ) -> BoxFuture<'e, Result<SqliteStatement<'q>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.asked().prepare_with(sql, parameters)
    }

    fn describe<'e, 'q: 'e>(self, sql: &'q str) -> BoxFuture<'e, Result<Describe<Sqlite>, sqlx::Error>>
    where
        'p: 'e,
    {
        self.asked().describe(sql)
    }
}
