"""Plain CRUD: a row marked deleted, an audit row, COUNT(*) and OFFSET."""

from bench import CRUD, SUMMARY, TYPE

WORDS = ("crud", "peers", "commands", "reads")


def run(bench):
    with bench.peer("crud", bench.postgres.create("crud")) as service:
        bench.wrk(CRUD, service, TYPE, "soft_delete", "-", warm_up=1, database=bench.postgres)
        bench.postgres.sql("crud", f"""
            INSERT INTO entities SELECT 'backups', gen_random_uuid(), 'nightly', '{{"size":1}}', now() - n * interval '1 ms'
            FROM generate_series(1, {bench.scale} - (SELECT count(*) FROM entities)) n; VACUUM ANALYZE entities;""")
        seconds = max(1.0, bench.seconds / 3)
        limit = max(1, min(20, bench.scale // 100_000 - 1))
        for name, path in (("summary by COUNT(*)", SUMMARY), ("first page of 20", f"{TYPE}?limit=20"),
                           (f"page 100,000 of {limit} by OFFSET", f"{TYPE}?limit={limit}&page=100000")):
            bench.wrk(f"CRUD: {name}", service, path, "get", "-", connections=1, seconds=seconds)
