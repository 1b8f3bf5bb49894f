-- The whole schema of the first version. Ids compare by their bytes (COLLATE "C"), whatever the database's locale: both backends page in
-- the same order. Checks say what the types leave open: closed sets of values, lengths, signs, and times that a calendar of four digits
-- has (the years 1 to 9999).

-- ## The log, its head and the entities' keys

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
    recorded_at     timestamptz NOT NULL CHECK (recorded_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    command_id      uuid        NOT NULL,
    correlation_id  text,
    causation_id    uuid,
    actor           text        NOT NULL,
    salt            bytea       NOT NULL CHECK (octet_length(salt) = 32),
    sealed          bytea,
    entry           bytea       NOT NULL,
    leaf            bytea       NOT NULL CHECK (octet_length(leaf) = 32)
);

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
    id              smallint    PRIMARY KEY CHECK (id = 1),
    position        bigint      NOT NULL CHECK (position >= 0),
    frontier        bytea       NOT NULL CHECK (octet_length(frontier) % 32 = 0),
    root            bytea       NOT NULL CHECK (octet_length(root) = 32),
    recorded_at     timestamptz CHECK (recorded_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- Up to where the log's claims on storage are complete: the position, unless a version appended that writes none. What is missing
    -- is computed from the sealed details, and no storage is cleaned meanwhile.
    claims_position bigint      NOT NULL DEFAULT 0 CHECK (claims_position >= 0)
) WITH (fillfactor = 10);

-- The root of an empty tree is the hash of nothing (RFC 6962, 2.1).
INSERT INTO ledger_head (id, position, frontier, root, recorded_at)
VALUES (1, 0, '', '\xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', NULL);

-- What ends a batch's statement, and with it its transaction, where a part of it has written another number of rows than it was given.
CREATE FUNCTION refuse_batch() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a part of the batch wrote another number of rows than it was given' USING ERRCODE = 'AL001';
END $$;

-- What the ledger is: its id and the fingerprint of its keyring.
CREATE TABLE ledger_meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- One row per entity, made with its first event: all that is found by an entity's id.
CREATE TABLE entities (
    aggregate_id   text COLLATE "C" PRIMARY KEY,
    -- Where its first event stands.
    first_position bigint NOT NULL CHECK (first_position > 0),
    -- Its data key, wrapped by a keyring that lives outside the database: from the first details that are sealed until the purge.
    key_id         uuid,
    kek_id         text,
    wrapped        bytea,
    -- The erasure fence: where the purge stands that destroyed the key. None may be minted for the entity again.
    erased_at      bigint CHECK (erased_at > 0),
    CHECK ((wrapped IS NULL) = (key_id IS NULL) AND (wrapped IS NULL) = (kek_id IS NULL)),
    CHECK (erased_at IS NULL OR wrapped IS NULL)
);

-- Events by stream: what postgres-es reads, and everybody else who asks for an entity's events.
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
    entity_type text COLLATE "C"        NOT NULL,
    entity_id   text COLLATE "C"        NOT NULL,
    deleted_at  timestamptz NOT NULL CHECK (deleted_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    position    bigint      NOT NULL CHECK (position > 0),
    deletion_id uuid        NOT NULL
);
-- Nearly the order of arrival, so that new rows come to the end; it is read backwards.
CREATE UNIQUE INDEX archived_entries_oldest ON archived_entries (entity_type, deleted_at, entity_id DESC);

-- Exact counters. Low fill factor, so that updates stay on their page.
CREATE TABLE archived_summary (
    entity_type text COLLATE "C"   PRIMARY KEY,
    count       bigint NOT NULL CHECK (count >= 0)
) WITH (fillfactor = 10);

