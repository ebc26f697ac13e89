"""What plug-ins without references are told of tasks: checked, cut and continued."""

from typing import Any

import numpy as np

from bots_jax import checks


def check_groups(
    groups: Any,
    num_groups: int | None,
    num_tasks: int | None = None,
    *,
    name: str = "groups",
) -> tuple[np.ndarray, int]:
    """Checks which group each task is of.

    Args:
      groups: integers [N], in [0, num_groups); on the host.
      num_groups: H; None for the largest id and one more.
      num_tasks: N; None for as many as `groups` has.
      name: of the argument, for its errors.

    Returns:
      The groups as int32 [N], and H.

    Raises:
      ValueError: for another shape or dtype, or an id out of range, which it names.

    Example:
      >>> check_groups([0, 2, 1], None)
      (array([0, 2, 1], dtype=int32), 3)
      >>> check_groups([0, 2, 1], 2)
      Traceback (most recent call last):
      ValueError: groups must be in [0, 1], got 2 at index 1.
    """
    ids = np.asarray(groups)
    if num_tasks is not None:
        checks.check_shape(name, ids, ((num_tasks,),))
    if ids.ndim != 1 or not ids.size:
        raise ValueError(f"{name} must have shape (num_tasks,), got {ids.shape}.")
    checks.check_dtype(name, ids, (np.integer,), "integers")
    if num_groups is not None:
        num_groups = checks.check_count("num_groups", num_groups)
    most = checks.MAX_TASKS if num_groups is None else num_groups - 1
    checks.check_in_range(name, ids, 0, most)
    return ids.astype(np.int32), int(num_groups or ids.max() + 1)


def continued(rows: np.ndarray, num_tasks: int) -> np.ndarray:
    """Cuts an array given per task, or continues it with its first row.

    Example:
      >>> continued(np.array([7, 8]), 3), continued(np.array([[7], [8]]), 1)
      (array([7, 8, 7]), array([[7]]))
    """
    more = max(0, num_tasks - len(rows))
    return np.concatenate([rows[:num_tasks], np.repeat(rows[:1], more, axis=0)])
