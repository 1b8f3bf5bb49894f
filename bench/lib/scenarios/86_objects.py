"""Objects deleted from storage: purges against the loop that anyone would write on the S3 client crate.

The storage is an in-memory stand-in for S3 (bench/peers/src/s3.rs): what it takes is the same for both.
"""

import json
import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from bench import PEERS, TYPE
from load import Meter, Result
from nats import instrument
from servers import BenchError, Service

WORDS = ("objects", "cleanup", "s3")


def call(method, url, token=None, body=None):
    headers = {"Content-Type": "application/json"} if body else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    request = urllib.request.Request(url, method=method, headers=headers, data=json.dumps(body).encode() if body else None)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def run(bench):
    quick = bench.options.quick
    storage = Service([PEERS, "s3", "{address}", "-"], "/", f"{bench.home}/s3.log")
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "bench"))
    try:
        endpoint = f"http://{storage.address}"
        more = ["--storage-root", "s3://bench/data", "--s3-endpoint", endpoint, "--s3-force-path-style=true",
                "--s3-region", "us-east-1"]
        data = f"{bench.home}/objects"
        with bench.ledger(data, bench.postgres.create("objects"), more) as service:
            deleting = Deleting(bench, service, service.token, storage, endpoint)
            deleting.compare("one purge", 1, 50_000 if quick else 300_000, True)
            deleting.compare("purges of 100 objects", 100 if quick else 500, 100, False)
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
        storage.stop()


class Deleting:
    def __init__(self, bench, service, token, storage, endpoint):
        self.bench, self.service, self.token, self.storage, self.endpoint = bench, service, token, storage, endpoint

    def make(self, prefixes, each):
        for prefix in prefixes:
            call("PUT", f"{self.endpoint}/-/objects?prefix=data/{prefix}/&count={each}")

    def left(self):
        return int(call("GET", f"{self.endpoint}/-/objects"))

    def compare(self, what, places, each, judged):
        bench, count = self.bench, places * each
        seed = bench.fresh_seed()
        prefixes = [f"direct-{seed}-{number}" for number in range(places)]
        self.make(prefixes, each)
        with Meter([self.storage]) as meter:
            direct = instrument(PEERS, "sweep", endpoint=self.endpoint, bucket="bench", lines=[f"data/{one}/" for one in prefixes])
        if direct["objects"] != count or self.left():
            raise BenchError(f"the direct loop deleted {direct['objects']} of {count} objects")
        peer = Result(f"objects deleted, {what}: a loop on aws-sdk-s3", count / direct["seconds"], 0, 0, count=count)
        peer.load_cpu, peer.others_cpu = meter.load, meter.others
        bench.add(peer)

        prefixes = [f"purged-{seed}-{number}" for number in range(places)]
        self.make(prefixes, each)
        address, token = f"http://{self.service.address}", self.token
        ids = [f"{seed:08x}-0000-4000-a000-{number:012x}" for number in range(places)]
        for id, prefix in zip(ids, prefixes):
            call("POST", f"{address}{TYPE}", token, {"id": id, "name": "nightly", "storage": [f"s3://bench/data/{prefix}"]})
        with Meter([self.service], bench.postgres) as meter:
            started = time.monotonic()
            with ThreadPoolExecutor(16) as clients:
                list(clients.map(lambda id: call("DELETE", f"{address}{TYPE}/{id}/purge", token), ids))
            while json.loads(call("GET", f"{address}/api/admin/purges?limit=1", token))["items"]:
                if time.monotonic() - started > 300:
                    raise BenchError("the purges did not end")
                time.sleep(0.01)
            seconds = time.monotonic() - started
        if self.left():
            raise BenchError(f"{self.left()} objects are left after their purges")
        purged = meter.fill(Result(f"objects deleted, {what}", count / seconds, 0, 0, count=count))
        bench.add(purged)
        if judged:
            bench.goal("objects", f"deleted in a second, {what}, in-memory S3 stand-in", purged.rate, 5_000, unit="/s")
        bench.fact(f"objects deleted, {what}, against the loop on aws-sdk-s3", purged.rate / peer.rate, "×")
