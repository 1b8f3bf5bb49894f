"""Commands on PostgreSQL: 256 clients in turn with pgbench, one client alone, one hot entity, two instances, two shards."""

from bench import RAW, RAW_ONE, STOCK, TYPE, median
from commands import commands, hot, two_instances, two_shards
from load import wrk

WORDS = ("postgres", "commands", "hot", "two", "shards")


def run(bench):
    url = bench.postgres.create("ledger")
    with bench.ledger(bench.data, url) as service:
        # In turn, because the machine's own noise changes within minutes.
        ours, raw = [], []
        for round in range(2 if bench.options.quick else 3):
            ours.append(wrk("PostgreSQL: soft-delete", service, TYPE, "soft_delete", bench.jwt_token, seed=bench.fresh_seed(),
                            seconds=bench.seconds, warm_up=0 if round else bench.warm_up, database=bench.postgres))
            if bench.get(RAW):
                raw.append(bench.pgbench(RAW, "raw", "raw_insert.sql", bench.raw_clients))
        bench.add(median(ours))
        if raw:
            bench.results.remove(bench.get(RAW))
            bench.add(median(raw))
        commands(bench, "PostgreSQL", service, bench.jwt_token, bench.postgres)
        hot(bench, "PostgreSQL", service, bench.jwt_token)
        two_instances(bench, service, url)
        two_shards(bench, service)


def goals(bench):
    soft = "PostgreSQL: soft-delete"
    bench.against("1", "soft-delete, PostgreSQL, 256 clients, against pgbench's raw insert", soft, RAW, 1.0)
    bench.against("1", "the same, against the stock stack", soft, STOCK, 15.0)
    found = bench.get(soft)
    bench.goal("1", "the same, p99", found and found.p99_ms, 50, at_least=False, unit="ms")
    for label in ("PostgreSQL", "SQLite"):
        bench.against("3", f"one client, {label}: time of a soft-delete, against pgbench's single-client insert",
                      f"{label}: soft-delete, 1 client", RAW_ONE, 2.0, of=lambda result: result.p50_ms, at_least=False)
