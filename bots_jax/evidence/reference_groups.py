"""Groups of tasks that reference models solve alike, for `group_prior`.

Two numbers per task, pass rates of a weak and a strong model, tell less as numbers on a
line than as a place: seldom by both, by the strong one only, mostly by both. In each
place the policy has a Beta of its own, and which place is worth training on is seen
from its rollouts, wherever the policy stands.
"""

from typing import Any

import numpy as np

from bots_jax import checks
from bots_jax.evidence.plugin_inputs import check_groups

RATE_EDGES = (0.01, 0.3, 0.8)
"""Between never, seldom, often and mostly."""

MAX_GROUPS = 2**20


def reference_groups(
    references: Any,
    groups: Any = None,
    num_groups: int | None = None,
    *,
    edges: tuple[float, ...] = RATE_EDGES,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides groups of tasks by what reference models make of them.

    id = ((group K + place of model 1) K + place of model 2) ..., K = len(edges) + 1

    Args:
      references: floating [N, M] in [0, 1], pass rates of M >= 1 models; on the host.
      groups: integers [N], such as source times level; None for one group of all.
      num_groups: D; None for the largest id in `groups` and one more.
      edges: increasing, in (0, 1): a pass rate p has the place of how many are <= p.

    Returns:
      int32 [N], group of each task, and int32 [D K^M], the larger group that each is
      part of: what `group_prior(groups, parents=parents)` takes.

    Raises:
      ValueError: naming the argument, the value received and what is allowed; for more
        than 2^20 groups.

    Example:
      >>> rates = np.array([[0.0, 0.9], [0.0, 0.0], [0.5, 0.9]])
      >>> ids, parents = reference_groups(rates, [0, 0, 1])
      >>> ids.tolist(), parents.shape
      ([3, 0, 27], (32,))
    """
    rates = np.asarray(references)
    if rates.ndim != 2 or not rates.size:
        raise ValueError(
            f"references must have shape (num_tasks, models), got {rates.shape}."
        )
    checks.check_dtype("references", rates, (np.floating,), "floating point")
    checks.check_in_range("references", rates, 0.0, 1.0)
    cuts = np.asarray(edges)
    is_numbers = cuts.ndim == 1 and np.issubdtype(cuts.dtype, np.floating)
    if not is_numbers or not (np.diff(cuts, prepend=0, append=1) > 0).all():
        raise ValueError(f"edges must increase within (0, 1), got {edges!r:.60}.")
    if groups is None:
        groups, num_groups = np.zeros(len(rates), np.int32), 1
    ids, num_groups = check_groups(groups, num_groups, len(rates))
    places = len(cuts) + 1
    total = num_groups * places ** rates.shape[1]
    if total > MAX_GROUPS:
        raise ValueError(
            f"groups must be at most {MAX_GROUPS}, got {num_groups} x {places} places "
            f"of {rates.shape[1]} models; average some of the models."
        )
    for column in rates.T:
        ids = ids * places + np.digitize(column, cuts).astype(np.int32)
    parents = np.arange(total, dtype=np.int32) // (total // num_groups)
    return ids, parents
