-- Callbacks wait for their own URL, not for their host: a delivery's receiver is its URL, at the endpoint of scheme, host and port.

-- `<scheme>://<host>:<port>#<the first 16 digits of url_hash>`; null where an older version wrote the row.
ALTER TABLE callback_targets ADD COLUMN receiver text COLLATE "C";

-- What limits and circuits count by. '-' is what an older version writes, which shares one turn until it is attempted.
ALTER TABLE callback_deliveries ADD COLUMN receiver text COLLATE "C" NOT NULL DEFAULT '-';
UPDATE callback_deliveries d
SET receiver = d.host || '#' || coalesce((SELECT left(encode(t.url_hash, 'hex'), 16) FROM callback_targets t
                                          WHERE t.target_id = d.target_id), d.target_id::text);

-- An operator replayed it: the next attempt is made whatever a circuit says.
ALTER TABLE callback_deliveries ADD COLUMN probe boolean NOT NULL DEFAULT false;

CREATE INDEX callback_deliveries_receivers ON callback_deliveries (retry, receiver, next_attempt_at) WHERE state = 'due';
CREATE INDEX callback_deliveries_probes ON callback_deliveries (next_attempt_at) WHERE state = 'due' AND probe;
-- Only claims of an older version read it, which finds its rows by callback_deliveries_next as well. Kept beside the new one, it
-- would cost every callback two more entries.
DROP INDEX callback_deliveries_turns;

-- Circuits that are open, so that they survive a restart and instances agree.
CREATE TABLE callback_circuits (
    -- A receiver, or an endpoint (without '#').
    key        text COLLATE "C" PRIMARY KEY,
    -- When it was opened first.
    since      timestamptz NOT NULL,
    -- From when on an attempt probes it.
    open_until timestamptz NOT NULL,
    -- How often in a row it was opened.
    opened     integer     NOT NULL
);
