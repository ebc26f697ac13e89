"""Who resembles whom: exact nearest neighbours of embeddings, block by block."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks


def nearest_neighbours(
    embeddings: Any, k: int, *, block_size: int = 1024
) -> tuple[Array, Array]:
    """Finds the k tasks whose embeddings point most nearly the same way.

    weight = max(0, cosine of the angle between two embeddings)

    All N^2 cosines are computed, a block of rows at a time; memory is
    O(N D + block_size N).

    Args:
      embeddings: real [N, D], finite, no row all 0; N >= 2.
      k: in [1, N - 1], neighbours per task.
      block_size: >= 1, rows at once.

    Returns:
      Ids int32 [N, k], the nearest first, ties to the lower id, never the task itself;
      and weights float32 [N, k] in [0, 1], as `neighbours` takes them.

    Raises:
      ValueError: for another shape or dtype, NaN or inf, and an embedding of zeros,
        which points nowhere; it says which row.

    Example:
      >>> ids, weights = nearest_neighbours([[1.0, 0], [0, 1], [2, 0]], 1)
      >>> ids[:, 0], weights[:, 0]
      (Array([2, 0, 0], dtype=int32), Array([1., 0., 1.], dtype=float32))
    """
    rows = _checked_embeddings(embeddings)
    k = checks.check_count("k", k, maximum=len(rows) - 1)
    block_size = min(checks.check_count("block_size", block_size), len(rows))
    return _nearest(jnp.asarray(rows), k, block_size)


def _checked_embeddings(embeddings: Any) -> np.ndarray:
    """Checks embeddings and scales each to a largest element of 1."""
    rows = np.asarray(embeddings)
    if rows.ndim != 2 or rows.shape[0] < 2 or rows.shape[1] < 1:
        raise ValueError(
            "embeddings must have shape (num_tasks, features), at least (2, 1), "
            f"got {rows.shape}."
        )
    kinds = (np.floating, np.integer)
    checks.check_dtype("embeddings", rows, kinds, "real numbers")
    if rows.dtype.kind != "f":
        rows = rows.astype(np.float32)
    bad = ~np.isfinite(rows)
    if bad.any():
        task, column = (int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"embeddings must be finite, got {float(rows[task, column])} "
            f"at row {task}, column {column}."
        )
    largest = np.max(np.abs(rows), axis=1)
    if not largest.all():
        raise ValueError(
            "embeddings must point somewhere, "
            f"got zeros alone at row {int(np.argmin(largest))}."
        )
    return (rows / largest[:, None]).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("k", "block_size"))
def _nearest(rows: Array, k: int, block_size: int) -> tuple[Array, Array]:
    num_tasks = rows.shape[0]
    unit = rows * lax.rsqrt(jnp.sum(jnp.square(rows), axis=1, keepdims=True))

    def block(start: Array) -> tuple[Array, Array]:
        start = jnp.minimum(start, num_tasks - block_size)
        some = lax.dynamic_slice_in_dim(unit, start, block_size)
        cosines = jnp.matmul(some, unit.T, precision=lax.Precision.HIGHEST)
        own = start + lax.iota(jnp.int32, block_size)
        every = lax.iota(jnp.int32, num_tasks)
        cosines = jnp.where(own[:, None] == every[None, :], -jnp.inf, cosines)
        nearest, ids = lax.top_k(cosines, k)
        return ids, jnp.clip(nearest, 0, 1)

    starts = jnp.arange(0, num_tasks, block_size, dtype=jnp.int32)
    ids, weights = lax.map(block, starts)
    # The last block ends at N; what it shares with the one before comes from it.
    last = num_tasks - (starts.shape[0] - 1) * block_size

    def joined(x: Array) -> Array:
        whole = x[:-1].reshape(-1, k)
        return jnp.concatenate([whole, x[-1, block_size - last :]])

    return joined(ids), joined(weights)
