"""Private servers: a PostgreSQL in a directory of its own, and HTTP services, each measured while it runs."""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The run cannot go on; the message says why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stat(pid):
    """The parent, and the seconds of CPU of a process and of its children that have ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None, 0.0
    return int(fields[1]), sum(map(int, fields[11:15])) / TICKS


def status_mib(pid, field):
    """A size from /proc/PID/status, in MiB."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    raise BenchError(f"/proc/{pid}/status has no {field}")


def machine_busy():
    """Seconds of CPU that the whole machine has spent on anything."""
    with open("/proc/stat") as file:
        fields = list(map(int, file.readline().split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS


class Postgres:
    """Durability as it comes (fsync, synchronous_commit); memory and WAL sized so that no checkpoint falls into a run."""

    SETTINGS = {
        "listen_addresses": "", "max_connections": "400", "shared_buffers": "1GB", "max_wal_size": "8GB",
        "checkpoint_timeout": "30min", "logging_collector": "off", "log_min_messages": "error",
    }

    def __init__(self, home):
        self.home = tempfile.mkdtemp(prefix="archive-ledger-bench-pg-", dir=home)
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
        initdb = found[-1] if found else shutil.which("initdb")
        if not initdb:
            raise BenchError("PostgreSQL's initdb is missing")
        self.bin = os.path.dirname(initdb)
        self.user = None
        if os.geteuid() == 0:
            # initdb and postgres refuse to run as root.
            names = {entry.pw_name for entry in pwd.getpwall()}
            self.user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self.home, self.user)
        self._run(["initdb", "-D", f"{self.home}/data", "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"])
        settings = [f"-c{name}={value}" for name, value in self.SETTINGS.items()]
        self.log = open(os.path.join(self.home, "log"), "wb")
        self.process = subprocess.Popen(
            [f"{self.bin}/postgres", "-D", f"{self.home}/data", "-k", self.home, *settings],
            stdout=self.log, stderr=self.log, user=self.user, cwd="/")
        for _ in range(200):
            ready = subprocess.run([f"{self.bin}/pg_isready", "-q", "-h", self.home, "-U", "bench"])
            if ready.returncode == 0:
                return
            time.sleep(0.05)
        raise BenchError("PostgreSQL did not start")

    def _run(self, command):
        done = subprocess.run([f"{self.bin}/{command[0]}", *command[1:]], user=self.user, cwd="/", capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"{command[0]} failed: {done.stderr.strip()}")

    def environment(self):
        return {**os.environ, "PGHOST": self.home, "PGUSER": "bench", "PATH": f"{self.bin}:{os.environ['PATH']}"}

    def url(self, database):
        return f"postgres://bench@localhost/{database}?host={self.home}"

    def create(self, database):
        self.sql("postgres", f"CREATE DATABASE {database}")
        return self.url(database)

    def sql(self, database, statement):
        """Runs SQL and gives the first column of the first row."""
        done = subprocess.run(
            [f"{self.bin}/psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", "-"],
            env=self.environment(), input=statement, capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"psql failed: {done.stderr.strip()}")
        return done.stdout.strip().split("\n")[0].split("|")[0]

    def dump_schema(self, database):
        """The SQL that makes the same tables and indexes."""
        done = subprocess.run([f"{self.bin}/pg_dump", "--schema-only", "--no-owner", database],
                              env=self.environment(), capture_output=True, text=True)
        if done.returncode:
            raise BenchError(f"pg_dump failed: {done.stderr.strip()}")
        return done.stdout

    def cpu(self):
        """Seconds of CPU of the server and of its sessions, ended ones included."""
        total = stat(self.process.pid)[1]
        for name in os.listdir("/proc"):
            if name.isdigit():
                parent, seconds = stat(name)
                if parent == self.process.pid:
                    total += seconds
        return total

    def stop(self):
        self.process.send_signal(2)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)


class Service:
    """A process that serves HTTP on a port of its own; `{address}` in the command is replaced by it."""

    def __init__(self, command, probe, log, environment=None):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = open(log, "ab")
        started = time.monotonic()
        self.process = subprocess.Popen(
            [part.replace("{address}", self.address) for part in command],
            stdout=self.log, stderr=self.log, env={**os.environ, **(environment or {})})
        self.start_seconds = self._wait(probe, started)

    def _wait(self, probe, started):
        while time.monotonic() - started < 60:
            if self.process.poll() is not None:
                raise BenchError(f"{self.process.args[0]} ended at its start, see {self.log.name}")
            try:
                with urllib.request.urlopen(f"http://{self.address}{probe}", timeout=1):
                    return time.monotonic() - started
            except urllib.error.HTTPError:
                return time.monotonic() - started
            except OSError:
                time.sleep(0.01)
        raise BenchError(f"{self.process.args[0]} did not answer within a minute")

    def cpu(self):
        return stat(self.process.pid)[1]

    def memory(self):
        return status_mib(self.process.pid, "VmRSS")

    def written(self):
        """Bytes that it has had written to storage."""
        with open(f"/proc/{self.process.pid}/io") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("write_bytes:"))

    def peak_memory(self):
        return status_mib(self.process.pid, "VmHWM")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
