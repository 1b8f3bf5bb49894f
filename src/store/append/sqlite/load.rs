//! What a batch has to know before it is decided.

use super::head::read_head;
use crate::store::called::{bytes, failed, is_null, read, text};
use crate::store::file::LedgerFile;
use crate::store::values::{hash, signed, time};
use crate::store::{
    BatchNeeds, BatchSnapshot, FoundAnswers, Hash, IdempotencyRecord, StoreError, StreamSnapshot, WrappedKey,
};
use archive_ledger_domain::AGGREGATE_TYPE;
use cqrs_es::persist::SerializedEvent;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row};
use serde_json::Value;
use std::collections::BTreeMap;

const STREAMS: &str = "load the streams";
const ANSWERS: &str = "load the answers";

/// An entity's row, and its first event if that is where the row says.
const ENTITY: &str = "
    SELECT n.key_id, n.kek_id, n.wrapped, n.erased_at, e.event_type, e.event_version, e.payload, e.leaf
    FROM entities n
    LEFT JOIN events e ON e.position = n.first_position AND e.aggregate_id = n.aggregate_id AND e.sequence = 1
    WHERE n.aggregate_id = ?1";

/// An entity's key and fence.
const KEY: &str = "SELECT key_id, kek_id, wrapped, erased_at FROM entities WHERE aggregate_id = ?1";

/// Events but the first, from a version on.
const LATER: &str = "
    SELECT sequence, NULL, NULL, NULL, event_type, event_version, payload, leaf FROM events
    WHERE aggregate_id = ?1 AND sequence > ?2 AND sequence > 1 ORDER BY sequence";

const ANSWER: &str = "SELECT request, answer, recorded_at FROM idempotency_answers WHERE key = ?1";

/// Head, streams, keys and answers. A row that cannot be read concerns its stream or its idempotency key alone.
pub(super) fn load(
    connection: &Connection,
    file: &LedgerFile,
    needs: &BatchNeeds,
) -> Result<BatchSnapshot, StoreError> {
    let head = read_head(connection, file)?;
    let mut statements = Statements::prepare(connection).map_err(failed(STREAMS))?;
    let mut streams = BTreeMap::new();
    for (stream_id, version) in &needs.streams {
        let sealing = needs.sealing.contains(stream_id);
        let found = statements.stream(stream_id, *version, sealing);
        if let Some(stream) = found.map_err(failed(STREAMS))? {
            streams.insert(stream_id.clone(), stream);
        }
    }
    let mut answers = FoundAnswers::default();
    for key in &needs.answers {
        let found = connection
            .prepare_cached(ANSWER)
            .and_then(|mut statement| statement.query_row([key], |row| Ok(answer(row, *key))).optional())
            .map_err(failed(ANSWERS))?;
        if let Some(record) = found {
            answers.add(*key, record);
        }
    }
    Ok(BatchSnapshot {
        head,
        streams,
        answers,
    })
}

struct Statements<'c> {
    entity: CachedStatement<'c>,
    key: CachedStatement<'c>,
    later: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            entity: connection.prepare_cached(ENTITY)?,
            key: connection.prepare_cached(KEY)?,
            later: connection.prepare_cached(LATER)?,
        })
    }

    /// What is there of a stream behind a version; `None` where there is nothing.
    fn stream(
        &mut self,
        stream_id: &str,
        version: u64,
        sealing: bool,
    ) -> rusqlite::Result<Option<StreamSnapshot>> {
        let (mut stream, mut found) = (StreamSnapshot::default(), false);
        if version == 0 {
            let mut rows = self.entity.query([stream_id])?;
            if let Some(row) = rows.next()? {
                found = true;
                add_event(&mut stream, stream_id, Ok(1), row);
                if sealing {
                    add_key(&mut stream, row);
                }
            }
        } else if sealing {
            let mut rows = self.key.query([stream_id])?;
            if let Some(row) = rows.next()? {
                found = true;
                add_key(&mut stream, row);
            }
        }
        let mut rows = self.later.query((stream_id, signed(version)))?;
        while let Some(row) = rows.next()? {
            found = true;
            add_event(&mut stream, stream_id, read(row, STREAMS, "sequence"), row);
        }
        Ok(found.then_some(stream))
    }
}

fn add_key(stream: &mut StreamSnapshot, row: &Row<'_>) {
    stream.fenced = !is_null(row, 3);
    // A key that was made unreadable opens nothing.
    stream.key = (!is_null(row, 0)).then(|| WrappedKey {
        key_id: text(row, 0).and_then(|id| id.parse().ok()).unwrap_or_default(),
        kek_id: text(row, 1).unwrap_or_default().to_owned(),
        wrapped: bytes(row, 2).unwrap_or_default().to_vec(),
    });
}

fn add_event(stream: &mut StreamSnapshot, stream_id: &str, sequence: Result<i64, StoreError>, row: &Row<'_>) {
    match sequence.and_then(|sequence| event(stream_id, sequence, row)) {
        Ok((event, leaf)) => {
            stream.last_leaf = Some(leaf);
            stream.events.push(event);
        }
        Err(error) => stream.cannot_be_read(&error),
    }
}

fn event(stream_id: &str, sequence: i64, row: &Row<'_>) -> Result<(SerializedEvent, Hash), StoreError> {
    let sequence =
        usize::try_from(sequence).map_err(|_| StoreError::inconsistent(STREAMS, "a version is negative"))?;
    let event = SerializedEvent::new(
        stream_id.to_owned(),
        sequence,
        AGGREGATE_TYPE.to_owned(),
        read(row, STREAMS, "event_type")?,
        read(row, STREAMS, "event_version")?,
        json(row, STREAMS, 6)?,
        Value::Null,
    );
    Ok((event, hash(STREAMS, bytes(row, 7).unwrap_or_default())?))
}

fn answer(row: &Row<'_>, key: Hash) -> Result<IdempotencyRecord, StoreError> {
    Ok(IdempotencyRecord {
        key,
        request: hash(ANSWERS, bytes(row, 0).unwrap_or_default())?,
        answer: json(row, ANSWERS, 1)?,
        recorded_at: time(ANSWERS, read(row, ANSWERS, "recorded_at")?)?,
    })
}

fn json(row: &Row<'_>, operation: &'static str, column: usize) -> Result<Value, StoreError> {
    serde_json::from_str(text(row, column).unwrap_or_default())
        .map_err(|error| StoreError::inconsistent(operation, error.to_string()))
}
