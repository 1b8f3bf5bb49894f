//! The server: what each session relies on, whatever the server, the database and the role have set, and how it is had where a
//! pooler stands before the server.
//!
//! ```text
//! direct   the settings are startup options of the session; a statement is prepared once and kept
//! pooler   a session lasts for one transaction: the settings are the transaction's own, a statement is prepared without a name
//!          and executed within the transaction, and what would be a statement of its own is a transaction
//! ```
//!
//! Through a pooler nothing outlives a transaction, so that it makes no difference whether it pools sessions or transactions.

pub(super) mod connections;
mod pgpass;
pub(super) mod session;
mod url;
mod verify_ca;

use crate::store::StoreError;
use crate::store::pool::Waits;
use crate::store::witness::Witness;
use crate::store::witness::postgres::admit;
use connections::Known;
use session::{Session, Sessions, Stale};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use verify_ca::Way;

/// How long a new connection may take.
pub(in crate::store) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection that nobody uses is taken to be alive.
pub(in crate::store) const TRUSTED_FOR: Duration = Duration::from_millis(50);

/// What every session relies on: durable commits, reads that see what was committed before them, times
/// and bytes in the one format that is read, no statement that is given up because it is long, none that is compiled first (each
/// is short), and no lock that is waited for for ever.
const SETTINGS: [(&str, &str); 14] = [
    ("synchronous_commit", "on"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("jit", "off"),
    ("bytea_output", "hex"),
    ("standard_conforming_strings", "on"),
    ("array_nulls", "on"),
    ("DateStyle", "ISO,MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("statement_timeout", "0"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("idle_session_timeout", "0"),
];

/// The same of PostgreSQL 17 and later, which earlier versions do not know.
const SETTINGS_SINCE_17: [(&str, &str); 1] = [("transaction_timeout", "0")];

/// The writer's own: everybody who appends waits for the head that it holds. A process that stands still in its transaction loses it
/// after two seconds; who has waited that long for the lock looks who holds it (`append/postgres/standstill.rs`); and no statement
/// takes longer than the writer waits for its answer.
const WRITING: [(&str, &str); 3] = [
    ("statement_timeout", "5s"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "2s"),
];

/// The same of PostgreSQL 17 and later: a client that stands still in the midst of what it sends is found out by nothing else on the
/// server.
const WRITING_SINCE_17: [(&str, &str); 1] = [("transaction_timeout", "8s")];

const TRANSACTION_TIMEOUT_SINCE: u32 = 170_000;

/// How long an idle session may take to say that it still serves.
const ALIVE_WITHIN: Duration = Duration::from_secs(2);

/// Tells a session that has its startup options from one that a pooler has thrown them away of.
const MARK: (&str, &str) = ("archive_ledger.session", "direct");

/// A startup option that a pooler does not know comes back as this (`protocol_violation`).
const REFUSED_OPTION: &str = "08P01";

/// The server takes nobody without the right password (`invalid_authorization_specification`, `invalid_password`).
const UNAUTHENTICATED: [&str; 2] = ["28000", "28P01"];

/// For sessions whose statements touch few rows by key, whatever the tables' statistics say at the moment.
const KEYED_PLANS: [(&str, &str); 3] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];

/// What a session's statements are planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Plans {
    /// Whatever the planner thinks.
    Free,
    /// Callback deliveries: few rows by key, for the size that the tables have at that moment. A plan that was made while they
    /// were empty reads them whole when they are not.
    Delivering,
    /// The writer's: few rows by key, planned once, as none of the statements depends on its values, and so that a small table is
    /// not read whole; within the limits of [`WRITING`].
    Writing,
}

impl Plans {
    fn settings(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let mode = match self {
            Self::Free => None,
            Self::Delivering => Some("force_custom_plan"),
            Self::Writing => Some("force_generic_plan"),
        };
        let keyed = KEYED_PLANS.into_iter().filter(move |_| mode.is_some());
        let limits = WRITING.into_iter().filter(move |_| self == Self::Writing);
        keyed
            .chain(mode.map(|mode| ("plan_cache_mode", mode)))
            .chain(limits)
    }
}

/// A server, and the way to it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Server {
    options: PgConnectOptions,
    /// What the options lead through, for as long as they are used.
    _way: Option<Arc<Way>>,
    pooled: bool,
    /// Whether it is a standby, on which no transaction writes.
    standby: bool,
    version: u32,
}

