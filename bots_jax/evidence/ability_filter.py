"""How abilities and difficulties are learnt from a batch; the model is in `ability`.

For given ability the tasks of a batch are independent of each other, so that each is
solved for by itself and D equations per group remain for the abilities. The binomial
log likelihood of a task is replaced by the parabola that touches it from below, at the
logit x and at -x, of curvature h = n tanh(x / 2) / (2 x); this is done four times, each
at the logits found last. No such step overshoots, whatever the size of the batch.
Variances come from the likelihood's own curvature n p (1 - p) at the end.

To the ability a task is an observation of variance 1 / h + c, where c is the variance
of the task's own difficulty and loadings: however many its rollouts, they cannot tell
more. Nor more than `independent_trials` allows, by what predictions have been worth.

Source: the parabola is that of Jaakkola and Jordan, "Bayesian
parameter estimation via variational methods" (2000).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float32

from bots_jax.evidence.counts import Rows
from bots_jax.evidence.plugin import independent_trials
from bots_jax.fences import after, computed_apart
from bots_jax.shard import Cut, Shard
from bots_jax.types import IdPerTask, PerTask, Scalar

MAX_LOGIT = 12.0
"""Largest |ability| and |difficulty|."""

MAX_LOADING = 4.0
MIN_VARIANCE = 1e-3
"""Of a difficulty or a loading, so that a task stays open to what it shows later."""

_ITERATIONS = 4


class AbilityState(NamedTuple):
    """What the plug-in knows of H groups in D dimensions.

    Attributes:
      ability: float32 [H, D], in [-12, 12].
      ability_covariance: float32 [H, D, D].
      difficulty: float32 [N], in [-12, 12]; 0 before a task is rolled out.
      difficulty_variance: float32 [N]; 0 before a task is rolled out.
      mean_difficulty: float32 [H], mean over the rolled-out tasks of a group; what the
        others are taken for.
      num_seen: int32 [H], tasks that were rolled out.
      loadings: float32 [N, D]; None in one dimension, where all are 1.
      loading_variance: float32 [N, D]; None likewise.
      group_ids: int32 [N]; None for one group.
    """

    ability: Float32[Array, "groups dimensions"]
    ability_covariance: Float32[Array, "groups dimensions dimensions"]
    difficulty: PerTask
    difficulty_variance: PerTask
    mean_difficulty: Array
    num_seen: Array
    loadings: Array | None
    loading_variance: Array | None
    group_ids: IdPerTask | None


class AbilitySettings(NamedTuple):
    """What the plug-in was asked to be, checked; see `ability`."""

    num_tasks: int
    dimensions: int
    groups: np.ndarray | None
    num_groups: int
    ability_drift: Any
    ability_spread: Any
    difficulty_spread: Any
    loading_spread: Any


class Own(NamedTuple):
    """What is believed of some tasks before a batch.

    Attributes:
      group: int32 [P]; None for one group.
      difficulty: float32 [P].
      difficulty_variance: float32 [P].
      loadings: float32 [P, D].
      loading_variance: float32 [P, D].
      is_new: bool [P], never rolled out.
    """

    group: Array | None
    difficulty: Array
    difficulty_variance: Array
    loadings: Array
    loading_variance: Array
    is_new: Array

    def of_group(self, x: Array) -> Array:
        """Looks up what is kept per group: [P, ...], or [1, ...] for one group."""
        return x if self.group is None else x[self.group]


def own_beliefs(state: AbilityState, cut: Cut, difficulty_spread: Any) -> Own:
    """Takes what is believed of some tasks; new ones are as their group is on average.

    Args:
      state: what is known.
      cut: takes the tasks wanted out of per-task arrays.
      difficulty_spread: of tasks not rolled out yet, in logits.

    Returns:
      Beliefs in buffers of their own.

    Example:
      >>> from bots_jax.evidence.ability import ability
      >>> state = ability(num_tasks=3).init(None)
      >>> own_beliefs(state, lambda x: x[:2], 2.0).difficulty_variance
      Array([4., 4.], dtype=float32)
    """
    variance, difficulty = cut(state.difficulty_variance), cut(state.difficulty)
    group = None if state.group_ids is None else cut(state.group_ids)
    is_new = variance <= 0
    mean = state.mean_difficulty if group is None else state.mean_difficulty[group]
    prior = jnp.square(jnp.asarray(difficulty_spread, jnp.float32))
    if state.loadings is None or state.loading_variance is None:
        loadings = jnp.ones((*variance.shape, 1), jnp.float32)
        loading_variance = jnp.zeros_like(loadings)
    else:
        loadings, loading_variance = cut(state.loadings), cut(state.loading_variance)
    return Own(
        group=group,
        difficulty=jnp.where(is_new, mean, difficulty),
        difficulty_variance=jnp.where(is_new, prior, variance),
        loadings=loadings,
        loading_variance=loading_variance,
        is_new=is_new,
    )


def sigmoid(x: Array) -> Array:
    """Returns 1 / (1 + exp(-x)), for logits of any size.

    Example:
      >>> sigmoid(jnp.float32([-1e3, 0, 1e3]))
      Array([0. , 0.5, 1. ], dtype=float32)
    """
    return 0.5 * (jnp.tanh(0.5 * x) + 1)


class _Means(NamedTuple):
    """Where a batch stands: float32 [H, D], [B] and [B, D]."""

    ability: Array
    difficulty: Array
    loadings: Array


def learn_ability(
    state: AbilityState,
    rows: Rows,
    concentration: Scalar,
    shard: Shard,
    settings: AbilitySettings,
) -> AbilityState:
    """Learns from the evidence of one step, in O(B D^2 + D^3).

    Args:
      state: before.
      rows: one row per task.
      concentration: >= 0, what predictions have been worth.
      shard: which of the tasks are here.
      settings: of the plug-in.

    Returns:
      State after one step of the random walk and the evidence.

    Example:
      >>> from bots_jax.evidence.ability import ability
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> plugin = ability(num_tasks=2)
      >>> rows = collect_rows(evidence_from_counts([0], [16], 16), 2)
      >>> state = plugin.learn(plugin.init(None), rows, 8.0, Shard(2))
      >>> bool(state.ability[0, 0] > 0), bool(state.difficulty[0] < 0)
      (True, True)
    """
    cut = shard.at(rows.task_ids, "clip")
    read = lambda: own_beliefs(state, cut, settings.difficulty_spread)  # noqa: E731
    place = shard.rows_of(rows.task_ids)
    if rows.task_ids.size:  # read the rows first, so that all are written in place
        own = computed_apart(rows.successes, read)
        place = after(place, own.difficulty)
    else:
        own = read()
    before = _walked(state.ability_covariance, settings)
    weight = _weights(rows, concentration)
    trials = rows.successes + rows.failures

    def iterate(_: Array, means: _Means) -> _Means:
        h = trials * _touching_curvature(_logit(own, means))
        share = _share(own, means.ability, h, weight)
        covariance = _narrowed(own, before, share * h)
        return _solved(state.ability, covariance, own, rows, h, share)

    first, last = jnp.int32(0), jnp.int32(_ITERATIONS)
    start = _Means(state.ability, own.difficulty, own.loadings)
    means = lax.fori_loop(first, last, iterate, start)
    p = sigmoid(_logit(own, means))
    h = trials * p * (1 - p)
    share = _share(own, means.ability, h, weight)
    covariance = _narrowed(own, before, share * h)
    return _written(state, own, rows, place, means, covariance, h)


def _walked(covariance: Array, settings: AbilitySettings) -> Array:
    """Adds one step of the random walk, up to the variance of the start."""
    drift = jnp.asarray(settings.ability_drift, jnp.float32)
    spread = jnp.asarray(settings.ability_spread, jnp.float32)
    eye = jnp.eye(settings.dimensions, dtype=jnp.float32)[None]
    wider = covariance + drift**2 * eye
    variance = jnp.diagonal(wider, axis1=1, axis2=2)
    shrink = jnp.sqrt(jnp.minimum(spread**2 / variance, 1))
    return wider * shrink[:, :, None] * shrink[:, None, :]


def _weights(rows: Rows, concentration: Scalar) -> Array:
    """What a rollout is worth for the ability, in (0, 1]; 0 where rows hold nothing."""
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    successes, failures = independent_trials(rows, concentration)
    return jnp.where(rows.valid, (successes + failures) / trials, 0)


def _logit(own: Own, means: _Means) -> Array:
    theta = own.of_group(means.ability)
    return jnp.sum(means.loadings * theta, axis=1) - means.difficulty


def _touching_curvature(logit: Array) -> Array:
    """Curvature per rollout of the parabola that touches at +-logit: tanh(x/2) / 2x."""
    half = 0.5 * jnp.abs(logit)
    is_flat = half < np.float32(1e-3)
    half = jnp.where(is_flat, 1, half)
    return jnp.where(is_flat, np.float32(0.25), jnp.tanh(half) / (4 * half))


def _own_variance(own: Own, ability: Array) -> Array:
    """Variance of a logit by what is the task's own, float32 [B]."""
    squared = jnp.square(own.of_group(ability))
    return own.difficulty_variance + jnp.sum(own.loading_variance * squared, axis=1)


