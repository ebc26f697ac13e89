"""Rewrites the tables in README.md from the JSON files in results/.

Run it when the results have changed; a test compares:

    python -m benchmarks.tables
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import harness, official, ours, plain_jax, sampler

README = harness.ROOT / "benchmarks" / "README.md"
BEGIN = "<!-- tables: begin (python -m benchmarks.tables) -->"
END = "<!-- tables: end -->"

Row = dict[str, Any]

_STEPS = (ours.NAME, official.NAME, official.NAME_AS_SHIPPED, plain_jax.NAME)
_PHASES = ("update", "sample", "top_k")
_DISTURBING_CORES = 0.5  # in use by others, from which a run is called rough


def load(results: Path, name: str) -> dict[str, Any] | None:
    """Reads a result file; None if it was never written."""
    path = results / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def find(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """Finds the row that has these values."""
    for row in rows:
        if all(row.get(field) == value for field, value in wanted.items()):
            return row
    return None


def cases(rows: Sequence[Row], *fields: str) -> list[tuple]:
    """Lists the distinct values of some fields, in their order in the file."""
    return list(dict.fromkeys(tuple(row[field] for field in fields) for row in rows))


def ratio(rows: Sequence[Row], over: str, under: str, **case: Any) -> float | None:
    """Divides the medians of two candidates; None if one has none."""
    pair = [find(rows, candidate=name, **case) for name in (over, under)]
    medians = [row.get("median_s") if row else None for row in pair]
    if medians[0] is None or medians[1] is None:
        return None
    return medians[0] / medians[1]


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 else f"{value:.2f}"


def _spread(row: Row | None, scale: float) -> str:
    """Writes a median with its quartiles, or why there is none."""
    if row is None:
        return "-"
    if "median_s" not in row:
        return row["status"]
    middle = _number(row["median_s"] * scale)
    if row["repetitions"] == 1:
        return f"{middle} (once)"
    low, high = (_number(row[f"quartile_{i}_s"] * scale) for i in (1, 3))
    return f"{middle} ({low}-{high})"


def _times(value: float | None) -> str:
    if value is None:
        return "-"
    text = f"{_number(value)}x"
    return f"**{text}**" if value < 1 else text


def _power(count: int) -> str:
    """Writes 10,000 as 10^4, and other counts in full."""
    digits = str(count)
    is_power = digits[0] == "1" and not digits[1:].strip("0")
    return f"10^{len(digits) - 1}" if is_power else f"{count:,}"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Writes a Markdown table, columns padded."""
    lines = [list(head), *map(list, body)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    padded = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([padded[0], rule, *padded[1:]])


def machine_line(record: dict[str, Any]) -> str:
    """Says where and when a result was measured."""
    machine = record["machine"]
    packages = machine["packages"]
    versions = ", ".join(
        f"{name} {packages[name]}"
        for name in ("jax", "numpy", "torch")
        if packages.get(name)
    )
    commit = (machine["git_commit"] or "unknown")[:7]
    dirty = " with changes in the engine" if machine["engine_dirty"] else ""
    others = [row["other_cores"] for row in record["rows"] if row.get("other_cores")]
    busy = f"; other processes kept at most {max(others)} cores busy" if others else ""
    if others and max(others) > _DISTURBING_CORES:
        busy += ", so that times and ratios are rough: another run will differ"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"Python {machine['python']}, {versions}; commit {commit}{dirty}; "
        f"{machine['started_utc'][:10]}; load average "
        f"{machine['load_average_start'][0]} before, "
        f"{machine['load_average_end'][0]} after{busy}."
    )


def step_table(rows: Sequence[Row]) -> str:
    """One row per N and B: medians in ms, and ratios to ours."""
    body = []
    steps = [row for row in rows if row["kind"] == "step"]
    for num_tasks, batch_size in cases(steps, "num_tasks", "batch_size"):
        case = {"num_tasks": num_tasks, "batch_size": batch_size}
        cells = [_spread(find(steps, candidate=name, **case), 1e3) for name in _STEPS]
        ratios = [
            _times(ratio(steps, name, ours.NAME, **case))
            for name in (official.NAME, plain_jax.NAME)
        ]
        body.append([_power(num_tasks), str(batch_size), *cells, *ratios])
    head = ["N", "B", *(f"{name}, ms" for name in _STEPS)]
    return table(head + ["official / ours", "plain / ours"], body)


def phase_table(rows: Sequence[Row]) -> str:
    """One row per N and B: our phases, each jitted alone, in ms."""
    body = []
    for num_tasks, batch_size in cases(rows, "num_tasks", "batch_size"):
        case = {"num_tasks": num_tasks, "batch_size": batch_size}
        names = (*_PHASES, ours.NAME)
        cells = [_spread(find(rows, candidate=name, **case), 1e3) for name in names]
        body.append([_power(num_tasks), str(batch_size), *cells])
    head = ["N", "B", *(f"{name}, ms" for name in _PHASES), "whole step, ms"]
    return table(head, body)


