"""`bots-jax replay`: from a file of pass rates to a table and a figure."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro

from bots_jax.evaluation.matrix import PassRates, read_matrix
from bots_jax.evaluation.replay import (
    CONSTANT,
    PLUGINS,
    Quality,
    ReplaySettings,
    Result,
    check_replay,
    replay,
)
from bots_jax.evaluation.store import write_json
from bots_jax.evaluation.tables import TextTable, markdown, number, print_table
from bots_jax.progress import Phase
from bots_jax.selectors.adaptive import MAX_ESS
from bots_jax.whole_files import write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

QUESTION = "Which plug-in foresees the tasks that were not rolled out?"


@dataclasses.dataclass(frozen=True)
class ReplayCommand:
    """Compare implicit plug-ins on logged pass rates, without training a model."""

    matrix: Annotated[pathlib.Path, tyro.conf.Positional]
    """Pass rates in [0, 1], tasks by models or checkpoints: .npy, .npz, .csv or
    .parquet."""
    array: str | None = None
    """Name of the array, for an .npz that holds several."""
    models_are_rows: bool = False
    """Whether the array is models by tasks."""
    mode: str = "alone"
    """alone: a fresh plug-in per policy, all other models are references. walk: one
    plug-in for all policies in turn, every second model is a reference."""
    num_observed: int = 256
    """Tasks rolled out per policy."""
    batch_size: int = 32
    """Tasks per update."""
    num_rollouts: int = 1
    """Rollouts behind a pass rate."""
    seeds: int = 3
    """Draws of the tasks that are rolled out."""
    output: pathlib.Path = pathlib.Path("runs/replay")
    """Directory of table.md, results.json and replay.png; replaced if there."""
    quiet: bool = False
    """Print no progress and no table."""


def run_replay(
    command: ReplayCommand, stamp: Callable[[int], dict[str, Any]] | None = None
) -> list[Result]:
    """Walks a matrix, and writes what came out.

    Args:
      command: the options.
      stamp: describes the machine for results.json; nothing is said without.

    Returns:
      One result per plug-in and policy.

    Raises:
      ValueError: for a matrix that cannot be used, or options it does not allow.
    """
    matrix = read_matrix(command.matrix, command.array, command.models_are_rows)
    settings = ReplaySettings(
        num_observed=command.num_observed,
        batch_size=command.batch_size,
        num_rollouts=command.num_rollouts,
        seeds=command.seeds,
        mode=command.mode,
    )
    check_replay(settings, matrix)
    total = command.seeds * (len(PLUGINS) + 1)
    with Phase("replay", total, quiet=command.quiet, line_every=0) as phase:
        results = replay(matrix, settings, tell=phase.tell)
    tables = [quality_table(results, matrix, settings), weight_table(results)]
    write_text(
        command.output / "table.md", "\n\n".join(markdown(x) for x in tables) + "\n"
    )
    write_json(
        command.output / "results.json",
        {
            "question": QUESTION,
            "machine": None if stamp is None else stamp(0),
            "matrix": {
                "file": command.matrix.name,
                "num_tasks": matrix.rates.shape[0],
                "models": matrix.names,
                "mean_rates": [float(x) for x in matrix.rates.mean(axis=0)],
            },
            "settings": settings._asdict(),
            "results": [
                result._asdict() | {"quality": result.quality._asdict()}
                for result in results
            ],
        },
    )
    save_figure(command.output / "replay.png", results)
    if not command.quiet:
        for table in tables:
            print_table(table)
        print(f"written to {command.output}")
    return results


def means(results: Sequence[Result]) -> dict[str, Quality]:
    """Averages over policies, per plug-in.

    Example:
      >>> quality = Quality(*range(8))
      >>> both = [Result("a", "x", 0.5, quality), Result("a", "y", 0.6, quality)]
      >>> float(means(both)["a"].spearman)
      1.0
    """
    names = list(dict.fromkeys(result.plugin for result in results))
    own = lambda name: [r.quality for r in results if r.plugin == name]  # noqa: E731
    return {name: Quality(*np.array(own(name), float).mean(axis=0)) for name in names}


def quality_table(
    results: Sequence[Result], matrix: PassRates, settings: ReplaySettings
) -> TextTable:
    """Lays out how well each plug-in predicts, beside the constant predictor."""
    rows = []
    everything = means(results)
    constant = everything[CONSTANT]
    for name, mean in everything.items():
        rows.append(
            [
                name,
                *(number(x) for x in mean[:5]),
                number(mean.brier - constant.brier, sign=True),
            ]
        )
    num_tasks = matrix.rates.shape[0]
    policies = len({result.policy for result in results})
    return TextTable(
        f"{num_tasks:,} tasks, {len(matrix.names)} models, mode {settings.mode}",
        (
            "plug-in",
            "AUC",
            "Spearman",
            "Brier",
            "log loss",
            "calibration error",
            "Brier, less the constant's",
        ),
        rows,
        (
            f"Mean over {policies} policies and {settings.seeds} "
            f"draw{'s' if settings.seeds > 1 else ''} of "
            f"{settings.num_observed} tasks that were rolled out "
            f"({settings.num_rollouts} rollouts each, batches of "
            f"{settings.batch_size}); measured on all other tasks.",
        ),
    )


def weight_table(results: Sequence[Result]) -> TextTable:
    """Lays out what the weight of implicit evidence does to the posterior."""
    rows = []
    for name, mean in means(results).items():
        if name == CONSTANT:
            continue
        own = [result.quality for result in results if result.plugin == name]
        better = sum(q.posterior_log_loss <= q.posterior_log_loss_fixed for q in own)
        rows.append(
            [
                name,
                number(mean.posterior_log_loss_fixed, 4),
                number(mean.posterior_log_loss, 4),
                f"{better} of {len(own)}",
                "its own" if mean.trust >= MAX_ESS else number(mean.trust, 1),
            ]
        )
    return TextTable(
        "The posterior mean's log loss, by the weight of implicit evidence",
        (
            "plug-in",
            "fixed, rho = 0.1",
            "earned",
            "policies no worse",
            "earned trust (rollouts)",
        ),
        rows,
    )


def draw_replay(axes: Sequence["Axes"], results: Sequence[Result]) -> None:
    """Draws AUC and Brier score against the policy's ability, a line per plug-in.

    Args:
      axes: two.
      results: of one replay.
    """
    names = list(dict.fromkeys(result.plugin for result in results))
    colours = [f"C{number}" for number in (0, 1, 2, 3, 4, 5, 6, 8, 9)]  # C7 is grey
    for ax, field in zip(axes, ("auc", "brier"), strict=True):
        for place, name in enumerate(names):
            own = [result for result in results if result.plugin == name]
            ax.plot(
                [result.mean_rate for result in own],
                [getattr(result.quality, field) for result in own],
                marker="o",
                color="0.5" if name == CONSTANT else colours[place % len(colours)],
                linestyle="--" if name == CONSTANT else "-",
                label=name,
            )
        ax.set(xlabel="mean pass rate of the policy")
        ax.grid(alpha=0.3)
    axes[0].set(ylabel="AUC", title="Ranking: higher is better")
    axes[1].set(ylabel="Brier score", title="Squared error: lower is better")
    axes[1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


def save_figure(path: pathlib.Path, results: Sequence[Result]) -> None:
    """Saves the figure of a replay."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    draw_replay(figure.subplots(1, 2), results)
    figure.savefig(path, dpi=120)
