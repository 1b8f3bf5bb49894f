-- Retention: a delivery that a later outcome has overtaken, and what is looked for when finished work is removed.

-- SQLite cannot change a CHECK in place.
CREATE TABLE callback_deliveries_widened (
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
    state           TEXT    NOT NULL CHECK (state IN ('due', 'delivered', 'dead', 'superseded')),
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
    -- The last word about the entity: its purge is over for good, with all its objects gone or forced to leave some.
    final           INTEGER NOT NULL DEFAULT 0,
    UNIQUE (event_id, target_id)
);

INSERT INTO callback_deliveries_widened SELECT *, error IS NULL FROM callback_deliveries;
DROP TABLE callback_deliveries;
ALTER TABLE callback_deliveries_widened RENAME TO callback_deliveries;

-- Claims go from receiver to receiver, so that nobody's backlog is read to find another's delivery.
CREATE INDEX callback_deliveries_turns ON callback_deliveries (retry, host, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_next ON callback_deliveries (retry, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_dead ON callback_deliveries (created_at, delivery_id) WHERE state = 'dead';
CREATE INDEX callback_deliveries_newest ON callback_deliveries (created_at, delivery_id);
CREATE INDEX callback_deliveries_entity ON callback_deliveries (aggregate_id);

-- The last word about an entity, by the time at which its receiver had it.
CREATE INDEX callback_deliveries_told ON callback_deliveries (finished_at) WHERE state = 'delivered' AND final;
