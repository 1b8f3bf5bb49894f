-- Projection: where the rows of the archived list stand, counted, so that page N is found without walking there.
--
-- The list of a type (deleted_at descending, then id) is cut into pages of a thousand or two rows, and the pages into groups.
-- A row here says where its rows begin and how many they are; they end where the next one's begin. The first of a type begins
-- before everything (the largest time) and is always there. A group begins where one of its pages begins.
CREATE TABLE archived_page_groups (
    id          INTEGER PRIMARY KEY,
    entity_type TEXT    NOT NULL,
    deleted_at  INTEGER NOT NULL,
    entity_id   TEXT    NOT NULL,
    count       INTEGER NOT NULL CHECK (count >= 0)
);
CREATE UNIQUE INDEX archived_page_groups_order ON archived_page_groups (entity_type, deleted_at DESC, entity_id);

CREATE TABLE archived_pages (
    id          INTEGER PRIMARY KEY,
    entity_type TEXT    NOT NULL,
    deleted_at  INTEGER NOT NULL,
    entity_id   TEXT    NOT NULL,
    count       INTEGER NOT NULL CHECK (count >= 0),
    group_id    INTEGER NOT NULL
);
CREATE UNIQUE INDEX archived_pages_order ON archived_pages (entity_type, deleted_at DESC, entity_id);
CREATE INDEX archived_pages_group ON archived_pages (group_id);

-- What is archived already, counted by the same statements as a rebuild counts it.
INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
SELECT entity_type, 9223372036854775807, '', 0
FROM (SELECT column1 AS entity_type FROM (VALUES ('backups'), ('environments'), ('instances'), ('projects'), ('organizations'), ('servers'), ('domains'), ('users'), ('archives'))) AS types
WHERE NOT EXISTS (SELECT 1 FROM archived_entries a WHERE a.entity_type = types.entity_type);

INSERT INTO archived_page_groups (entity_type, deleted_at, entity_id, count)
SELECT entity_type, deleted_at, entity_id, min(65536, total - rank) FROM (
    SELECT a.entity_type, counted.total, a.rank,
           CASE WHEN a.rank = 0 THEN 9223372036854775807 ELSE a.deleted_at END AS deleted_at,
           CASE WHEN a.rank = 0 THEN '' ELSE a.entity_id END AS entity_id
    FROM (SELECT entity_type, deleted_at, entity_id,
                 row_number() OVER (PARTITION BY entity_type ORDER BY deleted_at DESC, entity_id) - 1 AS rank
          FROM archived_entries) a
    JOIN (SELECT entity_type, count(*) AS total FROM archived_entries GROUP BY entity_type) counted
        ON counted.entity_type = a.entity_type
    WHERE a.rank % 65536 = 0
) AS cut;

INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
SELECT entity_type, deleted_at, entity_id, 0, id FROM archived_page_groups WHERE count = 0;

INSERT INTO archived_pages (entity_type, deleted_at, entity_id, count, group_id)
SELECT entity_type, deleted_at, entity_id, min(1024, total - rank),
       (SELECT g.id FROM archived_page_groups g
        WHERE g.entity_type = cut.entity_type AND g.deleted_at >= cut.deleted_at
          AND (g.deleted_at > cut.deleted_at OR g.entity_id <= cut.entity_id)
        ORDER BY g.deleted_at, g.entity_id DESC LIMIT 1)
FROM (
    SELECT a.entity_type, counted.total, a.rank,
           CASE WHEN a.rank = 0 THEN 9223372036854775807 ELSE a.deleted_at END AS deleted_at,
           CASE WHEN a.rank = 0 THEN '' ELSE a.entity_id END AS entity_id
    FROM (SELECT entity_type, deleted_at, entity_id,
                 row_number() OVER (PARTITION BY entity_type ORDER BY deleted_at DESC, entity_id) - 1 AS rank
          FROM archived_entries) a
    JOIN (SELECT entity_type, count(*) AS total FROM archived_entries GROUP BY entity_type) counted
        ON counted.entity_type = a.entity_type
    WHERE a.rank % 1024 = 0
) AS cut;
