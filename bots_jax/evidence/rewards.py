"""From rewards that are not 0 or 1 to evidence: as counts, as levels, as moments."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32

from bots_jax import checks
from bots_jax.evidence.rows import bounded_rewards, checked_rewards, with_dtype
from bots_jax.types import Evidence, PerRow, RowMask, TaskIds

_LARGEST_BOUND = 1e15
_LEVEL_TOLERANCE = 1e-6


class LevelEvidence(NamedTuple):
    """How often the rollouts of one step got each of L declared rewards.

    Rows may repeat a task, come in any order and be padding, as in `Evidence`.

    Attributes:
      task_ids: int32 [B], in [0, N).
      counts: float32 [B, L], >= 0, lowest level first; fractions are allowed.
    """

    task_ids: TaskIds
    counts: Float32[Array, "rows levels"]


class MomentEvidence(NamedTuple):
    """Count, mean and spread of the rewards of one step, in the rewards' own unit.

    Rows may repeat a task, come in any order and be padding, as in `Evidence`.

    Attributes:
      task_ids: int32 [B], in [0, N).
      num_rewards: float32 [B], >= 0.
      mean: float32 [B].
      spread: float32 [B], >= 0, sum of squared deviations from the row's mean.
    """

    task_ids: TaskIds
    num_rewards: PerRow
    mean: PerRow
    spread: PerRow


def evidence_from_scores(
    task_ids: Any,
    rewards: Any,
    mask: Any | None = None,
    *,
    low: Any = 0.0,
    high: Any = 1.0,
    effective_counts: bool = True,
    max_count_per_rollout: Any = 8.0,
) -> Evidence:
    """Reads rewards between two bounds as fractions of a success.

    scores = (rewards - low) / (high - low)
    successes = weight * sum(scores), failures = weight * sum(1 - scores)
    weight = 1 + (K - 1) / K * sum(scores * (1 - scores)) / spread, effective counts
    weight = 1, otherwise

    K is the number of rollouts, spread the sum of squared deviations of the scores. A
    mean of rewards that vary little is known better than one of K coin flips, by as
    many rollouts as m_eff = K * weight. That is the paper's K m (1 - m) / v, with both
    the numerator and the variance v estimated without bias: m (1 - m) by
    rbar (1 - rbar) + v / K. So binary rewards have weight 1 and m_eff = K exactly, and
    no row has less. The weight is also 1 for one rollout and for equal rewards, whose
    variance is not known.

    Args:
      task_ids: integers [B], in [0, N); -1 marks a padding row.
      rewards: real [B, G] in [low, high].
      mask: bool [B, G], True = a real rollout; all by default. A masked reward may
        be anything. A row without a rollout is padding.
      low: the least reward, a number.
      high: the greatest, > low.
      effective_counts: False counts K rollouts whatever their variance.
      max_count_per_rollout: upper limit of the weight, in [1, 1000].

    Returns:
      Evidence for B rows, of at least K rollouts each.

    Raises:
      ValueError: for shapes that do not match, for wrong dtypes and bounds, and, where
        the values are concrete, for an unmasked reward that is NaN or out of bounds.
        Under jit such a reward makes its row's counts NaN, so that `update` drops the
        row and counts it in `num_invalid`; the other rows are not touched.

    Source: BOTS counts fractions as they are (arXiv 2510.26374, official code), which
    is `effective_counts=False`. The weight is this project's, after m_eff.

    Example:
      >>> rewards = np.float32([[0.5, 0.75, 0.5, 0.75], [0, 1, 0, 1]])
      >>> evidence = evidence_from_scores([7, 2], rewards)
      >>> evidence.successes, evidence.failures  # sums of 2.5 and 2 of 4 rollouts
      (Array([20.,  2.], dtype=float32), Array([12.,  2.], dtype=float32))
    """
    _check_bounds(low, high)
    checks.check_number("max_count_per_rollout", max_count_per_rollout, 1.0, 1e3)
    ids, rewards, mask = checked_rewards(task_ids, rewards, mask)
    values, valid = bounded_rewards(rewards, mask, low, high)
    numbers = (jnp.asarray(x, jnp.float32) for x in (low, high, max_count_per_rollout))
    return Evidence(ids, *_score_counts(values, valid, *numbers, effective_counts))


@functools.partial(jax.jit, static_argnums=5)
def _score_counts(
    rewards: Array,
    valid: RowMask,
    low: Array,
    high: Array,
    limit: Array,
    effective_counts: bool,
) -> tuple[Array, Array]:
    # Divisions may be rounded to one side: the bounds are 0 and 1 exactly.
    scores = jnp.clip((rewards - low) / (high - low), 0, 1)
    scores = jnp.where(rewards == high, 1, scores)
    rollouts, _, spread = _moments(scores, valid)
    total = jnp.sum(jnp.where(valid, scores, 0), axis=1)
    weight = jnp.ones_like(total)
    if effective_counts:
        inner = jnp.sum(jnp.where(valid, scores * (1 - scores), 0), axis=1)
        share = (rollouts - 1) / jnp.maximum(rollouts, 1)
        gain = share * inner / jnp.where(spread > 0, spread, 1)
        weight = jnp.where(spread > 0, jnp.minimum(1 + gain, limit), 1)
    return weight * total, weight * (rollouts - total)


def level_evidence_from_rewards(
    task_ids: Any, rewards: Any, levels: Any, mask: Any | None = None
) -> LevelEvidence:
    """Counts how often each declared level was the reward.

    Args:
      task_ids: integers [B], in [0, N); -1 marks a padding row.
      rewards: real [B, G], each one of the levels, to 1e-6 times the largest of 1 and
        |levels|.
      levels: real [L], L >= 2, increasing by more than twice that tolerance.
      mask: bool [B, G], True = a real rollout; all by default. A masked reward may
        be anything. A row without a rollout is padding.

    Returns:
      LevelEvidence for B rows.

    Raises:
      ValueError: for shapes that do not match, for wrong dtypes and, where the values
        are concrete, for levels that do not increase and for an unmasked reward that
        is none of them. Under jit such a reward makes its row's counts NaN, so that
        it is dropped and counted as invalid.

    Example:
      >>> rewards = np.array([[0, 1, 0.5], [1, 1, 0.5]])
      >>> level_evidence_from_rewards([7, 2], rewards, (0.0, 0.5, 1.0)).counts
      Array([[1., 1., 1.],
             [0., 1., 2.]], dtype=float32)
    """
    ids, rewards, mask = checked_rewards(task_ids, rewards, mask)
    levels = with_dtype(levels)
    check_levels(levels)
    if not any(checks.is_traced(x) for x in (rewards, mask, levels)):
        kept = np.ones(rewards.shape, bool) if mask is None else np.asarray(mask)
        _check_on_levels(np.asarray(rewards), np.asarray(levels), kept)
    values = jnp.asarray(rewards).astype(jnp.float32)
    valid = jnp.ones(values.shape, bool) if mask is None else jnp.asarray(mask)
    steps = jnp.asarray(levels).astype(jnp.float32)
    return LevelEvidence(ids, _level_counts(values, valid, steps))


@jax.jit
def _level_counts(rewards: Array, valid: RowMask, levels: Array) -> Array:
    largest = jnp.maximum(1, jnp.max(jnp.abs(levels)))
    distance = jnp.abs(rewards[:, :, None] - levels[None, None, :])
    is_level = distance <= np.float32(_LEVEL_TOLERANCE) * largest
    counts = jnp.sum(is_level & valid[:, :, None], axis=1, dtype=jnp.float32)
    is_bad = jnp.any(valid & ~jnp.any(is_level, axis=2), axis=1)
    return jnp.where(is_bad[:, None], jnp.nan, counts)


def moment_evidence_from_rewards(
    task_ids: Any, rewards: Any, mask: Any | None = None, *, low: Any, high: Any
) -> MomentEvidence:
    """Takes count, mean and spread of each task's rewards, whatever their law.

    Args:
      task_ids: integers [B], in [0, N); -1 marks a padding row.
      rewards: real [B, G] in [low, high]. They keep their own unit.
      mask: bool [B, G], True = a real rollout; all by default. A masked reward may
        be anything. A row without a rollout is padding.
      low: the least reward, a number.
      high: the greatest, > low.

    Returns:
      MomentEvidence for B rows; equal rewards have a spread of exactly 0.

    Raises:
      ValueError: as `evidence_from_scores`; under jit the mean of a bad row is NaN.

    Example:
      >>> rewards = np.array([[1, 3, 5], [2, 2, 2]])
      >>> evidence = moment_evidence_from_rewards([7, 2], rewards, low=0, high=9)
      >>> evidence.mean, evidence.spread
      (Array([3., 2.], dtype=float32), Array([8., 0.], dtype=float32))
    """
    _check_bounds(low, high)
    ids, rewards, mask = checked_rewards(task_ids, rewards, mask)
    return MomentEvidence(ids, *_moments(*bounded_rewards(rewards, mask, low, high)))


def as_levels(evidence: Evidence, num_levels: int) -> LevelEvidence:
    """Reads successes as rewards of the highest of L levels, failures of the lowest.

    Args:
      evidence: B rows of counts.
      num_levels: L >= 2.

    Returns:
      LevelEvidence for the same rows. What was not valid is not valid either.

    Raises:
      ValueError: for a number of levels that is not an integer >= 2.

    Example:
      >>> one = jnp.ones(1, jnp.float32)
      >>> as_levels(Evidence(jnp.int32([7]), one, 3 * one), 4).counts
      Array([[3., 0., 0., 1.]], dtype=float32)
    """
    checks.check_count("num_levels", num_levels, minimum=2)
    ids, successes, failures = evidence
    counts = jnp.zeros((ids.shape[0], num_levels), jnp.float32)
    return LevelEvidence(ids, counts.at[:, 0].set(failures).at[:, -1].set(successes))


def as_moments(
    evidence: Evidence, *, low: Any = 0.0, high: Any = 1.0
) -> MomentEvidence:
    """Reads successes as rewards of `high`, failures as rewards of `low`.

    num_rewards = successes + failures
    mean = low + (high - low) * successes / num_rewards
    spread = (high - low)^2 * successes * failures / num_rewards

    Args:
      evidence: B rows of counts; a fraction of a success counts as that much of one.
      low: reward of a failure, a number.
      high: reward of a success, > low.

    Returns:
      MomentEvidence for the same rows. What was not valid is not valid either: the
      moments of a row with a negative or NaN count are NaN.

    Raises:
      ValueError: for bounds that are not numbers with low < high.

    Example:
      >>> one = jnp.ones(1, jnp.float32)
      >>> as_moments(Evidence(jnp.int32([7]), one, 3 * one))[1:]
      (Array([4.], dtype=float32), Array([0.25], dtype=float32),
       Array([0.75], dtype=float32))
    """
    _check_bounds(low, high)
    ids, successes, failures = evidence
    least = jnp.asarray(low, jnp.float32)
    width = jnp.asarray(high, jnp.float32) - least
    is_count = (successes >= 0) & (failures >= 0)
    total = jnp.where(is_count, successes + failures, jnp.nan)
    share = jnp.where(total == 0, 0, successes / jnp.where(total == 0, 1, total))
    spread = jnp.where(total == 0, 0, width**2 * share * failures)
    return MomentEvidence(ids, total, least + width * share, spread)


def check_levels(levels: Any) -> None:
    """Checks L >= 2 real levels that increase; traced ones by their shape alone.

    Example:
      >>> check_levels((0.0, 1.0, 0.5))
      Traceback (most recent call last):
      ValueError: levels must increase, got 0.5 after 1 at index 2.
    """
    levels = with_dtype(levels)
    if np.ndim(levels) != 1 or np.size(levels) < 2:
        raise ValueError(
            f"levels must have shape (num_levels,) with at least 2 of them, "
            f"got {np.shape(levels)}."
        )
    checks.check_dtype("levels", levels, (np.floating, np.integer), "real numbers")
    if checks.is_traced(levels):
        return
    checks.check_in_range("levels", levels, -_LARGEST_BOUND, _LARGEST_BOUND)
    values = np.asarray(levels).astype(np.float64)
    gaps = np.diff(values) <= 2 * _level_tolerance(values)
    if gaps.any():
        index = int(np.argmax(gaps)) + 1
        raise ValueError(
            f"levels must increase, "
            f"got {values[index]:g} after {values[index - 1]:g} at index {index}."
        )


def _level_tolerance(levels: np.ndarray) -> float:
    return _LEVEL_TOLERANCE * max(1.0, float(np.abs(levels).max()))


def _check_on_levels(rewards: np.ndarray, levels: np.ndarray, kept: np.ndarray) -> None:
    values, steps = rewards.astype(np.float64), levels.astype(np.float64)
    distance = np.abs(values[:, :, None] - steps)
    bad = kept & ~(distance <= _level_tolerance(steps)).any(axis=2)
    if bad.any():
        row, rollout = (int(i) for i in np.argwhere(bad)[0])
        allowed = ", ".join(f"{level:g}" for level in steps)
        raise ValueError(
            f"rewards must be one of the levels {allowed}, "
            f"got {values[row, rollout]:g} at index {(row, rollout)}."
        )


def _check_bounds(low: Any, high: Any) -> None:
    for name, value in (("low", low), ("high", high)):
        checks.check_number(name, value, -_LARGEST_BOUND, _LARGEST_BOUND)
    if checks.is_traced(low) or checks.is_traced(high):
        return
    if not np.float32(low) < np.float32(high):
        raise ValueError(f"high must be above low = {low:g}, got {high:g}.")


@jax.jit
def _moments(values: Array, valid: RowMask) -> tuple[Array, Array, Array]:
    """Count, mean and spread of the valid values of each row; NaN where one is NaN.

    Deviations are taken from the first valid value, so that equal values have none.
    """
    count = jnp.sum(valid, axis=1, dtype=jnp.float32)
    if not values.shape[1]:
        return count, jnp.zeros_like(count), jnp.zeros_like(count)
    first = jnp.argmax(valid, axis=1, keepdims=True)
    start = jnp.take_along_axis(values, first, axis=1)
    moved = jnp.where(valid, values - start, 0)
    centre = jnp.sum(moved, axis=1) / jnp.maximum(count, 1)
    spread = jnp.sum(jnp.where(valid, (moved - centre[:, None]) ** 2, 0), axis=1)
    mean = jnp.where(count > 0, start[:, 0] + centre, 0)
    return count, mean, spread
