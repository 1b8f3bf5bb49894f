"""The stock stack: axum, postgres-es's PostgresCqrs, GenericQuery views."""

from bench import STOCK, TYPE

WORDS = ("stock", "peers", "commands")


def run(bench):
    with bench.peer("stock", bench.postgres.create("stock")) as service:
        bench.wrk(STOCK, service, TYPE, "soft_delete", "-", warm_up=1, database=bench.postgres)
    kept = int(bench.postgres.sql("stock", "SELECT payload->>'count' FROM archived_summary"))
    events = int(bench.postgres.sql("stock", "SELECT count(*) FROM events"))
    bench.fact("stock: deletions of which its summary kept one", events / kept)
