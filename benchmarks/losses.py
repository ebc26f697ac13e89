"""Where we lose: every measured case in which something else does better."""

from collections.abc import Mapping, Sequence
from typing import Any

from . import ours, regimes, sampler, update
from .cells import Row, find, number, our_choice, power, ratio

_CLEARLY = 1.1  # between two of our own, less than this is noise


def losses(records: Mapping[str, dict[str, Any]]) -> list[str]:
    """Lists them, one sentence each.

    Args:
      records: by name of the result file; any may be missing.

    Returns:
      Sentences, those about steps first.
    """
    rows = {name: record.get("rows", []) for name, record in records.items()}
    found = _slower_steps(rows.get("step", []))
    for row in rows.get("sampler", []):
        case = {key: row[key] for key in ("shapes", "num_draws")}
        value = ratio(rows["sampler"], row["candidate"], sampler.OURS, **case)
        if value is not None and value < 1:
            found.append(
                f"draws, {power(row['num_draws'])} with shapes {row['shapes']}: "
                f"{row['candidate']} is {number(1 / value)} times faster."
            )
    found += _larger_peaks(rows.get("memory", []))
    for row in rows.get("update", []):
        share = row.get("share_of_copy")
        if row["candidate"] == update.UPDATE and share and share < 1:
            found.append(
                f"dense update, N = {power(row['num_tasks'])}: a copy of the same "
                f"bytes is {number(1 / share)} times faster."
            )
    return found + _slow_races(rows.get("regimes", []))


def _slower_steps(rows: Sequence[Row]) -> list[str]:
    """Cases in which another candidate is faster than what `bots()` picks."""
    found = []
    mine = our_choice(rows)
    for row in rows:
        if row.get("kind") == "phase" or row["candidate"] == mine:
            continue
        case = {key: row[key] for key in ("num_tasks", "batch_size")}
        other, own = row.get("median_s"), find(rows, candidate=mine, **case)
        if other is None or not own or "median_s" not in own:
            continue
        factor = own["median_s"] / other
        is_ours = row["candidate"] in ours.ENGINES
        if factor > (_CLEARLY if is_ours else 1):
            picked = f" than auto's {own['same_as']!r}" if "same_as" in own else ""
            found.append(
                f"a step, {_case_text(case)}: {row['candidate']} is "
                f"{number(factor)} times faster{picked if is_ours else ''}."
            )
    return found


def _larger_peaks(rows: Sequence[Row]) -> list[str]:
    found = []
    for row in rows:
        if row["candidate"] in ours.ENGINES or "peak_mib" not in row:
            continue
        case = {key: row[key] for key in ("num_tasks", "batch_size")}
        for name in ours.ENGINES:
            mine = find(rows, candidate=name, **case)
            if mine and row["peak_mib"] < mine.get("peak_mib", 0):
                share = mine["peak_mib"] / row["peak_mib"]
                found.append(
                    f"peak memory, {_case_text(case)}: {row['candidate']} needs "
                    f"{number(share)} times less than {name}."
                )
    return found


def _slow_races(rows: Sequence[Row]) -> list[str]:
    """Regimes in which the sweep is faster, however the posterior is kept."""
    found = []
    for row in rows:
        if row["candidate"] != regimes.RACE:
            continue
        case = {key: row[key] for key in ("num_tasks", *regimes.Regime._fields)}
        value = ratio(rows, regimes.SWEEP, regimes.RACE, **case)
        if value is not None and value < 1:
            found.append(
                f"a race, N = {power(row['num_tasks'])}, B = {row['batch_size']}, "
                f"alpha + beta up to {row['max_concentration']:g}, target "
                f"{row['target_success_prob']:g}, {row['eligible_share']:.0%} "
                f"eligible, temperature {row['temperature']:g}: the sweep is "
                f"{number(1 / value)} times faster."
            )
    return found


def _case_text(case: Mapping[str, Any]) -> str:
    return f"N = {power(case['num_tasks'])}, B = {case['batch_size']}"
