//! A ledger in the test's own process, opened from a configuration as the service opens it, and its database for those
//! who tamper with it.

use std::path::Path;
use std::process::Output;

use archive_ledger::app::{self, Opened};
use archive_ledger::config::{Config, Flags};
use archive_ledger::ledger::{CommandContext, SoftDelete};
use archive_ledger_domain::{EntityKey, EntityType, EventMetadata};
use serde_json::Map;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;
use uuid::Uuid;

use super::postgres::Postgres;
use super::server::{Backend, run_binary};
use super::{READY_WITHIN, init};

/// Where a ledger is: a data directory and, when clustered, a database.
pub struct Place {
    home: TempDir,
    env: Vec<(String, String)>,
    database_url: Option<String>,
}

impl Place {
    /// An empty place.
    pub async fn new(backend: Backend) -> Self {
        init();
        let home = tempfile::Builder::new()
            .prefix("archive-ledger-place-")
            .tempdir()
            .unwrap();
        let data_dir = home.path().join("data").display().to_string();
        let mut env = vec![("ARCHIVE_LEDGER_DATA_DIR".to_owned(), data_dir)];
        let database_url = match backend {
            Backend::Embedded => None,
            Backend::Clustered => Some(Postgres::shared().await.create_database().await),
        };
        env.extend(
            database_url
                .clone()
                .map(|url| ("ARCHIVE_LEDGER_DATABASE_URL".to_owned(), url)),
        );
        Self {
            home,
            env,
            database_url,
        }
    }

    /// Sets one more option, by its environment variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// The configuration that names it.
    pub fn config(&self) -> Config {
        let lookup = |name: &str| {
            let found = self.env.iter().find(|(variable, _)| variable == name);
            found.map(|(_, value)| value.into())
        };
        Config::from_sources(&Flags::default(), &lookup).unwrap()
    }

    /// Opens the ledger in this process.
    pub async fn open(&self) -> Opened {
        app::open(&self.config()).await.unwrap()
    }

    /// The environment that names it to the binary.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// A directory for other files.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// Runs the binary on it, to its end.
    pub async fn run(&self, args: &[&str]) -> Output {
        run_binary(args, &self.env, self.home.path()).await
    }

    /// Changes the database behind the ledger's back; returns the rows that changed.
    pub async fn tamper(&self, statement: &str) -> u64 {
        change(
            self.database_url.as_deref(),
            &self.home.path().join("data"),
            statement,
        )
        .await
    }

    /// The first column of a query's rows, which must be text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        match &self.database_url {
            Some(url) => {
                let mut connection = PgConnection::connect(url).await.unwrap();
                sqlx::query_scalar(query)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap()
            }
            None => {
                let mut connection = self.sqlite().await;
                let texts = sqlx::query_scalar(query)
                    .fetch_all(&mut connection)
                    .await
                    .unwrap();
                connection.close().await.unwrap();
                texts
            }
        }
    }

    async fn sqlite(&self) -> SqliteConnection {
        sqlite(&self.home.path().join("data")).await
    }
}

async fn sqlite(data_dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(data_dir.join("ledger.db"))
        .busy_timeout(READY_WITHIN);
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// Changes a ledger's database behind its back, whatever its columns allow; returns the rows that changed.
pub async fn change(database_url: Option<&str>, data_dir: &Path, statement: &str) -> u64 {
    match database_url {
        Some(url) => {
            let mut connection = PgConnection::connect(url).await.unwrap();
            let changed = loop {
                match connection.execute(statement).await {
                    Ok(done) => break done.rows_affected(),
                    Err(error) => drop_check(&mut connection, &error).await,
                }
            };
            connection.close().await.unwrap();
            changed
        }
        None => {
            let mut connection = sqlite(data_dir).await;
            connection
                .execute("PRAGMA ignore_check_constraints = on")
                .await
                .unwrap();
            let changed = match connection.execute(statement).await {
                Err(sqlx::Error::Database(told)) if told.code().as_deref() == Some(WRONG_TYPE) => {
                    redefine(&mut connection, LOOSE).await;
                    let changed = connection.execute(statement).await;
                    redefine(&mut connection, STRICT).await;
                    changed
                }
                changed => changed,
            };
            connection.close().await.unwrap();
            changed.unwrap().rows_affected()
        }
    }
}

/// As the tables' owner can, where a check refuses a value.
async fn drop_check(connection: &mut PgConnection, error: &sqlx::Error) {
    let refused = error.as_database_error().filter(|told| told.is_check_violation());
    let check = refused.and_then(|told| Some((told.table()?, told.constraint()?)));
    let Some((table, constraint)) = check else {
        panic!("{error}");
    };
    let drop = format!("ALTER TABLE {table} DROP CONSTRAINT {constraint}");
    connection.execute(drop.as_str()).await.unwrap();
}

/// SQLite's code of a value that a column of a STRICT table does not take.
const WRONG_TYPE: &str = "3091";

/// What is written in the place of what in the tables' definitions, so that they take any value, and to undo it.
pub const LOOSE: [(&str, &str); 2] = [(") STRICT, WITHOUT", ") /**/ WITHOUT"), (") STRICT", ") /*-*/")];
const STRICT: [(&str, &str); 2] = [(") /**/ WITHOUT", ") STRICT, WITHOUT"), (") /*-*/", ") STRICT")];

/// Changes how the tables of a SQLite file are defined, as anybody can who may write it.
pub async fn redefine(connection: &mut SqliteConnection, replacements: [(&str, &str); 2]) {
    connection.execute("PRAGMA writable_schema = on").await.unwrap();
    for (from, to) in replacements {
        sqlx::query("UPDATE sqlite_master SET sql = replace(sql, ?1, ?2) WHERE type = 'table'")
            .bind(from)
            .bind(to)
            .execute(&mut *connection)
            .await
            .unwrap();
    }
    connection
        .execute("PRAGMA writable_schema = reset")
        .await
        .unwrap();
}

/// An entity of a number of its own.
pub fn entity(entity_type: EntityType, number: u128) -> EntityKey {
    EntityKey::new(entity_type, &Uuid::from_u128(number).to_string()).unwrap()
}

/// A command of the tests'.
pub fn context() -> CommandContext {
    CommandContext::new(EventMetadata::internal("tests", None))
}

/// A deletion without anything but a name.
pub fn deletion(key: EntityKey) -> SoftDelete {
    SoftDelete {
        key,
        name: "a name".to_owned(),
        metadata: Map::new(),
        reason: None,
        parent: None,
        storage: Vec::new(),
        deleted_at: None,
    }
}
