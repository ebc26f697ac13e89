"""What rows of evidence of every kind share: their checks, and which are dropped."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Int32

from bots_jax import checks
from bots_jax.repeats import first_occurrence
from bots_jax.types import RowMask, TaskIds


def with_dtype(value: Any) -> Any:
    """Makes an array of what is not one yet.

    Example:
      >>> with_dtype([1, 2]).dtype.kind
      'i'
    """
    return value if hasattr(value, "dtype") else np.asarray(value)


def checked_ids(task_ids: Any, num_rows: int) -> Array:
    """Checks ids and makes them int32; those that int32 cannot hold become 2^31 - 1.

    Raises:
      ValueError: for another shape than [B], or a dtype that is not an integer.

    Example:
      >>> checked_ids([3, 2**40], 2)
      Array([         3, 2147483647], dtype=int32)
    """
    ids = with_dtype(task_ids)
    if np.size(ids) == 0 and not hasattr(task_ids, "dtype"):
        ids = np.asarray(ids, np.int32)
    checks.check_shape("task_ids", ids, ((num_rows,),))
    checks.check_dtype("task_ids", ids, (np.integer,), "integers")
    limits, dtype = np.iinfo(np.int32), np.dtype(ids.dtype)
    if not np.can_cast(dtype, np.int32):
        fits = ids <= limits.max
        if dtype.kind == "i":  # JAX would wrap the lower limit to unsigned
            fits &= ids >= limits.min
        where = jnp.where if checks.is_traced(ids) else np.where
        ids = where(fits, ids, limits.max)
    return jnp.asarray(ids).astype(jnp.int32)


def checked_rewards(task_ids: Any, rewards: Any, mask: Any) -> tuple[Array, Any, Any]:
    """Checks shapes and dtypes of rewards [B, G], their ids [B] and their mask [B, G].

    Returns:
      ids as int32 [B], and rewards and mask as arrays; None without a mask.

    Raises:
      ValueError: for shapes that do not match and for wrong dtypes.

    Example:
      >>> checked_rewards([0], [1, 0], None)
      Traceback (most recent call last):
      ValueError: rewards must have shape (rows, rollouts), got (2,).
    """
    rewards = with_dtype(rewards)
    if np.ndim(rewards) != 2:
        raise ValueError(
            f"rewards must have shape (rows, rollouts), got {np.shape(rewards)}."
        )
    ids = checked_ids(task_ids, rewards.shape[0])
    numeric = (np.floating, np.integer, np.bool_)
    checks.check_dtype("rewards", rewards, numeric, "real numbers")
    if mask is not None:
        mask = with_dtype(mask)
        checks.check_shape("mask", mask, (rewards.shape,))
        checks.check_dtype("mask", mask, (np.bool_,), "booleans")
    return ids, rewards, mask


def bounded_rewards(
    rewards: Any, mask: Any, low: Any, high: Any
) -> tuple[Array, RowMask]:
    """Refuses rewards outside [low, high], or marks them where they are traced.

    Args:
      rewards: real [B, G], checked; a masked one may be anything.
      mask: bool [B, G], True = a real rollout; None for all.
      low: the least reward.
      high: the greatest.

    Returns:
      float32 [B, G], NaN where out of bounds and `low` where masked; and bool [B, G].

    Raises:
      ValueError: where all is concrete, for a reward out of bounds or NaN.

    Example:
      >>> bounded_rewards(np.array([[0.5, 2.0]]), None, 0.0, 1.0)
      Traceback (most recent call last):
      ValueError: rewards must be in [0, 1], got 2 at index (0, 1).
    """
    if not any(checks.is_traced(x) for x in (rewards, mask, low, high)):
        kept = rewards if mask is None else np.where(mask, rewards, low)
        checks.check_in_range("rewards", kept, low, high)
    least, most = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
    values = jnp.asarray(rewards).astype(jnp.float32)
    valid = jnp.ones(values.shape, bool) if mask is None else jnp.asarray(mask)
    in_bounds = (values >= least) & (values <= most)
    return jnp.where(valid, jnp.where(in_bounds, values, jnp.nan), least), valid


class RowKinds(NamedTuple):
    """Which rows are applied, and how many are not, by the reason.

    Attributes:
      applied: bool [B], rows whose evidence is taken.
      first: int32 [B], the first applied row of the same task.
      valid: bool [B], applied rows that are the first of their task.
      num_repeated, num_masked, num_out_of_range, num_invalid: int32 scalars, as in
        `UpdateInfo`.
    """

    applied: RowMask
    first: TaskIds
    valid: RowMask
    num_repeated: Int32[Array, ""]
    num_masked: Int32[Array, ""]
    num_out_of_range: Int32[Array, ""]
    num_invalid: Int32[Array, ""]

    def totals(self, counts: Array) -> Array:
        """Adds up [B] or [B, L] over the rows of a task; 0 in rows not valid."""
        widen = (...,) + (None,) * (counts.ndim - 1)
        counts = jnp.where(self.applied[widen], counts, 0)
        summed = jnp.zeros_like(counts).at[self.first].add(counts)
        return jnp.where(self.valid[widen], summed, 0)


def kinds_of_rows(
    ids: TaskIds, is_empty: RowMask, is_bounded: RowMask, num_tasks: int
) -> RowKinds:
    """Tells rows to apply from padding, out of range and invalid ones.

    A row is masked if it is empty or holds the id -1, else out of range if its id is
    not in [0, N), else invalid if it is not bounded.

    Args:
      ids: int32 [B].
      is_empty: bool [B], True where a row holds no rollouts.
      is_bounded: bool [B], True where its numbers are what they can be.
      num_tasks: N.

    Returns:
      The kinds of B rows.

    Example:
      >>> no, yes = jnp.zeros(3, bool), jnp.ones(3, bool)
      >>> kinds = kinds_of_rows(jnp.int32([4, 4, 9]), no, yes, 8)
      >>> kinds.totals(jnp.float32([1, 2, 3])), int(kinds.num_out_of_range)
      (Array([3., 0., 0.], dtype=float32), 1)
    """
    masked = is_empty | (ids == -1)
    out_of_range = ~masked & ((ids < 0) | (ids >= num_tasks))
    invalid = ~masked & ~out_of_range & ~is_bounded
    applied = ~(masked | out_of_range | invalid)
    row = lax.iota(jnp.int32, ids.shape[0])
    first = first_occurrence(jnp.where(applied, ids, -1 - row))
    valid = applied & (first == row)
    count = lambda flags: jnp.sum(flags, dtype=jnp.int32)  # noqa: E731
    return RowKinds(
        applied=applied,
        first=first,
        valid=valid,
        num_repeated=count(applied) - count(valid),
        num_masked=count(masked),
        num_out_of_range=count(out_of_range),
        num_invalid=count(invalid),
    )
