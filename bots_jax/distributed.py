"""Several processes: evidence that arrives anywhere is made the same everywhere.

JAX's own runtime does the work (`jax.distributed.initialize`, then a mesh over
`jax.devices()` and `shard_selector`). Every process runs the same program: the same
calls in the same order. What may differ is what each one observed; before it is applied
it is gathered, in order of processes.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from bots_jax.types import Evidence


def spans_processes(mesh: Mesh | None) -> bool:
    """Tells whether a mesh has devices of several processes.

    Example:
      >>> spans_processes(jax.make_mesh((1,), ("tasks",)))
      False
    """
    if mesh is None:
        return False
    return len({device.process_index for device in mesh.devices.flat}) > 1


def check_agreement(name: str, value: int, mesh: Mesh | None) -> None:
    """Checks that all processes of a mesh hold the same number.

    Args:
      name: what it is, for the message.
      value: in [0, 2^31).
      mesh: the devices; with those of one process there is nothing to check.

    Raises:
      ValueError: on every process, if they differ.

    Example:
      >>> check_agreement("num_tasks", 7, None)
    """
    if spans_processes(mesh):
        values = _gather(np.array([value], np.int32)).reshape(-1).tolist()
        if len(set(values)) > 1:
            raise ValueError(
                f"{name} must be the same in all processes, got {values} in order of "
                "processes."
            )


def _gather(x: np.ndarray) -> np.ndarray:
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(x))


def wait_for_all() -> None:
    """Waits until every process is here."""
    if jax.process_count() > 1:
        _gather(np.zeros(1, np.int32))


def gather_rows(columns: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Joins the rows of all processes, in order of processes; all must call it.

    Args:
      columns: arrays [n] of 32 or 64 bits; n may differ between processes.

    Returns:
      Arrays [sum of n] of the same dtypes, the same in every process.

    Example:
      >>> gather_rows((np.int32([3]), np.float64([0.5])))[1]
      array([0.5])
    """
    if jax.process_count() == 1:
        return columns
    given = len(columns[0])
    counts = _gather(np.array([given], np.int32)).reshape(-1)
    length = max(1, 1 << max(0, int(counts.max()) - 1).bit_length())  # few lengths
    joined = []
    for column in columns:
        words = np.zeros((length, column.dtype.itemsize // 4), np.uint32)
        words[:given] = column.reshape(-1, 1).view(np.uint32)  # 64 bits need no x64
        every = _gather(words)
        rows = [every[p, : counts[p]] for p in range(len(counts))]
        joined.append(
            np.ascontiguousarray(np.concatenate(rows)).view(column.dtype).reshape(-1)
        )
    return tuple(joined)


def share_evidence(evidence: Evidence) -> Evidence:
    """Joins the evidence of all processes, for a jitted step of one's own.

    Args:
      evidence: B rows; the same B in every process, padded with `task_ids` of -1.

    Returns:
      Evidence of B times the number of processes, the same in every process.

    Raises:
      ValueError: on every process, if they hold different numbers of rows.

    Example:
      >>> import bots_jax
      >>> share_evidence(bots_jax.empty_evidence(2)).task_ids
      Array([-1, -1], dtype=int32)
    """
    if jax.process_count() == 1:
        return evidence
    rows = [int(n) for n in _gather(np.array([len(evidence.task_ids)])).reshape(-1)]
    if len(set(rows)) > 1:
        raise ValueError(
            "evidence must have the same number of rows in all processes, got "
            f"{rows} in order of processes; pad it with task_ids of -1."
        )
    join = lambda x: jnp.asarray(_gather(np.asarray(x)).reshape(-1))  # noqa: E731
    return Evidence(*(join(x) for x in evidence))
