"""The log on JetStream: the delay to an independent subscriber beside commands, and how fast a stored log comes."""

from bench import PEERS, TYPE
from load import Meter, Result, wrk
from nats import Nats, instrument
from servers import BenchError

WORDS = ("relay", "events")


def run(bench):
    quick = bench.options.quick
    data, url = f"{bench.home}/relay", bench.postgres.create("relay")
    with bench.ledger(data, url) as service:
        token = service.token
        wrk("stored", service, TYPE, "soft_delete", token, seed=bench.fresh_seed(), seconds=3 if quick else 10)
    stored = int(bench.postgres.sql("relay", "SELECT position FROM ledger_head"))
    with Nats(bench.home) as nats, bench.ledger(data, url, ["--nats-url", nats.url]) as service:
        def measure(name, expected, **more):
            before = nats.cpu()
            with Meter([service], bench.postgres) as meter:
                seen = instrument(PEERS, "follow", nats=nats.url, count=expected, **more)
            if seen["events"] != expected or seen["gaps"]:
                raise BenchError(f"{name}: {seen['events']} of {expected} events came, with {seen['gaps']} gaps")
            result = Result(name, seen["events_per_second"], seen["p50_ms"], seen["p99_ms"], count=expected,
                            extra={**seen, "nats_cpu_us": (nats.cpu() - before) / expected * 1e6})
            return bench.add(meter.fill(result))
        backlog = measure("events to a subscriber, a stored log", stored)
        backlog.p50_ms = backlog.p99_ms = 0.0
        asked = dict(service=service.address, token=token)
        paced = measure("events to a subscriber, 2,000 commands/s", 2_000 * (4 if quick else 10), rate=2_000,
                        seed=bench.fresh_seed(), **asked)
        measure("events to a subscriber, commands as fast as they go", 10_000 if quick else 60_000, seed=bench.fresh_seed(),
                **asked)
    bench.fact("p99 from an event's time to a subscriber of the stream, 2,000/s", paced.p99_ms, "ms")
    bench.goal("events", "to a subscriber in a second, PostgreSQL", backlog.rate, 5_000, unit="/s")
