-- The whole schema of the first version. Times are microseconds since 1970 UTC; ids are hyphenated text. Every table is STRICT: a column
-- holds values of its own type. Checks say what the types leave open: closed sets of values, lengths, signs, and times that a calendar of
-- four digits has (the years 1 to 9999).

-- ## The log, its head and the entities' keys

-- One row per event. The first seven columns after the position are those that sqlite-es reads.
CREATE TABLE events (
    position        INTEGER PRIMARY KEY CHECK (position > 0),
    aggregate_type  TEXT    NOT NULL,
    aggregate_id    TEXT    NOT NULL,
    sequence        INTEGER NOT NULL CHECK (sequence > 0),
    event_type      TEXT    NOT NULL,
    event_version   TEXT    NOT NULL,
    payload         TEXT    NOT NULL,
    metadata        TEXT    NOT NULL,
    event_id        TEXT    NOT NULL CHECK (length(event_id) = 36),
    recorded_at     INTEGER NOT NULL CHECK (recorded_at BETWEEN -62135596800000000 AND 253402300799999999),
    command_id      TEXT    NOT NULL CHECK (length(command_id) = 36),
    correlation_id  TEXT,
    causation_id    TEXT    CHECK (length(causation_id) = 36),
    actor           TEXT    NOT NULL,
    salt            BLOB    NOT NULL CHECK (length(salt) = 32),
    sealed          BLOB,
    entry           BLOB    NOT NULL,
    leaf            BLOB    NOT NULL CHECK (length(leaf) = 32)
) STRICT;

-- Events are kept by position alone. The first one of a stream is found by its entity's row, and most entities have no other soon: an
-- index over all of them would be a second tree that every new entity touches at a random place.
CREATE UNIQUE INDEX events_later ON events (aggregate_id, sequence) WHERE sequence > 1;

-- Purge work is rare in the log: consumers that follow it must not read every soft-delete.
CREATE INDEX events_purges ON events (position)
    WHERE event_type IN ('purge_requested', 'purged', 'purge_failed');

-- A proof is asked for by the event's id.
CREATE UNIQUE INDEX events_by_id ON events (event_id);

