"""An axum handler that checks the token, with the service's own code, and does nothing else."""

from bench import JWT, JWT_ONE, SUMMARY, TYPE

WORDS = ("jwt", "peers", "commands", "sqlite", "reads")


def run(bench):
    data = f"{bench.home}/jwt"
    with bench.ledger(data) as ledger:
        token = ledger.token
    with bench.peer("jwt", f"{data}/jwt-secret") as service:
        bench.wrk(JWT_ONE, service, SUMMARY, "get", token, connections=1, seconds=bench.seconds / 2)
        bench.wrk(JWT, service, TYPE, "soft_delete", token, warm_up=1)
