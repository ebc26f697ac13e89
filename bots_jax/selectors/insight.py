"""INSIGHT: the tasks whose rollouts tell most, weighted by their posterior mean."""

from typing import Any

from bots_jax.selection.coverage import Coverage
from bots_jax.selection.values import information_gain
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import (
    FREE,
    check_common,
    count_candidates,
    judge_by,
    touched_beta,
)
from bots_jax.types import TaskSelector


def insight(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: int = 16,
    retention: Any = 1.0,
    candidate_ratio: float | None = 8,
    center: Any = 0.3,
    sharpness: Any = 1.0,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the INSIGHT selector.

    Of the tasks that were rolled out in a step, and of no others,

      alpha' = retention * alpha + (1 - retention) * prior_alpha + successes
      beta'  = retention * beta  + (1 - retention) * prior_beta  + failures

    Selection: of candidate_ratio * B tasks at random, the B with the highest

      m (1 - m) exp(-sharpness (m - center)^2) I,   m = alpha / (alpha + beta)

    where I is the mutual information of G rollouts and the success chance; see
    `selection.values.information_gain`. Means are used, not draws.

    Where this differs from the authors' work, of which we know no public code: the
    belief and the candidates are MoPPS's, with which they compare; their sharpness
    (eta) is not known to us, and 1 is a mild one.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: G, in [1, 4096]; K in the paper. A score costs O(G).
      retention: in [0, 1].
      candidate_ratio: candidates per slot, >= 1; None for all tasks, which a rule
        without noise then narrows down to few: watch the coverage. With stages (a
        review share or quotas) all are candidates.
      center: favoured mean, in [0, 1]; mu in the paper, 0.3 there.
      sharpness: in [0, 1e4]; eta in the paper.
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
      >>> selector = insight(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2603.01907.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    return compose(
        common.parts(
            "insight",
            touched_beta(common.num_tasks, retention, prior_alpha, prior_beta),
            judge_by(information_gain(group_size, center, sharpness)),
            num_candidates=count_candidates(
                candidate_ratio, common.num_tasks, common.batch_size
            ),
        )
    )
