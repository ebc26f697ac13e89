"""The B most wanted of all N tasks, scored block by block in little memory."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.selection.top_k import rankable
from bots_jax.shard import Shard

BLOCK = 2**20
"""Tasks scored at once; XLA on CPU uses one core on much smaller loops."""


class Chosen(NamedTuple):
    """The best of a sweep.

    Attributes:
      task_ids: int32 [B], best first; -1 in slots that no eligible task is left for.
      draws: float32 [B], the success chances that they were judged by.
    """

    task_ids: Array
    draws: Array


Ranked = tuple[Array, Array, Array]
"""Scores that `lax.top_k` ranks as wanted, whose they are, and the draws."""


def sweep(
    shard: Shard,
    batch_size: int,
    score: Callable[[Array, int], tuple[Array, Array, Array]],
    block_size: int = BLOCK,
) -> Chosen:
    """Takes the B eligible tasks with the highest scores, looking at every task once.

    The same as scoring all N and `select_top_k`, ties included, but only a block is in
    memory at a time, and only B scores outlive it. On a mesh each device looks at its
    own tasks, and the best B of each are merged.

    Args:
      shard: which tasks are here.
      batch_size: B.
      score: (start, size) -> scores [size], draws [size] and eligible [] or [size] of
        the tasks in the rows from `start` on; start is an int32 scalar, traced.
      block_size: tasks at a time, or up to twice as many.

    Returns:
      The best B.

    Example:
      >>> def score(start, size):
      ...     x = (start + jnp.arange(size)) % 5 / 5
      ...     return x, x, jnp.bool_(True)
      >>> sweep(Shard(100), 3, score, block_size=32).task_ids
      Array([ 4,  9, 14], dtype=int32)
    """
    k = min(batch_size, shard.size)

    def rank(start: Array, size: int, is_new: Array) -> Ranked:
        scores, draws, eligible = score(start, size)
        ids = shard.task_ids(start, size)
        wanted = eligible & is_new & shard.is_task(ids)
        return rankable(scores, wanted), ids, draws

    best = _best_here(shard.size, k, rank, max(block_size, k))
    values, task_ids, draws = shard.merge(batch_size, *best)
    return Chosen(jnp.where(values == -jnp.inf, -1, task_ids), draws)


def _best_here(
    num_rows: int, k: int, rank: Callable[[Array, int, Array], Ranked], block_size: int
) -> Ranked:
    """Takes the k highest of this device: scores, ids and draws, [k] each."""
    num_blocks = num_rows // block_size
    if num_blocks <= 1:
        scores, ids, draws = rank(jnp.int32(0), num_rows, jnp.bool_(True))
        values, here = lax.top_k(scores, k)
        return values, ids[here], draws[here]

    # At least k, and even: XLA halves a loop between two cores, and one of odd length
    # is not vectorised.
    size = -(-num_rows // (2 * num_blocks)) * 2

    def merge(number: Array, best: Ranked) -> Ranked:
        # The last block ends with the rows; what it shares with the one before is out.
        start = jnp.minimum(number * size, num_rows - size)
        is_new = start + lax.iota(jnp.int32, size) >= number * size
        scores, ids, draws = rank(start, size, is_new)
        values, here = lax.top_k(scores, k)
        # Ties go to the lower id, which came in an earlier block.
        values, place = lax.top_k(jnp.concatenate([best[0], values]), k)
        new = ids[here], draws[here]
        joined = [
            jnp.concatenate(pair)[place] for pair in zip(best[1:], new, strict=True)
        ]
        return values, joined[0], joined[1]

    start = (
        jnp.full((k,), -jnp.inf, jnp.float32),
        jnp.full((k,), -1, jnp.int32),
        jnp.zeros((k,), jnp.float32),
    )
    return lax.fori_loop(jnp.int32(0), jnp.int32(num_blocks), merge, start)
