"""How well tasks were chosen: effective task ratio, always beside its coverage."""

import jax.numpy as jnp
from jax import Array

from bots_jax.types import Evidence


def effective_task_ratio(evidence: Evidence) -> Array:
    """Share of the rolled-out tasks whose rollouts were mixed: not all right or wrong.

    A group of equal rewards has no advantage and teaches GRPO nothing. Read it with
    `coverage` only: a rule that trains one task for ever can have a ratio of 1.

    Args:
      evidence: B rows; rows without trials are left out.

    Returns:
      float32 scalar in [0, 1]; NaN where no row has trials.

    Source: arXiv 2510.26374, ETR.

    Example:
      >>> from bots_jax import evidence_from_counts
      >>> effective_task_ratio(evidence_from_counts([0, 1], [4, 2], 4))
      Array(0.5, dtype=float32)
    """
    rolled_out = (evidence.successes + evidence.failures) > 0
    mixed = (evidence.successes > 0) & (evidence.failures > 0)
    return jnp.mean(mixed, where=rolled_out, dtype=jnp.float32)


def coverage(visits: Array) -> Array:
    """Distinct tasks chosen, as a share of the most that could have been.

    distinct / min(N, total visits)

    Args:
      visits: integers [N], how often each task was chosen, >= 0.

    Returns:
      float32 scalar in [0, 1]; 1 if no task was chosen twice, or if all were chosen.
      NaN before the first choice.

    Raises:
      ValueError: for another shape.

    Example:
      >>> coverage(jnp.array([3, 1, 0, 0, 0]))
      Array(0.5, dtype=float32)
    """
    if visits.ndim != 1:
        raise ValueError(f"visits must have shape (num_tasks,), got {visits.shape}.")
    distinct = jnp.sum(visits > 0, dtype=jnp.float32)
    total = jnp.sum(visits.astype(jnp.float32))
    return distinct / jnp.minimum(visits.shape[0], total)
