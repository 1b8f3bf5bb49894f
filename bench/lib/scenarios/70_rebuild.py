"""Rebuild of the projections: alone, and beside full write load."""

import threading
import time

from bench import TYPE
from load import Result, wrk

WORDS = ("rebuild", "size")
WANTED = 200_000


def run(bench):
    for label in ("PostgreSQL", "SQLite"):
        filled = bench.filled(label)
        more = ["--database-url", filled.url] if filled.url else []
        arguments = ["rebuild", "--data-dir", filled.data, *more]
        output, seconds, memory = bench.command(*arguments)
        # Replay and comparison, start and end of the process: all of it.
        events = int(output.partition("compared at position ")[2].partition(",")[0])
        bench.add(Result(f"{label}: rebuild", events / seconds, 0, 0, count=events, memory_mib=memory))
        bench.goal("A3", f"{label}: events that a rebuild replays and compares in a second", events / seconds, WANTED,
                   unit="/s")
        bench.goal("A3", f"{label}: memory of a rebuild", memory, 150, at_least=False, unit="MiB")
        with bench.filled_service(label) as (filled, service):
            beside(bench, label, service, filled.token, arguments, seconds)


def beside(bench, label, service, token, arguments, seconds):
    """The same load with and without rebuilds that follow each other."""
    length = max(bench.seconds, min(seconds * 1.5, 30.0))
    quiet = wrk("quiet", service, TYPE, "soft_delete", token, seed=bench.fresh_seed(), seconds=length, warm_up=bench.warm_up)
    over, failed, done = threading.Event(), [], []
    def rebuilds():
        try:
            while not over.is_set():
                bench.command(*arguments)
                done.append(time.monotonic())
        except Exception as error:
            failed.append(error)
    thread = threading.Thread(target=rebuilds)
    thread.start()
    try:
        result = wrk(f"{label}: soft-delete beside a rebuild", service, TYPE, "soft_delete", token, seed=bench.fresh_seed(),
                     seconds=length, database=bench.database_of(label))
    finally:
        over.set()
        thread.join()
    if failed:
        raise failed[0]
    bench.add(result)
    bench.goal("rebuild", f"{label}: live throughput beside a rebuild, against without", result.rate / quiet.rate, 0.7)
