"""Runs every scenario in turn on private servers and writes the table. See ../README.md."""

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

import report
from load import HERE, Meter, Result, pgbench, wrk, wrk_together
from report import Goal
from servers import BenchError, Postgres, Service

ROOT = os.path.dirname(HERE)
LEDGER = f"{ROOT}/target/release/archive-ledger"
PEERS = f"{ROOT}/target/release/bench-peers"
TYPE = "/api/admin/archived/backups"
SUMMARY = "/api/admin/archived/summary"

RAW, RAW_ONE = "pgbench raw insert", "pgbench raw insert, 1 client"
JWT, JWT_ONE = "axum, JWT only", "axum, JWT only, 1 client"
STOCK, CRUD, MESSAGE_DB = "stock: postgres-es + GenericQuery", "CRUD: axum + sqlx", "Message DB write_message"
PEER_COLUMNS = [("raw insert", RAW), ("stock", STOCK), ("CRUD", CRUD), ("Message DB", MESSAGE_DB), ("JWT only", JWT)]


class Bench:
    def __init__(self, options, home):
        self.options, self.home = options, home
        self.seconds = options.seconds or (4.0 if options.quick else 20.0)
        self.warm_up = self.seconds / 2
        self.entities = 200_000 if options.quick else 10_000_000
        self.results, self.goals, self.facts, self.skipped = [], [], [], []
        self.stack = contextlib.ExitStack()
        self.postgres = Postgres(home)
        self.stack.callback(self.postgres.stop)
        self.seed = 0

    # --- helpers

    def add(self, result):
        self.results.append(result)
        print(f"  {result.name}: {result.rate:,.0f}/s, p50 {result.p50_ms:.2f} ms, p99 {result.p99_ms:.2f} ms", flush=True)
        return result

    def get(self, name):
        return next((result for result in self.results if result.name == name), None)

    def goal(self, number, text, value, limit, **more):
        self.goals.append(Goal(number, text, value, limit, **more))

    def against(self, number, text, name, peer, limit, of=lambda result: result.rate, **more):
        one, other = self.get(name), self.get(peer)
        value = of(one) / of(other) if one and other else None
        self.goal(number, text, value, limit, **more)

    def fresh_seed(self):
        self.seed += 1
        return self.seed

    @contextlib.contextmanager
    def peer(self, kind, target):
        service = Service([PEERS, kind, "{address}", target], "/", f"{self.home}/{kind}.log")
        try:
            yield service
        finally:
            service.stop()

    def ledger(self, data, database=None, more=()):
        command = [LEDGER, "serve", "--data-dir", data, "--listen", "{address}", "--log", "warn", *more]
        if database:
            command += ["--database-url", database]
        return Service(command, "/readyz", f"{self.home}/ledger.log")

    @contextlib.contextmanager
    def running(self, *arguments):
        service = self.ledger(*arguments)
        try:
            yield service
        finally:
            service.stop()

    def token(self, data):
        return subprocess.run(
            [LEDGER, "token", "--role", "admin", "--subject", "bench", "--ttl", "24h", "--data-dir", data],
            check=True, capture_output=True, text=True).stdout.strip()

    def ask(self, service, path, token):
        request = urllib.request.Request(f"http://{service.address}{path}", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wrk(self, name, service, path, mode, token, **more):
        more.setdefault("seconds", self.seconds)
        return self.add(wrk(name, service, path, mode, token, **more))

    # --- peers

    def raw_insert(self):
        self.postgres.create("raw")
        folder = f"{ROOT}/migrations/postgres"
        for file in sorted(os.listdir(folder)):
            if file.endswith(".sql"):
                with open(f"{folder}/{file}") as sql:
                    self.postgres.sql("raw", sql.read())
        self.postgres.sql("raw", "CREATE SEQUENCE positions; ALTER TABLE events ALTER position SET DEFAULT nextval('positions');")
        script = f"{HERE}/sql/raw_insert.sql"
        tried = [32, 96] if self.options.quick else [16, 32, 64, 96, 128, 256]
        pgbench(RAW, self.postgres, "raw", script, tried[0], 1)
        best = max((pgbench(RAW, self.postgres, "raw", script, clients, self.seconds / 2) for clients in tried),
                   key=lambda result: result.rate)
        self.raw_clients = best.extra["clients"]
        self.add(pgbench(RAW_ONE, self.postgres, "raw", script, 1, self.seconds / 2))
        self.raw_again()

    def raw_again(self):
        script = f"{HERE}/sql/raw_insert.sql"
        result = pgbench(RAW, self.postgres, "raw", script, self.raw_clients, self.seconds)
        self.add(result)

    def message_db(self):
        home = f"{ROOT}/target/tools/message-db/package/database"
        if not os.path.isdir(home):
            self.skipped.append((MESSAGE_DB, "npm could not fetch @eventide/message-db"))
            return
        done = subprocess.run(["bash", f"{home}/install.sh"], env=self.postgres.environment(), capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"Message DB could not be installed: {done.stderr}")
        self.add(pgbench(MESSAGE_DB, self.postgres, "message_store", f"{HERE}/sql/message_db.sql", self.raw_clients, self.seconds))

    def jwt(self):
        with self.peer("jwt", f"{self.data}/jwt-secret") as service:
            self.wrk(JWT_ONE, service, SUMMARY, "get", self.jwt_token, connections=1, seconds=self.seconds / 2)
            self.wrk(JWT, service, TYPE, "soft_delete", self.jwt_token, warm_up=1)

    def stock(self):
        with self.peer("stock", self.postgres.create("stock")) as service:
            self.wrk(STOCK, service, TYPE, "soft_delete", "-", warm_up=1, database=self.postgres)
        self.stock_kept = int(self.postgres.sql("stock", "SELECT payload->>'count' FROM archived_summary"))
        self.stock_events = int(self.postgres.sql("stock", "SELECT count(*) FROM events"))
        self.facts.append(("stock: deletions that its summary lost", self.stock_events - self.stock_kept, ""))

    def crud(self):
        with self.peer("crud", self.postgres.create("crud")) as service:
            self.wrk(CRUD, service, TYPE, "soft_delete", "-", warm_up=1, database=self.postgres)

    # --- commands

    def commands(self, label, service, token, database=None):
        """Soft-delete, restore and purge at 256 clients, and one client alone."""
        seed = self.fresh_seed()
        first = self.wrk(f"{label}: soft-delete", service, TYPE, "soft_delete", token, seed=seed, warm_up=self.warm_up,
                         database=database)
        # The last answers of the run are missing: what was asked for at its end is left alone.
        half = (first.count - 1_000) // 2
        self.wrk(f"{label}: restore", service, TYPE, "restore", token, seed=seed, database=database, count=half)
        seed = self.fresh_seed()
        second = wrk("the purged", service, TYPE, "soft_delete", token, seed=seed, seconds=self.seconds, database=database)
        self.wrk(f"{label}: purge", service, TYPE, "purge", token, seed=seed, database=database, count=second.count - 1_000)
        self.wrk(f"{label}: soft-delete, 1 client", service, TYPE, "soft_delete", token, seed=self.fresh_seed(),
                 connections=1, seconds=self.seconds / 2, database=database)

    def hot(self, label, service, token):
        """64 clients on one entity beside 192 on entities of their own; before it, the 64 have entities of their own too."""
        seconds = self.seconds
        cool = wrk_together([
            ("neighbours", service, TYPE, "soft_delete", token, self.fresh_seed(), 192),
            ("others", service, TYPE, "soft_delete", token, self.fresh_seed(), 64)], seconds)
        hot_seed = self.fresh_seed()
        hot = wrk_together([
            (f"{label}: 192 clients beside the hot entity", service, TYPE, "soft_delete", token, self.fresh_seed(), 192),
            (f"{label}: 64 clients on one hot entity", service, "/api/admin/archived/servers", "hot", token, hot_seed, 64)], seconds)
        for result in hot:
            self.add(result)
        listed = self.postgres.sql("ledger", "SELECT max(sequence), max(aggregate_id) FROM events WHERE aggregate_id = "
                                   "(SELECT aggregate_id FROM events WHERE sequence > 100 LIMIT 1)")
        # The commands that were under way at the end may have been recorded without their answer being counted.
        recorded, answered = int(listed), hot[1].count + 1
        self.goal("4", "hot entity: commands that were acknowledged and are not recorded",
                  max(0, answered - 1 - recorded), 0, at_least=False, unit="")
        self.goal("4", "hot entity: the neighbours' throughput, against 64 clients on entities of their own",
                  hot[0].rate / cool[0].rate, 0.8)

    def two_instances(self, one, token, url):
        before = self.get("PostgreSQL: soft-delete")
        with self.running(self.data, url) as two:
            with Meter([one, two], self.postgres) as meter:
                pair = wrk_together([
                    ("a", one, TYPE, "soft_delete", token, self.fresh_seed(), 128),
                    ("b", two, TYPE, "soft_delete", token, self.fresh_seed(), 128)], self.seconds)
            both = Result("PostgreSQL: soft-delete, two instances", sum(result.rate for result in pair),
                          max(result.p50_ms for result in pair), max(result.p99_ms for result in pair),
                          count=sum(result.count for result in pair))
            self.add(meter.fill(both))
        alone = wrk("one again", one, TYPE, "soft_delete", token, seed=self.fresh_seed(), seconds=self.seconds)
        self.goal("5", "two instances against one", both.rate / max(alone.rate, before.rate if before else 0), 0.9)
        gaps = self.postgres.sql("ledger", "SELECT (SELECT position FROM ledger_head) - count(*) + "
                                 "(SELECT position FROM ledger_head) - max(position) FROM events")
        self.goal("5", "gaps in the log", float(gaps), 0, at_least=False, unit="")

    # --- reads

    def fill(self, service, token, total):
        """Soft-deletes until `total` backups are archived."""
        have = self.ask(service, SUMMARY, token)["backups"]
        rate = 10_000.0
        while have < total:
            seconds = max(1.0, min(60.0, (total - have) / rate))
            rate = wrk("fill", service, TYPE, "soft_delete", token, seed=self.fresh_seed(), seconds=seconds).rate
            have = self.ask(service, SUMMARY, token)["backups"]
        return have

    def reads(self, label, service, token, database=None):
        have = self.fill(service, token, self.entities)
        seconds = 1.5 if self.options.quick else 5.0
        read = lambda name, path: self.wrk(f"{label}: {name}", service, path, "get", token, connections=1, seconds=seconds,
                                           database=database)
        limit = 1 if have < 2_000_000 else 20
        summary = read("summary", SUMMARY)
        first = read("first page of 20", f"{TYPE}?limit=20")
        deep = self.ask(service, f"{TYPE}?limit=20&page={have // 20 - 10}", token)
        cursor = read("page of 20 at the list's end, by cursor", f"{TYPE}?limit=20&cursor={deep['next_cursor']}")
        first_small = first if limit == 20 else read(f"first page of {limit}", f"{TYPE}?limit={limit}")
        numbered = read(f"page 100,000 of {limit}", f"{TYPE}?limit={limit}&page=100000")
        jwt = self.get(JWT_ONE)
        self.goal("6", f"{label}, {have:,} archived: time of the summary, against the JWT-only handler",
                  summary.p50_ms / jwt.p50_ms if jwt else None, 2.0, at_least=False)
        self.goal("6", f"{label}: a cursor page at the end, against the first page", cursor.p50_ms / first.p50_ms, 1.2, at_least=False)
        self.goal("6", f"{label}: page 100,000 by number, against the first page", numbered.p50_ms / first_small.p50_ms, 3.0,
                  at_least=False)
        pair = wrk_together([
            (f"{label}: first page, under full write load", service, f"{TYPE}?limit=20", "get", token, 1, 2),
            (f"{label}: soft-delete at {have:,} entities", service, TYPE, "soft_delete", token, self.fresh_seed(), 254)], self.seconds)
        for result in pair:
            self.add(result)
        self.goal("6", f"{label}: p99 of a list read under full write load", pair[0].p99_ms, 20, at_least=False, unit="ms")
        at_size = self.wrk(f"{label}: soft-delete at size", service, TYPE, "soft_delete", token, seed=self.fresh_seed(),
                           database=database)
        empty = self.get(f"{label}: soft-delete")
        self.goal("9", f"{label}: throughput at {have:,} entities, against an empty ledger",
                  at_size.rate / empty.rate if empty else None, 0.8)
        self.goal("8", f"{label}: peak memory under full load", service.peak_memory(), 150, at_least=False, unit="MiB")

    def crud_reads(self):
        with contextlib.suppress(IndexError):
            self.postgres.sql("crud", f"""
                INSERT INTO entities SELECT 'backups', gen_random_uuid(), 'nightly', '{{"size":1}}', now() - n * interval '1 ms'
                FROM generate_series(1, {self.entities}) n; VACUUM ANALYZE entities;""")
        # The tables are there: the peer makes them only once.
        self.postgres.sql("crud", "ALTER TABLE entities RENAME TO kept; ALTER TABLE audit RENAME TO kept_audit; "
                          "ALTER INDEX entities_deleted RENAME TO kept_deleted; ALTER SEQUENCE audit_id_seq RENAME TO kept_seq;"
                          "ALTER INDEX entities_pkey RENAME TO kept_pkey; ALTER INDEX audit_pkey RENAME TO kept_audit_pkey;")
        with self.peer("crud", self.postgres.url("crud")) as service:
            self.postgres.sql("crud", "DROP TABLE entities; ALTER TABLE kept RENAME TO entities;")
            seconds = 1.0 if self.options.quick else 5.0
            read = lambda name, path: self.wrk(f"CRUD: {name}", service, path, "get", "-", connections=1, seconds=seconds)
            read("summary by COUNT(*)", SUMMARY)
            read("first page of 20", f"{TYPE}?limit=20")
            limit = 1 if self.entities < 2_000_000 else 20
            read(f"page 100,000 of {limit} by OFFSET", f"{TYPE}?limit={limit}&page=100000")

    # --- all of it

    def at_rest(self, label, data, url=None):
        """Start-up and memory with a filled ledger."""
        with self.running(data, url) as service:
            time.sleep(0.5)
            self.goal("8", f"{label}: start-up with a filled ledger", service.start_seconds, 1, at_least=False, unit="s")
            self.goal("8", f"{label}: memory when idle", service.memory(), 40, at_least=False, unit="MiB")

    def run(self):
        wanted = self.options.only
        chosen = lambda name: not wanted or any(word in name for word in wanted)
        self.data = f"{self.home}/data"
        self.jwt_token = self.token(self.data)
        if chosen("raw peers commands"):
            self.raw_insert()
        if chosen("jwt peers commands reads sqlite"):
            self.jwt()
        if chosen("postgres commands reads hot two"):
            url = self.postgres.create("ledger")
            with self.running(self.data, url) as service:
                if chosen("postgres commands"):
                    self.commands("PostgreSQL", service, self.jwt_token, self.postgres)
                    if self.get(RAW):
                        # Once more beside it, because the machine's own noise changes within minutes.
                        earlier = self.results.pop(self.results.index(self.get(RAW)))
                        self.raw_again()
                        self.get(RAW).rate = max(earlier.rate, self.get(RAW).rate)
                if chosen("postgres hot"):
                    self.hot("PostgreSQL", service, self.jwt_token)
                if chosen("postgres two"):
                    self.two_instances(service, self.jwt_token, url)
                if chosen("postgres reads"):
                    self.reads("PostgreSQL", service, self.jwt_token, self.postgres)
            size = float(self.postgres.sql("ledger", "SELECT pg_database_size('ledger')"))
            events = float(self.postgres.sql("ledger", "SELECT position FROM ledger_head"))
            self.facts.append(("PostgreSQL: bytes on disk per event", size / events, ""))
            if chosen("postgres rest"):
                self.at_rest("PostgreSQL", self.data, url)
        if chosen("stock peers commands"):
            self.stock()
        if chosen("crud peers commands reads"):
            self.crud()
            if chosen("crud reads"):
                self.crud_reads()
        if chosen("messagedb peers commands"):
            self.message_db()
        if chosen("sqlite commands reads"):
            embedded = f"{self.home}/embedded"
            token = self.token(embedded)
            with self.running(embedded) as service:
                if chosen("sqlite commands"):
                    self.commands("SQLite", service, token)
                if chosen("sqlite reads"):
                    self.reads("SQLite", service, token)
                events = service
            size = os.path.getsize(f"{embedded}/ledger.db")
            import sqlite3
            with contextlib.closing(sqlite3.connect(f"{embedded}/ledger.db")) as connection:
                position = connection.execute("SELECT position FROM ledger_head").fetchone()[0]
            self.facts.append(("SQLite: bytes on disk per event", size / position, ""))
            if chosen("sqlite rest"):
                self.at_rest("SQLite", embedded)
        self.ratios()

    def ratios(self):
        soft = "PostgreSQL: soft-delete"
        self.against("1", "soft-delete, PostgreSQL, 256 clients, against pgbench's raw insert", soft, RAW, 1.0)
        self.against("1", "the same against the stock stack", soft, STOCK, 15.0)
        if self.get(soft):
            self.goal("1", "the same: p99", self.get(soft).p99_ms, 50, at_least=False, unit="ms")
        self.against("2", "soft-delete, SQLite, 256 clients, against the JWT-only handler", "SQLite: soft-delete", JWT, 0.5)
        for label in ("PostgreSQL", "SQLite"):
            for action in ("restore", "purge"):
                self.against("2", f"{action}, {label}, against soft-delete", f"{label}: {action}", f"{label}: soft-delete", 0.8)
        for label in ("PostgreSQL", "SQLite"):
            self.against("3", f"one client, {label}: time of a soft-delete, against pgbench's single-client insert",
                         f"{label}: soft-delete, 1 client", RAW_ONE, 2.0, of=lambda result: result.p50_ms, at_least=False)
        self.goal("8", "the binary's size", os.path.getsize(LEDGER) / 2**20, 30, at_least=False, unit="MiB")
        self.goals.sort(key=lambda goal: goal.number)


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    version = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return (f"{len(models)} × {models[0] if models else platform.machine()}, {memory:.0f} GiB, Linux {platform.release()}, "
            f"commit {version}. Load generator, service and database share the machine.")


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--quick", action="store_true", help="200,000 entities, within 3 minutes")
    parser.add_argument("--seconds", type=float, help="length of each measurement")
    parser.add_argument("--only", nargs="+", help="only scenarios whose name contains one of these words")
    parser.add_argument("--home", default=None, help="where the servers keep their data (a real disk)")
    options = parser.parse_args()
    started = time.monotonic()
    home = tempfile.mkdtemp(prefix="archive-ledger-bench-", dir=options.home)
    os.chmod(home, 0o755)
    bench = None
    try:
        bench = Bench(options, home)
        bench.run()
        peers = PEER_COLUMNS
        text = report.write(f"{HERE}/out", machine(), bench.results, peers, bench.goals, bench.facts, bench.skipped)
        print("\n" + text)
        print(f"{time.monotonic() - started:.0f} s; bench/out/results.md, bench/out/results.json")
    except BenchError as error:
        with contextlib.suppress(OSError):
            with open(f"{home}/ledger.log") as log:
                print(log.read()[-3000:], file=sys.stderr)
        sys.exit(f"bench: {error}")
    finally:
        if bench:
            bench.stack.close()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
