"""The B most wanted of all N tasks, scored block by block in little memory."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.selection.top_k import rankable, select_top_k

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


def sweep(
    num_tasks: int,
    batch_size: int,
    score: Callable[[Array, int], tuple[Array, Array, Array]],
    block_size: int = BLOCK,
) -> Chosen:
    """Takes the B eligible tasks with the highest scores, looking at every task once.

    The same as scoring all N and `select_top_k`, ties included, but only a block is in
    memory at a time, and only B scores outlive it.

    Args:
      num_tasks: N.
      batch_size: B.
      score: (start, size) -> scores [size], draws [size] and eligible [] or [size] of
        the tasks from `start` on; start is an int32 scalar, traced.
      block_size: tasks at a time, or up to twice as many.

    Returns:
      The best B.

    Example:
      >>> def score(start, size):
      ...     x = (start + jnp.arange(size)) % 5 / 5
      ...     return x, x, jnp.bool_(True)
      >>> sweep(100, 3, score, block_size=32).task_ids
      Array([ 4,  9, 14], dtype=int32)
    """
    block_size = max(block_size, batch_size)
    num_blocks = num_tasks // block_size
    if num_blocks <= 1:
        scores, draws, eligible = score(jnp.int32(0), num_tasks)
        task_ids = select_top_k(scores, eligible, batch_size)
        return Chosen(task_ids, draws[task_ids])

    # At least B, and even: XLA halves a loop between two cores, and one of odd length
    # is not vectorised.
    size = -(-num_tasks // (2 * num_blocks)) * 2

    def merge(number: Array, best: tuple[Array, Chosen]) -> tuple[Array, Chosen]:
        # The last block ends at N; what it shares with the one before is left out.
        start = jnp.minimum(number * size, num_tasks - size)
        is_new = start + lax.iota(jnp.int32, size) >= number * size
        scores, draws, eligible = score(start, size)
        values, here = lax.top_k(rankable(scores, eligible & is_new), batch_size)
        # Ties go to the lower id, which came in an earlier block.
        values, place = lax.top_k(jnp.concatenate([best[0], values]), batch_size)
        new = Chosen(start + here, draws[here])
        joined = [jnp.concatenate(pair) for pair in zip(best[1], new, strict=True)]
        return values, Chosen(*(x[place] for x in joined))

    nothing = Chosen(
        jnp.full((batch_size,), -1, jnp.int32), jnp.zeros((batch_size,), jnp.float32)
    )
    start = (jnp.full((batch_size,), -jnp.inf, jnp.float32), nothing)
    values, best = lax.fori_loop(jnp.int32(0), jnp.int32(num_blocks), merge, start)
    return best._replace(task_ids=jnp.where(values == -jnp.inf, -1, best.task_ids))