def _share(own: Own, ability: Array, h: Array, weight: Array) -> Array:
    """Share of the curvature h that tells of the ability, float32 [B]."""
    return jnp.minimum(weight, 1 / (1 + h * _own_variance(own, ability)))


def _narrowed(own: Own, covariance: Array, information: Array) -> Array:
    """Covariance of the abilities after observations of float32 [B] information."""
    loadings = own.loadings
    outer = loadings[:, :, None] * loadings[:, None, :] * information[:, None, None]
    return _conditioned(covariance, _per_group(own, outer, covariance))


def _solved(
    ability: Array, covariance: Array, own: Own, rows: Rows, h: Array, share: Array
) -> _Means:
    """Solves for the abilities, then for each task, the likelihood being parabolas.

    Args:
      ability: float32 [H, D], before the batch.
      covariance: float32 [H, D, D], after it.
      own: of the tasks of the rows, before the batch.
      rows: the batch.
      h: float32 [B], curvature of parabolas whose slope at logit 0 is s - n / 2.
      share: float32 [B], of it.
    """
    pull = 0.5 * (rows.successes - rows.failures)
    loadings = own.loadings
    expected = lambda x: (  # noqa: E731
        jnp.sum(loadings * own.of_group(x), axis=1) - own.difficulty
    )
    surprise = share * (pull - h * expected(ability))
    score = _per_group(own, loadings * surprise[:, None], ability)
    moved = ability + jnp.sum(covariance * score[:, None, :], axis=2)
    moved = jnp.clip(moved, -MAX_LOGIT, MAX_LOGIT)
    left = (pull - h * expected(moved)) / (1 + h * _own_variance(own, moved))
    difficulty = own.difficulty - own.difficulty_variance * left
    shift = own.loading_variance * own.of_group(moved) * left[:, None]
    return _Means(
        ability=moved,
        difficulty=jnp.clip(difficulty, -MAX_LOGIT, MAX_LOGIT),
        loadings=jnp.clip(loadings + shift, -MAX_LOADING, MAX_LOADING),
    )


