"""Draws results/step.png from results/step.json.

Run it when the results have changed:

    python -m benchmarks.figures
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import machine, official, ours, plain_jax
from .cells import Row, load, names

# Okabe and Ito's colours, told apart by colour-blind readers, and a marker each
STYLES = {
    plain_jax.NAME: ("#E69F00", "^"),
    official.NAME_AS_SHIPPED: ("#999999", "D"),
    official.NAME: ("#0072B2", "s"),
    ours.DENSE_SWEEP: ("#CC79A7", "v"),
    ours.DENSE_RACE: ("#009E73", "P"),
    ours.LAZY_RACE: ("#D55E00", "o"),
}
_OURS = (ours.DENSE_SWEEP, ours.DENSE_RACE, ours.LAZY_RACE)
_PANELS = (32, 1024)
_AUTO_LABEL = "bots_jax: picked by itself"


def draw_step(rows: Sequence[Row], axes: Axes) -> None:
    """Draws step time against N, one line per candidate.

    Rings show which of ours `bots()` picks by itself.

    Args:
      rows: of step.json, all of one B; those without a time are left out.
      axes: to draw on.
    """
    timed = [row for row in rows if row["kind"] == "step" and "median_s" in row]
    for name in names(timed, list(STYLES)):
        line = [row for row in timed if row["candidate"] == name]
        line.sort(key=lambda row: row["num_tasks"])
        medians = [row["median_s"] * 1e3 for row in line]
        below = [1e3 * (row["median_s"] - row["quartile_1_s"]) for row in line]
        above = [1e3 * (row["quartile_3_s"] - row["median_s"]) for row in line]
        colour, marker = STYLES[name]
        axes.errorbar(
            [row["num_tasks"] for row in line],
            medians,
            yerr=[below, above],
            color=colour,
            marker=marker,
            linestyle="-" if name in _OURS else "--",
            markersize=5,
            linewidth=1.6,
            capsize=2,
            label=f"bots_jax: {name}" if name in _OURS else name,
        )
    picked = [row for row in timed if row["candidate"] == ours.AUTO]
    if picked:
        axes.plot(
            [row["num_tasks"] for row in picked],
            [row["median_s"] * 1e3 for row in picked],
            color="black",
            marker="o",
            markersize=10,
            fillstyle="none",
            linestyle="none",
            label=_AUTO_LABEL,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tasks in the pool, N")
    axes.grid(which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def save_step_figure(record: dict[str, Any], path: Path) -> None:
    """Writes the figure of step.json as PNG: a panel each for B = 32 and 1024.

    Args:
      record: what step.json holds; with neither B, the smallest and largest are shown.
      path: of the picture.
    """
    matplotlib.use("Agg")
    steps = [row for row in record["rows"] if row["kind"] == "step"]
    there = sorted({row["batch_size"] for row in steps if "median_s" in row})
    panels = [size for size in _PANELS if size in there] or there[:1] + there[1:][-1:]
    figure = Figure(figsize=(4.4 * len(panels) + 0.6, 5.2), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, batch_size in zip(grid, panels, strict=True):
        draw_step([row for row in steps if row["batch_size"] == batch_size], axes)
        axes.set_title(f"{batch_size} tasks per step", fontsize=11, loc="left")
    grid[0].set_ylabel("time of one step, ms (median, quartiles)")
    handles, labels = {}, []
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    labels = list(handles)
    figure.legend(
        [handles[label] for label in labels],
        labels,
        loc="outside lower center",
        ncols=2 if len(panels) == 1 else 3,
        frameon=False,
        fontsize=9,
    )
    found = record["machine"]
    backend = found.get("backend", "cpu")
    where = f"{found['cores']} CPU cores" if backend == "cpu" else str(backend).upper()
    figure.suptitle(
        f"Update, Thompson draw and top-B on {where}", fontsize=12, x=0.02, ha="left"
    )
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    found = load(machine.RESULTS, "step")
    if found is None:
        raise SystemExit("results/step.json is missing; run benchmarks.step first.")
    save_step_figure(found, machine.RESULTS / "step.png")
