"""What is measured of commands, on either backend."""

import statistics

from bench import TYPE, median
from load import Meter, Result, wrk, wrk_together
from servers import BenchError

WANTED = {"restore": 0.8, "purge": 0.8}


def commands(bench, label, service, token, database=None):
    """Restores and purges, each of what the run before it has deleted, and against that run."""
    def deleted():
        before = bench.archived(service, token)
        # As much again as will be asked for, so that the next run does not end for want of entities.
        result = wrk(f"{label}: soft-delete, before the others", service, TYPE, "soft_delete", token, seed=bench.fresh_seed(),
                     seconds=bench.seconds * 1.5, warm_up=bench.warm_up, database=database)
        listed = bench.archived(service, token) - before
        if listed < result.count:
            raise BenchError(f"{label}: {result.count} deletions were answered with 201, and {listed} are listed")
        # The last answers of the run are missing: what was asked for at its end is left alone.
        return result, max(1, result.count - 1_000)
    for action, wanted in WANTED.items():
        deletions, results = [], []
        for _ in range(bench.rounds):
            deletion, count = deleted()
            deletions.append(deletion)
            results.append(wrk(f"{label}: {action}", service, TYPE, action, token, seed=bench.seed, count=count,
                               seconds=bench.seconds, database=database))
        bench.add(median(results))
        bench.goal("A1", f"{action}, {label}, against soft-delete",
                   statistics.median(a.rate / b.rate for a, b in zip(results, deletions)), wanted)


def hot(bench, label, service, token):
    """64 clients on one entity beside 192 on entities of their own; before it, the 64 have entities of their own too."""
    cool = wrk_together([
        ("neighbours", service, TYPE, "soft_delete", token, bench.fresh_seed(), 192),
        ("others", service, TYPE, "soft_delete", token, bench.fresh_seed(), 64)], bench.seconds)
    hot = wrk_together([
        (f"{label}: 192 clients beside a hot entity", service, TYPE, "soft_delete", token, bench.fresh_seed(), 192),
        (f"{label}: 64 clients on the hot entity", service, "/api/admin/archived/servers", "hot", token, bench.fresh_seed(), 64)],
        bench.seconds)
    for result in hot:
        bench.add(result)
    # The only server that this run knows.
    recorded = int(bench.postgres.sql("ledger", "SELECT max(sequence) FROM events WHERE aggregate_type = 'archived_entity' "
                                      "AND aggregate_id >= 'servers:' AND aggregate_id < 'servers;'"))
    bench.goal("hot", "commands that were acknowledged and are not recorded", max(0, hot[1].count - recorded), 0,
               at_least=False, unit="")
    bench.goal("hot", "its neighbours' throughput, against beside 64 clients on entities of their own",
               hot[0].rate / cool[0].rate, 0.8)


def pair(bench, name, one, two, tokens):
    """128 clients on each of two services, as one row."""
    with Meter([one, two], bench.postgres) as meter:
        results = wrk_together([
            ("a", one, TYPE, "soft_delete", tokens[0], bench.fresh_seed(), 128),
            ("b", two, TYPE, "soft_delete", tokens[1], bench.fresh_seed(), 128)], bench.seconds)
    both = Result(name, sum(result.rate for result in results), max(result.p50_ms for result in results),
                  max(result.p99_ms for result in results), count=sum(result.count for result in results))
    return meter.fill(both)


def alone(bench, one, token):
    return wrk("one of two", one, TYPE, "soft_delete", token, seed=bench.fresh_seed(), seconds=bench.seconds)


def two_instances(bench, one, data, url, token):
    def both():
        with bench.ledger(data, url) as two:
            return pair(bench, "PostgreSQL: soft-delete, two instances", one, two, (token, token))
    singles, pairs = bench.in_turn(lambda: alone(bench, one, token), both)
    bench.add(median(pairs))
    bench.goal("A3", "two instances, against one", statistics.median(a.rate / b.rate for a, b in zip(pairs, singles)), 0.9)
    gaps = bench.postgres.sql("ledger", "SELECT (SELECT position FROM ledger_head) - count(*) + "
                              "(SELECT position FROM ledger_head) - max(position) FROM events")
    bench.goal("A3", "gaps in the log", float(gaps), 0, at_least=False, unit="")


def two_shards(bench, one, token):
    """Two ledgers, each a process and a database of its own, on one PostgreSQL: what SCALING.md builds on."""
    before = alone(bench, one, token)
    with bench.ledger(f"{bench.home}/shard", bench.postgres.create("shard")) as two:
        both = bench.add(pair(bench, "PostgreSQL: soft-delete, two shards", one, two, (token, two.token)))
    after = alone(bench, one, token)
    bench.fact("two shards, against one ledger", both.rate / ((before.rate + after.rate) / 2), "×")
