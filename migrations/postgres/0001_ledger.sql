-- Ids compare by their bytes (COLLATE "C"), whatever the database's locale: both backends page in the same order.
-- The log, its head, the entities' keys, the projections and what commands leave behind.

-- One row per event. The first seven columns after the position are those that postgres-es reads.
CREATE TABLE events (
    position        bigint      PRIMARY KEY CHECK (position > 0),
    aggregate_type  text COLLATE "C"        NOT NULL,
    aggregate_id    text COLLATE "C"        NOT NULL,
    sequence        bigint      NOT NULL CHECK (sequence > 0),
    event_type      text        NOT NULL,
    event_version   text        NOT NULL,
    payload         json        NOT NULL,
    metadata        json        NOT NULL,
    event_id        uuid        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    command_id      uuid        NOT NULL,
    correlation_id  text,
    causation_id    uuid,
    actor           text        NOT NULL,
    salt            bytea       NOT NULL,
    sealed          bytea,
    entry           bytea       NOT NULL,
    leaf            bytea       NOT NULL,
    UNIQUE (aggregate_type, aggregate_id, sequence)
);

-- Purge work is rare in the log: consumers that follow it must not read every soft-delete.
CREATE INDEX events_purges ON events (position)
    WHERE event_type IN ('purge_requested', 'purged', 'purge_failed');

-- Positions are assigned under this row. The frontier holds the roots of the perfect subtrees, largest first.
CREATE TABLE ledger_head (
    id          smallint    PRIMARY KEY CHECK (id = 1),
    position    bigint      NOT NULL,
    frontier    bytea       NOT NULL,
    root        bytea       NOT NULL,
    recorded_at timestamptz
) WITH (fillfactor = 10);

-- The root of an empty tree is the hash of nothing (RFC 6962, 2.1).
INSERT INTO ledger_head (id, position, frontier, root, recorded_at)
VALUES (1, 0, '', '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', NULL);

-- What the ledger is: its id and the fingerprint of its keyring.
CREATE TABLE ledger_meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- One data key per entity, wrapped by a keyring that lives outside the database.
CREATE TABLE entity_keys (
    aggregate_id text COLLATE "C"  PRIMARY KEY,
    key_id       uuid  NOT NULL,
    kek_id       text  NOT NULL,
    wrapped      bytea NOT NULL
);

-- The erasure fence: an entity that stands here had its key destroyed, and none may be minted for it again.
CREATE TABLE erasures (
    aggregate_id text COLLATE "C"   PRIMARY KEY,
    position     bigint NOT NULL
);

-- Projection: what can be restored or purged, newest deletion first.
CREATE TABLE archived_entries (
    entity_type text COLLATE "C"        NOT NULL,
    entity_id   text COLLATE "C"        NOT NULL,
    deleted_at  timestamptz NOT NULL,
    position    bigint      NOT NULL,
    deletion_id uuid        NOT NULL,
    PRIMARY KEY (entity_type, entity_id)
);
CREATE INDEX archived_entries_newest ON archived_entries (entity_type, deleted_at DESC, entity_id);

-- Projection: exact counters. Low fill factor, so that updates stay on their page.
CREATE TABLE archived_summary (
    entity_type text COLLATE "C"   PRIMARY KEY,
    count       bigint NOT NULL CHECK (count >= 0)
) WITH (fillfactor = 10);

-- Projection: purges that are requested and not done.
CREATE TABLE purge_work (
    aggregate_id  text COLLATE "C"        PRIMARY KEY,
    purge_id      uuid        NOT NULL,
    position      bigint      NOT NULL,
    event_id      uuid        NOT NULL,
    requested_at  timestamptz NOT NULL,
    storage_count bigint      NOT NULL,
    state         text        NOT NULL
);
CREATE INDEX purge_work_oldest ON purge_work (position);

-- Answers to commands that carried an idempotency key. Both hashes are keyed: they tell nothing without the keyring.
CREATE TABLE idempotency_answers (
    key         bytea       PRIMARY KEY,
    request     bytea       NOT NULL,
    answer      json        NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX idempotency_answers_age ON idempotency_answers (recorded_at);

-- Callbacks that wait for a purge. The URL is sealed under the service's own key.
CREATE TABLE callback_targets (
    target_id    uuid        PRIMARY KEY,
    aggregate_id text COLLATE "C"        NOT NULL,
    url_hash     bytea       NOT NULL,
    url_sealed   bytea       NOT NULL,
    host         text        NOT NULL,
    dataset_id   text,
    -- A target that came with the registration is called only when no purge request named one.
    registered   boolean     NOT NULL,
    created_at   timestamptz NOT NULL,
    UNIQUE (aggregate_id, url_hash)
);