-- Positions are assigned under this row. The frontier holds the roots of the perfect subtrees, largest first.
CREATE TABLE ledger_head (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    position        INTEGER NOT NULL CHECK (position >= 0),
    frontier        BLOB    NOT NULL CHECK (length(frontier) % 32 = 0),
    root            BLOB    NOT NULL CHECK (length(root) = 32),
    recorded_at     INTEGER CHECK (recorded_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- Up to where the log's claims on storage are complete: the position, unless a version appended that writes none. What is missing
    -- is computed from the sealed details, and no storage is cleaned meanwhile.
    claims_position INTEGER NOT NULL DEFAULT 0 CHECK (claims_position >= 0)
) STRICT;

-- The root of an empty tree is the hash of nothing (RFC 6962, 2.1).
INSERT INTO ledger_head (id, position, frontier, root, recorded_at)
VALUES (1, 0, x'', x'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', NULL);

-- What the ledger is: its id and the fingerprint of its keyring.
CREATE TABLE ledger_meta (
    name  TEXT    PRIMARY KEY,
    value TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per entity, made with its first event: all that is found by an entity's id. Its rows lie in the order of arrival, so that
-- only the index over the ids is touched at a random place.
CREATE TABLE entities (
    aggregate_id   TEXT    PRIMARY KEY NOT NULL,
    -- Where its first event stands.
    first_position INTEGER NOT NULL CHECK (first_position > 0),
    -- Its data key, wrapped by a keyring that lives outside the database: from the first details that are sealed until the purge.
    key_id         TEXT    CHECK (length(key_id) = 36),
    kek_id         TEXT,
    wrapped        BLOB,
    -- The erasure fence: where the purge stands that destroyed the key. None may be minted for the entity again.
    erased_at      INTEGER CHECK (erased_at > 0),
    CHECK ((wrapped IS NULL) = (key_id IS NULL) AND (wrapped IS NULL) = (kek_id IS NULL)),
    CHECK (erased_at IS NULL OR wrapped IS NULL)
) STRICT;

-- Events by stream: what sqlite-es reads, and everybody else who asks for an entity's events.
CREATE VIEW entity_events AS
SELECT e.position, e.aggregate_type, n.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload, e.metadata, e.event_id,
       e.recorded_at, e.command_id, e.correlation_id, e.causation_id, e.actor, e.salt, e.sealed, e.entry, e.leaf
FROM entities n JOIN events e ON e.position = n.first_position AND e.aggregate_id = n.aggregate_id AND e.sequence = 1
UNION ALL
SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, event_id,
       recorded_at, command_id, correlation_id, causation_id, actor, salt, sealed, entry, leaf
FROM events WHERE sequence > 1;

-- ## Projections

-- What can be restored or purged, newest deletion first.
CREATE TABLE archived_entries (
    entity_type TEXT    NOT NULL,
    entity_id   TEXT    NOT NULL,
    deleted_at  INTEGER NOT NULL CHECK (deleted_at BETWEEN -62135596800000000 AND 253402300799999999),
    position    INTEGER NOT NULL CHECK (position > 0),
    deletion_id TEXT    NOT NULL CHECK (length(deletion_id) = 36),
    -- Nearly the order of arrival, so that new rows come to the end; it is read backwards.
    PRIMARY KEY (entity_type, deleted_at, entity_id DESC)
) STRICT, WITHOUT ROWID;

-- Exact counters.
CREATE TABLE archived_summary (
    entity_type TEXT    PRIMARY KEY,
    count       INTEGER NOT NULL CHECK (count >= 0)
) STRICT, WITHOUT ROWID;

-- Where the rows of the archived list stand, counted, so that page N is found without walking there.
--
-- The list of a type (deleted_at descending, then id) is cut into pages of a thousand or two rows, and the pages into groups.
-- A row here says where its rows begin and how many they are; they end where the next one's begin. The first of a type begins
-- before everything (the largest number, and no id) and is always there. A group begins where one of its pages begins.
CREATE TABLE archived_page_groups (
    id          INTEGER PRIMARY KEY,
    entity_type TEXT    NOT NULL,
    deleted_at  INTEGER NOT NULL,
    entity_id   TEXT    NOT NULL,
    count       INTEGER NOT NULL CHECK (count >= 0),
    CHECK (CASE WHEN entity_id = '' THEN deleted_at = 9223372036854775807
                ELSE deleted_at BETWEEN -62135596800000000 AND 253402300799999999 END)
) STRICT;
CREATE UNIQUE INDEX archived_page_groups_order ON archived_page_groups (entity_type, deleted_at DESC, entity_id);

CREATE TABLE archived_pages (
    id          INTEGER PRIMARY KEY,
    entity_type TEXT    NOT NULL,
    deleted_at  INTEGER NOT NULL,
    entity_id   TEXT    NOT NULL,
    count       INTEGER NOT NULL CHECK (count >= 0),
    group_id    INTEGER NOT NULL,
    CHECK (CASE WHEN entity_id = '' THEN deleted_at = 9223372036854775807
                ELSE deleted_at BETWEEN -62135596800000000 AND 253402300799999999 END)
) STRICT;
CREATE UNIQUE INDEX archived_pages_order ON archived_pages (entity_type, deleted_at DESC, entity_id);
CREATE INDEX archived_pages_group ON archived_pages (group_id);

-- Every type has its first page; a rebuild counts the rest.
INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
SELECT column1, 9223372036854775807, '', 0
FROM (VALUES ('backups'), ('environments'), ('instances'), ('projects'), ('organizations'), ('servers'), ('domains'), ('users'), ('archives'));
INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
SELECT entity_type, deleted_at, entity_id, 0, id FROM archived_page_groups ORDER BY id;

-- Purges that are requested and not done.
CREATE TABLE purge_work (
    aggregate_id  TEXT    PRIMARY KEY,
    purge_id      TEXT    NOT NULL CHECK (length(purge_id) = 36),
    position      INTEGER NOT NULL CHECK (position > 0),
    event_id      TEXT    NOT NULL CHECK (length(event_id) = 36),
    requested_at  INTEGER NOT NULL CHECK (requested_at BETWEEN -62135596800000000 AND 253402300799999999),
    storage_count INTEGER NOT NULL CHECK (storage_count >= 0),
    state         TEXT    NOT NULL CHECK (state IN ('purging', 'purge_failed'))
) STRICT, WITHOUT ROWID;
CREATE INDEX purge_work_oldest ON purge_work (position);

-- ## What commands leave behind

-- Answers to commands that carried an idempotency key. Both hashes are keyed: they tell nothing without the keyring.
CREATE TABLE idempotency_answers (
    key         BLOB    PRIMARY KEY CHECK (length(key) = 32),
    request     BLOB    NOT NULL CHECK (length(request) = 32),
    answer      TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL CHECK (recorded_at BETWEEN -62135596800000000 AND 253402300799999999)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_answers_age ON idempotency_answers (recorded_at);

-- What entities name as their storage, so that a purge can ask whose else a place is before it deletes there.
--
-- One row per storage URI of a registration or a deletion, by the event that named it. `place` is a chain of keyed hashes, eight bytes
-- each: of the outermost folder (or the bucket), of the folder below it, and so on down to what the URI names, so that whatever lies
-- below a place begins with that place's own bytes. Without the keyring it tells nothing. A claim stands until a restore undoes its
-- record (the log says so, nothing is written here) and goes with the event that ends the purge.
CREATE TABLE storage_claims (
    position INTEGER NOT NULL CHECK (position > 0),
    ordinal  INTEGER NOT NULL CHECK (ordinal > 0),
    place    BLOB    NOT NULL CHECK (length(place) > 0 AND length(place) % 8 = 0),
    PRIMARY KEY (position, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX storage_claims_place ON storage_claims (place);

-- ## Coordination

-- Who does what alone. A lease is never deleted: its epoch has to grow over every change of owner. One that was given back has expired.
CREATE TABLE leases (
    name       TEXT    PRIMARY KEY,
    owner      TEXT    NOT NULL CHECK (length(owner) = 36),
    epoch      INTEGER NOT NULL CHECK (epoch > 0),
    expires_at INTEGER NOT NULL CHECK (expires_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- How long it was taken for: one that ends later than that from now on was taken by a clock that was wrong, and is over.
    length_ms  INTEGER CHECK (length_ms >= 0)
) STRICT, WITHOUT ROWID;

-- How far each reader of the log has come.
CREATE TABLE cursors (
    name     TEXT    PRIMARY KEY,
    position INTEGER NOT NULL CHECK (position >= 0)
) STRICT, WITHOUT ROWID;

-- ## Callbacks

-- Callbacks that wait for a purge. The URL is sealed under the service's own key.
CREATE TABLE callback_targets (
    target_id    TEXT    PRIMARY KEY CHECK (length(target_id) = 36),
    aggregate_id TEXT    NOT NULL,
    url_hash     BLOB    NOT NULL CHECK (length(url_hash) = 32),
    url_sealed   BLOB    NOT NULL,
    host         TEXT    NOT NULL,
    dataset_id   TEXT,
    -- A target that came with the registration is called only when no purge request named one.
    registered   INTEGER NOT NULL CHECK (registered IN (0, 1)),
    created_at   INTEGER NOT NULL CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- `<scheme>://<host>:<port>#<the first 16 digits of url_hash>`.
    receiver     TEXT,
    UNIQUE (aggregate_id, url_hash)
) STRICT;

-- Callback deliveries: one per outcome of a purge and target.
CREATE TABLE callback_deliveries (
    -- Time-ordered; receivers see it as `webhook-id`.
    delivery_id     TEXT    PRIMARY KEY CHECK (length(delivery_id) = 36),
    event_id        TEXT    NOT NULL CHECK (length(event_id) = 36),
    target_id       TEXT    NOT NULL CHECK (length(target_id) = 36),
    position        INTEGER NOT NULL CHECK (position > 0),
    aggregate_id    TEXT    NOT NULL,
    -- The receiver's host:port.
    host            TEXT    NOT NULL,
    -- Sealed under the service's own key, bound to aggregate_id.
    url_sealed      BLOB    NOT NULL,
    dataset_id      TEXT,
    -- What the callback says: null after a purge, the cause after one that failed.
    error           TEXT,
    -- 'superseded': a later outcome has overtaken it.
    state           TEXT    NOT NULL CHECK (state IN ('due', 'delivered', 'dead', 'superseded')),
    -- Attempted before, or replayed: such deliveries never take the turns of new ones.
    retry           INTEGER NOT NULL CHECK (retry IN (0, 1)),
    -- The receiver answered 410 Gone.
    gone            INTEGER NOT NULL CHECK (gone IN (0, 1)),
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    -- How many of them were made before the latest replay: the schedule counts from there.
    attempts_before INTEGER NOT NULL CHECK (attempts_before >= 0),
    created_at      INTEGER NOT NULL CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- When the present walk through the schedule began.
    first_due_at    INTEGER NOT NULL CHECK (first_due_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- Not claimed before this time; while an attempt is under way, the end of its lease.
    next_attempt_at INTEGER NOT NULL CHECK (next_attempt_at BETWEEN -62135596800000000 AND 253402300799999999),
    lease_token     TEXT    CHECK (length(lease_token) = 36),
    last_status     INTEGER CHECK (last_status >= 0),
    last_error      TEXT,
    finished_at     INTEGER CHECK (finished_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- The last word about the entity: its purge is over for good, with all its objects gone or forced to leave some.
    final           INTEGER NOT NULL DEFAULT 0 CHECK (final IN (0, 1)),
    -- What limits and circuits count by.
    receiver        TEXT    NOT NULL DEFAULT '-',
    -- An operator replayed it: the next attempt is made whatever a circuit says.
    probe           INTEGER NOT NULL DEFAULT 0 CHECK (probe IN (0, 1)),
    UNIQUE (event_id, target_id)
) STRICT;

CREATE INDEX callback_deliveries_next ON callback_deliveries (retry, next_attempt_at) WHERE state = 'due';
-- Claims go from receiver to receiver, so that nobody's backlog is read to find another's delivery.
CREATE INDEX callback_deliveries_receivers ON callback_deliveries (retry, receiver, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_probes ON callback_deliveries (next_attempt_at) WHERE state = 'due' AND probe = 1;
CREATE INDEX callback_deliveries_dead ON callback_deliveries (created_at, delivery_id) WHERE state = 'dead';
CREATE INDEX callback_deliveries_newest ON callback_deliveries (created_at, delivery_id);
CREATE INDEX callback_deliveries_entity ON callback_deliveries (aggregate_id);
-- The last word about an entity, by the time at which its receiver had it.
CREATE INDEX callback_deliveries_told ON callback_deliveries (finished_at) WHERE state = 'delivered' AND final;

-- Every attempt to make a delivery.
CREATE TABLE callback_attempts (
    delivery_id    TEXT    NOT NULL CHECK (length(delivery_id) = 36),
    attempt        INTEGER NOT NULL CHECK (attempt > 0),
    started_at     INTEGER NOT NULL CHECK (started_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- 'unknown' is written before the attempt is made, so that a crash leaves a trace.
    outcome        TEXT    NOT NULL CHECK (outcome IN ('unknown', 'delivered', 'failed')),
    duration_ms    INTEGER CHECK (duration_ms >= 0),
    status         INTEGER CHECK (status >= 0),
    error          TEXT,
    -- The first 16 KiB of the answer.
    body           BLOB,
    body_truncated INTEGER NOT NULL CHECK (body_truncated IN (0, 1)),
    PRIMARY KEY (delivery_id, attempt)
) STRICT, WITHOUT ROWID;

-- Circuits that are open, so that they survive a restart.
CREATE TABLE callback_circuits (
    -- A receiver, or an endpoint (without '#').
    key        TEXT    PRIMARY KEY,
    -- When it was opened first.
    since      INTEGER NOT NULL CHECK (since BETWEEN -62135596800000000 AND 253402300799999999),
    -- From when on an attempt probes it.
    open_until INTEGER NOT NULL CHECK (open_until BETWEEN -62135596800000000 AND 253402300799999999),
    -- How often in a row it was opened.
    opened     INTEGER NOT NULL CHECK (opened >= 0)
) STRICT, WITHOUT ROWID;

-- ## Storage cleanup

-- One job per purge request. The id of the purge_requested event makes the job unique, however often the event is seen. No storage URI
-- stands here: they are sealed in the log, and an obligation names its own by number.
CREATE TABLE cleanup_jobs (
    event_id        TEXT    PRIMARY KEY CHECK (length(event_id) = 36),
    position        INTEGER NOT NULL CHECK (position > 0),
    aggregate_id    TEXT    NOT NULL,
    purge_id        TEXT    NOT NULL CHECK (length(purge_id) = 36),
    state           TEXT    NOT NULL CHECK (state IN ('due', 'done', 'failed')),
    -- Attempts that ended in an error of the storage; one that was cut off does not count. They decide about pauses and giving up.
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    next_attempt_at INTEGER NOT NULL CHECK (next_attempt_at BETWEEN -62135596800000000 AND 253402300799999999),
    lease_token     TEXT    CHECK (length(lease_token) = 36),
    lease_until     INTEGER CHECK (lease_until BETWEEN -62135596800000000 AND 253402300799999999),
    last_error      TEXT,
    -- Totals, once the job is over; until then the obligations have them.
    objects         INTEGER NOT NULL DEFAULT 0 CHECK (objects >= 0),
    bytes           INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    created_at      INTEGER NOT NULL CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    finished_at     INTEGER CHECK (finished_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- Attempts that were begun, whatever ended them: what people are told.
    begun           INTEGER NOT NULL DEFAULT 0 CHECK (begun >= 0),
    -- The instances that found, since the job was last due, that they cannot do it for want of a root, separated by spaces: it
    -- waits until `next_attempt_at` for these, and for nobody else.
    left_by         TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX cleanup_jobs_due ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due';
CREATE INDEX cleanup_jobs_left ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due' AND left_by IS NOT NULL;
-- A purge that was forced is found by its id when nothing is owed any more, to answer a request that is told again.
CREATE INDEX cleanup_jobs_purge ON cleanup_jobs (purge_id);

-- What a purge owes: one row per storage URI, by its place in the order in which the log names them, from 1.
CREATE TABLE cleanup_obligations (
    event_id     TEXT    NOT NULL CHECK (length(event_id) = 36) REFERENCES cleanup_jobs (event_id) ON DELETE CASCADE,
    ordinal      INTEGER NOT NULL CHECK (ordinal > 0),
    state        TEXT    NOT NULL CHECK (state IN ('owed', 'done', 'failed')),
    objects      INTEGER NOT NULL DEFAULT 0 CHECK (objects >= 0),
    bytes        INTEGER NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    last_error   TEXT,
    updated_at   INTEGER NOT NULL CHECK (updated_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- What the storage URI names, as a hash that only the keyring can make: leftovers in the storage are recognized by it after the URI
    -- itself is gone with its entity's key.
    storage_hash BLOB    CHECK (length(storage_hash) = 32),
    -- 1: what was asked to be deleted is not all counted. Whoever takes the job over with this set knows the counts to be too low.
    under_way    INTEGER NOT NULL DEFAULT 0 CHECK (under_way IN (0, 1)),
    -- 1: the counts are a lower bound.
    at_least     INTEGER NOT NULL DEFAULT 0 CHECK (at_least IN (0, 1)),
    -- The object or folder that the last attempt failed at, sealed under the entity's key.
    failed_at    BLOB,
    -- Since when no instance has the root that the place lies below.
    nobody_since INTEGER CHECK (nobody_since BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (event_id, ordinal)
) STRICT, WITHOUT ROWID;

-- What the local storage roots are recognized by, so that a folder without its file system is never taken for an empty root.
CREATE TABLE storage_roots (
    -- file:///…, percent-encoded, in one spelling only.
    uri           TEXT    PRIMARY KEY,
    -- Stands in the root's marker file beside the ledger's id.
    root_id       TEXT    NOT NULL CHECK (length(root_id) = 36),
    -- Of the folder when it was first used; only where no marker could be written.
    device        INTEGER,
    inode         INTEGER,
    -- Nanoseconds since 1970, where the file system tells.
    born          INTEGER,
    first_used_at INTEGER NOT NULL CHECK (first_used_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK ((device IS NULL) = (inode IS NULL))
) STRICT, WITHOUT ROWID;

-- Which instance has which roots, and when it last said so.
CREATE TABLE storage_root_holders (
    instance TEXT    NOT NULL CHECK (length(instance) = 36),
    root     TEXT    NOT NULL,
    seen_at  INTEGER NOT NULL CHECK (seen_at BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (instance, root)
) STRICT, WITHOUT ROWID;

-- ## Checkpoints and forks

-- What the ledger signed: one root per size for ever, under each origin. The first origin is 1; every fork opens the next one.
CREATE TABLE checkpoints (
    ledger     INTEGER NOT NULL CHECK (ledger > 0),
    size       INTEGER NOT NULL CHECK (size >= 0),
    root       BLOB    NOT NULL CHECK (length(root) = 32),
    note       TEXT    NOT NULL,
    created_at INTEGER NOT NULL CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (ledger, size)
) STRICT, WITHOUT ROWID;

-- The hash of each full tile: what the tiles of level 1 and above hold. Leaf hashes stand beside their events.
CREATE TABLE tree_hashes (
    level INTEGER NOT NULL CHECK (level > 0),
    place INTEGER NOT NULL CHECK (place >= 0),
    hash  BLOB    NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, place)
) STRICT, WITHOUT ROWID;

-- What each fork has lost, as far as it could be told. `size` is how many events it went on from, `reached` the last position that is
-- known to have been recorded, `seen` how many of those between them the stream told of.
CREATE TABLE fork_losses (
    ledger  INTEGER PRIMARY KEY CHECK (ledger > 1),
    size    INTEGER NOT NULL CHECK (size >= 0),
    reached INTEGER NOT NULL CHECK (reached >= size),
    seen    INTEGER NOT NULL CHECK (seen >= 0),
    -- Whether the stream was asked: there is none, it could not be reached, it is gone, or it was read.
    stream  TEXT    NOT NULL CHECK (stream IN ('none', 'away', 'missing', 'read')),
    told_at INTEGER NOT NULL CHECK (told_at BETWEEN -62135596800000000 AND 253402300799999999)
) STRICT;

-- Purges of the lost part, by the last event of each that the stream has.
CREATE TABLE lost_purges (
    ledger       INTEGER NOT NULL CHECK (ledger > 1),
    event_id     TEXT    NOT NULL CHECK (length(event_id) = 36),
    position     INTEGER NOT NULL CHECK (position > 0),
    -- The number of the ledger that recorded it.
    recorded_by  INTEGER NOT NULL CHECK (recorded_by > 0),
    aggregate_id TEXT    NOT NULL,
    purge_id     TEXT    CHECK (length(purge_id) = 36),
    event        TEXT    NOT NULL,
    recorded_at  INTEGER NOT NULL CHECK (recorded_at BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (ledger, event_id)
) STRICT, WITHOUT ROWID;

-- ## The audit

-- What the log does not hold: attempts that were denied or failed, and reads of the audit itself. The last sequence;
-- taken under the writing connection, so that sequences have no gap.
CREATE TABLE audit_head (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    sequence INTEGER NOT NULL CHECK (sequence >= 0)
) STRICT;
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
    first_at      INTEGER NOT NULL CHECK (first_at BETWEEN -62135596800000000 AND 253402300799999999),
    last_at       INTEGER NOT NULL CHECK (last_at BETWEEN -62135596800000000 AND 253402300799999999),
    count         INTEGER NOT NULL CHECK (count > 0)
) STRICT;
CREATE UNIQUE INDEX audit_attempts_place ON audit_attempts (position, sequence);

-- Which values occur in which block of 32 positions: (hash of field and value, block). It is written behind the log, in runs of
-- full blocks, so that a filter costs an append nothing; what it does not cover yet is read in the log itself.
CREATE TABLE audit_blocks (
    token INTEGER NOT NULL,
    block INTEGER NOT NULL CHECK (block >= 0),
    PRIMARY KEY (token, block)
) STRICT, WITHOUT ROWID;

-- How many blocks are covered.
CREATE TABLE audit_indexed (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    blocks INTEGER NOT NULL CHECK (blocks >= 0)
) STRICT;
INSERT INTO audit_indexed (id, blocks) VALUES (1, 0);

-- ## What instances know of their machines and of each other

-- Clocks that moved under a running instance, and who accepted them. An instance adds its own row and looks at nobody else's.
CREATE TABLE clock_moves (
    id          TEXT    PRIMARY KEY CHECK (length(id) = 36),
    expected_at INTEGER NOT NULL CHECK (expected_at BETWEEN -62135596800000000 AND 253402300799999999),
    shown_at    INTEGER NOT NULL CHECK (shown_at BETWEEN -62135596800000000 AND 253402300799999999),
    -- When the clock was back by itself, or the instance had gone on.
    ended_at    INTEGER CHECK (ended_at BETWEEN -62135596800000000 AND 253402300799999999),
    accepted_at INTEGER CHECK (accepted_at BETWEEN -62135596800000000 AND 253402300799999999),
    accepted_by TEXT,
    reason      TEXT
) STRICT;

-- Keyed hashes of what instances must share, one row per instance and thing. A thing may have several while it is rotated.
CREATE TABLE instance_marks (
    instance_id TEXT    NOT NULL CHECK (length(instance_id) = 36),
    name        TEXT    NOT NULL,
    -- A JSON array of texts.
    marks       TEXT    NOT NULL,
    seen_at     INTEGER NOT NULL CHECK (seen_at BETWEEN -62135596800000000 AND 253402300799999999),
    PRIMARY KEY (instance_id, name)
) STRICT, WITHOUT ROWID;
