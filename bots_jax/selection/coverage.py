"""Coverage control: what keeps a greedy rule from training a few tasks for ever.

A batch is filled in stages, from tasks that no stage before took:

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
from bots_jax.selection.completion import Selection, swept
from bots_jax.selection.group_sweep import sweep_groups
from bots_jax.selection.gumbel import gumbel_noise, temper
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.rates import with_groups
from bots_jax.selection.sweep import BlockFn, Chosen, sweep

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


def choose_covered(
    key: Array, pool: Pool, batch_size: int, coverage: Coverage, judge: JudgeFn
) -> Selection:
    """Fills a batch stage by stage; a task that was taken is not taken again.

    Slots that a stage cannot fill go to the last one. The review costs a sweep of all
    tasks, everything else one more, however many groups there are.

    Args:
      key: consumed; for the review.
      pool: the tasks.
      batch_size: B.
      coverage: checked.
      judge: the selector's rule.

    Returns:
      The batch: the review, groups in their order, the rest; the best first in each.

    Example:
      >>> import jax
      >>> ones = jnp.ones(8)
      >>> pool = Pool(8, lambda cut: (cut(ones * 9), cut(ones)), jnp.float32(10),
      ...             jnp.float32(0.5), jnp.array(True))
      >>> judge = lambda task, ids: (ids.astype(jnp.float32), task.alpha)
      >>> coverage = Coverage(review_share=0.3, review_above=0.8)
      >>> chosen = choose_covered(jax.random.key(0), pool, 3, coverage, judge)
      >>> chosen.task_ids.shape, set(chosen.task_ids[1:].tolist()) <= {7, 6, 5}
      ((3,), True)
    """
    taken = _nobody()
    review = int(np.ceil(coverage.review_share * batch_size - 1e-6))
    if review:
        taken = _review(key, pool, review, coverage)
    score = _scores_of(pool, judge, taken.task_ids)
    # Rounding up the review may leave a slot less than the quotas want.
    slots = guaranteed_slots(coverage, batch_size)
    if any(slots):
        grouped, witness = with_groups(pool, score), counter_bits.key_words(key)[0]
        rest = sweep_groups(pool.here, batch_size, slots, grouped, witness)
    else:
        rest = sweep(pool.here, batch_size, score)
    if not review:
        return swept(rest)
    ids, draws = (jnp.concatenate(pair) for pair in zip(taken, rest, strict=True))
    order = jnp.argsort(ids < 0, stable=True)[:batch_size]
    return swept(Chosen(ids[order], draws[order]))


def guaranteed_slots(coverage: Coverage, batch_size: int) -> tuple[int, ...]:
    """Counts the slots that quotas give to each group, rounded down; () for none.

    Example:
      >>> guaranteed_slots(Coverage(quotas=(0.5, 0.3)), 20)
      (10, 6)
    """
    return tuple(int(share * batch_size + 1e-6) for share in coverage.quotas or ())


def _nobody() -> Chosen:
    return Chosen(jnp.zeros((0,), jnp.int32), jnp.zeros((0,), jnp.float32))


def _review(key: Array, pool: Pool, size: int, coverage: Coverage) -> Chosen:
    """Takes tasks that look settled, uniformly."""
    noise_key = counter_bits.shared(key)
    low, high = np.float32(coverage.review_below), np.float32(coverage.review_above)

    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task, ids = pool.block(start, size), pool.here.task_ids(start, size)
        mean = beta_mean(task.alpha, task.beta)
        is_settled = (mean < low) | (mean > high)
        return gumbel_noise(noise_key(), ids), mean, task.eligible & is_settled

    return sweep(pool.here, size, score)


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
    noisy = tempered(key, judge, temperature)
    score = _scores_of(pool, noisy, _nobody().task_ids)
    return swept(sweep(pool.here, batch_size, score))


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


def _scores_of(pool: Pool, judge: JudgeFn, taken: Array) -> BlockFn:
    def score(start: Array, size: int) -> tuple[Array, Array, Array]:
        task, ids = pool.block(start, size), pool.here.task_ids(start, size)
        scores, draws = judge(task, ids)
        allowed = jnp.broadcast_to(task.eligible, ids.shape)
        if taken.shape[0]:
            place = taken - ids[0]
            is_here = (taken >= 0) & (place >= 0) & (place < size)
            place = jnp.where(is_here, place, size)
            allowed = allowed.at[place].set(False, mode="drop")
        return scores, draws, allowed

    return score
