"""Import from NDJSON into an empty ledger, against COPY of the very rows that it wrote."""

import os
import shutil
import sqlite3
import time

from load import Result

WORDS = ("import", "size")
TABLES = ("events", "entities", "archived_entries", "idempotency_answers")


def run(bench):
    for label in ("PostgreSQL", "SQLite"):
        filled = bench.filled(label)
        bench.add(Result(f"{label}: import", filled.rate, 0, 0, memory_mib=filled.memory_mib))
        bench.fact(f"{label}: bytes on disk per event", size(bench, filled) / filled.entities)
    copied = copy(bench)
    bench.add(Result("COPY of the rows that the import wrote", copied, 0, 0))
    bench.goal("A3", "import, PostgreSQL, against COPY of the same rows", bench.filled("PostgreSQL").rate / copied, 0.6)
    bench.goal("A3", "import, SQLite", bench.filled("SQLite").rate, 30_000, unit="lines/s")


def size(bench, filled):
    if filled.url:
        return float(bench.postgres.sql("filled", "SELECT pg_database_size('filled')"))
    with sqlite3.connect(f"{filled.data}/ledger.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return os.path.getsize(f"{filled.data}/ledger.db")


def copy(bench):
    """Rows per second: those of all tables count once, by the events."""
    postgres = bench.postgres
    folder = f"{postgres.home}/copied"
    os.makedirs(folder, exist_ok=True)
    if postgres.user:
        shutil.chown(folder, postgres.user)
    postgres.create("copied")
    postgres.sql("copied", postgres.dump_schema("filled"))
    seconds = 0.0
    for table in TABLES:
        postgres.sql("filled", f"COPY {table} TO '{folder}/{table}' (FORMAT binary)")
        started = time.monotonic()
        postgres.sql("copied", f"COPY {table} FROM '{folder}/{table}' (FORMAT binary)")
        seconds += time.monotonic() - started
        os.remove(f"{folder}/{table}")
    rows = int(postgres.sql("copied", "SELECT count(*) FROM events"))
    postgres.sql("postgres", "DROP DATABASE copied")
    return rows / seconds
