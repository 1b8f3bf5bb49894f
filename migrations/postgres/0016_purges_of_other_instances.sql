-- Instances whose storage roots differ leave to each other what lies outside their own.

-- The instances that found, since the job was last due, that they cannot do it for want of a root: it waits until `next_attempt_at` for
-- these, and for nobody else.
ALTER TABLE cleanup_jobs ADD COLUMN left_by uuid[];
CREATE INDEX cleanup_jobs_left ON cleanup_jobs (next_attempt_at, position) WHERE state = 'due' AND left_by IS NOT NULL;

-- Since when no instance has the root that the place lies below.
ALTER TABLE cleanup_obligations ADD COLUMN nobody_since timestamptz;

-- Which instance has which roots, and when it last said so.
CREATE TABLE storage_root_holders (
    instance uuid        NOT NULL,
    root     text        NOT NULL,
    seen_at  timestamptz NOT NULL,
    PRIMARY KEY (instance, root)
);
