"""Figures of a comparison; each takes results and Axes, and measures nothing new."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bots_jax.compare.measures import SHARES, Curve
from bots_jax.compare.report import BASELINE, POINTS, ArmReport
from bots_jax.evaluation.figures import arm_styles
from bots_jax.evaluation.intervals import MIN_PAIRS, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Curves = Mapping[str, Sequence[Curve]]
"""arm -> one curve per seed."""

DrawFn = Callable[["Axes", Curves], None]
"""draw(axes, curves)."""


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


def lead_over_baseline(
    curves: Sequence[Curve], baseline: Sequence[Curve], num_points: int = 41
) -> tuple[np.ndarray, np.ndarray]:
    """Tells by how much an arm is ahead, pair by pair, on a grid of rollouts.

    Args:
      curves: one per seed, 2 at least.
      baseline: of the same seeds in the same order.
      num_points: of the grid.

    Returns:
      Rollouts, float64 [num_points]; mean, lower and upper end of the 95 % interval, in
      points, float64 [3, num_points].

    Example:
      >>> first = [{"rollouts": [0, 10], "success": [0.0, y]} for y in (0.2, 0.4)]
      >>> second = [{"rollouts": [0, 10], "success": [0.0, y]} for y in (0.1, 0.3)]
      >>> lead_over_baseline(first, second, 2)[1].round(6)
      array([[ 0., 10.],
             [ 0., 10.],
             [ 0., 10.]])
    """
    pairs = [
        [mean_curve([one], "success", num_points) for one in pair]
        for pair in zip(curves, baseline, strict=True)
    ]
    ahead = POINTS * np.array([mine[1] - theirs[1] for mine, theirs in pairs])
    few = min(MIN_PAIRS, len(ahead))
    spread = [mean_interval(column, min_pairs=few)[:3] for column in ahead.T]
    return pairs[0][0][0], np.array(spread).T


def lead_curves(ax: "Axes", curves: Curves, title: str = "") -> None:
    """Draws by how much arms are ahead of the baseline, with 95 % bands over pairs.

    What all arms of a seed share, such as an easy start, is not in it.

    Args:
      ax: where to draw.
      curves: of a few arms, the baseline among them.
      title: above.
    """
    styles = arm_styles(list(curves))
    for arm, seeds in curves.items():
        if arm == BASELINE:
            continue
        rollouts, (mean, low, high) = lead_over_baseline(seeds, curves[BASELINE])
        color = styles[arm]["color"]
        ax.fill_between(rollouts, low, high, color=color, alpha=0.18, linewidth=0)
        ax.plot(rollouts, mean, color=color, linewidth=2.2, label=arm)
    ax.axhline(0, color="0.45", linewidth=1)
    ax.set(xlabel="rollouts", ylabel=f"points ahead of {BASELINE}")
    ax.set_title(title, fontsize=10)
    if len(curves) > 1:
        ax.legend(fontsize=8, loc="upper right")
    ax.grid(alpha=0.3)


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


def save_figures(
    directory: pathlib.Path, curves: Curves, reports: Sequence[ArmReport]
) -> list[pathlib.Path]:
    """Draws the figures of a comparison as PNG files.

    Args:
      directory: made if it is not there.
      curves: arm -> one curve per seed.
      reports: of the same arms.

    Returns:
      The files.
    """
    from matplotlib.figure import Figure

    directory.mkdir(parents=True, exist_ok=True)
    paths = [
        save_panels(directory / "learning.png", curves, 3.1, learning_curves),
        save_panels(directory / "lead.png", curves, 2.8, lead_curves),
    ]
    figure = Figure(figsize=(11.0, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    picked_curves(left, curves, "effective_task_ratio", "effective task ratio")
    picked_curves(right, curves, "coverage", "coverage so far")
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    paths.append(directory / "picked.png")
    figure.savefig(paths[-1], dpi=130)

    height = 1.6 + 0.45 * max(1, len(curves) - 1)
    figure = Figure(figsize=(7.0, height), layout="constrained")
    times_to_baseline(figure.subplots(), reports)
    paths.append(directory / "times.png")
    figure.savefig(paths[-1], dpi=130)
    return paths


def save_panels(
    path: pathlib.Path, curves: Curves, height: float, draw: DrawFn
) -> pathlib.Path:
    """Draws every arm beside the baseline, in a panel of its own.

    Args:
      path: of the PNG file.
      curves: arm -> one curve per seed.
      height: of a panel, in inches.
      draw: fills a panel.

    Returns:
      The path.
    """
    from matplotlib.figure import Figure

    others = [arm for arm in curves if arm != BASELINE] or [BASELINE]
    columns = min(4, len(others))
    rows = -(-len(others) // columns)
    figure = Figure(figsize=(3.6 * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for ax, arm in zip(grid.flat, others, strict=False):
        draw(ax, {BASELINE: curves[BASELINE], arm: curves[arm]})
    for ax in grid.flat[len(others) :]:
        ax.axis("off")
    figure.savefig(path, dpi=130)
    return path
