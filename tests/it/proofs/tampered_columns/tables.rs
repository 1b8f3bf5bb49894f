//! What the log or the keyring implies of each column, and what of none.

/// Other values, as SQL: in SQLite, and in PostgreSQL.
const UUID: (&str, &str) = (
    "'00000000-0000-4000-8000-00000000dead'",
    "'00000000-0000-4000-8000-00000000dead'",
);
const BYTES: (&str, &str) = ("zeroblob(32)", "decode(repeat('00', 32), 'hex')");
const TEXT: (&str, &str) = ("'another'", "'another'");
const STREAM: (&str, &str) = ("'users:another'", "'users:another'");
const HOST: (&str, &str) = ("'other.example:443'", "'other.example:443'");
const MORE: (&str, &str) = ("{} + 1", "{} + 1");
const FAR: (&str, &str) = ("{} + 100000", "{} + 100000");
const LATER: (&str, &str) = ("{} + 1000000", "{} + interval '1 second'");
const NOT: (&str, &str) = ("NOT {}", "NOT {}");
const TYPE: (&str, &str) = ("'servers'", "'servers'");
const JSON: (&str, &str) = ("'{\"a\": 1}'", "'{\"a\": 1}'");

/// Which rows.
const FIFTH: &str = "position = 5";
const DONE: &str = "state = 'done'";
const ONE_DELIVERY: &str =
    "delivery_id = (SELECT delivery_id FROM callback_deliveries WHERE error IS NULL LIMIT 1)";
const ONE_TARGET: &str =
    "target_id = (SELECT target_id FROM callback_deliveries WHERE error IS NULL LIMIT 1)";
const REGISTERED: &str = "dataset_id IS NOT NULL";
const ONE_LISTED: &str =
    "entity_id = (SELECT min(entity_id) FROM archived_entries WHERE entity_type = 'backups')";
const ONE_SEALED: &str = "aggregate_id = (SELECT min(aggregate_id) FROM entities WHERE wrapped IS NOT NULL)";
const ONE_ERASED: &str =
    "aggregate_id = (SELECT min(aggregate_id) FROM entities WHERE erased_at IS NOT NULL)";
const ONE_WORK: &str = "aggregate_id = (SELECT min(aggregate_id) FROM purge_work)";
const DONE_OBLIGATION: &str = "event_id = (SELECT event_id FROM cleanup_jobs WHERE state = 'done' LIMIT 1)";
const OPEN_OBLIGATION: &str = "event_id IN (SELECT event_id FROM purge_work)";
const FORCED_OBLIGATION: &str = "event_id IN (SELECT j.event_id FROM cleanup_jobs j JOIN events e ON e.aggregate_id = j.aggregate_id \
                                 WHERE e.event_type = 'purge_forced')";
const LAST_ATTEMPT: &str = "sequence = (SELECT max(sequence) FROM audit_attempts)";
const ONE_BLOCK: &str = "token = (SELECT min(token) FROM audit_blocks)";
const ONE_CLAIM: &str = "position = (SELECT min(position) FROM storage_claims)";
const KEYRING: &str = "name = 'keyring'";
const ANY: &str = "1 = 1";