impl Server {
    /// Finds out how the server is reached, and whether it can hold a ledger.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the server cannot be reached; [`StoreError::Unfit`] when the URL is none, its password file cannot
    /// be used, or its database cannot hold every text.
    pub(in crate::store) async fn find(url: &str) -> Result<Self, StoreError> {
        let url::Way {
            options,
            files,
            left_out,
        } = url::read(url).map_err(StoreError::Unfit)?;
        let (options, way) = verify_ca::way(options, &files).await?;
        let options = options
            .application_name("archive-ledger")
            // Poolers refuse it, and no number that is read is a fraction.
            .extra_float_digits(None)
            .log_statements(tracing::log::LevelFilter::Trace)
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(5));
        let marked = options.clone().options(
            SETTINGS
                .into_iter()
                .chain([MARK])
                .map(|(name, value)| (name, escaped(value))),
        );
        let first = match connect(&marked).await {
            Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(REFUSED_OPTION) => {
                connect(&options).await
            }
            first => first,
        };
        let mut connection = first.map_err(|error| match (&error, left_out) {
            (sqlx::Error::Database(refused), Some(left_out))
                if refused
                    .code()
                    .is_some_and(|code| UNAUTHENTICATED.contains(&&*code)) =>
            {
                StoreError::Unfit(format!("{error}; {left_out}"))
            }
            _ => StoreError::database("connect")(error),
        })?;
        let operation = "ask what the server is";
        // As plain text, which takes one message: through a pooler two of them may come to two sessions.
        let facts = connection
            .fetch_one(
                "SELECT coalesce(current_setting('archive_ledger.session', true), '') AS mark,
                        current_setting('server_encoding') AS encoding, pg_is_in_recovery()::text AS standby,
                        current_database()::text AS name",
            )
            .await
            .map_err(StoreError::database(operation))?;
        let fact = |column| -> Result<String, StoreError> {
            facts.try_get(column).map_err(StoreError::database(operation))
        };
        let server = Self {
            pooled: fact("mark")? != MARK.1,
            standby: fact("standby")? == "true",
            version: connection.server_version_num().unwrap_or_default(),
            options,
            _way: way,
        };
        fits(&fact("name")?, &fact("encoding")?)?;
        if server.pooled {
            // A pooler that takes statements one by one refuses this.
            for statement in [&*server.begin(Plans::Free, Isolation::Committed), "COMMIT"] {
                connection
                    .execute(statement)
                    .await
                    .map_err(StoreError::database("begin a transaction through the pooler"))?;
            }
            tracing::info!(
                "the database is reached through a pooler: each transaction brings its settings along, and no statement is \
                 prepared ahead"
            );
        }
        connection
            .close()
            .await
            .map_err(StoreError::database("connect"))?;
        Ok(server)
    }

    /// Whether a session of one's own can be had: settings, prepared statements, temporary tables and locks that last.
    pub(in crate::store) const fn keeps_sessions(&self) -> bool {
        !self.pooled
    }

    fn settings(&self, plans: Plans) -> impl Iterator<Item = (&'static str, &'static str)> {
        let known = self.version >= TRANSACTION_TIMEOUT_SINCE;
        SETTINGS
            .into_iter()
            .chain(SETTINGS_SINCE_17.into_iter().filter(move |_| known))
            .chain(plans.settings())
            .chain(
                WRITING_SINCE_17
                    .into_iter()
                    .filter(move |_| known && plans == Plans::Writing),
            )
    }

    fn options(&self, plans: Plans) -> PgConnectOptions {
        if self.pooled {
            return self.options.clone().statement_cache_capacity(0);
        }
        let settings = self.settings(plans).map(|(name, value)| (name, escaped(value)));
        self.options.clone().options(settings)
    }

    /// What a transaction begins with.
    fn begin(&self, plans: Plans, isolation: Isolation) -> String {
        if !self.pooled {
            return match isolation {
                Isolation::Committed => "BEGIN".to_owned(),
                Isolation::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned(),
                Isolation::Shadow => "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE".to_owned(),
            };
        }
        let mut begin = match (isolation, self.standby) {
            (Isolation::Committed, false) => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            (Isolation::Committed, true) => "BEGIN ISOLATION LEVEL READ COMMITTED",
            (Isolation::Snapshot, _) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            (Isolation::Shadow, _) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE",
        }
        .to_owned();
        for (name, value) in self.settings(plans) {
            // Writing to a string does not fail.
            let _ = write!(begin, "; SET LOCAL {name} = '{value}'");
        }
        begin
    }

    /// A pool of at most so many sessions, none of which is opened before it is needed.
    /// Each must lead to the database that `witness` knows.
    pub(in crate::store) fn sessions(
        &self,
        connections: u32,
        plans: Plans,
        witness: &Arc<Witness>,
        known: &Known,
    ) -> Sessions {
        let refusals = Arc::clone(known);
        let pooled = self.pooled;
        let begin: Arc<str> = self.begin(plans, Isolation::Committed).into();
        let (known, alone) = (Arc::clone(witness), Arc::clone(&begin));
        let stale = Stale::default();
        let met = stale.clone();
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT_TIMEOUT)
            // A ping before each use would double what a short query waits for the network: it is sent only where the server
            // has had the time to go away.
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                let outdated = met.concerns(meta.age);
                Box::pin(async move {
                    if outdated {
                        return Ok(false);
                    }
                    if meta.idle_for < TRUSTED_FOR {
                        return Ok(true);
                    }
                    // One that does not answer is not waited for: a new one may.
                    tokio::time::timeout(ALIVE_WITHIN, serves(connection, pooled))
                        .await
                        .unwrap_or_else(|_| Err(timed_out()))
                })
            })
            .after_connect(move |connection, _| {
                let (known, begin) = (Arc::clone(&known), Arc::clone(&alone));
                Box::pin(async move { admit(connection, pooled.then_some(&*begin), &known).await })
            })
            .connect_lazy_with(self.options(plans));
        Sessions {
            pool,
            pooled,
            begin,
            begin_snapshot: self.begin(plans, Isolation::Snapshot).into(),
            patient: false,
            witness: Arc::clone(witness),
            refusals,
            stale,
            waits: Waits::default(),
        }
    }

    /// One session within one transaction, whose reads see one state until it is dropped. Nothing can be written on it, and no
    /// transaction be begun.
    pub(in crate::store) async fn held_still(&self) -> Result<Sessions, sqlx::Error> {
        let begin = self.begin(Plans::Free, Isolation::Snapshot);
        let alone: Arc<str> = begin.clone().into();
        // A walk through a long log leaves it idle now and then; the first read takes the snapshot.
        let begin = format!(
            "{begin}; SET LOCAL idle_in_transaction_session_timeout = 0; SELECT position FROM ledger_head"
        );
        let begun = Arc::new(AtomicBool::new(false));
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(CONNECT_TIMEOUT)
            .test_before_acquire(false)
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(move |connection, _| {
                let (again, begin) = (begun.swap(true, Ordering::SeqCst), begin.clone());
                Box::pin(async move {
                    if again {
                        // What comes now would be of another moment.
                        return Err(sqlx::Error::Protocol(
                            "the connection that held the snapshot was lost".into(),
                        ));
                    }
                    connection.execute(&*begin).await?;
                    Ok(())
                })
            })
            .connect_with(self.options(Plans::Free))
            .await?;
        Ok(Sessions {
            pool,
            // Also through a pooler, which keeps the session for as long as the transaction lasts.
            pooled: false,
            begin: Arc::clone(&alone),
            begin_snapshot: alone,
            // Whoever walks through a whole ledger has the time.
            patient: true,
            witness: Arc::default(),
            refusals: Arc::default(),
            stale: Stale::default(),
            waits: Waits::default(),
        })
    }

    /// What a transaction begins with whose reads see one state while it writes temporary tables.
    pub(in crate::store) fn begin_shadow(&self) -> String {
        self.begin(Plans::Free, Isolation::Shadow)
    }

    /// A connection for one statement in plain text.
    pub(in crate::store) async fn plain(&self) -> Result<PgConnection, sqlx::Error> {
        connect(&self.options(Plans::Free)).await
    }

    /// A session of one's own. Where the server is reached through a pooler it must be used within transactions alone, which
    /// begin with [`Session::begin_with`].
    pub(in crate::store) async fn session(&self, plans: Plans) -> Result<Session, sqlx::Error> {
        let connection = connect(&self.options(plans)).await?;
        let begin = self.begin(plans, Isolation::Committed).into();
        Ok(Session::own(connection, self.pooled, begin))
    }
}

