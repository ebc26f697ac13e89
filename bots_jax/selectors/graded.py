"""Graded rewards: a Dirichlet over declared levels, and the tasks whose rewards vary.

belief   Dirichlet-multinomial per task (`posterior/graded.py`)
rule     log of the expected reward variance, with Gumbel noise, rest after a visit
cost     O(N levels) per step
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.evidence.collect import LevelRows, collect_level_rows
from bots_jax.evidence.rewards import LevelEvidence, as_levels, check_levels
from bots_jax.posterior.explicit import lost_per_step
from bots_jax.posterior.graded import (
    GradedPosterior,
    as_beta,
    expected_reward_variance,
    init_graded,
    update_graded,
)
from bots_jax.selection.coverage import Coverage
from bots_jax.selectors.common import fit
from bots_jax.selectors.rewarded import (
    TEMPERATURE,
    Family,
    check_rewarded,
    plain_evidence,
    reward_selector,
)
from bots_jax.shard import Cut, Shard
from bots_jax.types import TaskSelector


def graded(
    *,
    num_tasks: int,
    batch_size: int,
    levels: Any,
    forgetting: Any = 0.1,
    clock: str = "step",
    prior_level_counts: Any = 1.0,
    temperature: Any = TEMPERATURE,
    coverage: Coverage | None = None,
    eligible: Any = True,
    group_ids: Any = None,
) -> TaskSelector:
    """Makes a selector for rewards of a few declared levels.

    level_counts' = (1 - forgetting) * level_counts + forgetting * prior + counts

    Selection: the B highest of log(score) + temperature * Gumbel noise, where

      score = A / (A + 1) * (sum(levels^2 * pi) - sum(levels * pi)^2)

    is the expected variance of the rewards in a group; A is the sum of a task's counts
    and pi = level_counts / A. At temperature 1 chances are proportional to the score,
    at T to score^(1 / T). A task whose rewards are all of one middle level is not
    wanted, though its mean is that of an undecided one.

    `update` takes `LevelEvidence`, as `level_evidence_from_rewards` makes it, or
    `Evidence`, whose successes are read as rewards of the highest level and failures
    as rewards of the lowest. `TaskSampler` has only the latter: a middle level
    becomes a fraction of a success, and its variance is overestimated.

    `info.update` gives mean rewards, rescaled to [0, 1], as success rates, and counts
    groups whose rewards differ as effective. `posterior` gives the Beta of the same
    mean and variance of a rescaled mean reward; for two levels it is the belief.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      levels: real [L], L >= 2, increasing: the rewards there are; v in the paper.
      forgetting: in [0, 1]; lambda in the paper.
      clock: when evidence fades: "step", in every step; "touch", when its task is
        rolled out again.
      prior_level_counts: in [0.01, 1e5]; one number, one per level [L], or [N, L].
      temperature: of Gumbel noise on the log scores, in [0, 1e6].
      coverage: what keeps the whole pool in play; by default a task rests for a
        quarter of an epoch after it was rolled out.
      eligible: bool or bool [N]; False tasks are never chosen.
      group_ids: integers [N] >= 0, the group of each task, for quotas; None without.

    Returns:
      A selector whose state is a `ComposedState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import bots_jax
      >>> levels = (0.0, 0.5, 1.0)
      >>> selector = graded(num_tasks=100, batch_size=2, levels=levels)
      >>> rewards = np.array([[0, 1, 1, 0], [0.5, 0.5, 0.5, 0.5]])
      >>> evidence = bots_jax.level_evidence_from_rewards([7, 2], rewards, levels)
      >>> state, info = selector.update(selector.init(), evidence)
      >>> float(info.success_rate), float(info.effective_task_ratio)
      (0.5, 0.5)

    Source: arXiv 2609.34990 (MaPP), appendix F, for the belief; the score is derived
    for this project.
    """
    common = check_rewarded(
        num_tasks,
        batch_size,
        forgetting,
        clock,
        temperature,
        eligible,
        coverage,
        group_ids,
    )
    check_levels(levels)
    unit = unit_levels(levels)
    family = graded_family(
        common.num_tasks, unit, forgetting, clock, prior_level_counts
    )
    jax.eval_shape(family.init)  # refuses priors it cannot start from
    return reward_selector("graded", common, family, temperature)


def graded_family(
    num_tasks: int,
    levels: Any,
    forgetting: Any,
    clock: str = "step",
    prior_level_counts: Any = 1.0,
) -> Family:
    """Lays out the Dirichlet-multinomial family.

    Args:
      num_tasks: N.
      levels: float32 [L], increasing from 0 to 1, as `unit_levels` makes them.
      forgetting: in [0, 1].
      clock: "step" or "touch".
      prior_level_counts: a number, [L] or [N, L].

    Returns:
      The family; its posterior is a `GradedPosterior`.

    Example:
      >>> family = graded_family(2, unit_levels((0, 1, 3)), 0.1)
      >>> family.variance(family.init(), lambda x: x).round(4)  # 3 / 4 * 14 / 9 / 3^2
      Array([0.1296, 0.1296], dtype=float32)
    """
    num_levels = len(levels)

    def values() -> Array:
        return jnp.asarray(levels, jnp.float32)

    def update(posterior: Any, rows: LevelRows, shard: Shard) -> GradedPosterior:
        lost = jnp.asarray(forgetting, jnp.float32)
        return update_graded(posterior, rows, lost, shard, on_touch=clock == "touch")

    def variance(posterior: GradedPosterior, cut: Cut) -> Array:
        return expected_reward_variance(cut(posterior.level_counts), values())

    def posterior_as_beta(posterior: GradedPosterior, cut: Cut) -> tuple[Array, Array]:
        return as_beta(cut(posterior.level_counts), values())

    def fitted(num_tasks: int) -> Family:
        prior = prior_level_counts
        prior = fit(prior, num_tasks) if np.ndim(prior) == 2 else prior
        return graded_family(num_tasks, levels, forgetting, clock, prior)

    return Family(
        init=lambda: init_graded(num_tasks, num_levels, prior_level_counts),
        update=update,
        variance=variance,
        as_beta=posterior_as_beta,
        collect=lambda evidence, num_tasks: _collect(evidence, num_tasks, num_levels),
        rates=lambda rows: level_rates(rows, levels),
        fit=fitted,
        forgetting=lost_per_step(forgetting, clock),
    )


def level_rates(rows: LevelRows, levels: Any) -> tuple[Array, Array]:
    """Reads mean rewards, rescaled to [0, 1], and which groups' rewards differ.

    Args:
      rows: one row per task.
      levels: float32 [L], increasing from 0 to 1.

    Returns:
      float32 [B], 0 in rows that hold nothing, and bool [B].

    Example:
      >>> counts = jnp.float32([[1, 0, 1], [0, 4, 0]])
      >>> rows = collect_level_rows(LevelEvidence(jnp.int32([0, 1]), counts), 2)
      >>> level_rates(rows, np.float32([0, 0.5, 1]))
      (Array([0.5, 0.5], dtype=float32), Array([ True, False], dtype=bool))
    """
    rollouts = jnp.where(rows.valid, jnp.sum(rows.counts, axis=1), 1)
    values = jnp.asarray(levels, jnp.float32)
    rate = jnp.sum(rows.counts * values[None, :], axis=1) / rollouts
    return rate, jnp.sum(rows.counts > 0, axis=1, dtype=jnp.int32) > 1


def unit_levels(levels: Any) -> Any:
    """Rescales levels to [0, 1]; on the host if they are concrete.

    A program that did it might round otherwise on a mesh than on one device.

    Args:
      levels: real [L], increasing.

    Returns:
      float32 [L], the first 0 and the last 1.

    Example:
      >>> unit_levels((-1, 0, 3))
      array([0.  , 0.25, 1.  ], dtype=float32)
    """
    if checks.is_traced(levels):
        values = jnp.asarray(levels, jnp.float32)
        return (values - values[0]) / (values[-1] - values[0])
    values = np.asarray(levels, np.float64)
    return ((values - values[0]) / (values[-1] - values[0])).astype(np.float32)


def _collect(evidence: Any, num_tasks: int, num_levels: int) -> LevelRows:
    if not isinstance(evidence, LevelEvidence):
        plain = plain_evidence(evidence, LevelEvidence, num_tasks)
        evidence = as_levels(plain, num_levels)
    return collect_level_rows(evidence, num_tasks)
