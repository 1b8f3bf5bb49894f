"""One table, as Markdown and as JSON, and each goal beside its figure."""

import dataclasses
import json
import os

import reasons


@dataclasses.dataclass
class Goal:
    """`value` is None where the scenario was skipped; `why` then says why."""

    number: str
    text: str
    value: float | None
    limit: float
    at_least: bool = True
    unit: str = "×"
    why: str = ""

    @property
    def met(self):
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def number(value, digits=1):
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.{digits}f}"


def ratio(value):
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def table(results, peers):
    """`peers`: (heading, name of the row that others are divided by)."""
    by_name = {result.name: result for result in results}
    columns = [(heading, by_name[name]) for heading, name in peers if name in by_name]
    heads = ["what", "per second", "p50 ms", "p99 ms", "CPU service", "CPU database", "CPU load", "CPU others",
             "CPU µs each", "peak MiB", *(f"÷ {heading}" for heading, _ in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for result in results:
        cells = [result.name, number(result.rate, 0), number(result.p50_ms or None, 2), number(result.p99_ms or None, 2),
                 number(result.service_cpu, 2), number(result.database_cpu, 2), number(result.load_cpu, 2),
                 number(result.others_cpu, 2), number(result.cost_us, 1), number(result.memory_mib, 0)]
        cells += [ratio(result.rate / peer.rate) for _, peer in columns]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def goals_table(goals):
    lines = ["| goal | | measured | wanted | |", "|---|---|---:|---:|---|"]
    for goal in goals:
        wanted = f"{'≥' if goal.at_least else '≤'} {number(goal.limit, 2)} {goal.unit}"
        measured = (goal.why or "–") if goal.value is None else f"{number(goal.value, 2)} {goal.unit}"
        verdict = {None: "not measured", True: "PASS", False: "**MISS**"}[goal.met]
        lines.append(f"| {goal.number} | {goal.text} | {measured} | {wanted} | {verdict} |")
    return "\n".join(lines)


def write(directory, machine, bench, peers, failed, seconds):
    os.makedirs(directory, exist_ok=True)
    goals = sorted(bench.goals, key=lambda goal: goal.number)
    kind = "quick run" if bench.options.quick else "run"
    about = (f"A {kind} of {seconds / 60:.0f} minutes, {bench.seconds:g} s for each measurement, {bench.scale:,} entities in the "
             f"filled ledgers. {machine}")
    parts = ["# What was measured", about, table(bench.results, peers), "## Goals", goals_table(goals)]
    missed = [goal for goal in goals if goal.met is False]
    if missed:
        lines = [f"- {goal.number}, {goal.text}: {why}. Next: {then}." for goal in missed for why, then in [reasons.of(goal)]]
        parts += ["## Missed: why, and what to try next", "\n".join(lines)]
    if bench.facts:
        parts += ["## Sizes and times", "| | |\n|---|---:|\n" + "\n".join(
            f"| {name} | {number(value, 2)} {unit} |" for name, value, unit in bench.facts)]
    if bench.skipped:
        parts += ["## Skipped", "\n".join(f"- {name}: {why}" for name, why in bench.skipped)]
    if failed:
        parts += ["## Failed", "\n".join(f"- {name}: {why}" for name, why in failed)]
    text = "\n\n".join(parts) + "\n"
    with open(f"{directory}/results.md", "w") as file:
        file.write(text)
    with open(f"{directory}/results.json", "w") as file:
        json.dump({
            "machine": machine, "seconds": seconds, "quick": bench.options.quick, "scale": bench.scale,
            "results": [dataclasses.asdict(result) for result in bench.results],
            "goals": [{**dataclasses.asdict(goal), "met": goal.met} for goal in goals],
            "facts": [{"name": name, "value": value, "unit": unit} for name, value, unit in bench.facts],
            "skipped": [{"name": name, "why": why} for name, why in bench.skipped],
            "failed": [{"name": name, "why": why} for name, why in failed],
        }, file, indent=2)
        file.write("\n")
    return text