/// What a transaction sees.
#[derive(Debug, Clone, Copy)]
enum Isolation {
    /// Each statement what was committed before it.
    Committed,
    /// All statements what was committed before the first, and none of them writes.
    Snapshot,
    /// The same, and they write: temporary tables.
    Shadow,
}

/// Connects within a time that somebody waits for.
async fn connect(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options))
        .await
        .unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Whether a session that nobody has used for a while still serves.
async fn serves(connection: &mut PgConnection, pooled: bool) -> Result<bool, sqlx::Error> {
    if pooled {
        connection.ping().await?;
        return Ok(true);
    }
    // A session that was opened while the database took no writes keeps that; a new one asks anew. Standbys never take any.
    let row = connection
        .fetch_one(
            "SELECT current_setting('transaction_read_only') = 'on' AND NOT pg_is_in_recovery() AS outdated",
        )
        .await?;
    let outdated: bool = row.try_get("outdated")?;
    Ok(!outdated)
}

/// A startup option's value: the server splits the options at spaces.
fn escaped(value: &str) -> String {
    value.replace(' ', "\\ ")
}

/// Whether a database of this encoding can hold every text, and hands each back byte for byte. `SQL_ASCII` is the lack of an
/// encoding: it takes what it is given.
fn fits(database: &str, encoding: &str) -> Result<(), StoreError> {
    if matches!(encoding, "UTF8" | "SQL_ASCII") {
        return Ok(());
    }
    Err(StoreError::Unfit(format!(
        "the database {database} is encoded in {encoding}, which cannot hold every text: create one with CREATE DATABASE \
         {database} ENCODING 'UTF8' TEMPLATE template0"
    )))
}
