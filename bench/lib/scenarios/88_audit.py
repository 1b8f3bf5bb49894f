"""The log as evidence: signing, proofs, verification, and what an auditor reads. SQLite and PostgreSQL."""

import os
import random
import resource
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request

from bench import LEDGER, PEERS
from load import Meter, Result
from nats import instrument
from servers import BenchError

WORDS = ("audit", "proofs")
AUDIT = "/api/admin/audit"
MISSING = "route missing"


def run(bench):
    for label in ("PostgreSQL", "SQLite"):
        covered(bench, label)
        filled = bench.filled(label)
        url = ["--database-url", filled.url] if filled.url else []
        with bench.ledger(filled.data, filled.url) as service:
            started = time.monotonic()
            events = head(bench, filled)
            wait_for(service, filled.token, events)
            signing = time.monotonic() - started + service.start_seconds
            if filled.rate:
                imported = filled.entities / filled.rate
                bench.add(Result(f"{label}: leaves appended and signed (import, start, checkpoint over all)",
                                 events / (imported + signing), 0, 0, count=events))
                bench.add(Result(f"{label}: leaves signed at the start (read back, hashed again, stored as tiles)",
                                 events / signing, 0, 0, count=events))
            proofs(bench, label, filled, service, events)
            audit(bench, label, filled, service, events)
            key = text(service, "/api/ledger/vkey", filled.token).strip()
        verify(bench, label, filled, url, key, events)


