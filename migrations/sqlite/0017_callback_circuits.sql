-- Callbacks wait for their own URL, not for their host: a delivery's receiver is its URL, at the endpoint of scheme, host and port.

-- `<scheme>://<host>:<port>#<the first 16 digits of url_hash>`; null where an older version wrote the row.
ALTER TABLE callback_targets ADD COLUMN receiver TEXT;

-- What limits and circuits count by. '-' is what an older version writes, which shares one turn until it is attempted.
ALTER TABLE callback_deliveries ADD COLUMN receiver TEXT NOT NULL DEFAULT '-';
UPDATE callback_deliveries
SET receiver = host || '#' || coalesce((SELECT lower(substr(hex(t.url_hash), 1, 16)) FROM callback_targets t
                                        WHERE t.target_id = callback_deliveries.target_id), target_id);

-- An operator replayed it: the next attempt is made whatever a circuit says.
ALTER TABLE callback_deliveries ADD COLUMN probe INTEGER NOT NULL DEFAULT 0;

CREATE INDEX callback_deliveries_receivers ON callback_deliveries (retry, receiver, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_probes ON callback_deliveries (next_attempt_at) WHERE state = 'due' AND probe = 1;
-- Only claims of an older version read it, which finds its rows by callback_deliveries_next as well. Kept beside the new one, it
-- would cost every callback two more entries.
DROP INDEX callback_deliveries_turns;

-- Circuits that are open, so that they survive a restart.
CREATE TABLE callback_circuits (
    -- A receiver, or an endpoint (without '#').
    key        TEXT    PRIMARY KEY,
    -- When it was opened first.
    since      INTEGER NOT NULL,
    -- From when on an attempt probes it.
    open_until INTEGER NOT NULL,
    -- How often in a row it was opened.
    opened     INTEGER NOT NULL
) WITHOUT ROWID;
