"""Load by wrk and pgbench, and what it cost."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, field

from servers import BenchError, machine_busy

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclass
class Result:
    """One row of the table.

    CPU is in cores; `others` is what the rest of the machine took meanwhile. `cost_us` is what service and database
    together spent on one answer: the figure that says most on a machine with other work.
    """

    name: str
    rate: float
    p50_ms: float
    p99_ms: float
    count: int = 0
    refused: int = 0
    service_cpu: float | None = None
    database_cpu: float | None = None
    load_cpu: float | None = None
    others_cpu: float | None = None
    memory_mib: float | None = None
    cost_us: float | None = None
    extra: dict = field(default_factory=dict)


class Meter:
    """The CPU that services and a database spend between its start and its end."""

    def __init__(self, services=(), database=None):
        self.services, self.database = services, database

    def _read(self):
        return (
            sum(service.cpu() for service in self.services),
            self.database.cpu() if self.database else 0.0,
            machine_busy(), os.times().children_user + os.times().children_system, time.monotonic())

    def __enter__(self):
        self.before = self._read()
        return self

    def __exit__(self, *_):
        service, database, busy, children, seconds = (after - before for after, before in zip(self._read(), self.before))
        self.seconds = seconds
        self.service = service / seconds
        self.database_cores = database / seconds
        self.load = children / seconds
        self.others = max(0.0, (busy - service - database - children) / seconds)

    def fill(self, result, active=None):
        """Puts the figures into the result; `active`: for how many of the seconds there was load."""
        share = self.seconds / active if active else 1.0
        result.service_cpu = self.service * share if self.services else None
        result.database_cpu = self.database_cores * share if self.database else None
        result.load_cpu, result.others_cpu = self.load * share, self.others * share
        if result.count:
            result.cost_us = (self.service + self.database_cores) * self.seconds / (result.count + result.refused) * 1e6
        if self.services:
            result.memory_mib = sum(service.peak_memory() for service in self.services)
        return result


def wrk_command(address, path, mode, seed, token, connections, seconds, count=0):
    return ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s",
            "-s", f"{HERE}/wrk/load.lua", f"http://{address}{path}", "--", mode, str(seed), token, str(count)]


def wrk_answer(name, output):
    """What a run of wrk printed; any answer that is not the expected one fails the whole run."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise BenchError(f"{name}: wrk printed no result: {output.strip()}")
    answer = json.loads(lines[-1])
    if answer["failed"] or not answer["accepted"]:
        raise BenchError(f"{name}: {answer['failed']} requests failed of {answer['accepted'] + answer['failed']}")
    return answer


def wrk(name, service, path, mode, token, *, seed=1, connections=256, seconds=4.0, warm_up=0.0, count=0, database=None):
    """One run; the warm-up's ids are of another seed, its figures are dropped."""
    def run(duration, seed):
        command = wrk_command(service.address, path, mode, seed, token, connections, duration, count)
        done = subprocess.run(command, capture_output=True, text=True, timeout=duration + 90)
        if done.returncode:
            raise BenchError(f"{name}: wrk failed: {done.stderr.strip()}")
        return wrk_answer(name, done.stdout)
    if warm_up:
        run(warm_up, seed + 500_000)
    with Meter([service], database) as meter:
        answer = run(seconds, seed)
    # A run that had less to do than time was over before wrk was.
    return meter.fill(to_result(name, answer), answer["seconds"])


def to_result(name, answer):
    return Result(name, (answer["accepted"] + answer["refused"]) / answer["seconds"], answer["p50_ms"], answer["p99_ms"],
                  count=answer["accepted"], refused=answer["refused"])


def wrk_together(runs, seconds):
    """Several runs at the same time: (name, service, path, mode, token, seed, connections) each; answers in their order."""
    started = [(run[0], subprocess.Popen(
        wrk_command(run[1].address, run[2], run[3], run[5], run[4], run[6], seconds), stdout=subprocess.PIPE, text=True))
        for run in runs]
    return [to_result(name, wrk_answer(name, process.communicate(timeout=seconds + 90)[0])) for name, process in started]


def pgbench(name, postgres, database, script, clients, seconds):
    """A prepared script, with the latencies of every transaction."""
    log = os.path.join(postgres.home, f"pgbench-{database}")
    seconds = max(2, round(seconds))
    with Meter([], postgres) as meter:
        done = subprocess.run(
            ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds),
             "-f", script, "-l", "--sampling-rate", "0.1" if clients > 1 else "1", "--log-prefix", log, database],
            env={**postgres.environment(), "PGOPTIONS": "-c search_path=public,message_store"}, capture_output=True, text=True,
            timeout=seconds + 90)
    if done.returncode:
        raise BenchError(f"{name}: pgbench failed: {done.stderr.strip()[:600]}")
    found = re.search(r"tps = ([0-9.]+) ", done.stdout)
    if not found:
        raise BenchError(f"{name}: pgbench did nothing: {done.stdout.strip()}")
    rate = float(found.group(1))
    if not re.search(r"number of failed transactions: 0 ", done.stdout):
        raise BenchError(f"{name}: pgbench had failed transactions")
    latencies = []
    for file in os.listdir(postgres.home):
        if file.startswith(f"pgbench-{database}."):
            path = os.path.join(postgres.home, file)
            with open(path) as lines:
                latencies += [int(line.split()[2]) for line in lines]
            os.remove(path)
    if not latencies:
        raise BenchError(f"{name}: pgbench logged no transaction")
    latencies.sort()
    at = lambda share: latencies[min(len(latencies) - 1, int(len(latencies) * share))] / 1000
    return meter.fill(Result(name, rate, at(0.50), at(0.99), count=round(rate * seconds), extra={"clients": clients}))
