-- What the ledger signed, and what tiles are made of.

-- One root per size for ever, under each origin. The first origin is 1; every fork opens the next one.
CREATE TABLE checkpoints (
    ledger     bigint      NOT NULL CHECK (ledger > 0),
    size       bigint      NOT NULL CHECK (size >= 0),
    root       bytea       NOT NULL,
    note       text        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (ledger, size)
);

-- The hash of each full tile: what the tiles of level 1 and above hold. Leaf hashes stand beside their events.
CREATE TABLE tree_hashes (
    level smallint NOT NULL CHECK (level > 0),
    place bigint   NOT NULL CHECK (place >= 0),
    hash  bytea    NOT NULL,
    PRIMARY KEY (level, place)
);

-- A proof is asked for by the event's id.
CREATE UNIQUE INDEX events_by_id ON events (event_id);
