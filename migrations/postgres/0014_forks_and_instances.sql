-- What each fork has lost, as far as it could be told, and what instances must have in common.

-- One row per fork. `size` is how many events it went on from, `reached` the last position that is known to have been recorded,
-- `seen` how many of those between them the stream told of.
CREATE TABLE fork_losses (
    ledger  bigint      PRIMARY KEY CHECK (ledger > 1),
    size    bigint      NOT NULL CHECK (size >= 0),
    reached bigint      NOT NULL CHECK (reached >= size),
    seen    bigint      NOT NULL CHECK (seen >= 0),
    -- Whether the stream was asked: there is none, it could not be reached, it is gone, or it was read.
    stream  text        NOT NULL CHECK (stream IN ('none', 'away', 'missing', 'read')),
    told_at timestamptz NOT NULL
);

-- Purges of the lost part, by the last event of each that the stream has.
CREATE TABLE lost_purges (
    ledger       bigint      NOT NULL,
    event_id     uuid        NOT NULL,
    position     bigint      NOT NULL,
    -- The number of the ledger that recorded it.
    recorded_by  bigint      NOT NULL,
    aggregate_id text COLLATE "C" NOT NULL,
    purge_id     uuid,
    event        text        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (ledger, event_id)
);

-- Keyed hashes of what instances must share, one row per instance and thing. A thing may have several while it is rotated.
CREATE TABLE instance_marks (
    instance_id uuid        NOT NULL,
    name        text        NOT NULL,
    -- A JSON array of texts.
    marks       text        NOT NULL,
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (instance_id, name)
);
