"""What scenarios work with: the private servers, the load, and the place for their results."""

import contextlib
import json
import os
import random
import subprocess
import time
import urllib.request

from load import HERE, pgbench, wrk
from report import Goal
from servers import BenchError, Postgres, Service

ROOT = os.path.dirname(HERE)
LEDGER = os.environ.get("BENCH_LEDGER", f"{ROOT}/target/release/archive-ledger")
PEERS = os.environ.get("BENCH_PEERS", f"{ROOT}/target/release/bench-peers")
TYPE = "/api/admin/archived/backups"
SUMMARY = "/api/admin/archived/summary"

# Rows that others are divided by.
RAW, RAW_ONE = "pgbench raw insert", "pgbench raw insert, 1 client"
JWT, JWT_ONE = "axum, JWT only", "axum, JWT only, 1 client"
STOCK, CRUD, MESSAGE_DB = "stock: postgres-es + GenericQuery", "CRUD: axum + sqlx", "Message DB write_message"
PEER_COLUMNS = [("raw insert", RAW), ("stock", STOCK), ("CRUD", CRUD), ("Message DB", MESSAGE_DB), ("JWT only", JWT)]


class Filled:
    """A ledger that `import` filled: where it is, and what the import took."""

    def __init__(self, label, data, url, token):
        self.label, self.data, self.url, self.token = label, data, url, token
        self.rate = self.memory_mib = None
        self.entities = 0


