"""From runs to numbers: one summary per run, one row per arm."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.evaluation.intervals import Interval, mean_interval, paired_interval
from bots_jax.evaluation.loop import StudentRun
from bots_jax.metrics import brier, coverage, gini, max_visits, spearman

PER_ROLLOUTS = 1000
"""Values are told per so many rollouts."""


def summarise_run(run: StudentRun) -> dict[str, float]:
    """Condenses a run to the numbers of the tables.

    Args:
      run: of one seed.

    Returns:
      Names to numbers; NaN where nothing was trained on, and for the rank correlation
      of a posterior that is the same for all tasks. `value` is the sum of p(1-p) over
      the tasks trained on per 1000 rollouts, `regret` what a step's batch lacks to
      the best one, on average.

    Example:
      >>> import bots_jax
      >>> from bots_jax.evaluation.loop import run_student
      >>> from bots_jax.evaluation.students import StudentSettings, make_student
      >>> settings = StudentSettings()
      >>> student = make_student(jax.random.key(0), 16, settings)
      >>> selector = bots_jax.uniform(num_tasks=16, batch_size=4)
      >>> key = jax.random.key(1)
      >>> summary = summarise_run(run_student(selector, student, settings, key, 2, 8))
      >>> summary["num_rollouts"], summary["max_visits"] in (1, 2)
      (64, True)
    """
    steps = {name: np.asarray(x, np.float64) for name, x in run.steps._asdict().items()}
    rollouts, trained = steps["num_rollouts"].sum(), steps["num_trained"].sum()
    value, regret = steps["value"].sum(), steps["regret"]
    share = lambda total, of: float(total / of) if of > 0 else math.nan  # noqa: E731
    return {
        "effective_task_ratio": _mean(steps["effective_task_ratio"]),
        "value": share(PER_ROLLOUTS * value, rollouts),
        "value_per_task": share(value, trained),
        "regret": float(regret.mean()),
        "regret_share": share(regret.sum(), steps["best_value"].sum()),
        "batch_success": _mean(steps["batch_success"]),
        "pool_success_start": float(steps["pool_success"][0]),
        "num_trained": int(trained),
        "num_rollouts": int(rollouts),
    } | {name: x.item() for name, x in jax.device_get(_final_metrics(run)).items()}


@jax.jit
def _final_metrics(run: StudentRun) -> dict[str, jax.Array]:
    """What is known at the end: how visits are spread, and what is believed."""
    believed = run.alpha / (run.alpha + run.beta)
    return {
        "coverage": coverage(run.visits),
        "max_visits": max_visits(run.visits),
        "gini": gini(run.visits),
        "spearman": spearman(believed, run.success_prob),
        "brier": brier(believed, run.success_prob),
        "pool_success_end": jnp.mean(run.success_prob),
    }


def curves_of(run: StudentRun) -> dict[str, list[float | None]]:
    """Takes the curves of a run for JSON: floats of 5 digits, NaN as None."""
    rounded = lambda x: float(f"{x:.5g}") if math.isfinite(x) else None  # noqa: E731
    steps = jax.device_get(run.steps)
    return {
        name: [rounded(float(x)) for x in np.asarray(values)]
        for name, values in steps._asdict().items()
    }


class ArmRow(NamedTuple):
    """One line of a table: an arm on one size of pool, over its seeds.

    Attributes:
      num_tasks: N.
      arm: its name.
      num_seeds: runs.
      means: names of `summarise_run`, and `ms_per_step`, to means over the seeds that
        have a number; None where none has. Of `ms_per_step` it is the median.
      value: mean and interval of `value`.
      gain: the same for the paired difference in `value` to the baseline; None for
        the baseline itself, or where it was not run.
    """

    num_tasks: int
    arm: str
    num_seeds: int
    means: dict[str, float | None]
    value: Interval
    gain: Interval | None

    def as_dict(self) -> dict[str, Any]:
        """Returns the row for JSON."""
        row = self._asdict()
        row["value"] = self.value._asdict()
        row["gain"] = None if self.gain is None else self.gain._asdict()
        return row


def compare_arms(
    summaries: dict[str, list[dict[str, Any]]],
    num_tasks: int,
    baseline: str,
    min_pairs: int,
) -> list[ArmRow]:
    """Compares arms that ran with the same seeds, in the same order.

    Args:
      summaries: arm -> one summary per seed.
      num_tasks: N, of all of them.
      baseline: the arm that the others are compared with.
      min_pairs: as `paired_interval` takes it.

    Returns:
      One row per arm, in the order given.

    Raises:
      ValueError: for fewer seeds than `min_pairs`.

    Example:
      >>> runs = {"bots": [{"value": 3.0}, {"value": 4.0}],
      ...         "uniform": [{"value": 1.0}, {"value": 2.0}]}
      >>> rows = compare_arms(runs, 100, "bots", min_pairs=2)
      >>> rows[1].gain.mean, rows[0].gain
      (-2.0, None)
    """
    values = {arm: [s["value"] for s in runs] for arm, runs in summaries.items()}
    rows = []
    for arm, runs in summaries.items():
        gain = None
        if arm != baseline and baseline in values:
            gain = paired_interval(values[arm], values[baseline], min_pairs=min_pairs)
        value = mean_interval(values[arm], min_pairs=min_pairs)
        means = {name: _middle(name, runs) for name in runs[0]}
        rows.append(ArmRow(num_tasks, arm, len(runs), means, value, gain))
    return rows


def mean_curves(
    curves: Sequence[dict[str, list[float | None]]],
) -> dict[str, np.ndarray]:
    """Averages the curves of several seeds; NaN where no seed has a number.

    Example:
      >>> mean_curves([{"value": [1.0, None]}, {"value": [3.0, None]}])["value"]
      array([ 2., nan])
    """
    means = {}
    for name in curves[0]:
        table = np.array([run[name] for run in curves], np.float64)
        known = np.isfinite(table)
        total, count = np.where(known, table, 0).sum(axis=0), known.sum(axis=0)
        means[name] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def _middle(name: str, runs: Sequence[dict[str, Any]]) -> float | None:
    known = [run[name] for run in runs if run[name] is not None]
    known = [float(x) for x in known if math.isfinite(x)]
    if not known:
        return None
    return float(np.median(known) if name == "ms_per_step" else np.mean(known))


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else math.nan
