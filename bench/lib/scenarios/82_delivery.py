"""Callbacks end to end: from the answer to a purge to the first POST, and how many in a second. PostgreSQL and NATS."""

from bench import PEERS
from load import Meter, Result
from nats import Nats, instrument
from servers import BenchError

WORDS = ("delivery", "callbacks")
HEALTHY, SILENT = 64, 576


def run(bench):
    quick = bench.options.quick
    seconds = 4 if quick else max(8, int(bench.seconds))
    many = 6_000 if quick else 60_000
    with Nats(bench.home) as nats:
        more = ["--nats-url", nats.url, "--callback-allow", "127.0.0.0/8", "--shutdown-grace", "1s"]
        data = f"{bench.home}/delivery"
        with bench.ledger(data, bench.postgres.create("delivery"), more) as service:
            measure = Measure(bench, service, nats, service.token)
            paced = measure("callbacks, 1,000 purges/s", count=1_000 * seconds, rate=1_000, warm=500)
            free = measure("callbacks, purges as fast as they go", count=many)
            backlog = measure("callbacks, the bus held up until all is purged", count=many, pause=nats.process.pid)
            # Ends with receivers whose circuits are open, so it comes last.
            beside = measure("callbacks, 1,000 purges/s, 90 % of the receivers silent", count=1_000 * seconds, rate=1_000,
                             warm=500, silent=SILENT, share=0.9)
            half = measure("callbacks, 90 % of the receivers silent, every second purge for one of them", count=many, warm=500,
                           silent=SILENT, share=0.5)
    goal = bench.goal
    most = max(free["callbacks_per_second"], backlog["callbacks_per_second"])
    goal("callbacks", "delivered in a second, end to end, PostgreSQL and NATS", most, 5_000, unit="/s")
    goal("callbacks", "p99 from the purge's answer to the first POST, 1,000/s", paced["p99_ms"], 250, at_least=False, unit="ms")
    goal("callbacks", "the same with 90 % of the receivers silent", beside["p99_ms"], 500, at_least=False, unit="ms")
    runs = (paced, free, backlog, beside, half)
    for name in ("lost", "doubled", "strange"):
        total = sum(one[name] for one in runs)
        goal("callbacks", f"callbacks to receivers that answer: {name}", total, 0, at_least=False, unit="")
    bench.fact("callbacks in a second, 90 % of the receivers silent, every second purge for one of them",
               half["callbacks_per_second"])
    bench.fact("the same, without silent receivers and all purges", free["callbacks_per_second"])
    bench.fact("callbacks, 1,000/s: p99 from the sending of the purge to the first POST", paced["whole_p99_ms"], "ms")


class Measure:
    def __init__(self, bench, service, nats, token):
        self.bench, self.service, self.nats, self.token = bench, service, nats, token

    def __call__(self, name, count, **more):
        bench, nats = self.bench, self.nats
        # What the bus held back is delivered by itself: its cost is the callbacks' alone. Elsewhere the purges are in it.
        begins = "delivering" if "pause" in more else "purging"
        meter = Meter([self.service], bench.postgres)
        spent = {}
        def told(phase):
            if phase == begins:
                meter.__enter__()
                spent["before"] = nats.cpu()
            elif phase == "done":
                meter.__exit__()
                spent["after"] = nats.cpu()
        seen = instrument(PEERS, "callbacks", told=told, service=self.service.address, token=self.token,
                          seed=bench.fresh_seed(), count=count, healthy=HEALTHY, **more)
        if not seen["arrived"]:
            raise BenchError(f"{name}: no callback arrived")
        result = Result(name, seen["callbacks_per_second"], seen["p50_ms"], seen["p99_ms"], count=seen["arrived"],
                        extra={**seen, "nats_cpu_us": (spent["after"] - spent["before"]) / seen["arrived"] * 1e6})
        bench.add(meter.fill(result))
        if begins == "delivering":
            bench.fact("CPU of one callback, from the bus to its log: service and database", result.cost_us, "µs")
            bench.fact("the same: NATS", result.extra["nats_cpu_us"], "µs")
        return seen
