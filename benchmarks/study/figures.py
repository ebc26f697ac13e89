"""Draws the figures of the study; each takes results, and computes nothing new."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bots_jax.compare import figures as drawn
from bots_jax.compare.report import BASELINE

from .gain_table import BandGain
from .protocol import ABLATION

if TYPE_CHECKING:
    from .found import Found

FRONT = (BASELINE, "bots", "adaptive_sources", "adaptive_groups")
"""Arms of the figure that the front page shows."""


def gains_by_difficulty(ax: Axes, bands: Sequence[BandGain], num_steps: int) -> None:
    """Draws gain per step against success chance, a line per moment of training.

    Args:
      ax: where to draw.
      bands: of one setting.
      num_steps: steps taken on a band.
    """
    for after in sorted({band.after_steps for band in bands}):
        rows = [b for b in bands if (b.after_steps, b.num_steps) == (after, num_steps)]
        rows.sort(key=lambda band: band.mean_chance)
        gain = np.array([band.gain[:3] for band in rows]).T
        ax.errorbar(
            [band.mean_chance for band in rows],
            gain[0],
            yerr=np.abs(gain[1:] - gain[0]),
            marker="o",
            markersize=4,
            capsize=2,
            label=f"after {after} steps",
        )
    ax.axhline(0, color="0.7", linewidth=0.8)
    ax.set(xlabel="success chance of the tasks trained on")
    ax.grid(alpha=0.3)


def draw_all(
    folder: Path, parts: Sequence["Found"], gains: Mapping[str, Sequence[BandGain]]
) -> None:
    """Draws every figure of the study as PNG.

    Args:
      folder: made if it is not there.
      parts: with results.
      gains: of each setting.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if gains:
        figure = Figure(figsize=(4.2 * len(gains), 3.6), layout="constrained")
        grid = figure.subplots(1, len(gains), squeeze=False)[0]
        for ax, (name, bands) in zip(grid, gains.items(), strict=True):
            gains_by_difficulty(ax, bands, max(band.num_steps for band in bands))
            ax.set_title(name)
        grid[0].set_ylabel("held-out points gained per step")
        grid[-1].legend(fontsize=8)
        figure.savefig(folder / "gains.png", dpi=130)
    front = [found for found in parts if set(FRONT) <= set(found.runs)]
    if front:
        most = max(found.seeds for found in front)  # those of fewer are in their parts
        front = [found for found in front if found.seeds == most]
        figure = Figure(figsize=(4.2 * len(front), 6.4), layout="constrained")
        grid = figure.subplots(2, len(front), squeeze=False, sharex=True)
        for (above, below), found in zip(grid.T, front, strict=True):
            curves = {arm: [run.curve for run in found.runs[arm]] for arm in FRONT}
            drawn.learning_curves(above, curves, found.part.setting)
            drawn.lead_curves(below, curves)
            above.set_xlabel("")
        figure.savefig(folder / "learning.png", dpi=130)
    for found in parts:
        place = folder / found.part.name
        curves = {arm: [run.curve for run in runs] for arm, runs in found.runs.items()}
        if found.part.name.startswith(ABLATION):
            place.mkdir(exist_ok=True)
            drawn.save_panels(place / "lead.png", curves, 2.8, drawn.lead_curves)
        else:
            drawn.save_figures(place, curves, found.reports)
