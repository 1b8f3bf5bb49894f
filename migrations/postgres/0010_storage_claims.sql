-- What entities name as their storage, so that a purge can ask whose else a place is before it deletes there.

-- One row per storage URI of a registration or a deletion, by the event that named it. `place` is a chain of keyed hashes: of the
-- outermost folder (or the bucket), of the folder below it, and so on down to what the URI names, so that whatever lies below a
-- place begins with that place's own bytes. Without the keyring it tells nothing. A claim stands until a restore undoes its
-- record (the log says so, nothing is written here) and goes with the event that ends the purge.
CREATE TABLE storage_claims (
    position bigint   NOT NULL CHECK (position > 0),
    ordinal  smallint NOT NULL CHECK (ordinal > 0),
    place    bytea    NOT NULL,
    PRIMARY KEY (position, ordinal)
);
CREATE INDEX storage_claims_place ON storage_claims (place, position);

-- Up to where the log's claims are complete: the head's own position, unless a version appended that writes none. What is
-- missing is computed from the sealed details, and no storage is cleaned meanwhile.
ALTER TABLE ledger_head ADD COLUMN claims_position bigint NOT NULL DEFAULT 0;
