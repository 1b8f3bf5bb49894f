-- Clocks that moved under a running instance, and who accepted them. An instance adds its own row and looks at nobody else's.
CREATE TABLE clock_moves (
    id          TEXT    PRIMARY KEY,
    expected_at INTEGER NOT NULL,
    shown_at    INTEGER NOT NULL,
    -- When the clock was back by itself, or the instance had gone on.
    ended_at    INTEGER,
    accepted_at INTEGER,
    accepted_by TEXT,
    reason      TEXT
);
