-- Times are microseconds since 1970 UTC; ids are hyphenated text.
-- A purge that was forced is found by its id when nothing is owed any more, to answer a request that is told again.
CREATE INDEX cleanup_jobs_purge ON cleanup_jobs (purge_id);

-- What the obligation's storage URI names, as a hash that only the keyring can make: leftovers in the storage are recognized
-- by it after the URI itself is gone with its entity's key. Null for what was purged before it was kept.
ALTER TABLE cleanup_obligations ADD COLUMN storage_hash BLOB;
