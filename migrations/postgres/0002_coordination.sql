-- Who does what alone, and how far each reader of the log has come.

-- A lease is never deleted: its epoch has to grow over every change of owner. One that was given back has expired.
CREATE TABLE leases (
    name       text        PRIMARY KEY,
    owner      uuid        NOT NULL,
    epoch      bigint      NOT NULL CHECK (epoch > 0),
    expires_at timestamptz NOT NULL
);

CREATE TABLE cursors (
    name     text   PRIMARY KEY,
    position bigint NOT NULL CHECK (position >= 0)
);
