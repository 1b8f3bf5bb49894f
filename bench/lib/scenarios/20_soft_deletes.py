"""Soft-deletes at 256 clients and at one, on both databases, in turn with pgbench's insert and the stock stack."""

import statistics

from bench import RAW, RAW_ONE, STOCK, TYPE, median
from load import wrk

WORDS = ("postgres", "sqlite", "commands", "stock")


def run(bench):
    url = bench.postgres.create("soft")
    with bench.ledger(f"{bench.home}/soft", url) as ours, bench.ledger(f"{bench.home}/soft-embedded") as embedded, \
            bench.peer("stock", bench.postgres.create("stock")) as stock:
        many(bench, ours, embedded, stock)
        one(bench, ours, embedded)
    kept = int(bench.postgres.sql("stock", "SELECT payload->>'count' FROM archived_summary"))
    events = int(bench.postgres.sql("stock", "SELECT count(*) FROM events"))
    bench.fact("stock: deletions of which its summary kept one", events / kept)


def many(bench, ours, embedded, stock):
    written = []
    def postgres():
        return wrk("PostgreSQL: soft-delete", ours, TYPE, "soft_delete", ours.token, seed=bench.fresh_seed(),
                   seconds=bench.seconds, warm_up=bench.warm_up, database=bench.postgres)
    def sqlite():
        wrk("warm-up", embedded, TYPE, "soft_delete", embedded.token, seed=bench.fresh_seed(), seconds=bench.warm_up)
        have, before = bench.archived(embedded, embedded.token), embedded.written()
        result = wrk("SQLite: soft-delete", embedded, TYPE, "soft_delete", embedded.token, seed=bench.fresh_seed(),
                     seconds=bench.seconds)
        written.append((have, (embedded.written() - before) / result.count))
        return result
    def peer():
        return wrk(STOCK, stock, TYPE, "soft_delete", "-", seed=bench.fresh_seed(), seconds=bench.seconds, warm_up=bench.warm_up,
                   database=bench.postgres)
    rows = bench.in_turn(lambda: bench.raw(bench.raw_clients, bench.seconds), postgres, sqlite, peer)
    raws, deletions, embedded_ones, stocks = rows
    if bench.get(RAW):
        bench.results.remove(bench.get(RAW))
    for row in rows:
        bench.add(median(row))
    ratio = lambda of, to: statistics.median(a.rate / b.rate for a, b in zip(of, to))
    bench.goal("A1", "soft-delete, PostgreSQL, 256 clients, against pgbench's raw insert", ratio(deletions, raws), 1.0)
    bench.goal("A1", "the same, p99", statistics.median(result.p99_ms for result in deletions), 50, at_least=False, unit="ms")
    bench.goal("A1", "the same, against the stock stack", ratio(deletions, stocks), 15)
    bench.goal("A2", "soft-delete, SQLite, 256 clients, against PostgreSQL", ratio(embedded_ones, deletions), 0.9)
    bench.goal("A2", "the same, against pgbench's raw insert", ratio(embedded_ones, raws), 0.8)
    # The run that began nearest to the size that the goal names.
    have, bytes_each = min(written, key=lambda run: abs(run[0] - 200_000))
    bench.goal("A2", f"the same, written per event at {have:,} entities", bytes_each / 1000, 10, at_least=False, unit="kB")


def one(bench, ours, embedded):
    def alone(label, service, database=None):
        return lambda: wrk(f"{label}: soft-delete, 1 client", service, TYPE, "soft_delete", service.token, seed=bench.fresh_seed(),
                           connections=1, seconds=bench.seconds / 2, database=database)
    rows = bench.in_turn(
        lambda: bench.pgbench(RAW_ONE, "raw", "raw_insert.sql", 1, bench.seconds / 2),
        alone("PostgreSQL", ours, bench.postgres), alone("SQLite", embedded))
    for row in rows:
        bench.add(median(row))
    for label, row in zip(("PostgreSQL", "SQLite"), rows[1:]):
        bench.goal("A3", f"one client, {label}: time of a soft-delete, against pgbench's single-client insert",
                   statistics.median(a.p50_ms / b.p50_ms for a, b in zip(row, rows[0])), 3.0, at_least=False)
