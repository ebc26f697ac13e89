"""From rows of levels or moments to one row per task, as `collect_rows` for counts."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from bots_jax import checks
from bots_jax.evidence.counts import MAX_COUNT
from bots_jax.evidence.rewards import LevelEvidence, MomentEvidence
from bots_jax.evidence.rows import checked_ids, kinds_of_rows, with_dtype
from bots_jax.types import PerRow, RowMask, TaskIds

_LARGEST_REWARD = np.float32(1e15)


class LevelRows(NamedTuple):
    """Valid level counts, one row per distinct task.

    Attributes:
      task_ids: int32 [B]; N, out of range, in rows that hold nothing.
      counts: float32 [B, L], summed over the rows of the task; 0 where nothing.
      valid: bool [B], False in rows that hold nothing.
      num_repeated, num_masked, num_out_of_range, num_invalid: int32 scalars, as in
        `UpdateInfo`.
    """

    task_ids: TaskIds
    counts: Float32[Array, "rows levels"]
    valid: RowMask
    num_repeated: Int32[Array, ""]
    num_masked: Int32[Array, ""]
    num_out_of_range: Int32[Array, ""]
    num_invalid: Int32[Array, ""]


class MomentRows(NamedTuple):
    """Valid moments, one row per distinct task.

    Attributes:
      task_ids: int32 [B]; N, out of range, in rows that hold nothing.
      num_rewards: float32 [B], over all rows of the task; 0 where nothing.
      mean: float32 [B], likewise.
      spread: float32 [B], likewise, around the common mean.
      valid: bool [B], False in rows that hold nothing.
      num_repeated, num_masked, num_out_of_range, num_invalid: int32 scalars, as in
        `UpdateInfo`.
    """

    task_ids: TaskIds
    num_rewards: PerRow
    mean: PerRow
    spread: PerRow
    valid: RowMask
    num_repeated: Int32[Array, ""]
    num_masked: Int32[Array, ""]
    num_out_of_range: Int32[Array, ""]
    num_invalid: Int32[Array, ""]


def collect_level_rows(evidence: LevelEvidence, num_tasks: int) -> LevelRows:
    """Adds up rows of the same task, and drops and counts those that are not valid.

    A row is masked if all its counts are 0 or its id is -1, else out of range if its
    id is not in [0, N), else invalid if a count is NaN or negative, or their sum is
    above 2^24.

    Args:
      evidence: B rows.
      num_tasks: N.

    Returns:
      B rows, of which the valid ones hold distinct tasks, each at its first row.

    Raises:
      ValueError: when traced with shapes or dtypes that do not match.

    Example:
      >>> counts = jnp.float32([[1, 0, 2], [0, 3, 0], [0, 1, 1]])
      >>> rows = collect_level_rows(LevelEvidence(jnp.int32([5, 9, 5]), counts), 8)
      >>> rows.counts[0], rows.valid, int(rows.num_out_of_range)
      (Array([1., 1., 3.], dtype=float32), Array([ True, False, False], dtype=bool), 1)
    """
    counts = with_dtype(evidence.counts)
    if np.ndim(counts) != 2:
        raise ValueError(f"counts must have shape (rows, levels), got {counts.shape}.")
    ids = checked_ids(evidence.task_ids, counts.shape[0])
    counts = _real("counts", counts)
    bounded = jnp.all(counts >= 0, axis=1) & (jnp.sum(counts, axis=1) <= MAX_COUNT)
    kinds = kinds_of_rows(ids, jnp.all(counts == 0, axis=1), bounded, num_tasks)
    return LevelRows(
        task_ids=jnp.where(kinds.valid, ids, num_tasks),
        counts=kinds.totals(counts),
        valid=kinds.valid,
        num_repeated=kinds.num_repeated,
        num_masked=kinds.num_masked,
        num_out_of_range=kinds.num_out_of_range,
        num_invalid=kinds.num_invalid,
    )


def collect_moment_rows(evidence: MomentEvidence, num_tasks: int) -> MomentRows:
    """Merges rows of the same task, and drops and counts those that are not valid.

    num_rewards = sum(n), mean = sum(n * m) / num_rewards
    spread = sum(spread_of_row) + sum(n * (m - mean)^2)

    where n and m are the count and the mean of a row. A row is masked if it holds no
    rewards or the id -1, else out of range if its id is not in [0, N), else invalid if
    its count is NaN, negative or above 2^24, its mean is NaN or beyond 1e15, or its
    spread is NaN, negative or infinite.

    Args:
      evidence: B rows.
      num_tasks: N.

    Returns:
      B rows, of which the valid ones hold distinct tasks, each at its first row.

    Raises:
      ValueError: when traced with shapes or dtypes that do not match.

    Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for
    computing sample variances", 1982, for any number of parts.

    Example:
      >>> one = jnp.ones(2, jnp.float32)  # rewards 1, 3 and 5, 7
      >>> parts = MomentEvidence(
      ...     jnp.int32([5, 5]), 2 * one, jnp.float32([2, 6]), 2 * one
      ... )
      >>> rows = collect_moment_rows(parts, 8)
      >>> float(rows.num_rewards[0]), float(rows.mean[0]), float(rows.spread[0])
      (4.0, 4.0, 20.0)
    """
    numbers = with_dtype(evidence.num_rewards)
    if np.ndim(numbers) != 1:
        raise ValueError(f"num_rewards must have shape (rows,), got {numbers.shape}.")
    ids = checked_ids(evidence.task_ids, numbers.shape[0])
    names = ("num_rewards", "mean", "spread")
    for name in names:
        checks.check_shape(name, getattr(evidence, name), (numbers.shape,))
    number, mean, spread = (_real(name, getattr(evidence, name)) for name in names)
    bounded = (number >= 0) & (number <= MAX_COUNT) & (jnp.abs(mean) <= _LARGEST_REWARD)
    bounded &= (spread >= 0) & jnp.isfinite(spread)
    kinds = kinds_of_rows(ids, number == 0, bounded, num_tasks)
    total = kinds.totals(number)
    # Means are added up as steps from the first row's: rows that agree stay exact.
    step = jnp.where(kinds.applied, mean - mean[kinds.first], 0)
    centre = kinds.totals(number * step) / jnp.where(kinds.valid, total, 1)
    away = jnp.where(kinds.applied, step - centre[kinds.first], 0)
    return MomentRows(
        task_ids=jnp.where(kinds.valid, ids, num_tasks),
        num_rewards=total,
        mean=jnp.where(kinds.valid, mean + centre, 0),
        spread=kinds.totals(spread) + kinds.totals(number * away**2),
        valid=kinds.valid,
        num_repeated=kinds.num_repeated,
        num_masked=kinds.num_masked,
        num_out_of_range=kinds.num_out_of_range,
        num_invalid=kinds.num_invalid,
    )


def _real(name: str, value: Any) -> Array:
    value = with_dtype(value)
    checks.check_dtype(name, value, (np.floating, np.integer), "real numbers")
    return jnp.asarray(value).astype(jnp.float32)
