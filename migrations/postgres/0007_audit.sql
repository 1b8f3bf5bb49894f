-- What the log does not hold: attempts that were denied or failed, and reads of the audit itself.

-- The last sequence; its row is locked by whoever adds attempts, so that sequences have no gap.
CREATE TABLE audit_head (
    id       smallint PRIMARY KEY CHECK (id = 1),
    sequence bigint   NOT NULL
) WITH (fillfactor = 10);
INSERT INTO audit_head (id, sequence) VALUES (1, 0);

-- One row per kind of attempt and minute: `count` and `last_at` grow until the minute is over, nothing else ever changes.
-- `position` is the last position of the log when the row was written, and never goes back along `sequence`.
CREATE TABLE audit_attempts (
    sequence      bigint      PRIMARY KEY CHECK (sequence > 0),
    position      bigint      NOT NULL CHECK (position >= 0),
    outcome       text        NOT NULL CHECK (outcome IN ('allowed', 'denied', 'failed')),
    action        text        NOT NULL,
    reason        text,
    actor         text,
    token_issuer  text,
    token_id_hash text,
    ip            text,
    user_agent    text,
    request_id    text,
    entity_type   text,
    entity_id     text,
    detail        text,
    first_at      timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    count         bigint      NOT NULL CHECK (count > 0)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX audit_attempts_place ON audit_attempts (position, sequence);

-- Which values occur in which block of 256 positions: (hash of field and value, block). It is written behind the log, a full
-- block at a time, so that a filter costs an append nothing; what it does not cover yet is read in the log itself.
CREATE TABLE audit_blocks (
    token bigint NOT NULL,
    block bigint NOT NULL,
    PRIMARY KEY (token, block)
);

-- How many blocks are covered.
CREATE TABLE audit_indexed (
    id     smallint PRIMARY KEY CHECK (id = 1),
    blocks bigint   NOT NULL
) WITH (fillfactor = 10);
INSERT INTO audit_indexed (id, blocks) VALUES (1, 0);