/// What the log or the keyring implies: table, column, another value, of which rows.
pub(super) const IMPLIED: &[(&str, &str, (&str, &str), &str)] = &[
    ("events", "position", FAR, FIFTH),
    ("events", "aggregate_type", TEXT, FIFTH),
    ("events", "aggregate_id", STREAM, FIFTH),
    ("events", "sequence", MORE, FIFTH),
    ("events", "event_type", ("'restored'", "'restored'"), FIFTH),
    ("events", "event_version", ("'9.0.0'", "'9.0.0'"), FIFTH),
    ("events", "payload", JSON, FIFTH),
    ("events", "metadata", JSON, FIFTH),
    ("events", "event_id", UUID, FIFTH),
    ("events", "recorded_at", LATER, FIFTH),
    ("events", "command_id", UUID, FIFTH),
    ("events", "correlation_id", TEXT, FIFTH),
    (
        "events",
        "causation_id",
        (
            "(SELECT event_id FROM events WHERE position = 1)",
            "(SELECT event_id FROM events WHERE position = 1)",
        ),
        FIFTH,
    ),
    (
        "events",
        "causation_id",
        ("NULL", "NULL"),
        "causation_id IS NOT NULL",
    ),
    ("events", "actor", TEXT, FIFTH),
    ("events", "salt", BYTES, FIFTH),
    ("events", "sealed", BYTES, FIFTH),
    ("events", "entry", BYTES, FIFTH),
    ("events", "leaf", BYTES, FIFTH),
    ("ledger_head", "position", MORE, ANY),
    ("ledger_head", "frontier", BYTES, ANY),
    ("ledger_head", "root", BYTES, ANY),
    ("ledger_head", "recorded_at", LATER, ANY),
    ("ledger_head", "claims_position", MORE, ANY),
    ("ledger_meta", "name", TEXT, KEYRING),
    ("ledger_meta", "name", TEXT, "name = 'keyring/service'"),
    ("ledger_meta", "name", TEXT, "name LIKE 'keyring/kek/%'"),
    ("ledger_meta", "name", TEXT, "name = 'origin/1'"),
    ("ledger_meta", "value", ("{} || '0'", "{} || '0'"), KEYRING),
    ("ledger_meta", "value", TEXT, KEYRING),
    ("ledger_meta", "value", TEXT, "name = 'keyring/service'"),
    ("ledger_meta", "value", TEXT, "name LIKE 'keyring/kek/%'"),
    ("entities", "aggregate_id", STREAM, ONE_SEALED),
    ("entities", "first_position", MORE, ONE_SEALED),
    ("entities", "key_id", UUID, ONE_SEALED),
    ("entities", "kek_id", TEXT, ONE_SEALED),
    ("entities", "wrapped", BYTES, ONE_SEALED),
    ("entities", "aggregate_id", STREAM, ONE_ERASED),
    ("entities", "erased_at", MORE, ONE_ERASED),
    ("entities", "erased_at", ("NULL", "NULL"), ONE_ERASED),
    ("archived_entries", "entity_type", TYPE, ONE_LISTED),
    ("archived_entries", "entity_id", TEXT, ONE_LISTED),
    ("archived_entries", "deleted_at", LATER, ONE_LISTED),
    ("archived_entries", "position", MORE, ONE_LISTED),
    ("archived_entries", "deletion_id", UUID, ONE_LISTED),
    (
        "archived_summary",
        "entity_type",
        ("'elsewhere'", "'elsewhere'"),
        "entity_type = 'backups'",
    ),
    ("archived_summary", "count", MORE, ANY),
    (
        "archived_pages",
        "entity_type",
        ("'elsewhere'", "'elsewhere'"),
        "entity_type = 'backups'",
    ),
    (
        "archived_pages",
        "deleted_at",
        ("0", "to_timestamp(0)"),
        "entity_type = 'backups'",
    ),
    ("archived_pages", "entity_id", TEXT, "entity_type = 'backups'"),
    ("archived_pages", "count", MORE, "entity_type = 'backups'"),
    ("archived_pages", "group_id", FAR, "entity_type = 'backups'"),
    (
        "archived_page_groups",
        "entity_type",
        ("'elsewhere'", "'elsewhere'"),
        "entity_type = 'backups'",
    ),
    (
        "archived_page_groups",
        "deleted_at",
        ("0", "to_timestamp(0)"),
        "entity_type = 'backups'",
    ),
    (
        "archived_page_groups",
        "entity_id",
        TEXT,
        "entity_type = 'backups'",
    ),
    ("archived_page_groups", "count", MORE, "entity_type = 'backups'"),
    ("purge_work", "aggregate_id", STREAM, ONE_WORK),
    ("purge_work", "purge_id", UUID, ONE_WORK),
    ("purge_work", "position", MORE, ONE_WORK),
    ("purge_work", "event_id", UUID, ONE_WORK),
    ("purge_work", "requested_at", LATER, ONE_WORK),
    ("purge_work", "storage_count", MORE, ONE_WORK),
    ("purge_work", "state", ("'purging'", "'purging'"), ONE_WORK),
    ("idempotency_answers", "answer", JSON, ANY),
    ("idempotency_answers", "recorded_at", LATER, ANY),
    ("callback_targets", "target_id", UUID, ONE_TARGET),
    ("callback_targets", "aggregate_id", STREAM, ONE_TARGET),
    ("callback_targets", "url_hash", BYTES, ONE_TARGET),
    ("callback_targets", "url_sealed", BYTES, ONE_TARGET),
    ("callback_targets", "host", HOST, ONE_TARGET),
    ("callback_targets", "dataset_id", TEXT, REGISTERED),
    ("callback_targets", "dataset_id", ("NULL", "NULL"), REGISTERED),
    ("callback_targets", "registered", NOT, REGISTERED),
    ("callback_targets", "created_at", LATER, REGISTERED),
    ("callback_targets", "receiver", HOST, ONE_TARGET),
    ("callback_deliveries", "event_id", UUID, ONE_DELIVERY),
    ("callback_deliveries", "target_id", UUID, ONE_DELIVERY),
    ("callback_deliveries", "position", MORE, ONE_DELIVERY),
    ("callback_deliveries", "aggregate_id", STREAM, ONE_DELIVERY),
    ("callback_deliveries", "host", HOST, ONE_DELIVERY),
    ("callback_deliveries", "url_sealed", BYTES, ONE_DELIVERY),
    ("callback_deliveries", "dataset_id", TEXT, ONE_DELIVERY),
    ("callback_deliveries", "error", TEXT, ONE_DELIVERY),
    (
        "callback_deliveries",
        "error",
        TEXT,
        "error IS NOT NULL AND final = (1 = 0)",
    ),
    ("callback_deliveries", "final", NOT, ONE_DELIVERY),
    ("callback_deliveries", "receiver", HOST, ONE_DELIVERY),
    (
        "cleanup_jobs",
        "event_id",
        UUID,
        "position = (SELECT max(position) FROM cleanup_jobs)",
    ),
    ("cleanup_jobs", "position", MORE, DONE),
    ("cleanup_jobs", "aggregate_id", STREAM, DONE),
    ("cleanup_jobs", "purge_id", UUID, DONE),
    ("cleanup_jobs", "state", ("'failed'", "'failed'"), DONE),
    ("cleanup_jobs", "objects", MORE, DONE),
    ("cleanup_jobs", "bytes", MORE, DONE),
    ("cleanup_obligations", "event_id", UUID, DONE_OBLIGATION),
    ("cleanup_obligations", "ordinal", MORE, DONE_OBLIGATION),
    (
        "cleanup_obligations",
        "state",
        ("'owed'", "'owed'"),
        DONE_OBLIGATION,
    ),
    ("cleanup_obligations", "objects", MORE, DONE_OBLIGATION),
    ("cleanup_obligations", "bytes", MORE, DONE_OBLIGATION),
    ("cleanup_obligations", "objects", MORE, FORCED_OBLIGATION),
    ("cleanup_obligations", "storage_hash", BYTES, OPEN_OBLIGATION),
    ("cleanup_obligations", "at_least", NOT, DONE_OBLIGATION),
    ("cleanup_obligations", "under_way", NOT, FORCED_OBLIGATION),
    ("storage_claims", "position", FAR, ONE_CLAIM),
    ("storage_claims", "ordinal", MORE, ONE_CLAIM),
    ("storage_claims", "place", BYTES, ONE_CLAIM),
    (
        "checkpoints",
        "ledger",
        FAR,
        "size = (SELECT max(size) FROM checkpoints)",
    ),
    (
        "checkpoints",
        "size",
        MORE,
        "size = (SELECT max(size) FROM checkpoints)",
    ),
    (
        "checkpoints",
        "root",
        BYTES,
        "size = (SELECT min(size) FROM checkpoints)",
    ),
    (
        "checkpoints",
        "note",
        TEXT,
        "size = (SELECT min(size) FROM checkpoints)",
    ),
    ("tree_hashes", "level", MORE, ANY),
    ("tree_hashes", "place", MORE, ANY),
    ("tree_hashes", "hash", BYTES, ANY),
    ("audit_head", "sequence", MORE, ANY),
    ("audit_attempts", "sequence", FAR, LAST_ATTEMPT),
    ("audit_attempts", "position", FAR, LAST_ATTEMPT),
    ("audit_blocks", "token", MORE, ONE_BLOCK),
    ("audit_blocks", "block", FAR, ONE_BLOCK),
    ("audit_indexed", "blocks", FAR, ANY),
    ("cursors", "position", FAR, ANY),
    ("fork_losses", "ledger", FAR, ANY),
    ("fork_losses", "size", ("{} - 1", "{} - 1"), ANY),
];

