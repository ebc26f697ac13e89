"""The B most wanted of the eligible tasks, exactly."""

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.types import MaskSetting, PerTask, TaskIds


def rankable(scores: PerTask, eligible: MaskSetting) -> PerTask:
    """Makes scores that `lax.top_k` ranks as wanted: NaN last, -inf the ineligible.

    Example:
      >>> rankable(jnp.float32([1, jnp.nan]), jnp.array([False, True]))
      Array([          -inf, -3.4028235e+38], dtype=float32)
    """
    lowest = jnp.finfo(jnp.float32).min
    finite = jnp.maximum(jnp.where(jnp.isnan(scores), lowest, scores), lowest)
    return jnp.where(eligible, finite, -jnp.inf)


def select_top_k(scores: PerTask, eligible: MaskSetting, batch_size: int) -> TaskIds:
    """Takes the B eligible tasks with the highest scores, best first.

    Ties go to the lower id. A NaN score ranks below every number but above no task at
    all: it is chosen only when the eligible tasks run out.

    Args:
      scores: float32 [N].
      eligible: bool [] or [N], True = may be chosen.
      batch_size: B, at most N.

    Returns:
      int32 [B], distinct; -1 in the slots that no eligible task is left for.

    Example:
      >>> select_top_k(jnp.float32([1, 3, 2]), jnp.array([True, False, True]), 3)
      Array([ 2,  0, -1], dtype=int32)
    """
    values, ids = lax.top_k(rankable(scores, eligible), batch_size)
    return jnp.where(values == -jnp.inf, -1, ids).astype(jnp.int32)


def count_eligible(eligible: MaskSetting, num_tasks: int) -> Array:
    """Counts the eligible tasks.

    Args:
      eligible: bool [] or [N].
      num_tasks: N.

    Returns:
      int32 scalar.

    Example:
      >>> count_eligible(jnp.array(True), 5)
      Array(5, dtype=int32)
    """
    if eligible.ndim == 0:
        return jnp.where(eligible, jnp.int32(num_tasks), 0)
    return jnp.sum(eligible, dtype=jnp.int32)
