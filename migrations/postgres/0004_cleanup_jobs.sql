-- Storage cleanup: one job per purge request, and what each still owes.

-- The id of the purge_requested event makes the job unique, however often the event is seen. No storage URI stands here: they
-- are sealed in the log, and an obligation names its own by number.
CREATE TABLE cleanup_jobs (
    event_id        uuid        PRIMARY KEY,
    position        bigint      NOT NULL,
    aggregate_id    text COLLATE "C" NOT NULL,
    purge_id        uuid        NOT NULL,
    state           text        NOT NULL CHECK (state IN ('due', 'done', 'failed')),
    -- Attempts that ended in an error of the storage; one that was cut off does not count.
    attempts        bigint      NOT NULL CHECK (attempts >= 0),
    next_attempt_at timestamptz NOT NULL,
    lease_token     uuid,
    lease_until     timestamptz,
    last_error      text,
    -- Totals, once the job is over; until then the obligations have them.
    objects         bigint      NOT NULL DEFAULT 0,
    bytes           bigint      NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    finished_at     timestamptz
) WITH (fillfactor = 70);

CREATE INDEX cleanup_jobs_due ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due';

-- What a purge owes: one row per storage URI, by its place in the order in which the log names them, from 1.
CREATE TABLE cleanup_obligations (
    event_id   uuid        NOT NULL REFERENCES cleanup_jobs (event_id) ON DELETE CASCADE,
    ordinal    bigint      NOT NULL CHECK (ordinal > 0),
    state      text        NOT NULL CHECK (state IN ('owed', 'done', 'failed')),
    objects    bigint      NOT NULL DEFAULT 0,
    bytes      bigint      NOT NULL DEFAULT 0,
    last_error text,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, ordinal)
) WITH (fillfactor = 70);