def _per_group(own: Own, x: Array, like: Array) -> Array:
    """Adds up rows by group."""
    if own.group is None:
        return jnp.sum(x, axis=0, keepdims=True, dtype=x.dtype)
    return jnp.zeros_like(like).at[own.group].add(x)


def _conditioned(covariance: Array, information: Array) -> Array:
    """Returns inv(inv(covariance) + information) of each group, without inverses.

    With covariance = L L' it is L inv(I + L' information L) L', and what is inverted
    has no eigenvalue below 1.
    """
    if covariance.shape[-1] == 1:
        return covariance / (1 + covariance * information)
    root = jnp.linalg.cholesky(covariance)
    transposed = jnp.swapaxes(root, 1, 2)
    eye = jnp.eye(covariance.shape[-1], dtype=jnp.float32)[None]
    inner = jnp.linalg.cholesky(eye + _product(_product(transposed, information), root))
    half = lax.linalg.triangular_solve(inner, transposed, left_side=True, lower=True)
    return _product(jnp.swapaxes(half, 1, 2), half)


def _product(left: Array, right: Array) -> Array:
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)


def _written(
    state: AbilityState,
    own: Own,
    rows: Rows,
    place: Array,
    means: _Means,
    covariance: Array,
    h: Array,
) -> AbilityState:
    """Writes the means, and the variances that go with curvature h.

    A task's variance v falls by (v slope)^2 (g - g^2 u), g = h / (1 + h c), u being the
    variance of the logit by the ability.
    """
    theta = own.of_group(means.ability)
    spread = own.loadings[:, :, None] * own.of_group(covariance)
    unsure = jnp.sum(jnp.sum(spread, axis=1) * own.loadings, axis=1)
    gain = h / (1 + h * _own_variance(own, means.ability))
    lost = gain - jnp.square(gain) * unsure

    def fallen(variance: Array, slope: Array | float, lost: Array) -> Array:
        left = variance - jnp.square(variance * slope) * lost
        least = jnp.minimum(variance, np.float32(MIN_VARIANCE))
        return jnp.clip(left, least, variance)

    write = lambda x, row: x.at[place].set(row, mode="drop")  # noqa: E731
    is_new = (rows.valid & own.is_new).astype(jnp.int32)
    num_seen = state.num_seen + _per_group(own, is_new, state.num_seen)
    shift = jnp.where(rows.valid, means.difficulty - own.difficulty, 0)
    shifts = _per_group(own, shift, state.mean_difficulty)
    loadings, loading_variance = state.loadings, state.loading_variance
    if loadings is not None and loading_variance is not None:
        loadings = write(loadings, means.loadings)
        narrow = fallen(own.loading_variance, theta, lost[:, None])
        loading_variance = write(loading_variance, narrow)
    seen = jnp.maximum(num_seen, 1).astype(jnp.float32)
    variance = fallen(own.difficulty_variance, 1.0, lost)
    return state._replace(
        ability=means.ability,
        ability_covariance=covariance,
        difficulty=write(state.difficulty, means.difficulty),
        difficulty_variance=write(state.difficulty_variance, variance),
        mean_difficulty=state.mean_difficulty + shifts / seen,
        num_seen=num_seen,
        loadings=loadings,
        loading_variance=loading_variance,
    )