/// Tables that have something for which the log has something: none of them can be emptied unnoticed.
pub(super) const NEVER_EMPTY: [&str; 22] = [
    "events",
    "ledger_head",
    "ledger_meta",
    "entities",
    "archived_entries",
    "archived_summary",
    "archived_pages",
    "archived_page_groups",
    "purge_work",
    "callback_targets",
    "callback_deliveries",
    "cleanup_jobs",
    "cleanup_obligations",
    "storage_claims",
    "checkpoints",
    "tree_hashes",
    "audit_head",
    "audit_attempts",
    "audit_blocks",
    "audit_indexed",
    // Of what a projection of the log needs, what names it to the log.
    "ledger_meta WHERE name = 'keyring'",
    "callback_targets WHERE dataset_id IS NOT NULL",
];

const ONE_VALUE: &str = "the database allows no other value";
const WORK: &str = "how far work has come, and when: the log says how it ends";
const DURING: &str = "what an attempt met: the log has what the last one told";
const CALLER: &str = "a keyed hash of what only the caller knows";
const BESIDE: &str = "attempts are no part of the log, and only their order and number are kept";
const LEASE: &str = "who does what alone, for the moment";
const MACHINE: &str = "what instances know of their machines and of each other";
const LOST: &str = "what a fork has lost is not in the log";
const NUMBER: &str = "an arbitrary number or id that nothing of the log names";

