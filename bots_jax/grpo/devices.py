"""Data parallelism over all local devices: rollouts are split, parameters copied."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


class Devices:
    """The local devices as one axis, along which batches are split.

    Example:
      >>> devices = Devices()
      >>> devices.split(np.zeros((2 * devices.count, 3))).shape[1]
      3
    """

    def __init__(self) -> None:
        """Takes all local devices."""
        self.count = jax.local_device_count()
        mesh = Mesh(np.asarray(jax.local_devices()), ("data",))
        self._split = NamedSharding(mesh, PartitionSpec("data"))
        self._copied = NamedSharding(mesh, PartitionSpec())

    def split(self, tree: Any) -> Any:
        """Spreads the leading axis of every leaf over the devices.

        Raises:
          ValueError: if a leading size is not a multiple of the number of devices.
        """
        for leaf in jax.tree.leaves(tree):
            check_divides(np.shape(leaf)[0], self.count)
        return jax.device_put(tree, self._split)

    def copy(self, tree: Any) -> Any:
        """Puts a copy of every leaf on each device."""
        return jax.device_put(tree, self._copied)


def check_divides(rollouts: int, devices: int) -> None:
    """Checks that rollouts can be split evenly.

    Raises:
      ValueError: if they cannot.

    Example:
      >>> check_divides(6, 4)
      Traceback (most recent call last):
      ValueError: rollouts must be a multiple of the 4 local devices, got 6.
    """
    if rollouts % devices:
        raise ValueError(
            f"rollouts must be a multiple of the {devices} local devices, "
            f"got {rollouts}."
        )