-- Where the rows of the archived list stand, counted, so that page N is found without walking there.
--
-- The list of a type (deleted_at descending, then id) is cut into pages of a thousand or two rows, and the pages into groups.
-- A row here says where its rows begin and how many they are; they end where the next one's begin. The first of a type begins
-- before everything (infinity, and no id) and is always there. A group begins where one of its pages begins.
CREATE TABLE archived_page_groups (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_type text COLLATE "C" NOT NULL,
    deleted_at  timestamptz NOT NULL,
    entity_id   text COLLATE "C" NOT NULL,
    count       bigint      NOT NULL CHECK (count >= 0),
    CHECK (CASE WHEN entity_id = '' THEN deleted_at = 'infinity' ELSE deleted_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z' END)
) WITH (fillfactor = 40);
CREATE UNIQUE INDEX archived_page_groups_order ON archived_page_groups (entity_type, deleted_at DESC, entity_id);

CREATE TABLE archived_pages (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity_type text COLLATE "C" NOT NULL,
    deleted_at  timestamptz NOT NULL,
    entity_id   text COLLATE "C" NOT NULL,
    count       bigint      NOT NULL CHECK (count >= 0),
    group_id    bigint      NOT NULL,
    CHECK (CASE WHEN entity_id = '' THEN deleted_at = 'infinity' ELSE deleted_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z' END)
) WITH (fillfactor = 40);
CREATE UNIQUE INDEX archived_pages_order ON archived_pages (entity_type, deleted_at DESC, entity_id);
CREATE INDEX archived_pages_group ON archived_pages (group_id);

-- Every type has its first page; a rebuild counts the rest.
INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
SELECT entity_type, 'infinity', '', 0
FROM (VALUES ('backups'), ('environments'), ('instances'), ('projects'), ('organizations'), ('servers'), ('domains'), ('users'), ('archives')) AS types (entity_type);
INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
SELECT entity_type, deleted_at, entity_id, 0, id FROM archived_page_groups ORDER BY id;

-- Purges that are requested and not done.
CREATE TABLE purge_work (
    aggregate_id  text COLLATE "C"        PRIMARY KEY,
    purge_id      uuid        NOT NULL,
    position      bigint      NOT NULL CHECK (position > 0),
    event_id      uuid        NOT NULL,
    requested_at  timestamptz NOT NULL CHECK (requested_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    storage_count bigint      NOT NULL CHECK (storage_count >= 0),
    state         text        NOT NULL CHECK (state IN ('purging', 'purge_failed'))
);
CREATE INDEX purge_work_oldest ON purge_work (position);

-- ## What commands leave behind

-- Answers to commands that carried an idempotency key. Both hashes are keyed: they tell nothing without the keyring.
CREATE TABLE idempotency_answers (
    key         bytea       PRIMARY KEY CHECK (octet_length(key) = 32),
    request     bytea       NOT NULL CHECK (octet_length(request) = 32),
    answer      json        NOT NULL,
    recorded_at timestamptz NOT NULL CHECK (recorded_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z')
);
CREATE INDEX idempotency_answers_age ON idempotency_answers (recorded_at);

-- What entities name as their storage, so that a purge can ask whose else a place is before it deletes there.
--
-- One row per storage URI of a registration or a deletion, by the event that named it. `place` is a chain of keyed hashes, eight bytes
-- each: of the outermost folder (or the bucket), of the folder below it, and so on down to what the URI names, so that whatever lies
-- below a place begins with that place's own bytes. Without the keyring it tells nothing. A claim stands until a restore undoes its
-- record (the log says so, nothing is written here) and goes with the event that ends the purge.
CREATE TABLE storage_claims (
    position bigint   NOT NULL CHECK (position > 0),
    ordinal  smallint NOT NULL CHECK (ordinal > 0),
    place    bytea    NOT NULL CHECK (octet_length(place) > 0 AND octet_length(place) % 8 = 0),
    PRIMARY KEY (position, ordinal)
);
CREATE INDEX storage_claims_place ON storage_claims (place, position);

-- ## Coordination

-- Who does what alone. A lease is never deleted: its epoch has to grow over every change of owner. One that was given back has expired.
CREATE TABLE leases (
    name       text        PRIMARY KEY,
    owner      uuid        NOT NULL,
    epoch      bigint      NOT NULL CHECK (epoch > 0),
    expires_at timestamptz NOT NULL CHECK (expires_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- How long it was taken for: one that ends later than that from now on was taken by a clock that was wrong, and is over.
    length_ms  bigint CHECK (length_ms >= 0)
);

-- How far each reader of the log has come.
CREATE TABLE cursors (
    name     text   PRIMARY KEY,
    position bigint NOT NULL CHECK (position >= 0)
);

-- ## Callbacks

-- Callbacks that wait for a purge. The URL is sealed under the service's own key.
CREATE TABLE callback_targets (
    target_id    uuid        PRIMARY KEY,
    aggregate_id text COLLATE "C"        NOT NULL,
    url_hash     bytea       NOT NULL CHECK (octet_length(url_hash) = 32),
    url_sealed   bytea       NOT NULL,
    host         text        NOT NULL,
    dataset_id   text,
    -- A target that came with the registration is called only when no purge request named one.
    registered   boolean     NOT NULL,
    created_at   timestamptz NOT NULL CHECK (created_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- `<scheme>://<host>:<port>#<the first 16 digits of url_hash>`.
    receiver     text COLLATE "C",
    UNIQUE (aggregate_id, url_hash)
);

-- Callback deliveries: one per outcome of a purge and target.
CREATE TABLE callback_deliveries (
    -- Time-ordered; receivers see it as `webhook-id`.
    delivery_id     uuid        PRIMARY KEY,
    event_id        uuid        NOT NULL,
    target_id       uuid        NOT NULL,
    position        bigint      NOT NULL CHECK (position > 0),
    aggregate_id    text COLLATE "C" NOT NULL,
    -- The receiver's host:port.
    host            text COLLATE "C" NOT NULL,
    -- Sealed under the service's own key, bound to aggregate_id.
    url_sealed      bytea       NOT NULL,
    dataset_id      text,
    -- What the callback says: null after a purge, the cause after one that failed.
    error           text,
    -- 'superseded': a later outcome has overtaken it.
    state           text        NOT NULL CHECK (state IN ('due', 'delivered', 'dead', 'superseded')),
    -- Attempted before, or replayed: such deliveries never take the turns of new ones.
    retry           boolean     NOT NULL,
    -- The receiver answered 410 Gone.
    gone            boolean     NOT NULL,
    attempts        integer     NOT NULL CHECK (attempts >= 0),
    -- How many of them were made before the latest replay: the schedule counts from there.
    attempts_before integer     NOT NULL CHECK (attempts_before >= 0),
    created_at      timestamptz NOT NULL CHECK (created_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- When the present walk through the schedule began.
    first_due_at    timestamptz NOT NULL CHECK (first_due_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- Not claimed before this time; while an attempt is under way, the end of its lease.
    next_attempt_at timestamptz NOT NULL CHECK (next_attempt_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    lease_token     uuid,
    last_status     integer CHECK (last_status >= 0),
    last_error      text,
    finished_at     timestamptz CHECK (finished_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- The last word about the entity: its purge is over for good, with all its objects gone or forced to leave some.
    final           boolean     NOT NULL DEFAULT false,
    -- What limits and circuits count by.
    receiver        text COLLATE "C" NOT NULL DEFAULT '-',
    -- An operator replayed it: the next attempt is made whatever a circuit says.
    probe           boolean     NOT NULL DEFAULT false,
    UNIQUE (event_id, target_id)
);

CREATE INDEX callback_deliveries_next ON callback_deliveries (retry, next_attempt_at) WHERE state = 'due';
-- Claims go from receiver to receiver, so that nobody's backlog is read to find another's delivery.
CREATE INDEX callback_deliveries_receivers ON callback_deliveries (retry, receiver, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_probes ON callback_deliveries (next_attempt_at) WHERE state = 'due' AND probe;
CREATE INDEX callback_deliveries_dead ON callback_deliveries (created_at, delivery_id) WHERE state = 'dead';
CREATE INDEX callback_deliveries_newest ON callback_deliveries (created_at, delivery_id);
CREATE INDEX callback_deliveries_entity ON callback_deliveries (aggregate_id);
-- The last word about an entity, by the time at which its receiver had it.
CREATE INDEX callback_deliveries_told ON callback_deliveries (finished_at) WHERE state = 'delivered' AND final;

-- Every attempt to make a delivery.
CREATE TABLE callback_attempts (
    delivery_id    uuid        NOT NULL,
    attempt        integer     NOT NULL CHECK (attempt > 0),
    started_at     timestamptz NOT NULL CHECK (started_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- 'unknown' is written before the attempt is made, so that a crash leaves a trace.
    outcome        text        NOT NULL CHECK (outcome IN ('unknown', 'delivered', 'failed')),
    duration_ms    bigint CHECK (duration_ms >= 0),
    status         integer CHECK (status >= 0),
    error          text,
    -- The first 16 KiB of the answer.
    body           bytea,
    body_truncated boolean     NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
);

-- Circuits that are open, so that they survive a restart and instances agree.
CREATE TABLE callback_circuits (
    -- A receiver, or an endpoint (without '#').
    key        text COLLATE "C" PRIMARY KEY,
    -- When it was opened first.
    since      timestamptz NOT NULL CHECK (since BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- From when on an attempt probes it.
    open_until timestamptz NOT NULL CHECK (open_until BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- How often in a row it was opened.
    opened     integer     NOT NULL CHECK (opened >= 0)
);

-- ## Storage cleanup

-- One job per purge request. The id of the purge_requested event makes the job unique, however often the event is seen. No storage URI
-- stands here: they are sealed in the log, and an obligation names its own by number.
CREATE TABLE cleanup_jobs (
    event_id        uuid        PRIMARY KEY,
    position        bigint      NOT NULL CHECK (position > 0),
    aggregate_id    text COLLATE "C" NOT NULL,
    purge_id        uuid        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('due', 'done', 'failed')),
    -- Attempts that ended in an error of the storage; one that was cut off does not count. They decide about pauses and giving up.
    attempts        bigint      NOT NULL CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL CHECK (next_attempt_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    lease_token     uuid,
    lease_until     timestamptz CHECK (lease_until BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    last_error      text,
    -- Totals, once the job is over; until then the obligations have them.
    objects         bigint      NOT NULL DEFAULT 0 CHECK (objects >= 0),
    bytes           bigint      NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    created_at      timestamptz NOT NULL CHECK (created_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    finished_at     timestamptz CHECK (finished_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- Attempts that were begun, whatever ended them: what people are told.
    begun           bigint      NOT NULL DEFAULT 0 CHECK (begun >= 0),
    -- The instances that found, since the job was last due, that they cannot do it for want of a root: it waits until
    -- `next_attempt_at` for these, and for nobody else.
    left_by         uuid[]
) WITH (fillfactor = 70);

CREATE INDEX cleanup_jobs_due ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due';
CREATE INDEX cleanup_jobs_left ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due' AND left_by IS NOT NULL;
-- A purge that was forced is found by its id when nothing is owed any more, to answer a request that is told again.
CREATE INDEX cleanup_jobs_purge ON cleanup_jobs (purge_id);

-- What a purge owes: one row per storage URI, by its place in the order in which the log names them, from 1.
CREATE TABLE cleanup_obligations (
    event_id     uuid        NOT NULL REFERENCES cleanup_jobs (event_id) ON DELETE CASCADE,
    ordinal      bigint      NOT NULL CHECK (ordinal > 0),
    state        text        NOT NULL CHECK (state IN ('owed', 'done', 'failed')),
    objects      bigint      NOT NULL DEFAULT 0 CHECK (objects >= 0),
    bytes        bigint      NOT NULL DEFAULT 0 CHECK (bytes >= 0),
    last_error   text,
    updated_at   timestamptz NOT NULL CHECK (updated_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- What the storage URI names, as a hash that only the keyring can make: leftovers in the storage are recognized by it after the URI
    -- itself is gone with its entity's key.
    storage_hash bytea CHECK (octet_length(storage_hash) = 32),
    -- True: what was asked to be deleted is not all counted. Whoever takes the job over with this set knows the counts to be too low.
    under_way    boolean     NOT NULL DEFAULT false,
    -- True: the counts are a lower bound.
    at_least     boolean     NOT NULL DEFAULT false,
    -- The object or folder that the last attempt failed at, sealed under the entity's key.
    failed_at    bytea,
    -- Since when no instance has the root that the place lies below.
    nobody_since timestamptz CHECK (nobody_since BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    PRIMARY KEY (event_id, ordinal)
) WITH (fillfactor = 70);

-- What the local storage roots are recognized by, so that a folder without its file system is never taken for an empty root.
CREATE TABLE storage_roots (
    -- file:///…, percent-encoded, in one spelling only.
    uri           text        PRIMARY KEY,
    -- Stands in the root's marker file beside the ledger's id.
    root_id       uuid        NOT NULL,
    -- Of the folder when it was first used; only where no marker could be written.
    device        bigint,
    inode         bigint,
    -- Nanoseconds since 1970, where the file system tells.
    born          bigint,
    first_used_at timestamptz NOT NULL CHECK (first_used_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    CHECK ((device IS NULL) = (inode IS NULL))
);

-- Which instance has which roots, and when it last said so.
CREATE TABLE storage_root_holders (
    instance uuid        NOT NULL,
    root     text        NOT NULL,
    seen_at  timestamptz NOT NULL CHECK (seen_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    PRIMARY KEY (instance, root)
);

-- ## Checkpoints and forks

-- What the ledger signed: one root per size for ever, under each origin. The first origin is 1; every fork opens the next one.
CREATE TABLE checkpoints (
    ledger     bigint      NOT NULL CHECK (ledger > 0),
    size       bigint      NOT NULL CHECK (size >= 0),
    root       bytea       NOT NULL CHECK (octet_length(root) = 32),
    note       text        NOT NULL,
    created_at timestamptz NOT NULL CHECK (created_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    PRIMARY KEY (ledger, size)
);

-- The hash of each full tile: what the tiles of level 1 and above hold. Leaf hashes stand beside their events.
CREATE TABLE tree_hashes (
    level smallint NOT NULL CHECK (level > 0),
    place bigint   NOT NULL CHECK (place >= 0),
    hash  bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, place)
);

-- What each fork has lost, as far as it could be told. `size` is how many events it went on from, `reached` the last position that is
-- known to have been recorded, `seen` how many of those between them the stream told of.
CREATE TABLE fork_losses (
    ledger  bigint      PRIMARY KEY CHECK (ledger > 1),
    size    bigint      NOT NULL CHECK (size >= 0),
    reached bigint      NOT NULL CHECK (reached >= size),
    seen    bigint      NOT NULL CHECK (seen >= 0),
    -- Whether the stream was asked: there is none, it could not be reached, it is gone, or it was read.
    stream  text        NOT NULL CHECK (stream IN ('none', 'away', 'missing', 'read')),
    told_at timestamptz NOT NULL CHECK (told_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z')
);

-- Purges of the lost part, by the last event of each that the stream has.
CREATE TABLE lost_purges (
    ledger       bigint      NOT NULL CHECK (ledger > 1),
    event_id     uuid        NOT NULL,
    position     bigint      NOT NULL CHECK (position > 0),
    -- The number of the ledger that recorded it.
    recorded_by  bigint      NOT NULL CHECK (recorded_by > 0),
    aggregate_id text COLLATE "C" NOT NULL,
    purge_id     uuid,
    event        text        NOT NULL,
    recorded_at  timestamptz NOT NULL CHECK (recorded_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    PRIMARY KEY (ledger, event_id)
);

-- ## The audit

-- What the log does not hold: attempts that were denied or failed, and reads of the audit itself. The last sequence; its row is locked
-- by whoever adds attempts, so that sequences have no gap.
CREATE TABLE audit_head (
    id       smallint PRIMARY KEY CHECK (id = 1),
    sequence bigint   NOT NULL CHECK (sequence >= 0)
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
    first_at      timestamptz NOT NULL CHECK (first_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    last_at       timestamptz NOT NULL CHECK (last_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    count         bigint      NOT NULL CHECK (count > 0)
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX audit_attempts_place ON audit_attempts (position, sequence);

-- Which values occur in which block of 32 positions: (hash of field and value, block). It is written behind the log, in runs of
-- full blocks, so that a filter costs an append nothing; what it does not cover yet is read in the log itself.
CREATE TABLE audit_blocks (
    token bigint NOT NULL,
    block bigint NOT NULL CHECK (block >= 0),
    PRIMARY KEY (token, block)
);

-- How many blocks are covered.
CREATE TABLE audit_indexed (
    id     smallint PRIMARY KEY CHECK (id = 1),
    blocks bigint   NOT NULL CHECK (blocks >= 0)
) WITH (fillfactor = 10);
INSERT INTO audit_indexed (id, blocks) VALUES (1, 0);

-- ## What instances know of their machines and of each other

-- Clocks that moved under a running instance, and who accepted them. An instance adds its own row and looks at nobody else's.
CREATE TABLE clock_moves (
    id          uuid        PRIMARY KEY,
    expected_at timestamptz NOT NULL CHECK (expected_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    shown_at    timestamptz NOT NULL CHECK (shown_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    -- When the clock was back by itself, or the instance had gone on.
    ended_at    timestamptz CHECK (ended_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    accepted_at timestamptz CHECK (accepted_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    accepted_by text,
    reason      text
);

-- Keyed hashes of what instances must share, one row per instance and thing. A thing may have several while it is rotated.
CREATE TABLE instance_marks (
    instance_id uuid        NOT NULL,
    name        text        NOT NULL,
    -- A JSON array of texts.
    marks       text        NOT NULL,
    seen_at     timestamptz NOT NULL CHECK (seen_at BETWEEN '0001-01-01 00:00:00Z' AND '9999-12-31 23:59:59.999999Z'),
    PRIMARY KEY (instance_id, name)
);
