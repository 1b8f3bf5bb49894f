"""Why a goal is missed where it is, and what to try next. Printed beside every miss; docs/PERFORMANCE.md has the records."""

# (part of the goal's text, why, what next). The first that fits is printed.
REASONS = [
    ("against pgbench's raw insert",
     "two cores carry everything: a command costs the service 80-90 µs (HTTP, token, sealing, hashing), the database 60 and the "
     "load generator 15, a raw insert 130; and the writer waits for the database while the other core is half idle",
     "fewer allocations (a fifth of the service's time); narrower rows (the entry can be made again from the columns); the "
     "signer reading what the writer just had in hand"),
    ("the same, against the stock stack",
     "the goal stands on a stock stack of 1.2-1.7 thousand a second and a service at 25; the sealed details, salted commitments "
     "and signed entries of this one had not been in that prototype",
     "as above"),
    ("the same, p99",
     "a command waits for the batch under way, its own, and the time that both cores need for 256 answers",
     "as above"),
    ("SQLite, 256 clients, against PostgreSQL",
     "the append is one thread's work, a third of the service's time, and the signer and the index read beside it through the driver",
     "16-byte ids and no stored entry; the signer and the index reading what the writer just had in hand"),
    ("written per event",
     "entities' rows have random keys of 44 bytes, and an event's row is stored with its entry",
     "16-byte ids; no stored entry; the entities' index written in sorted runs"),
    ("purge, ",
     "a purge is two events, a destroyed key, and an update of the row whose sealed details are scrubbed",
     "scrubbing at the close of an erasure epoch; one reader of purge events instead of two"),
    ("one client, ",
     "what a command costs (0.3 ms of the service's CPU and 0.6 of the database's at one client), beside one flush",
     "fewer parts in the statement of one command; fewer threads on its way"),
    ("two instances, against one",
     "both wait for one head row: what one instance gains by leaving the lock, two lose",
     "hand the head over in turns that last several batches"),
    ("time of the summary",
     "a round trip to the database",
     "counters kept in memory, valid for the head that a reader sees"),
    ("import, ",
     "an import is commands: each is sealed, hashed, and answered under its idempotency key; COPY moves ready rows",
     "read, prepare and decide on several cores; write batches by COPY"),
    ("events that a rebuild replays",
     "one thread of SQLite reads, one writes a shadow table with its key",
     "fill the shadow table in the order of its key, from sorted runs"),
    ("memory of a rebuild",
     "the shadow tables' cache, and what reading the log leaves with the C library's allocator",
     "a smaller cache of the shadow tables"),
    ("a cursor page",
     "half a millisecond each, on a machine whose speed changes by as much",
     "longer measurements, in turn as rates are"),
    ("exported as NDJSON",
     "SQLite gives rows one by one from thread to thread",
     "JSON made by the database, a block of events a row"),
    ("live throughput beside a rebuild",
     "two cores: the rebuild rests twice as long as it works, but its reading and comparing run in the database",
     "longer rests; a comparison in parts"),
    ("memory when idle",
     "the first start after an import signs the whole log, and allocators keep what that took (30 MiB after another start)",
     "give freed pages back at once: 11 MiB by the allocator's purge delay"),
    ("the binary's size",
     "the AWS client, Parquet, TLS and the API page are in it",
     "Parquet and the clouds as features"),
    ("throughput at ", "random keys: the larger the tree of entities, the more pages a batch touches",
     "16-byte ids; the tree's index written in sorted runs"),
    ("callbacks", "service, database, bus, receivers and load share two cores", "insert deliveries already claimed"),
    ("delivered in a second", "service, database, bus, receivers and load share two cores", "insert deliveries already claimed"),
]


def of(goal):
    """(why, what next) of a goal that is missed."""
    for part, why, then in REASONS:
        if part in goal.text:
            return why, then
    return "not looked into yet", "a profile of this scenario"
