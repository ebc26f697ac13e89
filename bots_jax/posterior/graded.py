"""Beliefs about graded rewards: Dirichlet-multinomial over L levels, discounted.

    level_counts' = (1 - forgetting) * level_counts + forgetting * prior + counts

The levels are rewards v_1 < ... < v_L. With L = 2 this is the Beta posterior of
`recurrence` without implicit evidence: failures first, successes second.

Source: arXiv 2609.34990 (MaPP), appendix F; discounted as in arXiv 2510.26374.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

from bots_jax import checks
from bots_jax.beta.matching import beta_of_moments
from bots_jax.evidence.collect import LevelRows
from bots_jax.posterior.moving import all_of, move_tasks, own_table, table_of
from bots_jax.posterior.recurrence import discount
from bots_jax.shard import Shard
from bots_jax.types import PerTask, Scalar

LevelCounts = Float32[Array, "num_tasks levels"]
Levels = Float32[Array, "levels"]


class GradedPosterior(NamedTuple):
    """Dirichlet beliefs of N tasks over L levels.

    Attributes:
      level_counts: float32 [N, L], pseudo-counts, >= the prior.
      prior_level_counts: float32, > 0: one number for all levels of all tasks, or
        [N, L].
    """

    level_counts: LevelCounts
    prior_level_counts: Float32[Array, ""] | LevelCounts


def init_graded(
    num_tasks: int, num_levels: int, prior_level_counts: Any = 1.0
) -> GradedPosterior:
    """Builds a posterior equal to its prior, in buffers of its own.

    Args:
      num_tasks: N.
      num_levels: L >= 2.
      prior_level_counts: in [0.01, 1e5]; one number, one per level [L], which is kept
        for each task, or [N, L].

    Returns:
      float32 arrays that share no buffer, so that the state can be donated.

    Raises:
      ValueError: for sizes, a shape or values that are not allowed.

    Example:
      >>> init_graded(2, 3).level_counts
      Array([[1., 1., 1.],
             [1., 1., 1.]], dtype=float32)
    """
    checks.check_count("num_tasks", num_tasks)
    checks.check_count("num_levels", num_levels, minimum=2)
    whole = (num_tasks, num_levels)
    name = "prior_level_counts"
    checks.check_shape(name, prior_level_counts, ((), (num_levels,), whole))
    low, high = checks.MIN_PRIOR, checks.MAX_PRIOR
    checks.check_in_range(name, prior_level_counts, low, high)
    prior = own_table(prior_level_counts)
    if prior.ndim == 1:
        prior = jnp.tile(prior[None, :], (num_tasks, 1))
    return GradedPosterior(
        level_counts=jnp.broadcast_to(prior, whole) + 0, prior_level_counts=prior
    )


def update_graded(
    posterior: GradedPosterior,
    rows: LevelRows,
    forgetting: Scalar,
    shard: Shard | None = None,
    *,
    on_touch: bool = False,
) -> GradedPosterior:
    """Applies the recurrence, to all N tasks or to those that were rolled out.

    Args:
      posterior: N tasks.
      rows: the evidence of the step, one row per task.
      forgetting: in [0, 1]; lambda in the paper.
      shard: which of the tasks are here; all by default.
      on_touch: True forgets only in the tasks of the rows (the clock of MoPPS); False
        in every task, every step (that of BOTS).

    Returns:
      The posterior one step later; every count >= its prior.

    Raises:
      ValueError: for rows of another number of levels.

    Example:
      >>> from bots_jax.evidence.collect import LevelEvidence, collect_level_rows
      >>> evidence = LevelEvidence(jnp.int32([1]), jnp.float32([[0, 2, 1]]))
      >>> rows = collect_level_rows(evidence, 2)
      >>> update_graded(init_graded(2, 3), rows, 0.1).level_counts
      Array([[1., 1., 1.],
             [1., 3., 2.]], dtype=float32)
    """
    num_levels = posterior.level_counts.shape[1]
    if rows.counts.shape[1] != num_levels:
        raise ValueError(
            f"counts must have {num_levels} levels, got {rows.counts.shape[1]}."
        )
    here = all_of(posterior.level_counts, shard)
    at_rows = here.at(rows.task_ids, "clip")
    prior = posterior.prior_level_counts
    forgetting = jnp.asarray(forgetting, jnp.float32)

    def of_rows(counts: Array) -> Array:
        return discount(counts, table_of(prior, at_rows), forgetting) + rows.counts

    def of_everyone(counts: Array, forgetting: Array) -> Array:
        return discount(counts, prior, forgetting)

    counts = move_tasks(
        posterior.level_counts,
        rows.task_ids,
        of_rows,
        None if on_touch else of_everyone,
        forgetting,
        here,
    )
    return posterior._replace(level_counts=counts)


def expected_reward(level_counts: LevelCounts, levels: Levels) -> PerTask:
    """Expected reward of a rollout: sum(levels * pi), pi = level_counts / their sum.

    Args:
      level_counts: float32 [N, L], > 0.
      levels: float32 [L], increasing; v in the paper.

    Returns:
      float32 [N].

    Example:
      >>> expected_reward(jnp.float32([[1, 0, 3]]), jnp.float32([0, 1, 2]))
      Array([1.5], dtype=float32)
    """
    total = jnp.sum(level_counts, axis=1)
    return jnp.sum(level_counts * levels[None, :], axis=1) / total


def expected_reward_variance(level_counts: LevelCounts, levels: Levels) -> PerTask:
    """Expected variance of the rewards in a group: what GRPO learns from.

    A / (A + 1) * (sum(levels^2 * pi) - sum(levels * pi)^2)

    where A is the sum of the counts and pi = level_counts / A. For levels 0 and 1 it
    is E[p (1 - p)] of a Beta, alpha beta / ((alpha + beta) (alpha + beta + 1)).

    Args:
      level_counts: float32 [N, L], > 0.
      levels: float32 [L], increasing; v in the paper.

    Returns:
      float32 [N], >= 0.

    Source: derived for this project.

    Example:
      >>> expected_reward_variance(jnp.float32([[1, 1]]), jnp.float32([0, 1]))
      Array([0.16666667], dtype=float32)
    """
    total = jnp.sum(level_counts, axis=1)
    return total / (total + 1) * _spread_of_levels(level_counts, levels)


def mean_variance(level_counts: LevelCounts, levels: Levels) -> PerTask:
    """Variance of the belief about a task's mean reward.

    (sum(levels^2 * pi) - sum(levels * pi)^2) / (A + 1)

    Args:
      level_counts: float32 [N, L], > 0.
      levels: float32 [L], increasing.

    Returns:
      float32 [N], >= 0; of a Beta for levels 0 and 1.

    Example:
      >>> mean_variance(jnp.float32([[1, 1]]), jnp.float32([0, 1]))
      Array([0.08333334], dtype=float32)
    """
    total = jnp.sum(level_counts, axis=1)
    return _spread_of_levels(level_counts, levels) / (total + 1)


def as_beta(level_counts: LevelCounts, levels: Levels) -> tuple[PerTask, PerTask]:
    """Reads the mean reward, rescaled to [0, 1], as a success chance.

    The Beta has the belief's mean and variance. For levels 0 and 1 it is the belief.

    Args:
      level_counts: float32 [N, L], > 0.
      levels: float32 [L], increasing.

    Returns:
      alpha and beta, float32 [N], in [0.01, 1e5].

    Example:
      >>> alpha, beta = as_beta(jnp.float32([[4, 1]]), jnp.float32([-1, 1]))
      >>> round(float(alpha[0]), 4), round(float(beta[0]), 4)
      (1.0, 4.0)
    """
    unit = (levels - levels[0]) / (levels[-1] - levels[0])
    mean = expected_reward(level_counts, unit)
    return beta_of_moments(mean, mean_variance(level_counts, unit))


def _spread_of_levels(level_counts: Array, levels: Array) -> Array:
    """Variance of a level drawn from pi, as squares that cannot cancel."""
    share = level_counts / jnp.sum(level_counts, axis=1, keepdims=True)
    moved = (levels - levels[0])[None, :]  # far from 0, the mean would round
    mean = jnp.sum(share * moved, axis=1, keepdims=True)
    return jnp.sum(share * (moved - mean) ** 2, axis=1)
