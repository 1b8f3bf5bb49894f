"""Commands on SQLite: 256 clients, and one alone."""

from bench import JWT, TYPE
from commands import commands

WORDS = ("sqlite", "commands")


def run(bench):
    data = f"{bench.home}/embedded"
    token = bench.token(data)
    with bench.ledger(data) as service:
        bench.wrk("SQLite: soft-delete", service, TYPE, "soft_delete", token, seed=bench.fresh_seed(), warm_up=bench.warm_up)
        commands(bench, "SQLite", service, token)


def goals(bench):
    bench.against("2", "soft-delete, SQLite, 256 clients, against the JWT-only handler", "SQLite: soft-delete", JWT, 0.5)
    for label in ("SQLite", "PostgreSQL"):
        for action in ("restore", "purge"):
            bench.against("2", f"{action}, {label}, against soft-delete", f"{label}: {action}", f"{label}: soft-delete", 0.8)