def text(service, path, token):
    request = urllib.request.Request(f"http://{service.address}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def wait_for(service, token, size):
    """Until a checkpoint covers so many events."""
    started = time.monotonic()
    while time.monotonic() - started < 300:
        try:
            if int(text(service, "/api/ledger/checkpoint", token).splitlines()[1]) >= size:
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        time.sleep(0.02)
    raise BenchError("the checkpoint does not come")


def query(bench, filled, sql):
    """Every row's first column."""
    if filled.url:
        done = subprocess.run([f"{bench.postgres.bin}/psql", "-XqAt", "-d", "filled", "-c", sql],
                              env=bench.postgres.environment(), capture_output=True, text=True, check=True)
        return done.stdout.split()
    with sqlite3.connect(f"file:{filled.data}/ledger.db?mode=ro", uri=True) as connection:
        return [row[0] for row in connection.execute(sql)]


def head(bench, filled):
    return int(query(bench, filled, "SELECT position FROM ledger_head")[0])


def covered(bench, label):
    """From the answer to a command to the checkpoint over it, at 5,000 events in a second."""
    data, url = f"{bench.home}/signed-{label}", bench.postgres.create("signed") if label == "PostgreSQL" else None
    seconds = 3 if bench.options.quick else 10
    database = bench.database_of(label)
    with bench.ledger(data, url) as service:
        token = service.token
        wait_for(service, token, 0)
        meter = Meter([service], database).__enter__()
        seen = instrument(PEERS, "checkpoints", service=service.address, token=token, rate=5_000, count=5_000 * seconds,
                          every=100, seed=bench.fresh_seed())
        meter.__exit__()
        name = f"{label}: checkpoint over an event, 5,000 commands/s"
        result = Result(name, seen["commands_per_second"], seen["p50_ms"], seen["p99_ms"], count=5_000 * seconds, extra=seen)
        bench.add(meter.fill(result))
    if seen["uncovered"]:
        raise BenchError(f"{seen['uncovered']} events were not covered by a checkpoint")
    rate = seen["commands_per_second"]
    bench.goal("proofs", f"{label}: p99 from a command's answer to the signed checkpoint over it, at {rate:,.0f}/s",
               seen["p99_ms"], 500, at_least=False, unit="ms")


def asked(bench, label, name, filled, service, paths, connections=1, count=None):
    with Meter([service], bench.database_of(label)) as meter:
        seen = instrument(PEERS, "ask", lines=paths, service=service.address, token=filled.token, connections=connections,
                          count=count)
    return bench.add(meter.fill(Result(name, seen["per_second"], seen["p50_ms"], seen["p99_ms"], count=seen["count"])))


def proofs(bench, label, filled, service, events):
    dice = random.Random(3)
    places = ", ".join(str(dice.randrange(1, events + 1)) for _ in range(500))
    ids = query(bench, filled, f"SELECT event_id FROM events WHERE position IN ({places})")
    paths = [f"/api/ledger/proofs/{id}" for id in ids]
    one = asked(bench, label, f"{label}: inclusion proof of {events:,} entries, 1 client", filled, service, paths, 1)
    bench.fact(f"{label}: CPU of one inclusion proof, service and database", one.cost_us, "µs")
    count = 1_000 if bench.options.quick else 10_000
    asked(bench, label, f"{label}: inclusion proofs, 32 clients", filled, service, paths, 32, count)


def verify(bench, label, filled, url, key, events):
    """On one core: the process may use no other."""
    exported = f"{bench.home}/exported-{label}"
    one_core(bench, [LEDGER, "export", "--dir", exported, "--data-dir", filled.data, *url])
    whole = ["--data-dir", filled.data, *url]
    for what, more in (("the exported log", ["--dir", exported]), ("its own database, every row", whole)):
        seconds, cpu = one_core(bench, [LEDGER, "verify", *more, "--vkey", key])
        name = f"{label}: verify {what}, one core"
        result = Result(name, events / seconds, 0, 0, count=events)
        result.service_cpu, result.cost_us = cpu / seconds, cpu / events * 1e6
        bench.add(result)
        if "--dir" in more:
            bench.goal("proofs", f"{label}: entries of an exported log verified in a second of one core's time", events / cpu,
                       200_000, unit="/s")


def one_core(bench, command):
    """Wall time and CPU of a command that ends well."""
    core = max(os.sched_getaffinity(0))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}), timeout=900)
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise BenchError(f"{' '.join(command[1:3])}: {done.stderr.strip()}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def audit(bench, label, filled, service, events):
    """Filtered pages, and the export as NDJSON."""
    page = f"{label}: p99 of a filtered audit page of {events:,} events"
    export = f"{label}: events exported as NDJSON in a second"
    try:
        text(service, f"{AUDIT}/events?limit=1", filled.token)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        bench.goal("audit", page, None, 50, at_least=False, unit="ms", why=MISSING)
        bench.goal("audit", export, None, 100_000, unit="/s", why=MISSING)
        return
    ids = query(bench, filled, "SELECT aggregate_id FROM events ORDER BY position LIMIT 100")
    filters = ["entity_type=backups&outcome=allowed", "actor=nobody", "action=purged", "action=soft_deleted&order=asc",
               f"pos_from={events // 2}&entity_type=backups", "from=2026-01-01T00:00:00Z&actor=nobody",
               *(f"entity_type=backups&entity_id={id.partition(':')[2]}" for id in ids[:20])]
    paths = [f"{AUDIT}/events?limit=50&{one}" for one in filters]
    seen = asked(bench, label, f"{label}: filtered audit page of {events:,} events, 1 client", filled, service, paths, 1,
                 200 if bench.options.quick else 1_000)
    bench.goal("audit", page, seen.p99_ms, 50, at_least=False, unit="ms")
    request = urllib.request.Request(f"http://{service.address}{AUDIT}/export?format=ndjson",
                                     headers={"Authorization": f"Bearer {filled.token}"})
    lines = 0
    try:
        with Meter([service], bench.database_of(label)) as meter, urllib.request.urlopen(request, timeout=300) as answer:
            while chunk := answer.read(1 << 20):
                lines += chunk.count(b"\n")
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        bench.goal("audit", export, None, 100_000, unit="/s", why=MISSING)
        return
    result = Result(f"{label}: audit export, NDJSON", lines / meter.seconds, 0, 0, count=lines)
    bench.add(meter.fill(result))
    bench.goal("audit", export, result.rate, 100_000, unit="/s")
