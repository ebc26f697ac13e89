"""MaPP: tasks in proportion to the chance that their rollouts will differ."""

from typing import Any

from bots_jax.selection.coverage import Coverage
from bots_jax.selection.values import log_of, mixed_group_prob
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import (
    FREE,
    check_common,
    count_candidates,
    judge_by,
    touched_beta,
)
from bots_jax.types import TaskSelector


def mapp(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: int = 16,
    retention: Any = 0.5,
    candidate_ratio: float | None = None,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the MaPP selector.

    Of the tasks that were rolled out in a step, and of no others,

      alpha' = retention * alpha + (1 - retention) * prior_alpha + successes
      beta'  = retention * beta  + (1 - retention) * prior_beta  + failures

    Selection: B tasks one after the other without replacement, with chances
    proportional to

      1 - B(alpha + G, beta) / B(alpha, beta) - B(alpha, beta + G) / B(alpha, beta)

    the chance that G rollouts are neither all right nor all wrong. Unlike a greedy
    rule it leaves no task without a chance.

    Where this differs from the authors' work, of which we know no public code: that
    their discount acts on the visited tasks, as in MoPPS, is our reading; their
    advantages, replaced by an expectation under the posterior, are the trainer's
    business and not here.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: G, in [2, 4096].
      retention: in [0, 1]; 0.5 was best in the paper.
      candidate_ratio: candidates per slot, >= 1; None for all tasks. With stages (a
        review share or quotas) all are.
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
      >>> selector = mapp(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2609.34990.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    return compose(
        common.parts(
            "mapp",
            touched_beta(common.num_tasks, retention, prior_alpha, prior_beta),
            judge_by(log_of(mixed_group_prob(group_size))),
            temperature=1.0,
            num_candidates=count_candidates(
                candidate_ratio, common.num_tasks, common.batch_size
            ),
        )
    )
