"""Figures of comparisons; each takes results and an Axes, and computes nothing new."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bots_jax.evaluation.summary import PER_ROLLOUTS, ArmRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, np.ndarray]
"""Names of `StepRecord` to one number per step."""

_MARKERS = "osD^vP*Xhd"
_LINES = ("-", "--", ":", "-.")


def arm_styles(arms: Sequence[str]) -> dict[str, dict[str, str]]:
    """Gives every arm a look of its own, up to 40 arms.

    Example:
      >>> arm_styles(["uniform", "bots"])["bots"]
      {'color': 'C1', 'marker': 's', 'linestyle': '-'}
    """
    return {
        arm: {
            "color": f"C{i % 10}",
            "marker": _MARKERS[(i + i // 10) % len(_MARKERS)],
            "linestyle": _LINES[i // 10 % len(_LINES)],
        }
        for i, arm in enumerate(arms)
    }


def value_against_coverage(ax: "Axes", rows: Sequence[ArmRow]) -> None:
    """Draws what a rollout was worth against coverage, one point per arm.

    Args:
      ax: where to draw.
      rows: of one size of pool, with intervals.
    """
    styles = arm_styles([row.arm for row in rows])
    for row in rows:
        mean, low, high, _ = row.value
        ax.errorbar(
            [row.means["coverage"] or np.nan],
            [mean],
            yerr=[[max(mean - low, 0.0)], [max(high - mean, 0.0)]],
            capsize=3,
            linestyle="",
            label=row.arm,
            color=styles[row.arm]["color"],
            marker=styles[row.arm]["marker"],
        )
    ax.set(
        xlabel="coverage: distinct tasks / most there could be",
        ylabel=f"sum p(1-p) per {PER_ROLLOUTS} rollouts",
        xlim=(0, 1.03),
        ylim=(0, None),
    )
    ax.set_title(f"Value of a rollout, {rows[0].num_tasks:,} tasks (95 % intervals)")
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    ax.grid(alpha=0.3)


def step_curves(
    ax: "Axes", curves: Mapping[str, Curves], name: str, label: str, window: int = 20
) -> None:
    """Draws one number over training steps, a line per arm.

    Args:
      ax: where to draw.
      curves: arm -> its curves, means over seeds.
      name: which curve.
      label: of the vertical axis.
      window: steps of the running mean.
    """
    styles = arm_styles(list(curves))
    for arm, values in curves.items():
        shown = running_mean(values[name], window)
        (line,) = ax.plot(shown, label=arm, linewidth=1.2)
        line.set(color=styles[arm]["color"], linestyle=styles[arm]["linestyle"])
    ax.set(xlabel="training step", ylabel=label)
    ax.grid(alpha=0.3)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of up to `window` values that end at each one; NaN is left out.

    Example:
      >>> running_mean(np.array([1.0, 3.0, np.nan, 5.0]), 2)
      array([1., 2., 3., 5.])
    """
    known = np.isfinite(values)
    sums = np.cumsum(np.insert(np.where(known, values, 0.0), 0, 0.0))
    counts = np.cumsum(np.insert(known, 0, False))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - max(1, window), 0)
    count = counts[ends] - counts[starts]
    mean = (sums[ends] - sums[starts]) / np.maximum(count, 1)
    return np.where(count > 0, mean, np.nan)
