//! The head, as the thread that appends finds it.

use crate::store::called::{at, execute, failed, read};
use crate::store::file::LedgerFile;
use crate::store::log::sqlite::frontier;
use crate::store::values::{hash, non_negative, signed, time, uuid};
use crate::store::witness::Sight;
use crate::store::{Head, StoreError};
use rusqlite::{Connection, OptionalExtension as _, Row};

const READ: &str = "read the head";

/// Reads the head, which must be one that follows on what the process knows.
pub(super) fn read_head(connection: &Connection, file: &LedgerFile) -> Result<Head, StoreError> {
    let witness = file.witness();
    let asked = witness.known();
    let (head, forked) = connection
        .prepare_cached(
            "SELECT position, frontier, root, recorded_at,
                    EXISTS (SELECT 1 FROM ledger_meta WHERE name = ?1) AS forked
             FROM ledger_head WHERE id = 1",
        )
        .and_then(|mut statement| {
            statement.query_row([asked.fork()], |row| Ok((head(row), read(row, READ, "forked"))))
        })
        .map_err(failed(READ))?;
    let head = head?;
    let marked = match asked.mark {
        // The root says as much as the event.
        Some(mark) if (mark.position, mark.root) == (head.position, head.root) => Some(mark.event_id),
        Some(mark) => {
            let found: Option<String> = connection
                .prepare_cached("SELECT event_id FROM events WHERE position = ?1")
                .and_then(|mut statement| {
                    statement
                        .query_row([signed(mark.position)], |row| at(row, 0))
                        .optional()
                })
                .map_err(failed(READ))?;
            found.map(|id| uuid(READ, &id)).transpose()?
        }
        None => None,
    };
    let seen = Sight {
        position: head.position,
        root: head.root,
        marked,
        // Of the size that was signed the event is enough; the checkpoint is asked for at each new connection; so is what was published.
        signed: None,
        published: None,
        standby: false,
        forked: forked?,
    };
    witness.compare(READ, &asked, &seen)?;
    file.note(&head);
    Ok(head)
}

fn head(row: &Row<'_>) -> Result<Head, StoreError> {
    let recorded_at: Option<i64> = read(row, READ, "recorded_at")?;
    let (hashes, root): (Vec<u8>, Vec<u8>) = (read(row, READ, "frontier")?, read(row, READ, "root")?);
    Ok(Head {
        position: non_negative(READ, read(row, READ, "position")?)?,
        frontier: frontier(READ, &hashes)?,
        root: hash(READ, &root)?,
        recorded_at: recorded_at.map(|micros| time(READ, micros)).transpose()?,
    })
}

/// Looks at the head, in a transaction that was begun; with `prove`, writes it back as it is.
pub(super) fn look(connection: &Connection, file: &LedgerFile, prove: bool) -> Result<(), StoreError> {
    read_head(connection, file)?;
    let end = if prove {
        let same = "UPDATE ledger_head SET position = position WHERE id = 1";
        execute(connection, "write the head", same, ())?;
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    execute(connection, "end the look at the head", end, ())?;
    Ok(())
}
