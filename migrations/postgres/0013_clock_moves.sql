-- Clocks that moved under a running instance, and who accepted them. An instance adds its own row and looks at nobody else's.
CREATE TABLE clock_moves (
    id          uuid        PRIMARY KEY,
    expected_at timestamptz NOT NULL,
    shown_at    timestamptz NOT NULL,
    -- When the clock was back by itself, or the instance had gone on.
    ended_at    timestamptz,
    accepted_at timestamptz,
    accepted_by text,
    reason      text
);
