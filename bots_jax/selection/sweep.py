"""The B most wanted of all N tasks, scored block by block in little memory."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
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


BlockFn = Callable[[Array, int], tuple[Array, Array, Array]]
"""(start, size) -> scores [size], draws [size] and eligible [] or [size] of a block."""

Ranked = tuple[Array, Array, Array]
"""Scores that `lax.top_k` ranks as wanted, whose they are, and the draws; [..., k]."""


def sweep(
    shard: Shard,
    batch_size: int,
    score: BlockFn,
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

    def rank(start: Array, size: int, is_new: Array) -> list[Ranked]:
        scores, draws, eligible = score(start, size)
        ids = shard.task_ids(start, size)
        wanted = eligible & is_new & shard.is_task(ids)
        return [best_of(k, rankable(scores, wanted), ids, draws)]

    (best,) = best_of_blocks(shard.size, rank, max(block_size, k))
    return as_chosen(shard.merge(batch_size, *best))


def best_of(k: int, values: Array, ids: Array, draws: Array) -> Ranked:
    """Takes the k highest along the last axis, ties to the earlier one.

    Example:
      >>> best_of(1, jnp.float32([1, 3]), jnp.arange(2), jnp.zeros(2))[1]
      Array([1], dtype=int32)
    """
    values, place = lax.top_k(values, k)
    take = lambda x: jnp.take_along_axis(  # noqa: E731
        x, place, axis=-1, mode="promise_in_bounds"
    )
    return values, take(ids), take(draws)


def as_chosen(best: tuple[Array, ...]) -> Chosen:
    """Leaves slots open that only tasks which may not be chosen would fill.

    Example:
      >>> as_chosen((jnp.float32([-jnp.inf]), jnp.arange(1), jnp.zeros(1))).task_ids
      Array([-1], dtype=int32)
    """
    values, task_ids, draws = best
    return Chosen(jnp.where(values == -jnp.inf, -1, task_ids), draws)


def best_of_blocks(
    num_rows: int,
    rank: Callable[[Array, int, Array], list[Ranked]],
    block_size: int,
) -> list[Ranked]:
    """Ranks the rows of this device block by block.

    Args:
      num_rows: of this device.
      rank: (start, size, is_new) -> the best of a block, best first, in as many ways
        as are wanted; rows that are not new must rank as not wanted.
      block_size: rows at a time, at least the most that are kept of them, or up to
        twice as many.

    Returns:
      The best of all rows, in as many ways.

    Example:
      >>> def rank(start, size, is_new):
      ...     ids = start + jnp.arange(size)
      ...     values = jnp.where(is_new, ids % 7, -jnp.inf)
      ...     return [best_of(2, values, ids, values)]
      >>> best_of_blocks(10, rank, 4)[0][1]
      Array([6, 5], dtype=int32)
    """
    num_blocks = num_rows // block_size
    if num_blocks <= 1:
        return rank(jnp.int32(0), num_rows, jnp.bool_(True))

    # At least k, and even: XLA halves a loop between two cores, and one of odd length
    # is not vectorised.
    size = -(-num_rows // (2 * num_blocks)) * 2

    def look(number: Array) -> list[Ranked]:
        # The last block ends with the rows; what it shares with the one before is out.
        start = jnp.minimum(number * size, num_rows - size)
        is_new = start + lax.iota(jnp.int32, size) >= number * size
        return rank(start, size, is_new)

    def merge(number: Array, best: list[Ranked]) -> list[Ranked]:
        # Ties go to the lower id, which came in an earlier block.
        merged = []
        for old, new in zip(best, look(number), strict=True):
            joined = (jnp.concatenate(pair, -1) for pair in zip(old, new, strict=True))
            merged.append(best_of(old[0].shape[-1], *joined))
        return merged

    def nothing(ranked: Any) -> Ranked:
        values, ids, draws = ranked
        return (
            jnp.full(values.shape, -jnp.inf, values.dtype),
            jnp.full(ids.shape, -1, ids.dtype),
            jnp.zeros(draws.shape, draws.dtype),
        )

    start = [nothing(ranked) for ranked in jax.eval_shape(look, jnp.int32(0))]
    return lax.fori_loop(jnp.int32(0), jnp.int32(num_blocks), merge, start)
