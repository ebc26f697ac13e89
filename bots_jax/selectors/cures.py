"""CurES: tasks in proportion to exp(sqrt(p(1-p)) / tau), and rollouts to spread."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks
from bots_jax.selection.coverage import Coverage
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, check_common, judge_by, touched_beta
from bots_jax.types import PerRow, PerTask, Setting, TaskSelector


def cures(
    *,
    num_tasks: int,
    batch_size: int,
    temperature: Any = 0.1,
    retention: Any = 1.0,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the CurES selector.

    Of the tasks that were rolled out in a step, and of no others,

      alpha' = retention * alpha + (1 - retention) * prior_alpha + successes
      beta'  = retention * beta  + (1 - retention) * prior_beta  + failures

    Selection: B tasks one after the other without replacement, with chances
    proportional to

      exp(sqrt(m (1 - m)) / temperature),   m = alpha / (alpha + beta)

    How many rollouts each task of a batch gets is told by `rollouts_for`.

    Where this differs from the authors' code (`epic/epic_sampler.py`):

      - One temperature for all. There the root is divided by 100 * alpha of the task,
        which makes the chances all but equal; a setting of 0.1 is read and not used.
      - A task may come again in the next step. There it waits until fewer than B are
        left, then all are back; use a cooldown for the like.
      - Counts are of rollouts, and start at the prior. There they start from cold
        rollouts, and are reset with each of the data's subsets; see retention.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      temperature: > 0; tau in the paper.
      retention: in [0, 1]; 1 keeps all counts, as there within a subset.
      prior_alpha: in [0.01, 1e5], a scalar or [N].
      prior_beta: likewise.
      eligible: bool or bool [N]; False tasks are never chosen.
      coverage: what keeps the pool in play; nothing by default.
      group_ids: integers [N], the group of each task, for quotas; None without.
      num_groups: how many groups; None for one more than the largest id.

    Returns:
      A selector whose state is a `ComposedState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import jax
      >>> selector = cures(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2510.01037; github.com/ZexuSun/CurES.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    checks.check_number("temperature", temperature, 1e-6, 1e6)
    return compose(
        common.parts(
            "cures",
            touched_beta(common.num_tasks, retention, prior_alpha, prior_beta),
            judge_by(reward_deviation),
            temperature=temperature,
        )
    )


def reward_deviation(alpha: PerTask, beta: PerTask, target: Setting) -> PerTask:
    """Scores tasks by a reward's standard deviation at the posterior mean.

    score = sqrt(m (1 - m)),  m = alpha / (alpha + beta)

    Args:
      alpha: float32 [N], > 0.
      beta: float32 [N], > 0.
      target: not used.

    Returns:
      float32 [N] in [0, 1/2], higher is better.

    Example:
      >>> reward_deviation(jnp.ones(1), jnp.ones(1), jnp.float32(0.5))
      Array([0.5], dtype=float32)

    Source: arXiv 2510.01037.
    """
    del target
    total = alpha + beta
    return jnp.sqrt((alpha / total) * (beta / total))


def rollouts_for(
    alpha: PerRow,
    beta: PerRow,
    budget: int,
    *,
    min_rollouts: int = 2,
    max_rollouts: int = 64,
) -> Array:
    """Spreads rollouts over a batch in proportion to the deviation of the rewards.

    rollouts ~ reward_deviation, in whole numbers that add up to the budget

    Each rollout beyond the least goes where sigma / sqrt(n (n + 1)) is highest, which
    makes the sum of sigma^2 / n, the variance of the batch's mean gradient, the least
    that whole numbers can reach. Ties go to the lower row.

    Where this differs from the authors' code: there sigma also holds the norms of the
    gradients of right and wrong answers, from one pass before the training; with equal
    norms it is this.

    Args:
      alpha: float32 [B], > 0, of the batch.
      beta: float32 [B], > 0.
      budget: rollouts of the whole batch, in [B * min_rollouts, B * max_rollouts].
      min_rollouts: of every task, >= 1.
      max_rollouts: of every task, >= min_rollouts.

    Returns:
      int32 [B], adding up to the budget.

    Raises:
      ValueError: for a budget that cannot be met.

    Example:
      >>> rollouts_for(jnp.float32([1, 1]), jnp.float32([1, 99]), 24)
      Array([20,  4], dtype=int32)

    Source: arXiv 2510.01037, sample size allocation.
    """
    size = alpha.shape[0]
    least = checks.check_count("min_rollouts", min_rollouts)
    most = checks.check_count("max_rollouts", max_rollouts, least)
    budget = checks.check_count("budget", budget, size * least, size * most)
    sigma = reward_deviation(alpha, beta, jnp.float32(0))
    number = np.arange(least, most, dtype=np.float64)
    gain = np.sqrt(1 / (number * (number + 1))).astype(np.float32)
    gains = (sigma[:, None] * gain[None, :]).ravel()
    extra = budget - size * least
    _, place = lax.top_k(gains, extra)
    rows = place // np.int32(max(1, most - least))
    counts = jnp.full((size,), least, jnp.int32)
    return counts.at[rows].add(1)
