"""Why a goal is missed where it is, and what to try next. Printed beside every miss; docs/PERFORMANCE.md has the records."""

# (part of the goal's text, why, what next). The first that fits is printed.
REASONS = [
    ("against pgbench's raw insert",
     "two cores carry everything: a command costs the service some 60 µs (HTTP, token, sealing, hashing), the database 55 and "
     "the load generator 14, a raw insert 110",
     "fewer allocations (a fifth of the service's time); narrower rows (the entry can be made again from the columns)"),
    ("the same, against the stock stack",
     "the goal stands on a stock stack of 1.2-1.7 thousand a second and a service at 25; the sealed details, salted commitments "
     "and signed entries of this one had not been in that prototype",
     "as above; one random tree of three less: archived_entries in the order of the list alone"),
    ("the same, p99",
     "a command waits for the batch under way, its own, and the time that both cores need for 256 answers",
     "as above"),
    ("against the JWT-only handler",
     "the handler does nothing: 10 µs of CPU, where a durable command has 8-12 pages of random keys to write twice",
     "archived_entries in the order of the list alone: one random tree of three less"),
    ("purge, ",
     "a purge is two events, a destroyed key, and an update of the row whose sealed details are scrubbed",
     "a fillfactor for events, so that the scrubbed row stays on its page"),
    ("one client, ",
     "two round trips, and a statement with a dozen parts to set up (0.23 ms); on SQLite each statement goes to another thread "
     "and back",
     "statements without the parts that a batch has no use for; a batch's statements run on the connection's thread in one go"),
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
    ("throughput at ", "random keys: the larger the trees, the more pages a batch touches",
     "archived_entries in the order of the list alone"),
    ("callbacks", "service, database, bus, receivers and load share two cores", "insert deliveries already claimed"),
    ("delivered in a second", "service, database, bus, receivers and load share two cores", "insert deliveries already claimed"),
]


def of(goal):
    """(why, what next) of a goal that is missed."""
    for part, why, then in REASONS:
        if part in goal.text:
            return why, then
    return "not looked into yet", "a profile of this scenario"
