"""Dynamic sampling (DAPO): roll out more than is needed, and keep the mixed groups."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, check_common, touched_beta
from bots_jax.types import PerRow, RowMask, TaskIds, TaskSelector


class Kept(NamedTuple):
    """What became of an oversampled batch.

    Attributes:
      rolled_out: bool [M], tasks that had rollouts, all of which are charged.
      trained: bool [M], tasks that are trained on: mixed, and at most B.
      num_charged: int32, tasks rolled out.
      num_kept: int32, tasks trained on.
      num_batches: int32, generations that were needed.
    """

    rolled_out: RowMask
    trained: RowMask
    num_charged: Array
    num_kept: Array
    num_batches: Array


def dynamic_sampling(
    *,
    num_tasks: int,
    batch_size: int,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the selector under dynamic sampling: B distinct tasks, all chances equal.

    Dynamic sampling is not a choice of tasks but of groups, after their rollouts: the
    trainer asks for M = max_batches * B tasks, rolls out one generation of B after the
    other, and stops as soon as B groups are mixed. What it keeps and what it is
    charged tells `keep_mixed`. So give this selector M as its batch_size.

    It differs from `uniform` in what it keeps: a Beta of each task's success rate,
    which its rule does not look at, and the age of its last visit for a cooldown.

    Where this differs from the authors' code: there the generations are the next
    batches of a shuffled epoch; here the tasks of a step are distinct, and those of
    different steps independent.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
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
      >>> selector = dynamic_sampling(num_tasks=100, batch_size=12)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (12,)

    Source: arXiv 2503.14476 (DAPO), dynamic sampling.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    belief = touched_beta(common.num_tasks)
    parts = common.parts("dynamic_sampling", belief, _alike, temperature=1.0)
    return compose(parts)


def _alike(key: Array) -> JudgeFn:
    del key

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        return jnp.zeros(ids.shape, jnp.float32), beta_mean(task.alpha, task.beta)

    return judge


def is_mixed(task_ids: TaskIds, successes: PerRow, failures: PerRow) -> RowMask:
    """Tells which rows hold both right and wrong rollouts; slots of -1 do not.

    Example:
      >>> ids = jnp.int32([4, 2, -1])
      >>> is_mixed(ids, jnp.float32([1, 2, 1]), jnp.float32([1, 0, 1]))
      Array([ True, False, False], dtype=bool)
    """
    return (task_ids >= 0) & (successes > 0) & (failures > 0)


def keep_mixed(filled: RowMask, mixed: RowMask, batch_size: int) -> Kept:
    """Keeps the first B mixed groups of generations of B, and counts what was charged.

    The next generation is rolled out while fewer than B mixed groups are there. Where
    the generations run out, the batch stays short.

    Args:
      filled: bool [M], slots that hold a task.
      mixed: bool [M], tasks whose rollouts are, or would be, mixed.
      batch_size: B, tasks that a full batch trains on, >= 1.

    Returns:
      What is rolled out and what is kept.

    Raises:
      ValueError: for a batch_size that is not an integer >= 1, or masks of different
        shapes.

    Example:
      >>> mixed = jnp.array([True, False, True, True, True, True])
      >>> kept = keep_mixed(jnp.ones(6, bool), mixed, 2)
      >>> kept.trained.astype(int), int(kept.num_charged)
      (Array([1, 0, 1, 0, 0, 0], dtype=int32), 4)

    Source: arXiv 2503.14476; verl's `filter_groups`.
    """
    batch_size = checks.check_count("batch_size", batch_size)
    checks.check_shape("mixed", mixed, (jnp.shape(filled),))
    mixed = mixed & filled
    upto = jnp.cumsum(mixed, dtype=jnp.int32)
    generation = lax.iota(jnp.int32, mixed.shape[0]) // batch_size
    start = generation * batch_size
    before = jnp.where(start > 0, upto[jnp.maximum(start - 1, 0)], 0)
    needed = before < batch_size
    rolled_out = filled & needed
    trained = rolled_out & mixed & (upto <= batch_size)
    count = lambda x: jnp.sum(x, dtype=jnp.int32)  # noqa: E731
    last = jnp.max(jnp.where(needed, generation + 1, 0), initial=0)
    return Kept(rolled_out, trained, count(rolled_out), count(trained), last)
