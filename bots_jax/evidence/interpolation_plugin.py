"""The plug-in that places the policy between a weak and a strong reference model.

See `interpolation` for the line between the models. Where the policy stands on it is
estimated from each batch in one of two ways:

  least_squares  sum(w d (r - weak)) / (sum(w d^2) + ridge), d = strong - weak, clipped
                 to [lowest, highest]; w is what the rollouts of a task are worth
                 (`independent_trials`)
  ratio          (mean r - mean weak) / (mean strong - mean weak), as the official code
                 has it, every task alike, not clipped
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.evidence.counts import Rows
from bots_jax.evidence.interpolation import (
    InterpolationState,
    blend_capability,
    init_interpolation,
    interpolate,
    known_references,
    learn_capability,
    least_squares_capability,
)
from bots_jax.evidence.plugin import (
    UNLIMITED,
    Plugin,
    Prediction,
    independent_trials,
)
from bots_jax.shard import Cut, Shard
from bots_jax.types import Scalar

ESTIMATES = ("least_squares", "ratio")
_RIDGE, _LOWEST, _HIGHEST = 0.01, -0.5, 1.5


class _Settings(NamedTuple):
    num_tasks: int | None
    estimate: str
    momentum: Any
    ridge: Any
    lowest: Any
    highest: Any


def interpolation(
    *,
    num_tasks: int | None = None,
    estimate: str = "least_squares",
    momentum: Any = 0.9,
    ridge: Any = _RIDGE,
    lowest: Any = _LOWEST,
    highest: Any = _HIGHEST,
) -> Plugin:
    """Makes the plug-in that interpolates between two reference models.

    It makes no claim about its precision (concentration 1e6) once it has an estimate,
    and claims nothing (0) before. A batch that allows no estimate changes nothing: one
    whose sum(w d^2) is below the ridge, or whose mean gap is below 0.01 for the ratio.

    Args:
      num_tasks: N, to check references by; None takes as many as they have.
      estimate: "least_squares", which cannot explode, or "ratio", for parity with the
        official code.
      momentum: share of the capability that a step keeps, in [0, 1].
      ridge: in [1e-6, 1e6]; of least squares, in rollouts on which the references
        differ by 1.
      lowest: in [-10, 0], least capability; of least squares.
      highest: in [1, 10], largest capability; of least squares.

    Returns:
      A plug-in that wants two references; its state is an `InterpolationState`.
      Traced references are clipped to [0, 1], NaN becomes 1/2.

    Raises:
      ValueError: naming the argument, the value received and what is allowed; also
        for a ridge or limits given to the ratio, which uses none.

    Example:
      >>> import numpy as np
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> plugin = interpolation()
      >>> state = plugin.init(np.array([[0.2, 0.8], [0.1, 0.5]]))
      >>> rows = collect_rows(evidence_from_counts([0], [8], 16), 2)
      >>> state = plugin.learn(state, rows, 8.0, Shard(2))
      >>> said = plugin.predict(state, lambda x: x, Shard(2)).success_prob
      >>> [round(float(p), 2) for p in said]
      [0.5, 0.3]

    Source: arXiv 2510.26374, "ultra-light interpolation".
    """
    if num_tasks is not None:
        num_tasks = checks.check_count("num_tasks", num_tasks)
    checks.check_choice("estimate", estimate, ESTIMATES)
    checks.check_number("momentum", momentum, 0, 1)
    limits = (("ridge", ridge, _RIDGE), ("lowest", lowest, _LOWEST))
    for name, value, default in (*limits, ("highest", highest, _HIGHEST)):
        given = checks.is_traced(value) or value != default
        if estimate == "ratio" and given:
            raise ValueError(
                f"{name} must be left out with estimate 'ratio', which uses none, "
                f"got {value!r:.60}."
            )
    checks.check_number("ridge", ridge, 1e-6, 1e6)
    checks.check_number("lowest", lowest, -10, 0)
    checks.check_number("highest", highest, 1, 10)
    return _make(_Settings(num_tasks, estimate, momentum, ridge, lowest, highest))


def _make(settings: _Settings) -> Plugin:
    def init(references: Any) -> InterpolationState:
        if references is None:
            raise ValueError(
                "references must hold the success chances of a weak and a strong "
                "model, got None."
            )
        num_tasks = settings.num_tasks
        if num_tasks is None:
            first = references[0] if isinstance(references, tuple) else references
            num_tasks = (np.shape(first) or (0,))[0]
        checks.check_references(references, num_tasks)
        return init_interpolation(references)

    def learn(
        state: InterpolationState, rows: Rows, concentration: Scalar, shard: Shard
    ) -> InterpolationState:
        at_rows = shard.at(rows.task_ids, "clip")
        weak, strong = (at_rows(x) for x in known_references(state))
        if settings.estimate == "ratio":
            return learn_capability(state, rows, weak, strong, settings.momentum)[0]
        return learn_least_squares(
            state,
            rows,
            weak,
            strong,
            concentration,
            momentum=settings.momentum,
            ridge=settings.ridge,
            limits=(settings.lowest, settings.highest),
        )

    return Plugin(
        init=init,
        predict=predict_interpolation,
        learn=learn,
        capability=lambda state: jnp.where(
            state.num_estimates > 0, state.capability, jnp.nan
        ),
        fit=lambda num_tasks: _make(settings._replace(num_tasks=num_tasks)),
        num_references=2,
        name="interpolation",
        num_tasks=settings.num_tasks,
    )


def predict_interpolation(
    state: InterpolationState, cut: Cut, shard: Shard
) -> Prediction:
    """Reads success chances off the line between the two models.

    Example:
      >>> import numpy as np
      >>> state = init_interpolation(np.array([[0.2, 0.8]]))
      >>> predict_interpolation(state, lambda x: x, Shard(1)).concentration
      Array([0.], dtype=float32)
    """
    del shard
    weak, strong = (cut(x) for x in known_references(state))
    success_prob = interpolate(weak, strong, state.capability)
    claim = jnp.where(state.num_estimates > 0, jnp.float32(UNLIMITED), jnp.float32(0))
    return Prediction(success_prob, jnp.broadcast_to(claim, success_prob.shape))


def learn_least_squares(
    state: InterpolationState,
    rows: Rows,
    weak: Array,
    strong: Array,
    concentration: Scalar,
    *,
    momentum: Scalar,
    ridge: Scalar,
    limits: tuple[Any, Any],
) -> InterpolationState:
    """Moves the capability by the least-squares estimate of one batch.

    Args:
      state: before.
      rows: the batch, one row per task.
      weak: float32 [B], the weak model's success chances on the tasks of the rows;
        anything where a row is not valid.
      strong: float32 [B], the strong model's.
      concentration: >= 0, what predictions have been worth; weighs the rollouts.
      momentum: in [0, 1].
      ridge: > 0.
      limits: of the estimate, and with it of the capability.

    Returns:
      State after the batch.

    Example:
      >>> import numpy as np
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> state = init_interpolation(np.array([[0.2, 0.8]]))
      >>> rows = collect_rows(evidence_from_counts([0], [16], 16), 1)
      >>> weak, strong = jnp.float32([0.2]), jnp.float32([0.3])
      >>> settings = dict(momentum=0.9, ridge=0.01, limits=(-0.5, 1.5))
      >>> learn_least_squares(state, rows, weak, strong, 9.0, **settings).capability
      Array(1.5, dtype=float32)
    """
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    worth = sum(independent_trials(rows, concentration), jnp.zeros_like(trials))
    worth = jnp.where(rows.valid, worth, 0)
    estimate, usable = least_squares_capability(
        rows.successes / trials, weak, strong, worth, ridge
    )
    low, high = (jnp.asarray(limit, jnp.float32) for limit in limits)
    return blend_capability(state, jnp.clip(estimate, low, high), usable, momentum)
