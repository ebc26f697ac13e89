"""Implicit evidence by interpolation between a weak and a strong reference model.

The policy is placed on the line from the weak to the strong model by one number, its
capability, estimated from the batch, and the success chance of every task is read off
that line:

    estimate    = (mean_B r - mean_B weak) / (mean_B strong - mean_B weak)
    capability' = momentum * capability + (1 - momentum) * estimate
    predicted   = clip(weak + capability * (strong - weak), 0, 1)

The first estimate is taken as it is. Capability is not clipped: above 1 the policy is
stronger than the strong model.

Source: arXiv 2510.26374, section on implicit evidence ("ultra-light interpolation");
mu in the paper, `cap_coef` in the official code.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from bots_jax.evidence.counts import Rows
from bots_jax.types import PerRow, PerTask, Scalar

MIN_REFERENCE_GAP = 0.01
"""A batch whose references differ by less says nothing about the capability."""

_OFFICIAL_EPSILON = 1e-6  # in the official denominator; kept so that numbers agree


class InterpolationState(NamedTuple):
    """What the plug-in knows.

    Attributes:
      weak: float32 [N] in [0, 1], the weak model's success chances; None where a lazy
        posterior holds them.
      strong: float32 [N] in [0, 1], the strong model's; likewise.
      capability: float32, where the policy stands between them; 0 before the first
        estimate.
      num_estimates: int32, batches that the capability was estimated from.
    """

    weak: PerTask | None
    strong: PerTask | None
    capability: Float32[Array, ""]
    num_estimates: Int32[Array, ""]


def init_interpolation(references: Any) -> InterpolationState:
    """Builds the plug-in's state.

    Args:
      references: [N, 2] in [0, 1], weak and strong, or a tuple of two [N], already
        checked. Traced values are clipped to [0, 1], and NaN becomes 1/2.

    Returns:
      State with two arrays of its own.

    Example:
      >>> init_interpolation(np.array([[0.2, 0.9], [0.0, 0.5]])).strong
      Array([0.9, 0.5], dtype=float32)
    """
    if not isinstance(references, tuple):
        columns = references if hasattr(references, "dtype") else np.array(references)
        references = columns[:, 0], columns[:, 1]

    def own(rates: Any) -> PerTask:
        rates = jnp.array(rates, jnp.float32, copy=True)
        return jnp.nan_to_num(jnp.clip(rates, 0, 1), nan=0.5)

    return InterpolationState(
        weak=own(references[0]),
        strong=own(references[1]),
        capability=jnp.zeros((), jnp.float32),
        num_estimates=jnp.zeros((), jnp.int32),
    )


def known_references(state: InterpolationState) -> tuple[PerTask, PerTask]:
    """Returns the weak and the strong model's success chances, which must be here.

    Example:
      >>> known_references(init_interpolation(np.array([[0.2, 0.9]])))[0]
      Array([0.2], dtype=float32)
    """
    assert state.weak is not None and state.strong is not None
    return state.weak, state.strong


def interpolate(weak: Array, strong: Array, capability: Array) -> Array:
    """Predicts success chances: clip(weak + capability * (strong - weak), 0, 1).

    Args:
      weak: float32 of any shape, in [0, 1].
      strong: float32, same shape.
      capability: float32 scalar, finite.

    Returns:
      float32 in [0, 1], same shape.

    Example:
      >>> interpolate(jnp.float32([0, 0.2]), jnp.float32([1, 0.8]), jnp.float32(0.5))
      Array([0.5, 0.5], dtype=float32)
    """
    return jnp.clip(weak + capability * (strong - weak), 0, 1)


def estimate_capability(
    observed: PerRow, weak: PerRow, strong: PerRow, weights: PerRow
) -> tuple[Array, Array]:
    """Estimates the capability from one batch, as a ratio of batch means.

    Args:
      observed: float32 [B], success rates; anything where the weight is 0.
      weak: float32 [B], the weak model's success chances on the same tasks.
      strong: float32 [B], the strong model's.
      weights: float32 [B], 1 for rows that count, 0 for the others.

    Returns:
      The estimate, float32, and a bool that tells whether the batch allows one: it
      holds a task, and its references differ by at least `MIN_REFERENCE_GAP`. The
      estimate is 0 where it does not.

    Example:
      >>> one = jnp.ones(2, jnp.float32)
      >>> estimate_capability(0.5 * one, 0.2 * one, 0.8 * one, one)[0].round(3)
      Array(0.5, dtype=float32)
    """
    total = jnp.sum(weights)
    mean = lambda x: jnp.sum(jnp.where(weights > 0, x, 0)) / jnp.maximum(total, 1)  # noqa: E731
    gap = mean(strong) - mean(weak) + np.float32(_OFFICIAL_EPSILON)
    usable = (total > 0) & (jnp.abs(gap) >= MIN_REFERENCE_GAP)
    estimate = (mean(observed) - mean(weak)) / jnp.where(usable, gap, 1)
    return jnp.where(usable, estimate, 0), usable


def learn_capability(
    state: InterpolationState,
    rows: Rows,
    weak: PerRow,
    strong: PerRow,
    momentum: Scalar,
) -> tuple[InterpolationState, Array]:
    """Moves the capability by the evidence of one batch.

    Every distinct task of the batch has the same weight, whatever its rollouts. A
    batch that allows no estimate leaves the capability where it was; the official
    code would divide by 1e-6 there.

    Args:
      state: the plug-in's state.
      rows: the batch, one row per task.
      weak: float32 [B], the weak model's success chances on the tasks of the rows;
        anything where a row is not valid.
      strong: float32 [B], the strong model's.
      momentum: in [0, 1], gamma; the share that the old value keeps. At 1
        the first estimate stays.

    Returns:
      New state, and the mean |predicted - observed| of the batch before learning,
      float32, NaN for an empty batch or before the first estimate.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> state = init_interpolation(np.array([[0.2, 0.8], [0.2, 0.8]]))
      >>> rows = collect_rows(evidence_from_counts([0], [8], 16), 2)
      >>> weak, strong = jnp.float32([0.2]), jnp.float32([0.8])
      >>> learn_capability(state, rows, weak, strong, 0.9)[0].capability.round(3)
      Array(0.5, dtype=float32)
    """
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    observed = rows.successes / trials
    weights = rows.valid.astype(jnp.float32)
    estimate, usable = estimate_capability(observed, weak, strong, weights)
    known = state.num_estimates > 0
    error = jnp.abs(interpolate(weak, strong, state.capability) - observed)
    mean_error = jnp.sum(weights * error) / jnp.sum(weights)
    new = blend_capability(state, estimate, usable, momentum)
    return new, jnp.where(known, mean_error, jnp.nan)


def blend_capability(
    state: InterpolationState, estimate: Array, usable: Array, momentum: Scalar
) -> InterpolationState:
    """Moves the capability toward an estimate; the first one is taken as it is.

    Args:
      state: the plug-in's state.
      estimate: float32 scalar, finite.
      usable: bool scalar, False leaves the capability where it was.
      momentum: in [0, 1], the share that the old value keeps.

    Returns:
      New state.

    Example:
      >>> state = init_interpolation(np.array([[0.2, 0.8]]))
      >>> number = jnp.float32
      >>> first = blend_capability(state, number(0.5), jnp.bool_(True), 0.9)
      >>> blend_capability(first, number(1), jnp.bool_(True), 0.9).capability.round(3)
      Array(0.55, dtype=float32)
    """
    momentum = jnp.asarray(momentum, jnp.float32)
    blended = momentum * state.capability + (1 - momentum) * estimate
    blended = jnp.where(state.num_estimates == 0, estimate, blended)
    return state._replace(
        capability=jnp.where(usable, blended, state.capability),
        num_estimates=state.num_estimates + usable.astype(jnp.int32),
    )


def least_squares_capability(
    observed: PerRow, weak: PerRow, strong: PerRow, weights: PerRow, ridge: Scalar
) -> tuple[Array, Array]:
    """Estimates the capability from one batch, by weighted least squares.

    estimate = sum(w d (observed - weak)) / (sum(w d^2) + ridge), d = strong - weak

    Tasks that the references tell apart well count more, and none can make it explode:
    |estimate| <= sqrt(sum(w) / ridge) / 2.

    Args:
      observed: float32 [B] in [0, 1], success rates; anything where the weight is 0.
      weak: float32 [B] in [0, 1], the weak model's success chances on those tasks.
      strong: float32 [B] in [0, 1], the strong model's.
      weights: float32 [B], >= 0, what each observation is worth.
      ridge: > 0, pulls the estimate to 0, the weak model.

    Returns:
      The estimate, float32, and a bool that tells whether the batch allows one:
      sum(w d^2) is at least the ridge. The estimate is finite in any case.

    Example:
      >>> one = jnp.ones(2, jnp.float32)
      >>> rates = 0.5 * one, 0.2 * one, 0.8 * one
      >>> round(float(least_squares_capability(*rates, one, 0.01)[0]), 3)
      0.493

    Source: ridge regression through the origin.
    """
    gap = strong - weak
    above = jnp.where(weights > 0, observed - weak, 0)
    said = jnp.sum(weights * gap * gap)
    ridge = jnp.asarray(ridge, jnp.float32)
    return jnp.sum(weights * gap * above) / (said + ridge), said >= ridge
