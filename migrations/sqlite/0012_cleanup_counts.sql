-- What is known of a purge's counts, where it failed, and how often it was attempted.

-- Attempts that were begun, whatever ended them: what people are told. `attempts` goes on to decide about pauses and giving up.
ALTER TABLE cleanup_jobs ADD COLUMN begun INTEGER NOT NULL DEFAULT 0;
UPDATE cleanup_jobs SET begun = attempts;

-- 1: what was asked to be deleted is not all counted. Whoever takes the job over with this set knows the counts to be too low.
ALTER TABLE cleanup_obligations ADD COLUMN under_way INTEGER NOT NULL DEFAULT 0;
-- 1: the counts are a lower bound.
ALTER TABLE cleanup_obligations ADD COLUMN at_least INTEGER NOT NULL DEFAULT 0;
-- The object or folder that the last attempt failed at, sealed under the entity's key.
ALTER TABLE cleanup_obligations ADD COLUMN failed_at BLOB;

-- What an older version is or was at when it ended.
UPDATE cleanup_obligations SET under_way = 1
WHERE state = 'owed' AND event_id IN (SELECT event_id FROM cleanup_jobs WHERE state = 'due' AND lease_token IS NOT NULL);
