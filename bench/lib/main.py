"""Runs every scenario in turn on private servers and writes the table. See ../README.md.

A scenario is a file in scenarios/, run in the order of their names. It has
  WORDS         by which --only chooses it
  run(bench)    measures, and adds results, facts and goals of its own
  goals(bench)  optional: goals that stand on other scenarios' rows as well; called when all have run
"""

import argparse
import contextlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import report
from bench import PEER_COLUMNS, ROOT, Bench
from load import HERE
from servers import BenchError


def scenarios():
    folder = f"{HERE}/lib/scenarios"
    for file in sorted(os.listdir(folder)):
        if file.endswith(".py"):
            name = file.removesuffix(".py")
            spec = importlib.util.spec_from_file_location(f"scenario_{name}", f"{folder}/{file}")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            yield name.partition("_")[2].replace("_", " "), module


def machine():
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) / 2**20
    version = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return (f"{len(models)} × {models[0] if models else platform.machine()}, {memory:.0f} GiB, Linux {platform.release()}, "
            f"commit {version or 'unknown'}. Load generator, service and database share the machine.")


def run(bench, options, started):
    """Every scenario; one that fails does not keep the others from running, but the run fails in the end."""
    failed, chosen = [], []
    budget = options.budget * 60 if options.budget else None
    for name, scenario in scenarios():
        if options.only and not any(word in scenario.WORDS for word in options.only):
            continue
        chosen.append(scenario)
        elapsed = time.monotonic() - started
        if budget and elapsed > budget:
            bench.skipped.append((name, f"the run's {options.budget:g} minutes were over"))
            print(f"{name}: skipped, the time is over", flush=True)
            continue
        print(f"{name} ({elapsed:.0f} s)", flush=True)
        try:
            scenario.run(bench)
        except Exception as error:
            failed.append((name, f"{type(error).__name__}: {error}" if not isinstance(error, BenchError) else str(error)))
            print(f"  FAILED: {failed[-1][1]}", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError), open(f"{bench.home}/ledger.log") as log:
                print(log.read()[-2000:], file=sys.stderr)
    for scenario in chosen:
        if hasattr(scenario, "goals"):
            scenario.goals(bench)
    return failed


def disk():
    """A temporary directory on a real disk: nothing that is kept in memory can be said to be durable."""
    usual = tempfile.gettempdir()
    with open("/proc/mounts") as file:
        in_memory = {fields[1] for fields in map(str.split, file) if fields[2] in ("tmpfs", "ramfs")}
    return "/var/tmp" if usual in in_memory else usual


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--quick", action="store_true", help="50,000 entities, within 3 minutes")
    parser.add_argument("--scale", type=int, metavar="N", help="entities of the filled ledgers [default: 1,000,000]")
    parser.add_argument("--seconds", type=float, help="length of each measurement [default: 8, or 1 with --quick]")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="after so long no scenario is begun any more")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only scenarios that have one of these words")
    parser.add_argument("--home", default=None, help="where the servers keep their data (a real disk)")
    options = parser.parse_args()
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    home = tempfile.mkdtemp(prefix="archive-ledger-bench-", dir=options.home or disk())
    os.chmod(home, 0o755)
    bench = None
    try:
        bench = Bench(options, home)
        failed = run(bench, options, started)
        seconds = time.monotonic() - started
        text = report.write(f"{HERE}/out", machine(), bench, PEER_COLUMNS, failed, seconds)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    finally:
        if bench:
            bench.stack.close()
        shutil.rmtree(home, ignore_errors=True)
    print("\n" + text)
    print(f"{seconds:.0f} s; bench/out/results.md, bench/out/results.json")
    if failed:
        sys.exit("bench: failed: " + ", ".join(name for name, _ in failed))


if __name__ == "__main__":
    main()
