"""What is measured of commands, on either backend."""

from bench import TYPE
from load import Meter, Result, wrk, wrk_together
from servers import BenchError


def commands(bench, label, service, token, database=None):
    """Restore, purge, and one client alone; what is restored and purged was made just before."""
    def made():
        seed = bench.fresh_seed()
        before = bench.archived(service, token)
        # As much again as will be asked for, so that the run does not end for want of entities.
        result = wrk("made", service, TYPE, "soft_delete", token, seed=seed, seconds=bench.seconds * 1.5)
        listed = bench.archived(service, token) - before
        if listed < result.count:
            raise BenchError(f"{label}: {result.count} deletions were answered with 201, and {listed} are listed")
        # The last answers of the run are missing: what was asked for at its end is left alone.
        return seed, max(1, result.count - 1_000)
    for action in ("restore", "purge"):
        seed, count = made()
        bench.wrk(f"{label}: {action}", service, TYPE, action, token, seed=seed, count=count, database=database)
    bench.wrk(f"{label}: soft-delete, 1 client", service, TYPE, "soft_delete", token, seed=bench.fresh_seed(), connections=1,
              seconds=bench.seconds / 2, database=database)


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
    bench.goal("4", "hot entity: commands that were acknowledged and are not recorded", max(0, hot[1].count - recorded), 0,
               at_least=False, unit="")
    bench.goal("4", "hot entity: its neighbours' throughput, against beside 64 clients on entities of their own",
               hot[0].rate / cool[0].rate, 0.8)


def pair(bench, name, one, two, token):
    """128 clients on each of two services, as one row."""
    with Meter([one, two], bench.postgres) as meter:
        results = wrk_together([
            ("a", one, TYPE, "soft_delete", bench.jwt_token, bench.fresh_seed(), 128),
            ("b", two, TYPE, "soft_delete", token, bench.fresh_seed(), 128)], bench.seconds)
    both = Result(name, sum(result.rate for result in results), max(result.p50_ms for result in results),
                  max(result.p99_ms for result in results), count=sum(result.count for result in results))
    return bench.add(meter.fill(both))


def alone(bench, one):
    return wrk("one again", one, TYPE, "soft_delete", bench.jwt_token, seed=bench.fresh_seed(), seconds=bench.seconds)


def two_instances(bench, one, url):
    before = alone(bench, one)
    with bench.ledger(bench.data, url) as two:
        both = pair(bench, "PostgreSQL: soft-delete, two instances", one, two, bench.jwt_token)
    after = alone(bench, one)
    bench.goal("5", "two instances, against one", both.rate / ((before.rate + after.rate) / 2), 0.9)
    gaps = bench.postgres.sql("ledger", "SELECT (SELECT position FROM ledger_head) - count(*) + "
                              "(SELECT position FROM ledger_head) - max(position) FROM events")
    bench.goal("5", "gaps in the log", float(gaps), 0, at_least=False, unit="")


def two_shards(bench, one):
    """Two ledgers, each a process and a database of its own, on one PostgreSQL: what SCALING.md builds on."""
    before = alone(bench, one)
    data = f"{bench.home}/shard"
    token = bench.token(data)
    with bench.ledger(data, bench.postgres.create("shard")) as two:
        both = pair(bench, "PostgreSQL: soft-delete, two shards", one, two, token)
    after = alone(bench, one)
    bench.fact("two shards, against one ledger", both.rate / ((before.rate + after.rate) / 2), "×")
