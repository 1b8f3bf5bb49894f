"""pgbench: one event row per transaction, at the number of clients that gives most. The limit of one commit per command."""

import os

from bench import RAW, RAW_ONE, ROOT

WORDS = ("raw", "peers", "postgres", "commands")


def run(bench):
    bench.postgres.create("raw")
    folder = f"{ROOT}/migrations/postgres"
    for file in sorted(os.listdir(folder)):
        if file.endswith(".sql"):
            with open(f"{folder}/{file}") as sql:
                bench.postgres.sql("raw", sql.read())
    bench.postgres.sql("raw", "CREATE SEQUENCE positions; ALTER TABLE events ALTER position SET DEFAULT nextval('positions');")
    bench.pgbench(RAW, "raw", "raw_insert.sql", 32, 1)
    tried = [64, 128] if bench.options.quick else [16, 32, 64, 96, 128, 256]
    best = max((bench.pgbench(RAW, "raw", "raw_insert.sql", clients, bench.seconds / 2) for clients in tried),
               key=lambda result: result.rate)
    bench.raw_clients = best.extra["clients"]
    bench.add(bench.pgbench(RAW_ONE, "raw", "raw_insert.sql", 1, bench.seconds / 2))
    best.name = RAW
    bench.add(best)
