"""What a comparison leaves behind: a table and figures per size of pool."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bots_jax.evaluation import figures
from bots_jax.evaluation.arms import BASELINE
from bots_jax.evaluation.intervals import MIN_PAIRS
from bots_jax.evaluation.simulate import RunSettings
from bots_jax.evaluation.summary import PER_ROLLOUTS, ArmRow
from bots_jax.evaluation.tables import (
    TextTable,
    interval,
    number,
    ratio_with_coverage,
)


class Comparison(NamedTuple):
    """All arms on one size of pool.

    Attributes:
      num_tasks: N.
      num_steps: T.
      settings: of the runs.
      rows: one per arm.
      curves: arm -> one number per step for each name of `StepRecord`, means over
        the seeds.
    """

    num_tasks: int
    num_steps: int
    settings: RunSettings
    rows: Sequence[ArmRow]
    curves: Mapping[str, figures.Curves]


def comparison_table(comparison: Comparison) -> TextTable:
    """Writes a comparison as a table, in the order of its rows.

    Args:
      comparison: of one size of pool.

    Returns:
      Texts, for the terminal and for Markdown.
    """
    unit = f"p(1-p) per {PER_ROLLOUTS} rollouts"
    lines = []
    for row in comparison.rows:
        means = row.means
        lines.append(
            [
                row.arm,
                ratio_with_coverage(means["effective_task_ratio"], means["coverage"]),
                interval(row.value),
                interval(row.gain, sign=True),
                number(means["regret"], 2),
                number(means["spearman"], 2),
                number(means["max_visits"], 1),
                number(means["pool_success_end"], 3),
                number(means["ms_per_step"], 2),
            ]
        )
    seeds = comparison.rows[0].num_seeds
    notes = [
        f"Means over {seeds} seeds, with bootstrap 95 % intervals over seeds; the "
        f"difference to {BASELINE} is paired. Regret is what the p(1-p) of a step's "
        "batch lacks to the best batch. Spearman compares the posterior with the true "
        "success chances of all tasks at the end, and success is their mean. The time "
        "is that of a whole step, student included."
    ]
    if seeds < MIN_PAIRS:
        notes.append(f"Fewer than {MIN_PAIRS} seeds: do not rely on the intervals.")
    settings = comparison.settings
    return TextTable(
        f"{comparison.num_tasks:,} tasks, {comparison.num_steps:,} steps of "
        f"{settings.batch_size} tasks and {settings.group_size} rollouts each",
        [
            "arm",
            "effective task ratio",
            unit,
            f"minus {BASELINE}",
            "regret",
            "Spearman",
            "max visits",
            "success",
            "ms",
        ],
        lines,
        notes,
    )


def save_figures(directory: pathlib.Path, comparison: Comparison) -> list[pathlib.Path]:
    """Draws the figures of a comparison as PNG files.

    Args:
      directory: made if it is not there.
      comparison: of one size of pool.

    Returns:
      The files.
    """
    from matplotlib.figure import Figure

    directory.mkdir(parents=True, exist_ok=True)
    size = comparison.num_tasks
    paths = [directory / f"{name}-{size}.png" for name in ("value", "curves")]

    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    figures.value_against_coverage(figure.subplots(), comparison.rows)
    figure.savefig(paths[0], dpi=130)

    figure = Figure(figsize=(11.0, 7.5), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    for ax, (name, label) in zip(
        grid.flat,
        (
            ("effective_task_ratio", "effective task ratio (coverage below)"),
            ("regret", "regret of a step"),
            ("coverage", "coverage so far"),
            ("pool_success", "mean success chance of the pool"),
        ),
        strict=True,
    ):
        window = 1 if name in ("coverage", "pool_success") else 20
        figures.step_curves(ax, comparison.curves, name, label, window)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.suptitle(f"{size:,} tasks: means over seeds and up to 20 steps")
    figure.savefig(paths[1], dpi=130)
    return paths
