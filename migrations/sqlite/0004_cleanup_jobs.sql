-- Times are microseconds since 1970 UTC; ids are hyphenated text.
-- Storage cleanup: one job per purge request, and what each still owes.

-- The id of the purge_requested event makes the job unique, however often the event is seen. No storage URI stands here: they
-- are sealed in the log, and an obligation names its own by number.
CREATE TABLE cleanup_jobs (
    event_id        TEXT    PRIMARY KEY,
    position        INTEGER NOT NULL,
    aggregate_id    TEXT    NOT NULL,
    purge_id        TEXT    NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN ('due', 'done', 'failed')),
    -- Attempts that ended in an error of the storage; one that was cut off does not count.
    attempts        INTEGER NOT NULL CHECK (attempts >= 0),
    next_attempt_at INTEGER NOT NULL,
    lease_token     TEXT,
    lease_until     INTEGER,
    last_error      TEXT,
    -- Totals, once the job is over; until then the obligations have them.
    objects         INTEGER NOT NULL DEFAULT 0,
    bytes           INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER
) WITHOUT ROWID;

CREATE INDEX cleanup_jobs_due ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due';

-- What a purge owes: one row per storage URI, by its place in the order in which the log names them, from 1.
CREATE TABLE cleanup_obligations (
    event_id   TEXT    NOT NULL REFERENCES cleanup_jobs (event_id) ON DELETE CASCADE,
    ordinal    INTEGER NOT NULL CHECK (ordinal > 0),
    state      TEXT    NOT NULL CHECK (state IN ('owed', 'done', 'failed')),
    objects    INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (event_id, ordinal)
) WITHOUT ROWID;
