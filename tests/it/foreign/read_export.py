"""Reads an export as Parquet (with DuckDB), CSV and NDJSON, and compares them: nothing of archive-ledger is used.

usage: read_export.py NDJSON CSV PARQUET

Exit code 0: all three say the same; 1: not, with the reason.
"""

import base64
import csv
import datetime
import json
import sys

import duckdb

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def demand(condition, what):
    if not condition:
        raise ValueError(what)


def flat(line):
    """A line of NDJSON as the columns of the others."""
    row = json.loads(line)
    if "details" in row:
        erased, unreadable = row.pop("erased"), row.pop("unreadable")
        details = row.pop("details")
        row["details"] = details and details["content"]
        row["details_salt"] = details and details["salt"]
        row["erased"] = erased
        row["unreadable"] = unreadable
    return row


def microseconds(text):
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (time - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) // datetime.timedelta(microseconds=1)


def main(ndjson_file, csv_file, parquet_file):
    with open(ndjson_file, encoding="utf-8", newline="\n") as file:
        rows = [flat(line) for line in file]
    for row in rows:
        demand(len(base64.b64decode(row["salt"], validate=True)) == 32, "a salt is no salt")

    names = [name for (name, *_) in duckdb.execute("SELECT name FROM parquet_schema(?) WHERE name <> 'events'", [parquet_file]).fetchall()]
    columns = ", ".join("epoch_us(recorded_at)" if name == "recorded_at" else f'"{name}"' for name in names)
    found = duckdb.execute(f"SELECT {columns} FROM read_parquet(?) ORDER BY position", [parquet_file]).fetchall()
    demand(len(found) == len(rows), f"Parquet has {len(found)} rows, NDJSON {len(rows)}")
    for row, other in zip(rows, found):
        demand(list(row) == names, f"Parquet has the columns {names}, NDJSON {list(row)}")
        for name, value in zip(names, other):
            said = row[name]
            if name == "recorded_at":
                said = microseconds(said)
            elif name in ("payload", "metadata"):
                value = json.loads(value)
            demand(value == said, f"Parquet has {value!r} as {name} of {row['position']}, NDJSON {said!r}")

    with open(csv_file, "rb") as file:
        demand(file.read().endswith(b"\r\n"), "the lines of the CSV do not end as RFC 4180 has it")
    with open(csv_file, encoding="utf-8", newline="") as file:
        header, *records = csv.reader(file, strict=True)
    demand(header == names, f"CSV has the columns {header}")
    demand(len(records) == len(rows), f"CSV has {len(records)} records, NDJSON {len(rows)} lines")
    for row, record in zip(rows, records):
        for name, cell in zip(names, record):
            demand(not cell.startswith(FORMULA), f"{cell!r} may be taken for a formula")
            said = row[name]
            if name in ("payload", "metadata"):
                cell = json.loads(cell)
            elif said is None:
                said = ""
            elif isinstance(said, bool):
                said = str(said).lower()
            elif isinstance(said, int):
                said = str(said)
            elif said.startswith(FORMULA):
                said = "'" + said
            demand(cell == said, f"CSV has {cell!r} as {name} of {row['position']}, NDJSON {said!r}")
    print(f"the same: {len(rows)} events")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # whatever differs must not pass
        print(f"not the same: {type(error).__name__}: {error}")
        sys.exit(1)
