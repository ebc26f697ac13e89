"""Coverage control: what keeps a greedy rule from training a few tasks for ever.

A batch is filled in stages, each by its own rule, from tasks that no stage before took:

    review   tasks that look mastered or hopeless, uniformly: none is abandoned for good
    quotas   for every group its guaranteed slots, by the rule of the selector
    rest     all other slots, by the rule of the selector

A cooldown lets tasks wait after they were rolled out. A temperature, the fourth means,
belongs to the rule itself.

Source: why it is needed, arXiv 2605.26606 (a fifth of the solved prompts are unsolved
an epoch later) and arXiv 2606.03087 (a review queue of 1 to 2 %).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks, counter_bits
from bots_jax.beta import beta_mean
from bots_jax.selection.completion import SWEPT, Selection
from bots_jax.selection.gumbel import gumbel_noise, temper
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.sweep import sweep

JudgeFn = Callable[[Candidates, Array], tuple[Array, Array]]
"""(candidates, task_ids) -> scores [P], and the success chances [P] behind them."""


class Coverage(NamedTuple):
    """How much of a pool is kept in play; nothing by default.

    Attributes:
      cooldown: steps in which a task that was rolled out is not chosen again.
      review_share: share of the batch, in [0, 1), for tasks that look settled.
      review_below: posterior mean below which a task looks hopeless.
      review_above: posterior mean above which it looks mastered.
      quotas: share of the batch that each group gets at least, [num_groups], summing
        to at most 1; None for no quotas.
    """

    cooldown: int = 0
    review_share: float = 0.0
    review_below: float = 0.1
    review_above: float = 0.9
    quotas: tuple[float, ...] | None = None


class Stage(NamedTuple):
    """Some slots of a batch.

    Attributes:
      size: how many slots, >= 1.
      judge: by what they are filled.
      allowed: candidates -> bool [P], who may fill them; None for all eligible.
    """

    size: int
    judge: JudgeFn
    allowed: Callable[[Candidates], Array] | None = None


def check_coverage(
    coverage: Any, num_tasks: int, batch_size: int, num_groups: int
) -> None:
    """Checks a coverage control, and that it leaves a batch to choose.

    Args:
      coverage: what the user gave.
      num_tasks: N.
      batch_size: B.
      num_groups: 0 without groups.

    Raises:
      ValueError: naming what cannot be met.

    Example:
      >>> check_coverage(Coverage(cooldown=10), num_tasks=100, batch_size=10,
      ...                num_groups=0)
      Traceback (most recent call last):
      ValueError: cooldown must leave a batch: 10 steps of 10 tasks need 110 tasks,
      got num_tasks = 100.
    """
    if not isinstance(coverage, Coverage):
        raise ValueError(f"coverage must be a Coverage, got {coverage!r:.60}.")
    cooldown = checks.check_count("cooldown", coverage.cooldown, minimum=0)
    needed = (cooldown + 1) * batch_size
    if cooldown and needed > num_tasks:
        raise ValueError(
            f"cooldown must leave a batch: {cooldown} steps of {batch_size} tasks "
            f"need {needed} tasks, got num_tasks = {num_tasks}."
        )
    checks.check_number("review_share", coverage.review_share, 0, 0.99)
    checks.check_number("review_below", coverage.review_below, 0, 1)
    checks.check_number("review_above", coverage.review_above, 0, 1)
    if coverage.quotas is None:
        return
    if not num_groups:
        raise ValueError("quotas need groups, got none.")
    checks.check_shape("quotas", coverage.quotas, ((num_groups,),))
    checks.check_in_range("quotas", np.asarray(coverage.quotas, float), 0, 1)
    total = float(np.sum(coverage.quotas)) + coverage.review_share
    if total > 1 + 1e-6:
        raise ValueError(
            f"quotas and review_share must sum to at most 1, got {total:g}."
        )


def rested(coverage: Coverage) -> Callable[[Any], Array] | None:
    """Says who has waited long enough; None where nobody has to.

    Example:
      >>> rested(Coverage()) is None
      True
    """
    if not coverage.cooldown:
        return None
    cooldown = np.int32(coverage.cooldown)
    return lambda facts: (facts.age >= cooldown) | facts.never


def needs_stages(coverage: Coverage) -> bool:
    """Tells whether a batch is filled in more than one stage.

    Example:
      >>> needs_stages(Coverage(cooldown=3)), needs_stages(Coverage(review_share=0.1))
      (False, True)
    """
    return coverage.review_share > 0 or coverage.quotas is not None


def make_stages(
    key: Array, coverage: Coverage, batch_size: int, judge: JudgeFn
) -> tuple[Stage, ...]:
    """Lays out the stages of a batch.

    Args:
      key: consumed; for the review.
      coverage: checked.
      batch_size: B.
      judge: the selector's rule.

    Returns:
      Stages, of which the last may fill the whole batch.

    Example:
      >>> import jax
      >>> coverage = Coverage(review_share=0.1, quotas=(0.5, 0.3))
      >>> stages = make_stages(jax.random.key(0), coverage, 20, lambda task, ids: ids)
      >>> [stage.size for stage in stages]
      [2, 10, 6, 20]
    """
    stages = []
    noise_key = counter_bits.shared(key)

    def by_chance(task: Candidates, ids: Array) -> tuple[Array, Array]:
        return gumbel_noise(noise_key(), ids), beta_mean(task.alpha, task.beta)

    def is_settled(task: Candidates) -> Array:
        mean = beta_mean(task.alpha, task.beta)
        low, high = np.float32(coverage.review_below), np.float32(coverage.review_above)
        return (mean < low) | (mean > high)

    review = int(np.ceil(coverage.review_share * batch_size - 1e-6))
    if review:
        stages.append(Stage(review, by_chance, is_settled))
    for group, share in enumerate(coverage.quotas or ()):
        size = int(share * batch_size + 1e-6)
        if size:
            stages.append(Stage(size, judge, _in_group(group)))
    return (*stages, Stage(batch_size, judge))


def _in_group(group: int) -> Callable[[Candidates], Array]:
    def allowed(task: Candidates) -> Array:
        assert task.facts is not None
        return task.facts.group_ids == np.int32(group)

    return allowed


def choose_in_stages(
    pool: Pool, batch_size: int, stages: tuple[Stage, ...]
) -> Selection:
    """Fills a batch stage by stage; a task that was taken is not taken again.

    Slots that a stage cannot fill go to the last one. If the stages before it hold
    more than a batch together, the last ones of them are cut.

    Args:
      pool: the tasks.
      batch_size: B.
      stages: the last one with a size of B and no restriction.

    Returns:
      The batch, in the order of the stages, the best first within each.

    Example:
      >>> ones = jnp.ones(8)
      >>> pool = Pool(8, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> judge = lambda task, ids: (ids.astype(jnp.float32), task.alpha)
      >>> odd = Stage(1, lambda task, ids: (-ids.astype(jnp.float32), task.alpha))
      >>> choose_in_stages(pool, 3, (odd, Stage(3, judge))).task_ids
      Array([0, 7, 6], dtype=int32)
    """
    taken = jnp.zeros((0,), jnp.int32)
    draws = jnp.zeros((0,), jnp.float32)
    for stage in stages:
        chosen = sweep(pool.here, stage.size, _scores_of(pool, stage, taken))
        taken = jnp.concatenate([taken, chosen.task_ids])
        draws = jnp.concatenate([draws, chosen.draws])
    order = jnp.argsort(taken < 0, stable=True)[:batch_size]
    return Selection(taken[order], draws[order], jnp.int32(SWEPT), jnp.int32(0))


def sweep_judged(
    key: Array, pool: Pool, batch_size: int, judge: JudgeFn, temperature: Any
) -> Selection:
    """Takes the B highest of score + temperature * Gumbel noise, over all tasks.

    Args:
      key: consumed.
      pool: the tasks.
      batch_size: B.
      judge: scores tasks.
      temperature: >= 0.

    Returns:
      The batch.

    Example:
      >>> ones = jnp.ones(8)
      >>> pool = Pool(8, lambda cut: (cut(ones), cut(ones)), jnp.float32(2),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> judge = lambda task, ids: (ids.astype(jnp.float32), task.alpha)
      >>> import jax
      >>> sweep_judged(jax.random.key(0), pool, 2, judge, 0.0).task_ids
      Array([7, 6], dtype=int32)
    """
    stage = Stage(batch_size, tempered(key, judge, temperature))
    return choose_in_stages(pool, batch_size, (stage,))


def tempered(key: Array, judge: JudgeFn, temperature: Any) -> JudgeFn:
    """Adds temperature * Gumbel noise, keyed by task, to what a rule says.

    Example:
      >>> import jax
      >>> task = Candidates(jnp.ones(2), jnp.ones(2), jnp.ones(2), jnp.ones(2) > 0)
      >>> judge = lambda task, ids: (ids.astype(jnp.float32), task.alpha)
      >>> tempered(jax.random.key(0), judge, 0.0)(task, jnp.arange(2))[0]
      Array([0., 1.], dtype=float32)
    """
    noise_key = counter_bits.shared(key)

    def noisy(task: Candidates, ids: Array) -> tuple[Array, Array]:
        scores, draws = judge(task, ids)
        return temper(noise_key(), scores, temperature, ids), draws

    return noisy


def _scores_of(
    pool: Pool, stage: Stage, taken: Array
) -> Callable[[Array, int], tuple[Array, Array, Array]]:
    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task, ids = pool.block(start, size), pool.here.task_ids(start, size)
        scores, draws = stage.judge(task, ids)
        allowed = jnp.broadcast_to(task.eligible, ids.shape)
        if stage.allowed is not None:
            allowed = allowed & stage.allowed(task)
        if taken.shape[0]:
            place = taken - ids[0]
            is_here = (taken >= 0) & (place >= 0) & (place < size)
            place = jnp.where(is_here, place, size)
            allowed = allowed.at[place].set(False, mode="drop")
        return scores, draws, allowed

    return score
