"""Full load on a ledger of many entities: throughput against that of an empty one, reads beside it, memory."""

import statistics

from bench import TYPE, median
from load import wrk, wrk_together

WORDS = ("size", "load")


def run(bench):
    for label in ("PostgreSQL", "SQLite"):
        database = bench.database_of(label)
        data = f"{bench.home}/beside-{label}"
        url = bench.postgres.create("beside") if database else None
        with bench.filled_service(label) as (filled, service), bench.ledger(data, url) as empty:
            have = bench.archived(service, filled.token)
            load = lambda name, of, token: wrk(name, of, TYPE, "soft_delete", token, seed=bench.fresh_seed(),
                                                        seconds=bench.seconds, warm_up=bench.warm_up, database=database)
            large, small = bench.in_turn(
                lambda: load(f"{label}: soft-delete at {have:,} entities", service, filled.token),
                lambda: load(f"{label}: soft-delete on an empty ledger beside it", empty, empty.token))
            bench.add(median(large))
            bench.add(median(small))
            bench.goal("A4", f"{label}: throughput at {have:,} entities, against an empty ledger",
                       statistics.median(a.rate / b.rate for a, b in zip(large, small)), 0.8)
            pair = wrk_together([
                (f"{label}: first page of 20, under full write load", service, f"{TYPE}?limit=20", "get", filled.token, 1, 2),
                (f"{label}: soft-delete, beside 2 readers", service, TYPE, "soft_delete", filled.token, bench.fresh_seed(), 254)],
                bench.seconds)
            for result in pair:
                bench.add(result)
            bench.goal("reads", f"{label}: p99 of a list read under full write load", pair[0].p99_ms, 20, at_least=False, unit="ms")
            bench.goal("A4", f"{label}, {have:,} entities: peak memory under full load", service.peak_memory(), 150, at_least=False,
                       unit="MiB")
