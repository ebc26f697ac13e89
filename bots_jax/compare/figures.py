"""Figures of a comparison; each takes results and Axes, and computes nothing new."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bots_jax.compare.measures import SHARES, Curve
from bots_jax.compare.report import BASELINE, POINTS, ArmReport
from bots_jax.evaluation.figures import arm_styles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, Sequence[Curve]]
"""arm -> one curve per seed."""


def mean_curve(
    curves: Sequence[Curve], name: str, num_points: int = 101
) -> tuple[np.ndarray, np.ndarray]:
    """Averages curves on a common grid of rollouts.

    Args:
      curves: one per seed.
      name: which number; evaluations without one are left out.
      num_points: of the grid.

    Returns:
      Rollouts and means, float64 [num_points] each.

    Example:
      >>> curves = [{"rollouts": [0, 10], "success": [0.0, y]} for y in (0.2, 0.4)]
      >>> mean_curve(curves, "success", 3)
      (array([ 0.,  5., 10.]), array([0.  , 0.15, 0.3 ]))
    """
    grid = np.linspace(0, max(curve["rollouts"][-1] for curve in curves), num_points)
    lines = []
    for curve in curves:
        known = [i for i, value in enumerate(curve[name]) if value is not None]
        x, y = (np.array([curve[key][i] for i in known]) for key in ("rollouts", name))
        lines.append(np.interp(grid, x, y))
    return grid, np.mean(lines, axis=0)


def learning_curves(ax: "Axes", curves: Curves, title: str = "") -> None:
    """Draws held-out success, every seed thinly and the means boldly.

    Args:
      ax: where to draw.
      curves: of a few arms; more than five are hard to tell apart.
      title: above.
    """
    styles = arm_styles(list(curves))
    for arm, seeds in curves.items():
        color = "0.45" if arm == BASELINE else styles[arm]["color"]
        for curve in seeds:
            scores = POINTS * np.asarray(curve["success"], np.float64)
            ax.plot(curve["rollouts"], scores, color=color, alpha=0.4, linewidth=0.7)
        rollouts, mean = mean_curve(seeds, "success")
        ax.plot(rollouts, POINTS * mean, color=color, linewidth=2.2, label=arm)
    ax.set(xlabel="rollouts", ylabel="held-out success, %")
    ax.set_title(title, fontsize=10)
    ax.legend(fontsize=8, loc="lower right")
    ax.grid(alpha=0.3)


def picked_curves(ax: "Axes", curves: Curves, name: str, label: str) -> None:
    """Draws means of one number over rollouts, a line per arm.

    Args:
      ax: where to draw.
      curves: of all arms.
      name: such as "effective_task_ratio" or "coverage".
      label: of the vertical axis.
    """
    styles = arm_styles(list(curves))
    for arm, seeds in curves.items():
        rollouts, mean = mean_curve(seeds, name)
        (line,) = ax.plot(rollouts, mean, label=arm, linewidth=1.4)
        line.set(color=styles[arm]["color"], linestyle=styles[arm]["linestyle"])
    ax.set(xlabel="rollouts", ylabel=label, ylim=(0, 1.02))
    ax.grid(alpha=0.3)


def times_to_baseline(ax: "Axes", reports: Sequence[ArmReport]) -> None:
    """Draws how soon each arm reaches the baseline's score, with intervals.

    Args:
      ax: where to draw.
      reports: of all arms; those without times are left out.
    """
    shown = [report for report in reports if report.times]
    styles = arm_styles([f"{share:.0%} of its gain" for share in SHARES])
    for place, share in enumerate(SHARES):
        label = f"{share:.0%} of its gain"
        found = [report.times[share, "rollouts"] for report in shown]
        ratio = np.array([reached.ratio[:3] for reached in found]).reshape(-1, 3).T
        rows = np.arange(len(shown)) + 0.22 * (place - 1)
        errors = np.abs(ratio[1:] - ratio[0])
        ax.errorbar(
            ratio[0],
            rows,
            xerr=errors,
            linestyle="",
            capsize=2,
            label=label,
            color=styles[label]["color"],
            marker=styles[label]["marker"],
        )
        late = [
            (r, row)
            for r, row, x in zip(ratio[0], rows, found, strict=True)
            if x.num_reached < x.ratio.num_pairs
        ]
        for right, row in late:
            ax.annotate("≥", (right, row), xytext=(4, 3), textcoords="offset points")
    ax.axvline(1, color="0.45", linewidth=1)
    ax.set_yticks(range(len(shown)), [report.arm for report in shown], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlabel(f"rollouts to reach the score of {BASELINE}, over its own")
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3, axis="x")
