"""How a belief about every task moves in one step: rows first, then everyone else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bots_jax.fences import after, computed_apart
from bots_jax.shard import Cut, Shard
from bots_jax.types import TaskIds


def move_tasks(
    belief: Any,
    task_ids: TaskIds,
    of_rows: Callable[[Any], Any],
    of_everyone: Callable[[Any, Array], Any] | None,
    pace: Array,
    shard: Shard,
) -> Any:
    """Gives rolled-out tasks their new numbers, and all others theirs.

    The rows are read before anything is written, so that all can be updated in place,
    and written, not added, since each holds its whole new value.

    Args:
      belief: pytree of arrays [N, ...], of the tasks that are here.
      task_ids: int32 [B], distinct; N in rows that hold nothing.
      of_rows: from the old numbers of the rows, [B, ...] each, to the new ones.
      of_everyone: from the old numbers of all tasks here, and the pace, to the new
        ones of those that were not rolled out; None if they keep theirs.
      pace: float32 scalar that `of_everyone` computes with, such as the forgetting.
      shard: which of the tasks are here.

    Returns:
      A pytree as `belief`.

    Example:
      >>> add = lambda belief: belief + 10
      >>> ids, pace, all_here = jnp.int32([2, 3]), jnp.float32(0), Shard(3)
      >>> move_tasks(jnp.float32([0, 1, 2]), ids, add, None, pace, all_here)
      Array([ 0.,  1., 12.], dtype=float32)
    """
    at_rows = shard.at(task_ids, "clip")
    read = lambda: jax.tree.map(at_rows, belief)  # noqa: E731
    if task_ids.size:
        # Read apart from what is computed: fused with a gather it may round otherwise
        # than on a mesh, where the rows come from their owners.
        old = computed_apart(task_ids, read)
        rows = computed_apart(task_ids, lambda: of_rows(old))
        pace = after(pace, jax.tree.leaves(rows)[0])
    else:
        rows = of_rows(read())
    moved = belief if of_everyone is None else of_everyone(belief, pace)
    place = shard.rows_of(task_ids)
    write = lambda x, row: x.at[place].set(row, mode="drop")  # noqa: E731
    return jax.tree.map(write, moved, rows)


def all_of(belief: Array, shard: Shard | None) -> Shard:
    """The shard given, or all tasks in one place.

    Example:
      >>> all_of(jnp.zeros(3), None).num_tasks
      3
    """
    return Shard(belief.shape[0]) if shard is None else shard


def own_table(setting: Any) -> Array:
    """Copies a setting of any shape into a float32 buffer of its own.

    Example:
      >>> own_table([[2, 3]])
      Array([[2., 3.]], dtype=float32)
    """
    return jnp.array(setting, jnp.float32, copy=True)


def table_of(prior: Array, cut: Cut) -> Array:
    """Takes the prior of some tasks: all of a scalar, rows of a table [N, ...].

    Example:
      >>> table_of(own_table([[2, 3], [4, 5]]), lambda x: x[1:])
      Array([[4., 5.]], dtype=float32)
    """
    return prior if prior.ndim == 0 else cut(prior)
