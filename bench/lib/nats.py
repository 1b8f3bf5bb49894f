"""A private NATS server with JetStream, and the instruments that speak to it and to the service."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time

from servers import BenchError, free_port, stat


class Nats:
    """One server with a store of its own in the run's directory."""

    def __init__(self, home):
        program = shutil.which("nats-server", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
        if not program:
            raise BenchError("nats-server is missing: ./test installs it, or apt-get install nats-server")
        self.home = tempfile.mkdtemp(prefix="nats-", dir=home)
        self.port = free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.log = open(f"{self.home}/log", "wb")
        self.process = subprocess.Popen(
            [program, "-js", "-a", "127.0.0.1", "-p", str(self.port), "-sd", f"{self.home}/store"],
            stdout=self.log, stderr=self.log)
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise BenchError("nats-server did not start")

    def cpu(self):
        return stat(self.process.pid)[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        if self.process.poll() is None:
            # A stopped process hears nothing else.
            self.process.send_signal(18)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)


def instrument(peers, kind, lines=None, timeout=600, told=None, **options):
    """What an instrument of bench-peers printed in the end; `told` hears of each phase as it begins."""
    command = [peers, kind, *(f"{name}={value}" for name, value in options.items() if value is not None)]
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as asked:
        asked.write("\n".join(lines or []))
        asked.seek(0)
        process = subprocess.Popen(command, stdin=asked, stdout=subprocess.PIPE, stderr=errors, text=True)
        last = "null"
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            for last in process.stdout:
                if told and last.startswith('{"phase"'):
                    told(json.loads(last)["phase"])
            process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise BenchError(f"{kind}: {errors.read().strip() or 'killed'}")
        return json.loads(last)
