"""pgbench: one event row per transaction, at the number of clients that gives most. The limit of one commit per command."""

from bench import RAW

WORDS = ("raw", "peers", "postgres", "sqlite", "commands")

# What somebody would make who keeps events in a table: the columns of the stock crates, one primary key, nothing else.
TABLE = """CREATE TABLE raw_events (
    aggregate_type text NOT NULL, aggregate_id text NOT NULL, sequence bigint NOT NULL, event_type text NOT NULL,
    event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence))"""


def run(bench):
    bench.postgres.create("raw")
    bench.postgres.sql("raw", TABLE)
    bench.raw(32, 1)
    tried = [64, 128] if bench.options.quick else [16, 32, 64, 96, 128, 256]
    best = max((bench.raw(clients, bench.seconds / 2) for clients in tried), key=lambda result: result.rate)
    bench.raw_clients = best.extra["clients"]
    best.name = RAW
    bench.add(best)
