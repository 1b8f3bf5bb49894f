"""Start-up, memory, and reads of a ledger of many entities."""

import time

from bench import JWT_ONE, SUMMARY, TYPE
from load import wrk

WORDS = ("reads", "size")


def run(bench):
    for label in ("PostgreSQL", "SQLite"):
        with bench.filled_service(label) as (filled, service):
            time.sleep(1)
            bench.goal("A4", f"{label}, {filled.entities:,} entities: start-up", service.start_seconds, 1, at_least=False, unit="s")
            bench.goal("A4", f"{label}, {filled.entities:,} entities: memory when idle", service.memory(), 40, at_least=False,
                       unit="MiB")
            reads(bench, label, service, filled.token)


def reads(bench, label, service, token):
    have = bench.archived(service, token)
    jwt = bench.get(JWT_ONE)
    seconds = max(1.0, bench.seconds / 3)
    def read(name, path):
        return bench.wrk(f"{label}: {name}", service, path, "get", token, connections=1, seconds=seconds,
                         database=bench.database_of(label))
    summary = read("summary", SUMMARY)
    first = read("first page of 20", f"{TYPE}?limit=20")
    pages = {}
    for name, share in (("in the list's middle", 0.5), ("at the list's end", 1.0)):
        before = bench.ask(service, f"{TYPE}?limit=20&page={max(1, int(have * share) // 20 - 10)}", token)
        pages[name] = read(f"page of 20 {name}, by cursor", f"{TYPE}?limit=20&cursor={before['next_cursor']}")
    # Before and after, because half a millisecond is within what a shared machine's speed changes by.
    again = wrk("first page again", service, f"{TYPE}?limit=20", "get", token, connections=1, seconds=seconds)
    first_ms = (first.p50_ms + again.p50_ms) / 2
    # As many rows as the ledger has for page 100,000.
    limit = max(1, min(20, have // 100_000))
    last = have // limit if have < 100_000 * limit else 100_000
    small = first if limit == 20 else read(f"first page of {limit}", f"{TYPE}?limit={limit}")
    numbered = read(f"page {last:,} of {limit}, by number", f"{TYPE}?limit={limit}&page={last}")
    bench.goal("A4", f"{label}, {have:,} archived: time of the summary, against the JWT-only handler",
               summary.p50_ms / jwt.p50_ms if jwt else None, 2.0, at_least=False)
    for name, page in pages.items():
        bench.goal("A4", f"{label}: a cursor page {name}, against the first page", page.p50_ms / first_ms, 1.2, at_least=False)
    bench.goal("A4", f"{label}: page {last:,} of {limit} by number, against the first page", numbered.p50_ms / small.p50_ms, 3.0,
               at_least=False)