/// What neither the log nor the keyring implies, and why.
pub(super) const NOT_IMPLIED: &[(&str, &[&str], &str)] = &[
    ("ledger_head", &["id"], ONE_VALUE),
    ("audit_head", &["id"], ONE_VALUE),
    ("audit_indexed", &["id"], ONE_VALUE),
    ("archived_pages", &["id"], NUMBER),
    (
        "archived_page_groups",
        &["id"],
        "the database numbers them itself; the pages that name one are compared",
    ),
    ("idempotency_answers", &["key", "request"], CALLER),
    (
        "leases",
        &["name", "owner", "epoch", "expires_at", "length_ms"],
        LEASE,
    ),
    (
        "cursors",
        &["name"],
        "a reader of another name begins anew, and what it does again changes nothing",
    ),
    (
        "checkpoints",
        &["created_at"],
        "the note that was signed has no time",
    ),
    (
        "callback_deliveries",
        &[
            "state",
            "retry",
            "gone",
            "attempts",
            "attempts_before",
            "created_at",
            "first_due_at",
            "next_attempt_at",
            "lease_token",
            "last_status",
            "last_error",
            "finished_at",
            "probe",
        ],
        WORK,
    ),
    ("callback_deliveries", &["delivery_id"], NUMBER),
    (
        "callback_attempts",
        &[
            "delivery_id",
            "attempt",
            "started_at",
            "outcome",
            "duration_ms",
            "status",
            "error",
            "body",
            "body_truncated",
        ],
        DURING,
    ),
    (
        "callback_circuits",
        &["key", "since", "open_until", "opened"],
        WORK,
    ),
    (
        "cleanup_jobs",
        &[
            "attempts",
            "next_attempt_at",
            "lease_token",
            "lease_until",
            "created_at",
            "finished_at",
            "begun",
            "left_by",
        ],
        WORK,
    ),
    ("cleanup_jobs", &["last_error"], DURING),
    ("cleanup_obligations", &["updated_at", "nobody_since"], WORK),
    ("cleanup_obligations", &["last_error", "failed_at"], DURING),
    (
        "audit_attempts",
        &[
            "outcome",
            "action",
            "reason",
            "actor",
            "token_issuer",
            "token_id_hash",
            "ip",
            "user_agent",
            "request_id",
            "entity_type",
            "entity_id",
            "detail",
            "first_at",
            "last_at",
            "count",
        ],
        BESIDE,
    ),
    (
        "storage_roots",
        &["uri", "root_id", "device", "inode", "born", "first_used_at"],
        MACHINE,
    ),
    ("storage_root_holders", &["instance", "root", "seen_at"], MACHINE),
    (
        "instance_marks",
        &["instance_id", "name", "marks", "seen_at"],
        MACHINE,
    ),
    (
        "clock_moves",
        &[
            "id",
            "expected_at",
            "shown_at",
            "ended_at",
            "accepted_at",
            "accepted_by",
            "reason",
        ],
        MACHINE,
    ),
    ("fork_losses", &["reached", "seen", "stream", "told_at"], LOST),
    (
        "lost_purges",
        &[
            "ledger",
            "event_id",
            "position",
            "recorded_by",
            "aggregate_id",
            "purge_id",
            "event",
            "recorded_at",
        ],
        LOST,
    ),
];
