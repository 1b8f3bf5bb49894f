-- What the local storage roots are recognized by, so that a folder without its file system is never taken for an empty root.

CREATE TABLE storage_roots (
    -- file:///…, percent-encoded, in one spelling only.
    uri           TEXT    PRIMARY KEY,
    -- Stands in the root's marker file beside the ledger's id.
    root_id       TEXT    NOT NULL,
    -- Of the folder when it was first used; only where no marker could be written.
    device        INTEGER,
    inode         INTEGER,
    -- Nanoseconds since 1970, where the file system tells.
    born          INTEGER,
    first_used_at INTEGER NOT NULL,
    CHECK ((device IS NULL) = (inode IS NULL))
) WITHOUT ROWID;
