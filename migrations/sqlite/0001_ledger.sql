-- Times are microseconds since 1970 UTC; ids are hyphenated text.
-- The log, its head, the entities' keys, the projections and what commands leave behind.

-- One row per event. The first seven columns after the position are those that sqlite-es reads.
CREATE TABLE events (
    position        INTEGER     PRIMARY KEY CHECK (position > 0),
    aggregate_type  TEXT        NOT NULL,
    aggregate_id    TEXT        NOT NULL,
    sequence        INTEGER      NOT NULL CHECK (sequence > 0),
    event_type      TEXT        NOT NULL,
    event_version   TEXT        NOT NULL,
    payload         TEXT        NOT NULL,
    metadata        TEXT        NOT NULL,
    event_id        TEXT        NOT NULL,
    recorded_at     INTEGER NOT NULL,
    command_id      TEXT        NOT NULL,
    correlation_id  TEXT,
    causation_id    TEXT,
    actor           TEXT        NOT NULL,
    salt            BLOB       NOT NULL,
    sealed          BLOB,
    entry           BLOB       NOT NULL,
    leaf            BLOB       NOT NULL,
    UNIQUE (aggregate_type, aggregate_id, sequence)
);

-- Purge work is rare in the log: consumers that follow it must not read every soft-delete.
CREATE INDEX events_purges ON events (position)
    WHERE event_type IN ('purge_requested', 'purged', 'purge_failed');

-- Positions are assigned under this row. The frontier holds the roots of the perfect subtrees, largest first.
CREATE TABLE ledger_head (
    id          INTEGER    PRIMARY KEY CHECK (id = 1),
    position    INTEGER      NOT NULL,
    frontier    BLOB       NOT NULL,
    root        BLOB       NOT NULL,
    recorded_at INTEGER
);

-- The root of an empty tree is the hash of nothing (RFC 6962, 2.1).
INSERT INTO ledger_head (id, position, frontier, root, recorded_at)
VALUES (1, 0, x'', x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', NULL);

-- What the ledger is: its id and the fingerprint of its keyring.
CREATE TABLE ledger_meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One data key per entity, wrapped by a keyring that lives outside the database.
CREATE TABLE entity_keys (
    aggregate_id TEXT  PRIMARY KEY,
    key_id       TEXT  NOT NULL,
    kek_id       TEXT  NOT NULL,
    wrapped      BLOB NOT NULL
) WITHOUT ROWID;

-- The erasure fence: an entity that stands here had its key destroyed, and none may be minted for it again.
CREATE TABLE erasures (
    aggregate_id TEXT   PRIMARY KEY,
    position     INTEGER NOT NULL
) WITHOUT ROWID;

-- Projection: what can be restored or purged, newest deletion first.
CREATE TABLE archived_entries (
    entity_type TEXT        NOT NULL,
    entity_id   TEXT        NOT NULL,
    deleted_at  INTEGER NOT NULL,
    position    INTEGER      NOT NULL,
    deletion_id TEXT        NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
) WITHOUT ROWID;
CREATE INDEX archived_entries_newest ON archived_entries (entity_type, deleted_at DESC, entity_id);

-- Projection: exact counters.
CREATE TABLE archived_summary (
    entity_type TEXT   PRIMARY KEY,
    count       INTEGER NOT NULL CHECK (count >= 0)
) WITHOUT ROWID;

-- Projection: purges that are requested and not done.
CREATE TABLE purge_work (
    aggregate_id  TEXT        PRIMARY KEY,
    purge_id      TEXT        NOT NULL,
    position      INTEGER      NOT NULL,
    event_id      TEXT        NOT NULL,
    requested_at  INTEGER NOT NULL,
    storage_count INTEGER      NOT NULL,
    state         TEXT        NOT NULL
) WITHOUT ROWID;
CREATE INDEX purge_work_oldest ON purge_work (position);

-- Answers to commands that carried an idempotency key. Both hashes are keyed: they tell nothing without the keyring.
CREATE TABLE idempotency_answers (
    key         BLOB       PRIMARY KEY,
    request     BLOB       NOT NULL,
    answer      TEXT        NOT NULL,
    recorded_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX idempotency_answers_age ON idempotency_answers (recorded_at);

-- Callbacks that wait for a purge. The URL is sealed under the service's own key.
CREATE TABLE callback_targets (
    target_id    TEXT        PRIMARY KEY,
    aggregate_id TEXT        NOT NULL,
    url_hash     BLOB       NOT NULL,
    url_sealed   BLOB       NOT NULL,
    host         TEXT        NOT NULL,
    dataset_id   TEXT,
    -- A target that came with the registration is called only when no purge request named one.
    registered   INTEGER     NOT NULL,
    created_at   INTEGER NOT NULL,
    UNIQUE (aggregate_id, url_hash)
);
