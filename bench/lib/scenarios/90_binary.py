"""The binary's size."""

import os

from bench import LEDGER

WORDS = ("binary", "size")


def run(bench):
    bench.goal("binary", "the binary's size", os.path.getsize(LEDGER) / 2**20, 30, at_least=False, unit="MiB")
