"""MoPPS: Thompson draws of a few candidates, success rates that fade on a visit."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from bots_jax import checks, counter_bits
from bots_jax.beta import sample_beta
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.gumbel import gumbel_noise
from bots_jax.selection.pool import Candidates
from bots_jax.selection.scores import target_distance_scores
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, check_common, count_candidates, touched_beta
from bots_jax.types import TaskSelector

RULES = ("nearest", "threshold", "uniform")


def mopps(
    *,
    num_tasks: int,
    batch_size: int,
    retention: Any = 1.0,
    candidate_ratio: float | None = 8,
    rule: str = "nearest",
    target_success_prob: Any = 0.5,
    low: Any = 0.3,
    high: Any = 0.7,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the MoPPS selector.

    Of the tasks that were rolled out in a step, and of no others,

      alpha' = retention * alpha + (1 - retention) * prior_alpha + successes
      beta'  = retention * beta  + (1 - retention) * prior_beta  + failures

    Selection: candidate_ratio * B tasks at random, a draw from Beta(alpha, beta) for
    each, and of them

      "nearest"    the B draws with the least (draw - target_success_prob)^2
      "threshold"  B at random of those with low <= draw <= high; where they are fewer,
                   they and the draws nearest that interval
      "uniform"    B at random

    Where this differs from the authors' code (`recipe/ours/mopps.py`):

      - Counts are those of the evidence. There they are success rate * n, and a
        conditional binds the whole sum, so that n = 1 sets alpha = beta = 8.
      - Candidates are drawn anew in each step. There they are the next batch of a
        shuffled epoch, so that a task is a candidate once in each pass.
      - "threshold" with too few draws inside takes ties in random order, not by index.
      - Priors may be given for each task, in place of a file of first counts times 3.
      - With stages (a review share or quotas) all tasks are candidates.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      retention: in [0, 1]; lambda in the paper: 1 there for MATH, 0.5 for Countdown.
      candidate_ratio: candidates per slot, >= 1; None for all tasks. 16 in the paper
        for MATH, else 8.
      rule: "nearest" ("topk" in their code), "threshold" or "uniform".
      target_success_prob: in [0, 1], a scalar or [N]; gamma* in the paper.
      low: lower end of the interval of "threshold", in [0, 1].
      high: upper end, in [low, 1].
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
      >>> selector = mopps(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2507.04632; github.com/thu-rllab/MoPPS.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    checks.check_choice("rule", rule, RULES)
    checks.check_setting("target_success_prob", target_success_prob, num_tasks, 0, 1)
    checks.check_number("low", low, 0, 1)
    checks.check_number("high", high, 0, 1)
    checks.check_number("high", high, low if isinstance(low, (int, float)) else 0, 1)

    def make_judge(key: Array) -> JudgeFn:
        return thompson_judge(key, rule, low, high)

    return compose(
        common.parts(
            "mopps",
            touched_beta(common.num_tasks, retention, prior_alpha, prior_beta),
            make_judge,
            num_candidates=count_candidates(
                candidate_ratio, common.num_tasks, common.batch_size
            ),
            target_success_prob=target_success_prob,
        )
    )


def thompson_judge(key: Array, rule: str, low: Any, high: Any) -> JudgeFn:
    """Makes one of MoPPS's three rules, as scores whose B largest are its choice.

    Args:
      key: consumed.
      rule: one of `RULES`.
      low: lower end of the interval.
      high: upper end.

    Returns:
      The rule.

    Example:
      >>> judge = thompson_judge(jax.random.key(0), "nearest", 0.3, 0.7)
      >>> many = jnp.full(2, 1e5)
      >>> task = Candidates(many, 3 * many, jnp.float32(0.5), many > 0)
      >>> judge(task, jnp.arange(2))[0].round(2)
      Array([-0.25, -0.25], dtype=float32)
    """
    draw_key, noise_key = (counter_bits.shared(k) for k in jax.random.split(key))

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        draws = sample_beta(draw_key(), task.alpha, task.beta, ids)
        if rule == "nearest":
            return target_distance_scores(draws, task.target), draws
        noise = gumbel_noise(noise_key(), ids)
        if rule == "uniform":
            return noise, draws
        below, above = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
        outside = jnp.maximum(below - draws, draws - above)
        # Gumbel noise is above -3: whoever is inside comes before whoever is not.
        return jnp.where(outside > 0, -4 - outside, noise), draws

    return judge
