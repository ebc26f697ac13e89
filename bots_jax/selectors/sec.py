"""SEC: categories as arms of a bandit whose reward is the size of the advantages."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float32

from bots_jax import checks, counter_bits
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.selection.completion import SWEPT, Selection
from bots_jax.selection.coverage import Coverage, JudgeFn, needs_stages
from bots_jax.selection.gumbel import gumbel_noise
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.sweep import Chosen, sweep
from bots_jax.selectors.common import fit
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, Own, check_common, own_of, touched_beta
from bots_jax.shard import Shard
from bots_jax.types import IdPerTask, Scalar, TaskSelector

MAX_GROUPS = 4096


class CategoryState(NamedTuple):
    """What SEC keeps of C categories.

    Attributes:
      group_ids: int32 [N], in [0, C), the category of each task.
      group_sizes: float32 [C], tasks of each, eligible or not.
      category_values: float32 [C], expected |advantage|; Q in the paper.
    """

    group_ids: IdPerTask
    group_sizes: Float32[Array, " num_groups"]
    category_values: Float32[Array, " num_groups"]


def sec(
    *,
    num_tasks: int,
    batch_size: int,
    group_ids: Any,
    num_groups: int | None = None,
    learning_rate: Any = 0.5,
    temperature: Any = 1.0,
    normalized: bool = True,
    initial_value: Any = 0.0,
    eligible: Any = True,
    coverage: Coverage = FREE,
) -> TaskSelector:
    """Makes the SEC selector.

    select  for each slot a category, with chances proportional to
              exp(category_value / temperature), then one of its tasks, with equal
              chances, without replacement
    update  of the categories of the evidence, and of no others,
              category_value' = (1 - learning_rate) * category_value
                                + learning_rate * r

    with r the mean, over the category's tasks in the step, of a group's mean
    |advantage|, which for success rate m is

      2 sqrt(m (1 - m))   where advantages are divided by the group's standard
                          deviation, as in GRPO and as in the paper
      2 m (1 - m)         where they are not (normalized=False)

    A category of which no task is left is passed over. Each category costs a sweep of
    the pool per step.

    Where this differs from the authors' work, of which we know no public code: a task
    comes at most once in a batch; the values that they set for learning rate and
    temperature vary between their experiments. With stages (a review share or quotas)
    slots are filled task by task, by Gumbel noise on the log of
    exp(category_value / temperature) / tasks of the category, eligible or not, so that
    a category becomes less likely as its tasks are taken.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_ids: integers [N], in [0, num_groups), the category of each task: a
        subject, or a level of difficulty.
      num_groups: C, at most 4096; None for one more than the largest id.
      learning_rate: in [0, 1]; alpha in the paper.
      temperature: > 0; tau in the paper.
      normalized: how the trainer makes advantages, as above.
      initial_value: in [0, 1], of every category; higher values make all be tried.
      eligible: bool or bool [N]; False tasks are never chosen.
      coverage: what keeps the pool in play; nothing by default.

    Returns:
      A selector whose state is a `ComposedState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import jax
      >>> selector = sec(num_tasks=4, batch_size=2, group_ids=[0, 0, 1, 1])
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (2,)

    Source: arXiv 2505.14970.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    if common.group_ids is None:
        raise ValueError("group_ids must be given, got None.")
    checks.check_count("num_groups", common.num_groups, 1, MAX_GROUPS)
    checks.check_number("learning_rate", learning_rate, 0, 1)
    checks.check_number("temperature", temperature, 1e-3, 1e6)
    checks.check_number("initial_value", initial_value, 0, 1)
    if not isinstance(normalized, bool):
        raise ValueError(f"normalized must be True or False, got {normalized!r:.60}.")
    settings = _Settings(common.num_groups, learning_rate, normalized, initial_value)
    belief = touched_beta(common.num_tasks, own=_categories(common.group_ids, settings))

    def race(key: Array, pool: Pool) -> Selection:
        return choose_by_category(key, pool, common.batch_size, temperature)

    def make_judge(key: Array) -> JudgeFn:
        del key
        return _task_by_task(temperature)

    # Stages fill slots task by task, as said above.
    found = None if needs_stages(common.coverage) else race
    return compose(common.parts("sec", belief, make_judge, temperature=1.0, race=found))


class _Settings(NamedTuple):
    num_groups: int
    learning_rate: Any
    normalized: bool
    initial_value: Any


def _categories(group_ids: np.ndarray, settings: _Settings) -> Own:
    def init() -> CategoryState:
        sizes = np.bincount(group_ids, minlength=settings.num_groups)
        value = jnp.asarray(settings.initial_value, jnp.float32)
        return CategoryState(
            group_ids=jnp.array(group_ids, jnp.int32, copy=True),
            group_sizes=jnp.array(sizes, jnp.float32, copy=True),
            category_values=jnp.full((settings.num_groups,), value),
        )

    def learn(state: CategoryState, rows: Rows, shard: Shard) -> CategoryState:
        if not rows.task_ids.size:
            return state
        groups = shard.at(rows.task_ids, "clip")(state.group_ids)
        trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
        size = abs_advantage(rows.successes / trials, settings.normalized)
        place = jnp.where(rows.valid, groups, settings.num_groups)

        def add(x: Array) -> Array:
            none = jnp.zeros_like(state.category_values)
            return none.at[place].add(x, mode="drop")

        number, total = add(rows.valid.astype(jnp.float32)), add(size)
        rate = jnp.asarray(settings.learning_rate, jnp.float32)
        value = state.category_values
        moved = (1 - rate) * value + rate * total / jnp.maximum(number, 1)
        return state._replace(category_values=jnp.where(number > 0, moved, value))

    def fitted(num_tasks: int) -> Own:
        return _categories(fit(group_ids, num_tasks), settings)

    return Own(init, learn, fitted)


def abs_advantage(success_rate: Array, normalized: bool = True) -> Array:
    """Tells the mean |advantage| of a group of 0/1 rewards.

    Args:
      success_rate: float32, in [0, 1], of the group.
      normalized: whether advantages are divided by the group's standard deviation.

    Returns:
      float32 of the same shape: 2 sqrt(m (1 - m)) in [0, 1], or 2 m (1 - m).

    Example:
      >>> abs_advantage(jnp.float32([0.5, 0.1])).round(3)
      Array([1. , 0.6], dtype=float32)
    """
    variance = success_rate * (1 - success_rate)
    return 2 * (jnp.sqrt(variance) if normalized else variance)


def _task_by_task(temperature: Scalar) -> JudgeFn:
    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        state, cut = own_of(task)
        tau = jnp.asarray(temperature, jnp.float32)
        log_chance = state.category_values / tau - jnp.log(state.group_sizes)
        return log_chance[cut(state.group_ids)], beta_mean(task.alpha, task.beta)

    return judge


def choose_by_category(
    key: Array, pool: Pool, batch_size: int, temperature: Scalar
) -> Selection:
    """Draws a category for each slot, then one of its tasks that is not taken.

    Every category's tasks are put in a random order of their own, of which only the
    first B matter, and each slot takes the next of its category.

    Args:
      key: consumed.
      pool: the tasks, whose facts hold a `CategoryState` beside the beliefs.
      batch_size: B.
      temperature: > 0.

    Returns:
      The batch, in the order of the slots.

    Example:
      >>> import jax
      >>> selector = sec(num_tasks=4, batch_size=3, group_ids=[0, 0, 0, 1])
      >>> sorted(selector.select(jax.random.key(0), selector.init())[0].tolist())[:2]
      [0, 1]
    """
    order_key, slot_key = jax.random.split(key)
    order_key = counter_bits.shared(order_key)
    assert pool.facts is not None
    state: CategoryState = pool.facts(lambda x: x).belief.own
    num_groups = state.category_values.shape[0]

    def first_of(group: Array) -> Chosen:
        def score(start: Array, size: int) -> tuple[Array, Array, Array]:
            task, ids = pool.block(start, size), pool.here.task_ids(start, size)
            own, cut = own_of(task)
            wanted = task.eligible & (cut(own.group_ids) == group)
            mean = beta_mean(task.alpha, task.beta)
            return gumbel_noise(order_key(), ids), mean, wanted

        return sweep(pool.here, batch_size, score)

    ordered = lax.map(first_of, lax.iota(jnp.int32, num_groups))
    available = jnp.sum(ordered.task_ids >= 0, axis=1, dtype=jnp.int32)
    tau = jnp.asarray(temperature, jnp.float32)
    noise = jax.random.gumbel(slot_key, (batch_size, num_groups), jnp.float32)
    wanted = (state.category_values / tau)[None, :] + noise

    def fill(taken: Array, wanted: Array) -> tuple[Array, tuple[Array, Array]]:
        is_left = taken < available
        group = jnp.argmax(jnp.where(is_left, wanted, -jnp.inf))
        place = jnp.minimum(taken[group], np.int32(batch_size - 1))
        found = is_left[group]
        task_id = jnp.where(found, ordered.task_ids[group, place], -1)
        taken = taken.at[group].add(found.astype(jnp.int32))
        return taken, (task_id, ordered.draws[group, place])

    _, (task_ids, draws) = lax.scan(fill, jnp.zeros_like(available), wanted)
    return Selection(task_ids, draws, jnp.int32(SWEPT), jnp.int32(0))
