"""What a run leaves behind: figures, a summary, and a closing table."""

import json
import math
import pathlib
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from bots_jax import plots
from bots_jax.grpo.loop import RunState, Trainer
from bots_jax.grpo.rollouts import pass_rates
from bots_jax.whole_files import write_text

SELECTOR_PHASES = ("select", "update")
STEP_PHASES = ("select", "generate", "reward", "learn", "update")


def summarise(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Condenses the lines of metrics.jsonl to the numbers of the closing table.

    Seconds are medians over steps, so that compilation is left out.

    Args:
      rows: all lines of a run, at least one.

    Returns:
      Names to numbers.

    Example:
      >>> row = {"step": 0, "held_out/solved": .25, "effective_task_ratio": .5,
      ...        "coverage": 1., "rollouts_total": 8, "tokens_total": 40}
      >>> row |= {f"seconds/{phase}": 1.0 for phase in STEP_PHASES}
      >>> summarise([row])["selector_share"]
      0.4
    """
    held_out = [
        row["held_out/solved"] for row in rows if row.get("held_out/solved") is not None
    ]
    steps = [row for row in rows if row.get("effective_task_ratio") is not None]
    third = steps[: max(1, len(steps) // 3)]
    seconds = {
        phase: float(np.median([row[f"seconds/{phase}"] for row in steps]))
        for phase in STEP_PHASES
    }
    total = sum(seconds.values())
    return {
        "held_out_start": held_out[0],
        "held_out_end": held_out[-1],
        "held_out_gain": held_out[-1] - held_out[0],
        "effective_task_ratio_first_third": float(
            np.mean([row["effective_task_ratio"] for row in third])
        ),
        "coverage_first_third": third[-1]["coverage"],
        "effective_task_ratio": float(
            np.mean([row["effective_task_ratio"] for row in steps])
        ),
        "coverage": steps[-1]["coverage"],
        "rollouts": steps[-1]["rollouts_total"],
        "tokens": steps[-1]["tokens_total"],
        "seconds_per_step": total,
        "selector_share": sum(seconds[phase] for phase in SELECTOR_PHASES) / total,
    }


def measure_beliefs(trainer: Trainer, state: RunState) -> tuple[np.ndarray, np.ndarray]:
    """Compares the posterior with the truth on a sample of the pool.

    Returns:
      Posterior means and measured mean rewards, float [M] each.
    """
    config, pool = trainer.config.evaluation, trainer.data.train.pool
    count = min(config.calibration_tasks, len(pool))
    rng = np.random.default_rng([trainer.config.seed, 7])
    sample = np.sort(rng.choice(len(pool), count, replace=False))
    alpha, beta = state.sampler.posterior(sample)
    believed = alpha / (alpha + beta)
    measured = pass_rates(
        trainer.policy._replace(params=state.learner.params),
        trainer.data.train,
        sample,
        config.calibration_rollouts,
        jax.random.fold_in(jax.random.key(trainer.config.seed), 2**31 - 2),
        temperature=trainer.config.grpo.temperature,
    )
    return believed, measured.mean_reward


def save_figures(
    directory: pathlib.Path,
    rows: list[dict[str, Any]],
    beliefs: tuple[np.ndarray, np.ndarray],
    target: float | None,
) -> list[pathlib.Path]:
    """Draws the four figures of a run as PNG files.

    Args:
      directory: made if it is not there.
      rows: all lines of metrics.jsonl.
      beliefs: posterior means and measured success rates.
      target: the wanted success chance; None for a selector without one.

    Returns:
      The files.
    """
    from matplotlib.figure import Figure

    directory.mkdir(parents=True, exist_ok=True)
    picked = [row["picked/solved"] for row in rows if row.get("picked/solved")]
    drawings = {
        "learning_curve": lambda ax: plots.learning_curve(ax, rows),
        "effective_task_ratio": lambda ax: plots.effective_tasks(ax, rows),
        "posterior": lambda ax: plots.calibration(ax, *beliefs),
        "picked_difficulty": lambda ax: plots.picked_difficulty(
            ax, np.asarray(picked), target
        ),
    }
    paths = []
    for name, draw in drawings.items():
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        draw(figure.subplots())
        paths.append(directory / f"{name}.png")
        figure.savefig(paths[-1], dpi=130)
    return paths


def write_summary(path: pathlib.Path, summary: dict[str, Any]) -> None:
    """Writes the summary as JSON, NaN as null, the file replaced as a whole."""
    is_nan = lambda value: isinstance(value, float) and not math.isfinite(value)  # noqa: E731
    clean = {name: None if is_nan(v) else v for name, v in summary.items()}
    write_text(path, json.dumps(clean, indent=2) + "\n")


def print_closing_table(name: str, summary: dict[str, Any]) -> None:
    """Prints what a run achieved and what it cost."""
    table = Table(title=f"{name}: what this run did", title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    percent = lambda value: f"{100 * value:.1f} %"  # noqa: E731
    gain = 100 * summary["held_out_gain"]
    for label, value in (
        ("held-out success at the start of GRPO", percent(summary["held_out_start"])),
        ("held-out success at the end", percent(summary["held_out_end"])),
        ("gain", f"{gain:+.1f} points"),
        (
            "effective task ratio, first third",
            percent(summary["effective_task_ratio_first_third"]),
        ),
        ("  with coverage", percent(summary["coverage_first_third"])),
        ("effective task ratio, whole run", percent(summary["effective_task_ratio"])),
        ("  with coverage", percent(summary["coverage"])),
        ("rollouts of GRPO", f"{summary['rollouts']:,}"),
        ("rollouts of the references", f"{summary['reference_rollouts']:,}"),
        ("tokens generated by GRPO", f"{summary['tokens']:,}"),
        ("seconds a step (median)", f"{summary['seconds_per_step']:.3f}"),
        ("selector's share of a step", f"{100 * summary['selector_share']:.2f} %"),
        ("posterior mean against truth, Spearman", f"{summary['spearman']:.2f}"),
        ("seconds in all", f"{summary['seconds_total']:.0f}"),
    ):
        table.add_row(label, value)
    Console().print(table)


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation, ties averaged; NaN if either is constant.

    Example:
      >>> spearman(np.array([1, 2, 3]), np.array([10, 20, 15])).__round__(2)
      0.5
    """
    ranks = [_average_ranks(values) for values in (first, second)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _average_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
