"""What the chosen tasks' rollouts were worth to the learner."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax.metrics.reduce import ItemMask, PerItem, mean, used
from bots_jax.types import Evidence, RowMask


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


class SilentGroups(NamedTuple):
    """Shares of groups that teach nothing; with the effective task ratio they make 1.

    Attributes:
      all_right: float32 scalar in [0, 1], groups without a failure.
      all_wrong: float32 scalar in [0, 1], groups without a success.
    """

    all_right: Array
    all_wrong: Array


def silent_groups(evidence: Evidence, where: RowMask | None = None) -> SilentGroups:
    """Shares of the rolled-out tasks whose rollouts were all right, or all wrong.

    Args:
      evidence: B rows; rows without trials are left out.
      where: bool [B], rows that count; all by default.

    Returns:
      Two shares, NaN where no row has trials.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> from bots_jax import evidence_from_counts
      >>> shares = silent_groups(evidence_from_counts([0, 1, 2, 3], [4, 2, 0, 4], 4))
      >>> float(shares.all_right), float(shares.all_wrong)
      (0.5, 0.25)
    """
    where = used(evidence.successes, where, evidence.failures)
    rolled_out = where & ((evidence.successes + evidence.failures) > 0)
    share = lambda flags: jnp.mean(flags, where=rolled_out, dtype=jnp.float32)  # noqa: E731
    return SilentGroups(share(evidence.failures <= 0), share(evidence.successes <= 0))


def gain_per_rollout(
    success_prob: PerItem,
    num_rollouts: Array | float | int,
    where: ItemMask | None = None,
) -> Array:
    """Variance of the rewards of the tasks trained on, per rollout that was paid for.

    sum p (1 - p) / num_rollouts

    Args:
      success_prob: float32 [B] in [0, 1], the truth or a posterior mean; p.
      num_rollouts: all rollouts of the step, those of tasks that were thrown away
        included; a scalar >= 0.
      where: bool [B], tasks that were trained on; all by default.

    Returns:
      float32 scalar >= 0; NaN without rollouts.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> gain_per_rollout(jnp.float32([0.5, 1.0]), 8)  # 1/4 / 8
      Array(0.03125, dtype=float32)
    """
    where = used(success_prob, where)
    p = jnp.where(where, success_prob, np.float32(0))
    rollouts = jnp.asarray(num_rollouts).astype(jnp.float32)
    gain = jnp.sum(p * (1 - p)) / rollouts
    return jnp.where(rollouts > 0, gain, np.float32(np.nan))


def regret(
    value_of_chosen: PerItem, best_value: PerItem, where: ItemMask | None = None
) -> Array:
    """Mean value lost per step against the best choice there was.

    mean (best_value - value_of_chosen)

    Args:
      value_of_chosen: float32 [T], such as the sum of p (1 - p) over a step's batch.
      best_value: float32 [T], the same for the best batch of that step.
      where: bool [T], steps that count; all by default.

    Returns:
      float32 scalar, >= 0 if best_value is the best; NaN without steps.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> regret(jnp.float32([2, 3]), jnp.float32([4, 4]))
      Array(1.5, dtype=float32)
    """
    where = used(value_of_chosen, where, best_value)
    return mean(best_value - value_of_chosen, where.astype(jnp.float32))
