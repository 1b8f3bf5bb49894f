-- What the ledger signed, and what tiles are made of.

-- One root per size for ever, under each origin. The first origin is 1; every fork opens the next one.
CREATE TABLE checkpoints (
    ledger     INTEGER NOT NULL CHECK (ledger > 0),
    size       INTEGER NOT NULL CHECK (size >= 0),
    root       BLOB    NOT NULL,
    note       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (ledger, size)
) WITHOUT ROWID;

-- The hash of each full tile: what the tiles of level 1 and above hold. Leaf hashes stand beside their events.
CREATE TABLE tree_hashes (
    level INTEGER NOT NULL CHECK (level > 0),
    place INTEGER NOT NULL CHECK (place >= 0),
    hash  BLOB    NOT NULL,
    PRIMARY KEY (level, place)
) WITHOUT ROWID;

-- A proof is asked for by the event's id.
CREATE UNIQUE INDEX events_by_id ON events (event_id);
