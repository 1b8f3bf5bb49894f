"""An axum handler that checks the token, with the service's own code, and does nothing else."""

from bench import JWT, JWT_ONE, SUMMARY, TYPE

WORDS = ("jwt", "peers", "commands", "sqlite", "reads")


def run(bench):
    with bench.peer("jwt", f"{bench.data}/jwt-secret") as service:
        bench.wrk(JWT_ONE, service, SUMMARY, "get", bench.jwt_token, connections=1, seconds=bench.seconds / 2)
        bench.wrk(JWT, service, TYPE, "soft_delete", bench.jwt_token, warm_up=1)
