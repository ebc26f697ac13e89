"""How choices spread over the pool, from how often and when tasks were chosen."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int

from bots_jax.metrics.reduce import ItemMask, centred_midranks, used

Visits = Int[Array, "num_tasks"]


def coverage(visits: Array) -> Array:
    """Distinct tasks chosen, as a share of the most that could have been.

    distinct / min(N, total visits)

    Args:
      visits: integers [N], how often each task was chosen, >= 0.

    Returns:
      float32 scalar in [0, 1]; 1 if no task was chosen twice, or if all were chosen.
      NaN before the first choice.

    Raises:
      ValueError: for another shape.

    Example:
      >>> coverage(jnp.array([3, 1, 0, 0, 0]))
      Array(0.5, dtype=float32)
    """
    if visits.ndim != 1:
        raise ValueError(f"visits must have shape (num_tasks,), got {visits.shape}.")
    distinct = jnp.sum(visits > 0, dtype=jnp.float32)
    total = jnp.sum(visits.astype(jnp.float32))
    return distinct / jnp.minimum(visits.shape[0], total)


def gini(visits: Visits, where: ItemMask | None = None) -> Array:
    """Inequality of the numbers of visits, by Gini's coefficient.

    sum_i (2 i - N - 1) v_i / (N sum v), with v_1 <= ... <= v_N

    Args:
      visits: integers [N], >= 0, N < 2^30.
      where: bool [N], tasks that count, such as the eligible ones; all by default.

    Returns:
      float32 scalar: 0 if all tasks were chosen equally often, 1 - 1/N if one task
      had every visit. NaN before the first choice.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> gini(jnp.array([4, 0, 0, 0]))
      Array(0.75, dtype=float32)
    """
    where = used(visits, where)
    visits = visits.astype(jnp.int32)
    ranks = centred_midranks(visits, where).astype(jnp.float32)
    counts = jnp.where(where, visits, 0).astype(jnp.float32)
    total = jnp.sum(counts)
    shares = counts / total
    scale = jnp.sum(where, dtype=jnp.int32).astype(jnp.float32)
    value = jnp.sum(jnp.where(where, ranks / scale, np.float32(0)) * shares)
    return jnp.where(total > 0, jnp.clip(value, 0, 1), np.float32(np.nan))


def max_visits(visits: Visits, where: ItemMask | None = None) -> Array:
    """Visits of the task that had most of them.

    Args:
      visits: integers [N], >= 0.
      where: bool [N], tasks that count; all by default.

    Returns:
      int32 scalar; 0 without tasks, since whole numbers have no NaN.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> max_visits(jnp.array([4, 0, 7]))
      Array(7, dtype=int32)
    """
    where = used(visits, where)
    return jnp.max(visits.astype(jnp.int32), where=where, initial=0)


def mean_age(
    last_visit: Visits, now: Array | int, where: ItemMask | None = None
) -> Array:
    """Mean number of steps since tasks were last chosen.

    mean (now - last_visit)

    Args:
      last_visit: integers [N], the step of each task's last visit; -1 for none, which
        counts as the step before the first, so that starved tasks are seen.
      now: integer, the present step, at least any last visit.
      where: bool [N], tasks that count; all by default.

    Returns:
      float32 scalar >= 0; NaN without tasks.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> mean_age(jnp.array([9, 5, -1]), 9)  # (0 + 4 + 10) / 3
      Array(4.6666665, dtype=float32)
    """
    where = used(last_visit, where)
    ages = jnp.asarray(now).astype(jnp.int32) - last_visit.astype(jnp.int32)
    return jnp.mean(ages.astype(jnp.float32), where=where)
