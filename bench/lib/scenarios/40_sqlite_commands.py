"""Commands on SQLite: restores and purges."""

from commands import commands

WORDS = ("sqlite", "commands")


def run(bench):
    with bench.ledger(f"{bench.home}/embedded") as service:
        commands(bench, "SQLite", service, service.token)
