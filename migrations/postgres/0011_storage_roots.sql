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
    first_used_at timestamptz NOT NULL,
    CHECK ((device IS NULL) = (inode IS NULL))
);