def compile_table(compiled: Sequence[Row]) -> str:
    """One row per N and B: seconds before the first step of the JAX candidates."""
    names = (ours.NAME, plain_jax.NAME)
    stages = ("trace_s", "lower_s", "compile_s")
    body = [
        [_power(row["num_tasks"]), str(row["batch_size"])]
        + [" + ".join(f"{row[name][s]:.2f}" for s in stages) for name in names]
        for row in compiled
        if all(name in row for name in names)
    ]
    return table(["N", "B", *(f"{name}, s" for name in names)], body)


def sampler_table(rows: Sequence[Row]) -> str:
    """One row per regime and size: nanoseconds per draw, and ratios to ours."""
    body = []
    names = (sampler.OURS, sampler.NUMPY, sampler.JAX)
    for shapes, num_draws in cases(rows, "shapes", "num_draws"):
        case = {"shapes": shapes, "num_draws": num_draws}
        scale = 1e9 / num_draws
        cells = [_spread(find(rows, candidate=name, **case), scale) for name in names]
        ratios = [_times(ratio(rows, name, names[0], **case)) for name in names[1:]]
        body.append([shapes, _power(num_draws), *cells, *ratios])
    head = ["shapes", "draws", *(f"{name}, ns" for name in names)]
    return table(head + ["numpy / ours", "jax / ours"], body)


def memory_table(rows: Sequence[Row]) -> str:
    """One row per N and candidate: MiB of state and of the peak in a step."""
    body = [
        [
            _power(row["num_tasks"]),
            row["candidate"],
            *(
                _number(row[field]) if field in row else row["status"]
                for field in ("state_mib", "peak_mib")
            ),
        ]
        for row in rows
    ]
    return table(["N", "candidate", "state, MiB", "peak, MiB"], body)


def losses(records: dict[str, dict[str, Any]]) -> list[str]:
    """Lists every case in which another candidate is faster than ours, or smaller."""
    found = []
    for row in records.get("step", {}).get("rows", []):
        case = {key: row[key] for key in ("num_tasks", "batch_size")}
        _add_loss(found, row, records["step"]["rows"], ours.NAME, "a step", case)
    for row in records.get("sampler", {}).get("rows", []):
        case = {key: row[key] for key in ("shapes", "num_draws")}
        _add_loss(found, row, records["sampler"]["rows"], sampler.OURS, "draws", case)
    for row in records.get("memory", {}).get("rows", []):
        case = {key: row[key] for key in ("num_tasks", "batch_size")}
        mine = find(records["memory"]["rows"], candidate=ours.NAME, **case)
        if mine and row.get("peak_mib", 1e99) < mine.get("peak_mib", 0):
            share = mine["peak_mib"] / row["peak_mib"]
            found.append(
                f"peak memory, {_case_text(case)}: {row['candidate']} needs "
                f"{_number(share)} times less."
            )
    return found


def _add_loss(
    found: list[str],
    row: Row,
    rows: Sequence[Row],
    our_name: str,
    what: str,
    case: dict[str, Any],
) -> None:
    if row.get("kind") == "phase" or row["candidate"] == our_name:
        return
    value = ratio(rows, row["candidate"], our_name, **case)
    if value is not None and value < 1:
        text = f"{what}, {_case_text(case)}: {row['candidate']} is"
        found.append(f"{text} {_number(1 / value)} times faster.")


def _case_text(case: dict[str, Any]) -> str:
    if "shapes" in case:
        return f"{_power(case['num_draws'])} with shapes {case['shapes']}"
    return f"N = {_power(case['num_tasks'])}, B = {case['batch_size']}"


def render(results: Path) -> str:
    """Writes the whole generated section from the JSON files in a folder."""
    loaded = {name: load(results, name) for name in ("step", "sampler", "memory")}
    records = {name: record for name, record in loaded.items() if record is not None}
    parts = []
    if "step" in records:
        record = records["step"]
        phases = [
            row
            for row in record["rows"]
            if row["kind"] == "phase" or row["candidate"] == ours.NAME
        ]
        parts += [
            "### One step",
            machine_line(record),
            step_table(record["rows"]),
            "### Our phases, each jitted alone",
            phase_table(phases),
            "### Trace + lower + compile",
            compile_table(record["compile"]),
        ]
    if "sampler" in records:
        record = records["sampler"]
        parts += ["### Exact Beta draws", machine_line(record)]
        parts.append(sampler_table(record["rows"]))
    if "memory" in records:
        record = records["memory"]
        parts += ["### Memory of a step", machine_line(record)]
        parts.append(memory_table(record["rows"]))
    if records:
        found = losses(records)
        parts.append("### Where we lose")
        parts.append("\n".join(f"- {line}" for line in found) or "Nowhere here.")
    else:
        parts.append("Nothing has been measured yet.")
    return "\n\n".join(parts)


def with_tables(readme: str, results: Path) -> str:
    """Replaces the generated section of a README."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"README.md must hold the lines {BEGIN!r} and {END!r}.")
    return f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(), harness.RESULTS))
