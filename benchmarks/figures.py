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
from matplotlib.lines import Line2D

from benchmarks import harness, official, ours, plain_jax
from benchmarks.tables import Row, cases, load

# Okabe and Ito's colours, told apart by colour-blind readers
COLOURS = {
    plain_jax.NAME: "#E69F00",
    official.NAME_AS_SHIPPED: "#999999",
    official.NAME: "#0072B2",
    ours.NAME: "#D55E00",
}
MARKERS = {
    plain_jax.NAME: "^",
    official.NAME_AS_SHIPPED: "D",
    official.NAME: "s",
    ours.NAME: "o",
}
_LINES = ("--", "-", ":", "-.")


def draw_step(rows: Sequence[Row], axes: Axes) -> None:
    """Draws step time against N: colour is the candidate, line style is B.

    Args:
      rows: of step.json; those without a time are left out.
      axes: to draw on.
    """
    timed = [row for row in rows if row["kind"] == "step" and "median_s" in row]
    batch_sizes = sorted({row["batch_size"] for row in timed})
    styles = dict(zip(batch_sizes, _LINES, strict=False))
    for name, batch_size in cases(timed, "candidate", "batch_size"):
        line = [
            row
            for row in timed
            if row["candidate"] == name and row["batch_size"] == batch_size
        ]
        line.sort(key=lambda row: row["num_tasks"])
        medians = [row["median_s"] * 1e3 for row in line]
        below = [row["median_s"] * 1e3 - row["quartile_1_s"] * 1e3 for row in line]
        above = [row["quartile_3_s"] * 1e3 - row["median_s"] * 1e3 for row in line]
        axes.errorbar(
            [row["num_tasks"] for row in line],
            medians,
            yerr=[below, above],
            color=COLOURS.get(name, "black"),
            marker=MARKERS.get(name, "o"),
            linestyle=styles[batch_size],
            markersize=4.5,
            linewidth=1.4,
            capsize=2,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("tasks in the pool, N")
    axes.set_ylabel("time of one step, ms (median, quartiles)")
    axes.grid(which="major", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    shown = {row["candidate"] for row in timed}
    handles = [
        Line2D([], [], color=COLOURS[name], marker=MARKERS[name], label=name)
        for name in COLOURS
        if name in shown
    ]
    handles += [
        Line2D([], [], color="black", linestyle=styles[b], label=f"B = {b}")
        for b in batch_sizes
    ]
    axes.legend(handles=handles, frameon=False, loc="upper left", fontsize=9)


def save_step_figure(record: dict[str, Any], path: Path) -> None:
    """Writes the figure of step.json as PNG.

    Args:
      record: what step.json holds.
      path: of the picture.
    """
    matplotlib.use("Agg")
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.add_subplot()
    draw_step(record["rows"], axes)
    machine = record["machine"]
    axes.set_title(
        f"Update, Thompson draw and top-B on {machine['cores']} CPU cores",
        fontsize=11,
        loc="left",
    )
    figure.savefig(path, dpi=150, metadata={"Software": None})


if __name__ == "__main__":
    found = load(harness.RESULTS, "step")
    if found is None:
        raise SystemExit("results/step.json is missing; run benchmarks.step first.")
    save_step_figure(found, harness.RESULTS / "step.png")
