"""Where per-task arrays lie: on one device, or in equal blocks along a mesh axis."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bots_jax.shard import Shard

PER_TASK = frozenset(
    {
        "alpha",
        "arc_mean",
        "arc_variance",
        "beta",
        "difficulty",
        "difficulty_variance",
        "eligible",
        "explicit_failures",
        "explicit_successes",
        "fast_rate",
        "group_ids",
        "inputs",
        "last_step",
        "last_update",
        "level_counts",
        "loading_variance",
        "loadings",
        "neighbour_ids",
        "neighbour_weights",
        "place",
        "precision_count",
        "precision_rate",
        "precision_shape",
        "prior_alpha",
        "prior_beta",
        "prior_level_counts",
        "prior_precision_count",
        "prior_precision_rate",
        "prior_precision_shape",
        "prior_reward_mean",
        "prior_transition_counts",
        "pushed_failures",
        "pushed_successes",
        "pushed_update",
        "reward_mean",
        "silent_run",
        "slow_rate",
        "state_probs",
        "strong",
        "table",
        "target_success_prob",
        "token_costs",
        "touch_time",
        "transition_counts",
        "weak",
    }
)
"""Fields of states that have one row per task, unless they are scalars."""


def is_per_task(path: Any, leaf: Any) -> bool:
    """Tells whether a leaf of a state has one row per task.

    Args:
      path: of the leaf, as `jax.tree_util` gives it.
      leaf: the array.

    Example:
      >>> import bots_jax
      >>> state = bots_jax.bots(num_tasks=4, batch_size=2).init()
      >>> leaves = jax.tree_util.tree_leaves_with_path(state)
      >>> [path[-1].name for path, leaf in leaves if is_per_task(path, leaf)]
      ['alpha', 'beta']
    """
    last = path[-1] if path else None
    name = getattr(last, "name", getattr(last, "key", None))
    return name in PER_TASK and np.ndim(leaf) > 0


class Placement(NamedTuple):
    """Where the per-task arrays of a state lie; everything else lies on all devices.

    Attributes:
      mesh: the devices; None for the default device.
      axis: name of the mesh axis that tasks are divided along.
    """

    mesh: Mesh | None = None
    axis: str | None = None

    def shard(self, num_tasks: int) -> Shard:
        """Says how N tasks are divided."""
        if self.mesh is None or self.axis is None:
            return Shard(num_tasks)
        return Shard(num_tasks, self.mesh.shape[self.axis], self.axis)

    def specs(self, state: Any) -> Any:
        """Gives the PartitionSpec of every leaf of a state."""
        spec = lambda path, leaf: PartitionSpec(  # noqa: E731
            *((self.axis,) if is_per_task(path, leaf) else ())
        )
        return jax.tree_util.tree_map_with_path(spec, state)

    def put(self, rows: Any, num_tasks: int) -> Array:
        """Copies an array of N rows to where it lies, the last row repeated as padding.

        Example:
          >>> Placement().put(np.float32([1, 2]), 2)
          Array([1., 2.], dtype=float32)
        """
        if self.mesh is None:
            return jnp.array(rows, copy=True)
        padding = self.shard(num_tasks).num_rows - num_tasks
        host = np.asarray(rows)
        widths = [(0, padding)] + [(0, 0)] * (host.ndim - 1)
        padded = np.pad(host, widths, mode="edge") if padding else host
        return self._spread(padded, PartitionSpec(self.axis))

    def put_everywhere(self, value: Any) -> Array:
        """Copies an array to every device."""
        if self.mesh is None:
            return jnp.array(value, copy=True)
        return self._spread(np.asarray(value), PartitionSpec())

    def _spread(self, host: np.ndarray, spec: PartitionSpec) -> Array:
        assert self.mesh is not None
        sharding = NamedSharding(self.mesh, spec)
        return jax.make_array_from_callback(host.shape, sharding, lambda at: host[at])

    def put_state(self, state: Any, num_tasks: int) -> Any:
        """Copies a state of N tasks from the host, or from anywhere, to where it lies.

        Example:
          >>> Placement().put_state({"alpha": np.float32([1, 2])}, 2)["alpha"].shape
          (2,)
        """

        def move(path: Any, leaf: Any) -> Array:
            if is_per_task(path, leaf):
                return self.put(leaf, num_tasks)
            return self.put_everywhere(leaf)

        return jax.tree_util.tree_map_with_path(move, state)

    def fetch_state(self, state: Any, num_tasks: int, copy: bool = True) -> Any:
        """Brings a state to this host as NumPy arrays of N rows, without padding.

        Where several processes hold parts of it, all of them must call this. Without
        a copy the arrays may be those of the device, and go when it is donated.

        Example:
          >>> state = Placement().put_state({"alpha": np.float32([1, 2])}, 2)
          >>> Placement().fetch_state(state, 2)["alpha"]
          array([1., 2.], dtype=float32)
        """

        def move(path: Any, leaf: Any) -> np.ndarray:
            rows = fetch(leaf, copy)
            return rows[:num_tasks] if is_per_task(path, leaf) else rows

        return jax.tree_util.tree_map_with_path(move, state)


def fetch(x: Any, copy: bool = True) -> np.ndarray:
    """Brings an array to this host, wherever its parts lie.

    Example:
      >>> fetch(jnp.arange(2))
      array([0, 1], dtype=int32)
    """
    if isinstance(x, Array) and not x.is_fully_addressable:
        if x.is_fully_replicated:
            return np.array(x.addressable_data(0))
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(x, tiled=True))
    return np.array(x) if copy else np.asarray(x)


def fetch_all(arrays: tuple[Array, ...]) -> list[np.ndarray]:
    """Brings arrays to this host in one go, where all of them can be read here.

    Example:
      >>> [float(x) for x in fetch_all((jnp.float32(1), jnp.int32(2)))]
      [1.0, 2.0]
    """
    if all(x.is_fully_addressable for x in arrays):
        return list(jax.device_get(arrays))
    return [fetch(x) for x in arrays]


def check_state(state: Any, name: str, num_rows: int) -> None:
    """Checks that a state is one that tasks can be marked in, of so many rows.

    Raises:
      ValueError: for another number of rows, or without a mask.

    Example:
      >>> check_state({}, "mine", 3)
      Traceback (most recent call last):
      ValueError: state must be one of selector 'mine', with eligible, got dict.
    """
    if not hasattr(state, "eligible") or not hasattr(state, "num_eligible"):
        raise ValueError(
            f"state must be one of selector {name!r}, with eligible, "
            f"got {type(state).__name__}."
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if is_per_task(path, leaf) and leaf.shape[0] != num_rows:
            raise ValueError(
                f"state must be one of selector {name!r}, of {num_rows} rows, "
                f"got {leaf.shape[0]} rows."
            )
