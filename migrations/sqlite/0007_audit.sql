-- What the log does not hold: attempts that were denied or failed, and reads of the audit itself.

-- The last sequence; taken under the writing connection, so that sequences have no gap.
CREATE TABLE audit_head (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL
);
INSERT INTO audit_head (id, sequence) VALUES (1, 0);

-- One row per kind of attempt and minute: `count` and `last_at` grow until the minute is over, nothing else ever changes.
-- `position` is the last position of the log when the row was written, and never goes back along `sequence`.
CREATE TABLE audit_attempts (
    sequence      INTEGER PRIMARY KEY CHECK (sequence > 0),
    position      INTEGER NOT NULL CHECK (position >= 0),
    outcome       TEXT    NOT NULL CHECK (outcome IN ('allowed', 'denied', 'failed')),
    action        TEXT    NOT NULL,
    reason        TEXT,
    actor         TEXT,
    token_issuer  TEXT,
    token_id_hash TEXT,
    ip            TEXT,
    user_agent    TEXT,
    request_id    TEXT,
    entity_type   TEXT,
    entity_id     TEXT,
    detail        TEXT,
    first_at      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    count         INTEGER NOT NULL CHECK (count > 0)
);
CREATE UNIQUE INDEX audit_attempts_place ON audit_attempts (position, sequence);

-- Which values occur in which block of 256 positions: (hash of field and value, block). It is written behind the log, a full
-- block at a time, so that a filter costs an append nothing; what it does not cover yet is read in the log itself.
CREATE TABLE audit_blocks (
    token INTEGER NOT NULL,
    block INTEGER NOT NULL,
    PRIMARY KEY (token, block)
) WITHOUT ROWID;

-- How many blocks are covered.
CREATE TABLE audit_indexed (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    blocks INTEGER NOT NULL
);
INSERT INTO audit_indexed (id, blocks) VALUES (1, 0);
