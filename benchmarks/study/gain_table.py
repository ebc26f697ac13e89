"""Condenses the repetitions of the gains to one number per band of difficulty."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bots_jax.evaluation.intervals import Interval, mean_interval
from bots_jax.evaluation.tables import TextTable, interval, number


class BandGain(NamedTuple):
    """What steps on one band gained, over repetitions.

    Attributes:
      after_steps: uniform training steps taken before.
      num_steps: taken on the band.
      low, high: edges of the band.
      share: of the pool's tasks that lie in it.
      mean_chance: of the tasks trained on.
      mixed: share of groups with mixed outcomes.
      gain: points of held-out success per step, mean and interval.
    """

    after_steps: int
    num_steps: int
    low: float
    high: float
    share: float
    mean_chance: float
    mixed: float
    gain: Interval


def read_gains(path: Path) -> list[BandGain]:
    """Reads gains.json and averages its repetitions."""
    record: dict[str, Any] = json.loads(path.read_text())
    num_tasks = record["settings"]["num_tasks"]
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in record["gains"]:
        key = (row["after_steps"], row["num_steps"], row["low"], row["high"])
        groups.setdefault(key, []).append(row)
    bands = []
    for key, rows in sorted(groups.items()):
        per_step = [100 * row["gain"] / row["num_steps"] for row in rows]
        bands.append(
            BandGain(
                *key,
                share=rows[0]["num_tasks"] / num_tasks,
                mean_chance=float(np.mean([row["mean_chance"] for row in rows])),
                mixed=float(np.mean([row["mixed"] for row in rows])),
                gain=mean_interval(per_step, min_pairs=2),
            )
        )
    return bands


def gain_table(name: str, bands: Sequence[BandGain]) -> TextTable:
    """Lays the gains of one setting out, early beside late."""
    moments = sorted({(band.after_steps, band.num_steps) for band in bands})
    rows = []
    for low, high in sorted({(band.low, band.high) for band in bands}):
        mine = {
            (band.after_steps, band.num_steps): band
            for band in bands
            if band.low == low and band.high == high
        }
        cells = [f"{low:g} to {high:g}"]
        for moment in moments:
            band = mine.get(moment)
            if moment[1] == moments[0][1]:
                cells.append("–" if band is None else f"{100 * band.share:.1f} %")
                cells.append(number(band.mixed if band else None, 2))
            cells.append(interval(band.gain if band else None, 3, sign=True))
        rows.append(cells)
    heads = ["success chance"]
    for after, steps in moments:
        if steps == moments[0][1]:
            heads += [f"share of pool, after {after} steps", "mixed groups"]
        heads.append(f"points per step, {steps} step{'s' * (steps > 1)}")
    return TextTable(f"{name}: what a step on each difficulty gains", heads, rows)
