"""The best of each group of tasks, and then the best of the rest, in one sweep.

Every task is scored once, however many groups there are. The best of a group are found
by a tournament of chunks: a chunk's best of each group is one scatter over all tasks,
and the k best of a group lie in the k chunks whose best are the highest.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax.fences import computed_apart
from bots_jax.repeats import first_occurrence
from bots_jax.selection.sweep import (
    BLOCK,
    Chosen,
    Ranked,
    as_chosen,
    best_of,
    best_of_blocks,
)
from bots_jax.selection.top_k import rankable
from bots_jax.shard import Shard

CHUNK = 256
"""Neighbouring tasks that are represented by the best of each group among them."""

GroupedFn = Callable[[Array, int], tuple[Array, Array, Array, Array]]
"""What a `BlockFn` says of a block, and the group ids int32 [size] of its tasks."""


def sweep_groups(
    shard: Shard,
    batch_size: int,
    slots: Sequence[int],
    score: GroupedFn,
    witness: Array,
    block_size: int = BLOCK,
) -> Chosen:
    """Gives every group its slots, and what is left to the highest scores of all.

    The same as a `sweep` for each group and one more for the rest, ties included, each
    without the tasks taken before. What crosses between the devices of a mesh is twice
    what a sweep sends at most.

    Args:
      shard: which tasks are here.
      batch_size: B.
      slots: of each group, >= 0, summing to at most B.
      score: (start, size) -> scores [size], draws [size], eligible [] or [size] and
        group ids int32 [size] of the tasks in the rows from `start` on; start is an
        int32 scalar, traced. Groups without slots may have any id.
      witness: an array with 32-bit elements that only the run tells.
      block_size: tasks at a time, or up to twice as many.

    Returns:
      The batch: groups in their order, the best first within each, then the rest.
      Slots that a group cannot fill go to the rest.

    Example:
      >>> def score(start, size):
      ...     ids = start + jnp.arange(size)
      ...     return ids / 100, ids / 100, jnp.bool_(True), ids // 5
      >>> sweep_groups(Shard(10), 4, (2, 1), score, jnp.zeros(1)).task_ids
      Array([4, 3, 9, 8], dtype=int32)
    """
    k = min(batch_size, shard.size)
    claimants = np.flatnonzero(slots)  # at most B, of any number of groups
    slots = [slots[group] for group in claimants.tolist()]
    classes = alike_slots(slots)

    def rank(start: Array, size: int, is_new: Array) -> list[Ranked]:
        def look() -> tuple[Array, Array, Array]:
            scores, draws, eligible, groups = score(start, size)
            ids = shard.task_ids(start, size)
            wanted = eligible & is_new & shard.is_task(ids)
            values = rankable(scores, jnp.broadcast_to(wanted, ids.shape))
            places = place_among(claimants, groups)
            return values, jnp.broadcast_to(draws, ids.shape), places

        # Read by several loops, and to be scored once.
        values, draws, groups = computed_apart(witness, look)
        ids = shard.task_ids(start, size)
        best = [best_of(k, values, ids, draws)]
        if classes:
            chunks = chunk_bests(values, groups, len(slots))
            for most, members in classes:
                kept = min(most, shard.size)
                found = _best_of_groups(kept, members, chunks, values, groups)
                best.append(_with_ids(found, ids, draws))
        return best

    every = best_of_blocks(shard.size, rank, max(block_size, k))
    sizes = [batch_size, *(most for most, _ in classes)]
    merged = [
        as_chosen(shard.merge(size, *best))
        for size, best in zip(sizes, every, strict=True)
    ]
    return _joined(batch_size, slots, classes, merged)


def place_among(claimants: np.ndarray, groups: Array) -> Array:
    """Numbers the groups that have slots; all others come after the last.

    Args:
      claimants: int [A], groups that have slots, in ascending order.
      groups: int32 [P].

    Returns:
      int32 [P], in [0, A].

    Example:
      >>> place_among(np.array([2, 7]), jnp.int32([7, 3, 2]))
      Array([1, 2, 0], dtype=int32)
    """
    number = len(claimants)
    if np.array_equal(claimants, np.arange(number)):
        return jnp.where((groups >= 0) & (groups < number), groups, np.int32(number))
    known = jnp.asarray(claimants, jnp.int32)
    place = jnp.searchsorted(known, groups).astype(jnp.int32)
    found = known.at[place].get(mode="fill", fill_value=-1) == groups
    return jnp.where(found, place, np.int32(number))


Class = tuple[int, np.ndarray]


def alike_slots(slots: Sequence[int]) -> list[Class]:
    """Puts groups together whose slots are alike, up to a factor of two.

    So little more is kept than there are slots, whichever shares groups have.

    Returns:
      For each class its largest number of slots, and its groups, int [D].

    Example:
      >>> [(most, members.tolist()) for most, members in alike_slots((3, 0, 1, 2))]
      [(1, [2]), (3, [0, 3])]
    """
    sizes = np.asarray(slots, int)
    powers = np.frexp(sizes)[1]  # 0 for none
    found = []
    for power in np.unique(powers[sizes > 0]):
        members = np.flatnonzero(powers == power)
        found.append((int(sizes[members].max()), members))
    return found


def chunk_bests(values: Array, groups: Array, num_groups: int) -> Array:
    """The highest value of each group in each chunk, [num_groups, chunks].

    Example:
      >>> chunk_bests(jnp.float32([1, 3, 2]), jnp.int32([0, 1, 1]), 2)
      Array([[1.],
             [3.]], dtype=float32)
    """
    size = values.shape[0]
    chunks = jnp.full((num_groups, -(-size // CHUNK)), -jnp.inf, values.dtype)
    return chunks.at[groups, lax.iota(jnp.int32, size) // CHUNK].max(
        values, mode="drop"
    )


def _best_of_groups(
    k: int, members: np.ndarray, chunks: Array, values: Array, groups: Array
) -> tuple[Array, Array]:
    """The k highest of each member group, [D, k], and the rows they are in."""
    num_chunks = chunks.shape[1]
    _, best = lax.top_k(chunks[members], min(k, num_chunks))
    best = jnp.sort(best, axis=1)  # so that ties go to the lower id
    within = lax.broadcasted_iota(jnp.int32, (*best.shape, CHUNK), 2)
    rows = (best[:, :, None] * CHUNK + within).reshape(len(members), -1)
    own = jnp.asarray(members, jnp.int32)[:, None]
    inside = rows < values.shape[0]
    rows = jnp.minimum(rows, values.shape[0] - 1)
    own_values = jnp.where(inside & (groups[rows] == own), values[rows], -jnp.inf)
    found, place = lax.top_k(own_values, k)
    return found, jnp.take_along_axis(rows, place, axis=1)


def _with_ids(found: tuple[Array, Array], ids: Array, draws: Array) -> Ranked:
    values, rows = found
    return values, ids[rows], draws[rows]


def _joined(
    batch_size: int,
    slots: Sequence[int],
    classes: list[Class],
    merged: list[Chosen],
) -> Chosen:
    """Lays out what groups are given, and fills up with the best of all."""
    best, *of_groups = merged
    where, offset = {}, 0
    for (most, members), chosen in zip(classes, of_groups, strict=True):
        where |= {g: offset + row * most for row, g in enumerate(members.tolist())}
        offset += chosen.task_ids.size
    order = [where[g] + j for g, number in enumerate(slots) for j in range(number)]

    def lay_out(name: str) -> Array:
        parts = [getattr(chosen, name).reshape(-1) for chosen in of_groups]
        given = [jnp.concatenate(parts)[np.asarray(order, int)]] if order else []
        return jnp.concatenate([*given, getattr(best, name)])

    task_ids, draws = lay_out("task_ids"), lay_out("draws")
    rows = lax.iota(jnp.int32, task_ids.shape[0])
    is_first = first_occurrence(jnp.where(task_ids < 0, -2 - rows, task_ids)) == rows
    taken = is_first & (task_ids >= 0)
    first = jnp.argsort(~taken, stable=True)[:batch_size]
    return Chosen(jnp.where(taken, task_ids, -1)[first], draws[first])
