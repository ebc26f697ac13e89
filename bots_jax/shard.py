"""Which of the tasks are here: all of them, or one device's block of a mesh axis.

The rooms read and write per-task arrays through a `Shard` alone. On one device it does
nothing. Under `jax.shard_map` every device runs the same program on the same keys,
evidence and points; a task's numbers are read on the device that owns it and sent to
all, and the best of each device are merged. So the result is that of one device, bit
for bit, and what crosses is proportional to what was asked for, not to N.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

Cut = Callable[[Array], Array]
"""Takes the tasks wanted out of an array whose first axis is that of the tasks."""


class Shard(NamedTuple):
    """A block of neighbouring tasks; the last one may end in padding.

    Attributes:
      num_tasks: N, of the whole pool.
      num_shards: D, how many blocks there are.
      axis: name of the mesh axis that they lie along; None for all tasks in one place.

    Example:
      >>> Shard(10).size, Shard(10, 4, "tasks").size
      (10, 3)
    """

    num_tasks: int
    num_shards: int = 1
    axis: str | None = None

    @property
    def size(self) -> int:
        """Rows of a block, padding included."""
        return -(-self.num_tasks // self.num_shards)

    @property
    def num_rows(self) -> int:
        """Rows of all blocks, padding included."""
        return self.size * self.num_shards

    def start(self) -> Array:
        """The first task of this block, int32."""
        if self.axis is None:
            return jnp.int32(0)
        return lax.axis_index(self.axis).astype(jnp.int32) * np.int32(self.size)

    def task_ids(self, start: Any, size: int) -> Array:
        """Which tasks lie in the rows from `start` on; int32 [size]."""
        return self.start() + start + lax.iota(jnp.int32, size)

    def is_task(self, task_ids: Array) -> Array:
        """Tells tasks from padding; bool [] where there is none."""
        if self.num_rows == self.num_tasks:
            return jnp.bool_(True)
        return task_ids < self.num_tasks

    def rows_of(self, task_ids: Array) -> Array:
        """Where tasks lie in this block; out of it for those elsewhere and for N."""
        if self.axis is None:
            return task_ids
        row = task_ids - self.start()
        is_here = (row >= 0) & (row < self.size) & (task_ids < self.num_tasks)
        return jnp.where(is_here, row, self.size)

    def at(self, task_ids: Array, mode: str = "promise_in_bounds") -> Cut:
        """Looks tasks up wherever they are.

        Args:
          task_ids: int32 [P].
          mode: of indexing, where all tasks are here. Under a mesh, ids out of range
            give 0.
        """
        if self.axis is None:
            return lambda x: x.at[task_ids].get(mode=mode)
        rows = self.rows_of(task_ids)
        return lambda x: self._from_owner(x.at[rows].get(mode="fill", fill_value=0))

    def _from_owner(self, x: Array) -> Array:
        """What one device knows, and all others hold 0 for."""
        if x.dtype == jnp.bool_:
            return lax.psum(x.astype(jnp.int32), self.axis) > 0
        return lax.psum(x, self.axis)

    def smallest(self, x: Array) -> Array:
        """The smallest of an array of all tasks; padding must not be smaller."""
        least = jnp.min(x)
        return least if self.axis is None else lax.pmin(least, self.axis)

    def largest(self, x: Array) -> Array:
        """The largest of an array of all tasks; padding must not be larger."""
        most = jnp.max(x)
        return most if self.axis is None else lax.pmax(most, self.axis)

    def everyone(self, x: Array) -> Array:
        """Brings all N tasks here: O(N) bytes cross."""
        if self.axis is None:
            return x
        return lax.all_gather(x, self.axis, tiled=True)[: self.num_tasks]

    def own(self, x: Array) -> Array:
        """Takes this block out of an array of all N tasks, as `everyone` gives it."""
        if self.axis is None:
            return x
        padded = jnp.pad(x, (0, self.num_rows - self.num_tasks), mode="edge")
        return lax.dynamic_slice_in_dim(padded, self.start(), self.size)

    def merge(self, k: int, values: Array, *columns: Array) -> tuple[Array, ...]:
        """Takes the k largest values of all blocks, and what stands beside them.

        Args:
          k: at most the number of rows.
          values: float32 [..., min(k, size)], the largest of this block, largest first.
          columns: arrays of the same shape.

        Returns:
          The values and columns, [..., k] each; ties go to the earlier block.
        """
        if self.axis is None:
            return values, *columns
        last = values.ndim - 1
        every = lambda x: lax.all_gather(  # noqa: E731
            x, self.axis, axis=last, tiled=True
        )
        values, place = lax.top_k(every(values), k)
        take = lambda x: jnp.take_along_axis(every(x), place, axis=last)  # noqa: E731
        return values, *(take(column) for column in columns)