class Bench:
    def __init__(self, options, home):
        self.options, self.home = options, home
        self.seconds = options.seconds or (1.0 if options.quick else 8.0)
        self.warm_up = max(1.0, self.seconds / 4)
        self.scale = options.scale or (50_000 if options.quick else 1_000_000)
        self.results, self.goals, self.facts, self.skipped = [], [], [], []
        self.stack = contextlib.ExitStack()
        self.postgres = Postgres(home)
        self.stack.callback(self.postgres.stop)
        self.seed = 0
        self.filled_ledgers = {}
        self.raw_clients = 64
        # How often what is compared is measured in turn.
        self.rounds = 2 if options.quick else 4

    # --- results

    def add(self, result):
        self.results.append(result)
        latency = f", p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms" if result.p50_ms else ""
        print(f"  {result.name}: {result.rate:,.0f}/s{latency}", flush=True)
        return result

    def get(self, name):
        return next((result for result in self.results if result.name == name), None)

    def goal(self, number, text, value, limit, **more):
        goal = Goal(number, text, value, limit, **more)
        self.goals.append(goal)
        return goal

    def against(self, number, text, name, peer, limit, of=lambda result: result.rate, **more):
        """A goal on the ratio of two rows; not measured where one is missing."""
        one, other = self.get(name), self.get(peer)
        self.goal(number, text, of(one) / of(other) if one and other else None, limit, **more)

    def fact(self, name, value, unit=""):
        self.facts.append((name, value, unit))
        print(f"  {name}: {value:,.2f} {unit}", flush=True)

    def fresh_seed(self):
        self.seed += 1
        return self.seed

    # --- servers

    @contextlib.contextmanager
    def peer(self, kind, target):
        service = Service([PEERS, kind, "{address}", target], "/", f"{self.home}/{kind}.log")
        try:
            yield service
        finally:
            service.stop()

    @contextlib.contextmanager
    def ledger(self, data, url=None, more=()):
        command = [LEDGER, "serve", "--data-dir", data, "--listen", "{address}", "--log", "warn", *more]
        if url:
            command += ["--database-url", url]
        service = Service(command, "/readyz", f"{self.home}/ledger.log")
        try:
            # Only the service makes keys.
            service.token = self.token(data)
            yield service
        finally:
            service.stop()

    def token(self, data):
        done = subprocess.run(
            [LEDGER, "token", "--role", "admin", "--subject", "bench", "--ttl", "24h", "--data-dir", data],
            capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"no token: {done.stderr.strip()}")
        return done.stdout.strip()

    def command(self, *arguments):
        """Runs the ledger's binary to its end: (its standard output and error, seconds, peak memory in MiB)."""
        started = time.monotonic()
        with open(f"{self.home}/command.log", "w+") as log:
            process = subprocess.Popen([LEDGER, *arguments], stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            output = log.read()
        if process.returncode:
            raise BenchError(f"archive-ledger {arguments[0]} failed: {output[-2000:].strip()}")
        return output, time.monotonic() - started, usage.ru_maxrss / 1024

    def ask(self, service, path, token):
        request = urllib.request.Request(f"http://{service.address}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def archived(self, service, token):
        """How many backups are archived, once what was under way at the end of the last run has come to its end."""
        before = None
        for _ in range(200):
            now = self.ask(service, SUMMARY, token)["backups"]
            if now == before:
                return now
            before = now
            time.sleep(0.1)
        raise BenchError("the ledger does not come to rest")

    # --- load

    def wrk(self, name, service, path, mode, token, **more):
        more.setdefault("seconds", self.seconds)
        return self.add(wrk(name, service, path, mode, token, **more))

    def in_turn(self, *measurements):
        """Each measurement `rounds` times, one after the other, because a machine's speed changes within minutes; a row each."""
        return list(zip(*[[measure() for measure in measurements] for _ in range(self.rounds)]))

    def raw(self, clients, seconds):
        return self.pgbench(RAW, "raw", "raw_insert.sql", clients, seconds)

    def pgbench(self, name, database, script, clients, seconds=None):
        return pgbench(name, self.postgres, database, f"{HERE}/sql/{script}", clients, seconds or self.seconds)

    # --- ledgers with entities

    def lines(self):
        """A file of deletions as a platform would export them: roughly in the order of their times."""
        path = f"{self.home}/deletions.ndjson"
        if os.path.exists(path):
            return path
        dice = random.Random(7)
        with open(path, "w", buffering=1 << 20) as file:
            for number in range(self.scale):
                bits = f"{dice.getrandbits(128):032x}"
                # 2025, spread evenly, each up to an hour late.
                seconds = number * 31_000_000 // self.scale + dice.randrange(3600)
                day, rest = divmod(seconds, 86400)
                month, day = divmod(day, 30)
                file.write(
                    f'{{"entity_type":"backups","id":"{bits[:8]}-{bits[8:12]}-4{bits[13:16]}-a{bits[17:20]}-{bits[20:]}",'
                    f'"name":"nightly-db-17-{number}","metadata":{{"host":"db-17.example.org","size":1073741824,'
                    f'"region":"eu-central-1"}},"reason":"its retention period is over",'
                    f'"deleted_at":"2025-{min(month, 11) + 1:02}-{min(day, 27) + 1:02}T'
                    f'{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"}}\n')
        return path

    def filled(self, label):
        """The ledger of `scale` archived backups, which its first user waits for."""
        if label in self.filled_ledgers:
            found = self.filled_ledgers[label]
            if found is None:
                raise BenchError(f"{label}: the ledger could not be filled")
            return found
        self.filled_ledgers[label] = None
        data = f"{self.home}/filled-{label}"
        url = self.postgres.create("filled") if label == "PostgreSQL" else None
        with self.ledger(data, url) as service:
            filled = Filled(label, data, url, service.token)
        more = ["--database-url", filled.url] if filled.url else []
        _, seconds, filled.memory_mib = self.command("import", self.lines(), "--data-dir", filled.data, *more)
        filled.rate, filled.entities = self.scale / seconds, self.scale
        if filled.url:
            self.postgres.sql("filled", "VACUUM ANALYZE")
        self.filled_ledgers[label] = filled
        return filled

    @contextlib.contextmanager
    def filled_service(self, label):
        filled = self.filled(label)
        with self.ledger(filled.data, filled.url) as service:
            yield filled, service

    def database_of(self, label):
        """What a meter counts beside the service."""
        return self.postgres if label == "PostgreSQL" else None


def median(results):
    """The run in the middle of several of the same."""
    return sorted(results, key=lambda result: result.rate)[len(results) // 2]
