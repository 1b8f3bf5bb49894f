"""Commands on PostgreSQL: restores and purges, one hot entity, two instances, two shards."""

from commands import commands, hot, two_instances, two_shards

WORDS = ("postgres", "commands", "hot", "two", "shards")


def run(bench):
    url = bench.postgres.create("ledger")
    data = f"{bench.home}/commands"
    with bench.ledger(data, url) as service:
        token = service.token
        commands(bench, "PostgreSQL", service, token, bench.postgres)
        hot(bench, "PostgreSQL", service, token)
        two_instances(bench, service, data, url, token)
        two_shards(bench, service, token)
