"""The plug-in for tasks that resemble each other: evidence is pushed to neighbours.

    pushed'_j = keep^age_j * pushed_j + sum over rolled-out k of weight_kj * evidence_k
    success_prob_j = (prior_weight * mean + pushed successes_j)
                     / (prior_weight + pushed successes_j + pushed failures_j)

with keep = 1 - forgetting and age in updates. The list of task k says whom k teaches; a
task never teaches itself. What is pushed decays lazily, from the last update that wrote
it, so that learning costs O(B k) and predicting P tasks O(P).

Source: arXiv 2608.17941, turned round: there each task gathers.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from bots_jax import checks
from bots_jax.evidence.counts import Rows
from bots_jax.evidence.plugin import (
    UNLIMITED,
    Plugin,
    Prediction,
    independent_trials,
)
from bots_jax.repeats import first_occurrence
from bots_jax.shard import Cut, Shard
from bots_jax.types import IdPerTask, PerTask, Scalar

MAX_WEIGHT = 1e3


class NeighboursState(NamedTuple):
    """What the plug-in knows.

    Attributes:
      neighbour_ids: int32 [N, k], whom each task teaches; -1 for nobody.
      neighbour_weights: float32 [N, k], >= 0, how much; None for 1.
      pushed_successes: float32 [N], >= 0, as of the update that wrote them last.
      pushed_failures: float32 [N], likewise.
      pushed_update: int32 [N], which update that was; 0 for none.
      mean_rate: float32 in [0, 1], running mean of the batches' success rates.
      num_updates: int32, the clock.
      num_batches: int32, updates that had evidence.
    """

    neighbour_ids: Int32[Array, "num_tasks neighbours"]
    neighbour_weights: Float32[Array, "num_tasks neighbours"] | None
    pushed_successes: PerTask
    pushed_failures: PerTask
    pushed_update: IdPerTask
    mean_rate: Float32[Array, ""]
    num_updates: Int32[Array, ""]
    num_batches: Int32[Array, ""]


class _Settings(NamedTuple):
    neighbour_ids: np.ndarray
    weights: np.ndarray | None
    forgetting: Any
    prior_weight: Any
    mean_momentum: Any


def neighbours(
    neighbour_ids: Any,
    weights: Any = None,
    *,
    forgetting: Any = 0.05,
    prior_weight: Any = 2.0,
    mean_momentum: Any = 0.9,
) -> Plugin:
    """Makes the plug-in that lets a rolled-out task teach its neighbours.

    Args:
      neighbour_ids: integers [N, k], in [-1, N), distinct in each row, on the host;
        whom each task teaches, -1 for nobody. Its own id counts as -1.
        `nearest_neighbours` makes them of embeddings.
      weights: real [N, k], in [0, 1000], how much; None for 1.
      forgetting: share of what was pushed that is lost in an update, in [0, 1].
      prior_weight: in [0.001, 1e6], rollouts that the mean of all tasks counts for.
      mean_momentum: share of the mean that an update keeps, in [0, 1]; the first batch
        sets it.

    Returns:
      A plug-in that wants no references: `init` lets go of any, unchecked, so that it
      can stand in for any other. Its state is a `NeighboursState`. The concentration
      of a prediction is the weight of what was pushed, in independent rollouts. `fit`
      gives tasks beyond N no neighbours (the first task's would be wrong ones), and
      takes neighbours that were cut off out of the lists.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> plugin = neighbours([[1], [0], [1]])
      >>> rows = collect_rows(evidence_from_counts([0], [1], 1), 3)
      >>> state = plugin.learn(plugin.init(None), rows, 8.0, Shard(3))
      >>> plugin.predict(state, lambda x: x, Shard(3)).concentration
      Array([0., 1., 0.], dtype=float32)
    """
    ids, weights = _checked_graph(neighbour_ids, weights)
    checks.check_number("forgetting", forgetting, 0, 1)
    checks.check_number("prior_weight", prior_weight, 1e-3, 1e6)
    checks.check_number("mean_momentum", mean_momentum, 0, 1)
    return _make(_Settings(ids, weights, forgetting, prior_weight, mean_momentum))


def _checked_graph(ids: Any, weights: Any) -> tuple[np.ndarray, np.ndarray | None]:
    ids = np.asarray(ids)
    if ids.ndim != 2 or not ids.size:
        raise ValueError(
            f"neighbour_ids must have shape (num_tasks, neighbours), got {ids.shape}."
        )
    checks.check_dtype("neighbour_ids", ids, (np.integer,), "integers")
    checks.check_in_range("neighbour_ids", ids, -1, len(ids) - 1)
    ordered = np.sort(ids, axis=1)
    repeats = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if repeats.any():
        task, place = (int(i) for i in np.argwhere(repeats)[0])
        raise ValueError(
            f"neighbour_ids must be distinct in each row, "
            f"got {ordered[task, place]} twice in row {task}."
        )
    if weights is not None:
        weights = np.asarray(weights)
        checks.check_shape("weights", weights, (ids.shape,))
        kinds = (np.floating, np.integer)
        checks.check_dtype("weights", weights, kinds, "real numbers")
        checks.check_in_range("weights", weights, 0, MAX_WEIGHT)
        weights = weights.astype(np.float32)
    return ids.astype(np.int32), weights


def _make(settings: _Settings) -> Plugin:
    ids, weights = settings.neighbour_ids, settings.weights

    def init(references: Any) -> NeighboursState:
        del references
        zeros = lambda dtype: jnp.zeros((len(ids),), dtype)  # noqa: E731
        return NeighboursState(
            neighbour_ids=jnp.array(ids),
            neighbour_weights=None if weights is None else jnp.array(weights),
            pushed_successes=zeros(jnp.float32),
            pushed_failures=zeros(jnp.float32),
            pushed_update=zeros(jnp.int32),
            mean_rate=jnp.full((), 0.5, jnp.float32),
            num_updates=jnp.zeros((), jnp.int32),
            num_batches=jnp.zeros((), jnp.int32),
        )

    def fit(num_tasks: int) -> Plugin:
        more = ((0, max(0, num_tasks - len(ids))), (0, 0))
        lists = np.pad(ids[:num_tasks], more, constant_values=-1)
        own = None if weights is None else np.pad(weights[:num_tasks], more)
        lists = np.where(lists < num_tasks, lists, np.int32(-1))
        return _make(settings._replace(neighbour_ids=lists, weights=own))

    return Plugin(
        init=init,
        predict=lambda state, cut, shard: predict_neighbours(
            state, cut, settings.forgetting, settings.prior_weight
        ),
        learn=lambda state, rows, concentration, shard: learn_neighbours(
            state,
            rows,
            concentration,
            shard,
            forgetting=settings.forgetting,
            mean_momentum=settings.mean_momentum,
        ),
        capability=lambda state: jnp.float32(jnp.nan),
        fit=fit,
        num_references=0,
        name="neighbours",
        num_tasks=len(ids),
    )


def _kept(age: Array, forgetting: Scalar) -> Array:
    """Share that is left after so many updates; 1 at age 0, whatever the forgetting."""
    keep = jnp.asarray(1 - forgetting, jnp.float32)
    return jnp.power(keep, age.astype(jnp.float32))


def predict_neighbours(
    state: NeighboursState, cut: Cut, forgetting: Scalar, prior_weight: Scalar
) -> Prediction:
    """Predicts from what was pushed to tasks, and from the mean of all.

    Args:
      state: what is known.
      cut: takes the tasks wanted out of per-task arrays.
      forgetting: share lost in an update, in [0, 1].
      prior_weight: > 0, rollouts that the mean of all counts for.

    Returns:
      The prediction; its concentration is 0 where nothing arrived.

    Example:
      >>> state = neighbours([[1], [0]]).init(None)
      >>> state = state._replace(pushed_successes=jnp.float32([6, 0]))
      >>> predict_neighbours(state, lambda x: x, 0.05, 2.0).success_prob
      Array([0.875, 0.5  ], dtype=float32)
    """
    kept = _kept(state.num_updates - cut(state.pushed_update), forgetting)
    successes = kept * cut(state.pushed_successes)
    arrived = successes + kept * cut(state.pushed_failures)
    prior_weight = jnp.asarray(prior_weight, jnp.float32)
    total = prior_weight + arrived
    return Prediction(
        (prior_weight * state.mean_rate + successes) / total,
        jnp.minimum(arrived, np.float32(UNLIMITED)),
    )


def learn_neighbours(
    state: NeighboursState,
    rows: Rows,
    concentration: Scalar,
    shard: Shard,
    *,
    forgetting: Scalar,
    mean_momentum: Scalar,
) -> NeighboursState:
    """Pushes the evidence of one step, in O(B k).

    Args:
      state: before.
      rows: one row per task.
      concentration: >= 0, what predictions have been worth; weighs the rollouts.
      shard: which of the tasks are here.
      forgetting: share lost in an update, in [0, 1].
      mean_momentum: share of the mean that an update keeps, in [0, 1].

    Returns:
      State one update later.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([0], [1], 1), 2)
      >>> settings = dict(forgetting=0.05, mean_momentum=0.9)
      >>> state = neighbours([[1], [-1]]).init(None)
      >>> learn_neighbours(state, rows, 8.0, Shard(2), **settings).pushed_successes
      Array([0., 1.], dtype=float32)
    """
    now = state.num_updates + 1
    any_valid = jnp.any(rows.valid)
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    count = jnp.sum(rows.valid, dtype=jnp.float32)
    rate = jnp.sum(rows.successes / trials) / jnp.maximum(count, 1)
    momentum = jnp.asarray(mean_momentum, jnp.float32)
    moved = momentum * state.mean_rate + (1 - momentum) * rate
    moved = jnp.where(state.num_batches == 0, rate, moved)
    new = state._replace(
        mean_rate=jnp.where(any_valid, moved, state.mean_rate),
        num_updates=now,
        num_batches=state.num_batches + any_valid.astype(jnp.int32),
    )
    if not rows.task_ids.size:
        return new
    at_rows = shard.at(rows.task_ids, "clip")
    ids = at_rows(state.neighbour_ids)
    taught = rows.valid[:, None] & (ids >= 0) & (ids != rows.task_ids[:, None])
    place = shard.rows_of(jnp.where(taught, ids, shard.num_tasks).reshape(-1))

    first = first_occurrence(place)  # a task may be taught by several rows
    at = lambda x: x.at[place].get(mode="clip")  # noqa: E731
    last = at(state.pushed_update)
    kept = _kept(now - last, forgetting)

    def push(x: Array, evidence: Array) -> Array:
        more = jnp.broadcast_to(evidence[:, None], ids.shape)
        if state.neighbour_weights is not None:
            more = more * at_rows(state.neighbour_weights)
        more = jnp.where(taught, more, 0).reshape(-1)
        total = jnp.zeros_like(more).at[first].add(more).at[first].get(mode="clip")
        return x.at[place].set(kept * at(x) + total, mode="drop")

    more_successes, more_failures = independent_trials(rows, concentration)
    return new._replace(
        pushed_successes=push(state.pushed_successes, more_successes),
        pushed_failures=push(state.pushed_failures, more_failures),
        pushed_update=state.pushed_update.at[place].set(now, mode="drop"),
    )
