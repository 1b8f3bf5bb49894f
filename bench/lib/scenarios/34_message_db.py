"""Message DB: its write_message by pgbench, a stream per message."""

import os
import subprocess

from bench import MESSAGE_DB, ROOT
from servers import BenchError

WORDS = ("messagedb", "peers", "commands")


def run(bench):
    home = f"{ROOT}/target/tools/message-db/package/database"
    if not os.path.isdir(home):
        bench.skipped.append((MESSAGE_DB, "npm could not fetch @eventide/message-db"))
        return
    done = subprocess.run(["bash", f"{home}/install.sh"], env=bench.postgres.environment(), capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"Message DB could not be installed: {done.stderr}")
    bench.add(bench.pgbench(MESSAGE_DB, "message_store", "message_db.sql", bench.raw_clients))
