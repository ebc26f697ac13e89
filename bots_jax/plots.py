"""One function per figure; each takes results and an Axes, and computes nothing new."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]


def _series(rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
    table = np.array(pairs, float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    window = max(1, min(window, len(values)))
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def learning_curve(ax: "Axes", rows: Rows, label: str = "") -> None:
    """Draws held-out success against training steps.

    Args:
      ax: where to draw.
      rows: lines of metrics.jsonl.
      label: name of the run.
    """
    steps, solved = _series(rows, "held_out/solved")
    ax.plot(steps, solved, marker="o", label=label or None)
    ax.set(xlabel="training step", ylabel="held-out success (sampled)", ylim=(0, 1))
    ax.set_title("Learning curve")
    ax.grid(alpha=0.3)


def effective_tasks(ax: "Axes", rows: Rows, label: str = "", window: int = 20) -> None:
    """Draws the effective task ratio, and beside it the coverage it is read with.

    Args:
      ax: where to draw.
      rows: lines of metrics.jsonl.
      label: name of the run.
      window: steps of the running mean.
    """
    steps, ratio = _series(rows, "effective_task_ratio")
    covered_steps, covered = _series(rows, "coverage")
    prefix = f"{label}: " if label else ""
    (line,) = ax.plot(steps, _smooth(ratio, window), label=f"{prefix}effective tasks")
    ax.plot(steps, ratio, alpha=0.2, linewidth=0.7, color=line.get_color())
    ax.plot(
        covered_steps,
        covered,
        linestyle="--",
        color=line.get_color(),
        label=f"{prefix}coverage",
    )
    ax.set(xlabel="training step", ylabel="share", ylim=(0, 1.02))
    ax.set_title(f"Effective task ratio (mean of {window} steps) and coverage")
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)


def calibration(ax: "Axes", believed: np.ndarray, measured: np.ndarray) -> None:
    """Draws the posterior mean of tasks against their measured success rate.

    Args:
      ax: where to draw.
      believed: float [M] in [0, 1], posterior means.
      measured: float [M] in [0, 1], from many rollouts of the final policy.
    """
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    ax.scatter(believed, measured, s=10, alpha=0.4)
    edges = np.linspace(0, 1, 11)
    bins = np.clip(np.digitize(believed, edges) - 1, 0, 9)
    filled = [index for index in range(10) if (bins == index).sum() >= 5]
    ax.plot(
        [believed[bins == index].mean() for index in filled],
        [measured[bins == index].mean() for index in filled],
        color="C3",
        marker="s",
        label="mean of each tenth",
    )
    ax.set(
        xlabel="posterior mean", ylabel="true success rate", xlim=(0, 1), ylim=(0, 1)
    )
    ax.set_title(f"What the selector believes ({len(believed)} tasks)")
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3)


def picked_difficulty(
    ax: "Axes", picked: np.ndarray, target: float | None, bins: int = 9
) -> None:
    """Draws how hard the chosen tasks were over time, as a heat map.

    Args:
      ax: where to draw.
      picked: float [T, B] in [0, 1], success rate of each chosen task in its step.
      target: the wanted success chance; None for no line.
      bins: rows of the map.
    """
    num_steps = len(picked)
    columns = min(60, num_steps)
    steps = np.repeat(np.arange(num_steps), picked.shape[1])
    counts, step_edges, rate_edges = np.histogram2d(
        steps,
        picked.ravel(),
        bins=(columns, bins),
        range=((0, num_steps), (0, 1 + 1e-9)),
    )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mesh = ax.pcolormesh(step_edges, rate_edges, share.T, cmap="viridis", vmin=0)
    ax.figure.colorbar(mesh, ax=ax, label="share of the batch")
    if target is not None:
        ax.axhline(target, color="white", linestyle="--", linewidth=1)
    ax.set(xlabel="training step", ylabel="success rate of chosen tasks")
    ax.set_title("Picked difficulty over time")
