"""Data parallelism over all local devices: rollouts are split, parameters copied."""

import ctypes
import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec


def keep_freed_memory() -> bool:
    """Asks glibc to keep the memory of large buffers when they are freed.

    By default it returns them to the kernel, and XLA on CPU asks for them again in
    every step: the page faults cost a third of a small model's step. Arenas of their
    own make threads return theirs after the step, at the cost of what runs next, so
    there is one for all.

    Returns:
      True if the allocator took the request; False on a C library without it.

    Example:
      >>> keep_freed_memory() in (True, False)
      True
    """
    # Of <malloc.h>.
    trim_threshold, top_pad, mmap_threshold, arena_max = -1, -2, -3, -8
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    values = (
        (mmap_threshold, 2**30),
        (trim_threshold, 2**31 - 1),
        (top_pad, 2**28),
        (arena_max, 1),
    )
    return all([mallopt(*value) for value in values])


def use_all_cores(rollouts: int) -> int:
    """Shows the cores of a CPU to JAX as so many devices, before JAX starts.

    XLA runs the small matrices of a small model on one core; as devices, the cores
    share the rollouts instead. Nothing changes where JAX has started, where XLA_FLAGS
    asks for a number of host devices, or for accelerators.

    Args:
      rollouts: rows of every batch, or a divisor of them; the number of devices
        divides it.

    Returns:
      Devices asked for; 0 where nothing was changed.

    Example:
      >>> jax.local_device_count() >= 1 and use_all_cores(256)
      0
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = max(n for n in range(1, min(cores, 8) + 1) if rollouts % n == 0)
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # JAX has started
        return 0
    return count


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
