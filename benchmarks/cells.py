"""Reads result files, finds rows in them, and writes numbers into table cells."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from . import official, ours

Row = dict[str, Any]

_OFFICIAL = (official.NAME, official.NAME_AS_SHIPPED)
_DISTURBING_CORES = 0.5  # in use by others, from which a run is called rough
_OLD_NAMES = {"bots_jax": ours.DENSE_SWEEP}
"""What ours was called in results for steps before there was a choice of engines."""


class Table(NamedTuple):
    """A table of text.

    Attributes:
      head: one cell per column.
      body: rows of as many cells.
    """

    head: Sequence[str]
    body: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Writes it in Markdown, columns padded.

        Example:
          >>> print(Table(["N", "ms"], [["10^4", "2"]]).markdown())
          | N    | ms |
          |------|----|
          | 10^4 | 2  |
        """
        lines = [list(self.head), *map(list, self.body)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        padded = [
            "| "
            + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
            + " |"
            for line in lines
        ]
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([padded[0], rule, *padded[1:]])


def load(results: Path, name: str) -> dict[str, Any] | None:
    """Reads a result file, today's names in it; None if it was never written."""
    path = results / f"{name}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    if name in ("step", "memory"):
        for row in record["rows"]:
            row["candidate"] = _OLD_NAMES.get(row["candidate"], row["candidate"])
        for row in record.get("compile", []):
            for old, new in _OLD_NAMES.items():
                if old in row:
                    row[new] = row.pop(old)
    return record


def find(rows: Sequence[Row], **wanted: Any) -> Row | None:
    """Finds the row that has these values."""
    for row in rows:
        if all(row.get(field) == value for field, value in wanted.items()):
            return row
    return None


def cases(rows: Sequence[Row], *fields: str) -> list[tuple]:
    """Lists the distinct values of some fields, in their order in the file."""
    return list(dict.fromkeys(tuple(row[field] for field in fields) for row in rows))


def names(rows: Sequence[Row], order: Sequence[str]) -> list[str]:
    """Lists the candidates that are in some rows, in a given order."""
    there = {row["candidate"] for row in rows}
    return [name for name in order if name in there]


def median(rows: Sequence[Row], candidate: str, **case: Any) -> float | None:
    """Looks a median up; None without one. Of the official code, the faster form's."""
    if candidate == official.NAME:
        found = [find(rows, candidate=name, **case) for name in _OFFICIAL]
    else:
        found = [find(rows, candidate=candidate, **case)]
    medians = [row["median_s"] for row in found if row and "median_s" in row]
    return min(medians) if medians else None


def ratio(rows: Sequence[Row], over: str, under: str, **case: Any) -> float | None:
    """Divides the medians of two candidates; None if one has none."""
    pair = [median(rows, name, **case) for name in (over, under)]
    if pair[0] is None or pair[1] is None:
        return None
    return pair[0] / pair[1]


def our_choice(rows: Sequence[Row]) -> str:
    """Names the candidate that others are compared with: what `bots()` picks."""
    is_there = any(row["candidate"] == ours.AUTO for row in rows)
    return ours.AUTO if is_there else ours.DENSE_SWEEP


def number(value: float) -> str:
    """Writes three digits or so.

    Example:
      >>> number(0.1234), number(12.34), number(1234)
      ('0.12', '12.3', '1,234')
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 10 else f"{value:.2f}"


def spread(row: Row | None, scale: float, short: bool = False) -> str:
    """Writes a median with its quartiles, or why there is none."""
    if row is None:
        return "-"
    if "median_s" not in row:
        return row["status"]
    middle = number(row["median_s"] * scale)
    if row["repetitions"] == 1:
        return f"{middle} (once)"
    if short:
        return middle
    low, high = (number(row[f"quartile_{i}_s"] * scale) for i in (1, 3))
    return f"{middle} ({low}-{high})"


def times(value: float | None) -> str:
    """Writes a ratio; in bold where it says that another is faster."""
    if value is None:
        return "-"
    text = f"{number(value)}x"
    return f"**{text}**" if value < 1 else text


def power(count: int) -> str:
    """Writes 10,000 as 10^4, and other counts in full.

    Example:
      >>> power(10_000), power(1234)
      ('10^4', '1,234')
    """
    digits = str(count)
    is_power = digits[0] == "1" and not digits[1:].strip("0")
    return f"10^{len(digits) - 1}" if is_power else f"{count:,}"


def of(row: Row, field: str) -> str:
    """Writes a number of a row, or why it is not there."""
    if field in row:
        return number(row[field])
    return row["status"] if row.get("status", "ok") != "ok" else "-"


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
