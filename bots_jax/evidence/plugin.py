"""What every implicit plug-in is: a guess for all tasks, learnt from a few.

A plug-in keeps its own state, predicts a success chance for any tasks, says what each
prediction is worth, and learns from the evidence of a step. What its predictions are
worth on the whole is not for it to say: `posterior.adaptation` measures that.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bots_jax.evidence.counts import Rows
from bots_jax.shard import Cut, Shard
from bots_jax.types import PerTask, Scalar

UNLIMITED = 1e6
"""Concentration of a prediction that makes no claim about its own precision."""

PluginState = Any
"""A pytree of arrays; per-task fields are listed in `placement.PER_TASK`."""


class Prediction(NamedTuple):
    """What a plug-in says about some tasks.

    Attributes:
      success_prob: float32 [P] in [0, 1].
      concentration: float32 [P] in [0, 1e6], how many rollouts the prediction claims to
        be worth by itself: 0 = nothing is known yet, 1e6 = no claim.
    """

    success_prob: PerTask
    concentration: PerTask


class Plugin(NamedTuple):
    """A way to infer tasks that were not rolled out.

    Attributes:
      init: references [N, M] or None -> state. Checks them, in one sentence.
      predict: (state, cut, shard) -> `Prediction` for the tasks that the cut takes out
        of per-task arrays, element by element, in O(P).
      learn: (state, rows, concentration, shard) -> state after the evidence of one
        step. The float32 scalar `concentration` is what predictions have been worth so
        far: with it, n rollouts of a task count as n / (1 + (n - 1) / (1 +
        concentration)) independent ones (`independent_trials`).
      capability: state -> float32 scalar for `UpdateInfo.capability`; NaN for none.
      fit: num_tasks -> the same plug-in for another number of tasks; arrays given per
        task are cut, or continued with their first row.
      num_references: M, columns that `init` wants; 0 for None.
      name: for tables.
      num_tasks: rows of the arrays that it was made with; None for any number.
      fits_concentration: whether what each prediction claims to be worth was fitted to
        what rollouts showed, task by task or group by group. One trust for all would
        take away what tells them apart.
    """

    init: Callable[[Any], PluginState]
    predict: Callable[[PluginState, Cut, Shard], Prediction]
    learn: Callable[[PluginState, Rows, Scalar, Shard], PluginState]
    capability: Callable[[PluginState], Array]
    fit: Callable[[int], "Plugin"]
    num_references: int
    name: str
    num_tasks: int | None = None
    fits_concentration: bool = False


def independent_trials(rows: Rows, concentration: Scalar) -> tuple[Array, Array]:
    """Weighs the rollouts of a task by how little they repeat each other.

    weight = 1 / (1 + (n - 1) / (1 + concentration))

    Rollouts of one task share what is particular to the task. If success chances
    scatter around the prediction like a Beta of the given concentration, the variance
    of a success rate over n rollouts is that of weight * n independent ones.

    Args:
      rows: one row per task.
      concentration: >= 0; 0 = a task's rollouts are worth one, however many.

    Returns:
      Weighted successes and failures, float32 [B].

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([0], [4], 16), 1)
      >>> [float(x[0]) for x in independent_trials(rows, 0.0)]
      [0.25, 0.75]

    Source: the design effect of a Beta-binomial, Williams (1982).
    """
    trials = rows.successes + rows.failures
    correlation = 1 / (1 + jnp.asarray(concentration, jnp.float32))
    weight = 1 / (1 + jnp.maximum(trials - 1, 0) * correlation)
    return rows.successes * weight, rows.failures * weight
