-- Callback deliveries: one per outcome of a purge and target, and every attempt to make one.

CREATE TABLE callback_deliveries (
    -- Time-ordered; receivers see it as `webhook-id`.
    delivery_id     TEXT    PRIMARY KEY,
    event_id        TEXT    NOT NULL,
    target_id       TEXT    NOT NULL,
    position        INTEGER NOT NULL,
    aggregate_id    TEXT    NOT NULL,
    -- The receiver, host:port: limits and breakers count by it.
    host            TEXT    NOT NULL,
    -- Sealed under the service's own key, bound to aggregate_id.
    url_sealed      BLOB    NOT NULL,
    dataset_id      TEXT,
    -- What the callback says: null after a purge, the cause after one that failed.
    error           TEXT,
    state           TEXT    NOT NULL CHECK (state IN ('due', 'delivered', 'dead')),
    -- Attempted before, or replayed: such deliveries never take the turns of new ones.
    retry           INTEGER NOT NULL,
    -- The receiver answered 410 Gone.
    gone            INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    -- How many of them were made before the latest replay: the schedule counts from there.
    attempts_before INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    -- When the present walk through the schedule began.
    first_due_at    INTEGER NOT NULL,
    -- Not claimed before this time; while an attempt is under way, the end of its lease.
    next_attempt_at INTEGER NOT NULL,
    lease_token     TEXT,
    last_status     INTEGER,
    last_error      TEXT,
    finished_at     INTEGER,
    UNIQUE (event_id, target_id)
);

-- Claims go from receiver to receiver, so that nobody's backlog is read to find another's delivery.
CREATE INDEX callback_deliveries_turns ON callback_deliveries (retry, host, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_next ON callback_deliveries (retry, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_dead ON callback_deliveries (created_at, delivery_id) WHERE state = 'dead';
CREATE INDEX callback_deliveries_newest ON callback_deliveries (created_at, delivery_id);
CREATE INDEX callback_deliveries_entity ON callback_deliveries (aggregate_id);

CREATE TABLE callback_attempts (
    delivery_id    TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    -- 'unknown' is written before the attempt is made, so that a crash leaves a trace.
    outcome        TEXT    NOT NULL CHECK (outcome IN ('unknown', 'delivered', 'failed')),
    duration_ms    INTEGER,
    status         INTEGER,
    error          TEXT,
    -- The first 16 KiB of the answer.
    body           BLOB,
    body_truncated INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, attempt)
) WITHOUT ROWID;
