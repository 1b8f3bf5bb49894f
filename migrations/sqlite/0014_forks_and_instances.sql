-- What each fork has lost, as far as it could be told, and what instances must have in common.

-- One row per fork. `size` is how many events it went on from, `reached` the last position that is known to have been recorded,
-- `seen` how many of those between them the stream told of.
CREATE TABLE fork_losses (
    ledger  INTEGER PRIMARY KEY CHECK (ledger > 1),
    size    INTEGER NOT NULL CHECK (size >= 0),
    reached INTEGER NOT NULL CHECK (reached >= size),
    seen    INTEGER NOT NULL CHECK (seen >= 0),
    -- Whether the stream was asked: there is none, it could not be reached, it is gone, or it was read.
    stream  TEXT    NOT NULL CHECK (stream IN ('none', 'away', 'missing', 'read')),
    told_at INTEGER NOT NULL
);

-- Purges of the lost part, by the last event of each that the stream has.
CREATE TABLE lost_purges (
    ledger       INTEGER NOT NULL,
    event_id     TEXT    NOT NULL,
    position     INTEGER NOT NULL,
    -- The number of the ledger that recorded it.
    recorded_by  INTEGER NOT NULL,
    aggregate_id TEXT    NOT NULL,
    purge_id     TEXT,
    event        TEXT    NOT NULL,
    recorded_at  INTEGER NOT NULL,
    PRIMARY KEY (ledger, event_id)
) WITHOUT ROWID;

-- Keyed hashes of what instances must share, one row per instance and thing. A thing may have several while it is rotated.
CREATE TABLE instance_marks (
    instance_id TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    -- A JSON array of texts.
    marks       TEXT    NOT NULL,
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (instance_id, name)
) WITHOUT ROWID;
