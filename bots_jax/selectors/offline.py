"""Offline easy-to-hard: a fixed order by difficulty labels, over and over."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.common import fit
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, Own, check_common, own_of, touched_beta
from bots_jax.shard import Shard
from bots_jax.types import IdPerTask, TaskSelector


class OrderState(NamedTuple):
    """Where a fixed order stands.

    Attributes:
      place: int32 [N], each task's place in the order, in [0, N).
      next_place: int32, in [0, N), where the next batch starts.
    """

    place: IdPerTask
    next_place: Array


def offline_easy_to_hard(
    *,
    num_tasks: int,
    batch_size: int,
    difficulty: Any,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the selector that goes through the tasks from easy to hard.

    place = rank of the task by difficulty; the lower id first where they are equal
    batch number t = the B tasks from place t * B on, modulo N

    so that each task comes once per pass, then all again from the easiest. The clock
    counts updates and is held in the state. A task that may not be chosen is passed
    over: the next of the order takes its slot, and comes again in the next batch.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      difficulty: [N], finite, higher is harder, such as 1 - a reference model's pass
        rate.
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
      >>> selector = offline_easy_to_hard(
      ...     num_tasks=4, batch_size=2, difficulty=[0.9, 0.1, 0.5, 0.2])
      >>> selector.select(jax.random.key(0), selector.init())[0]
      Array([1, 3], dtype=int32)

    Source: the offline baseline of arXiv 2510.26374; curriculum learning.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    checks.check_shape("difficulty", difficulty, ((common.num_tasks,),))
    checks.check_in_range("difficulty", difficulty, -1e30, 1e30)
    own = _order(np.asarray(difficulty), common.num_tasks, common.batch_size)
    belief = touched_beta(common.num_tasks, own=own)
    return compose(common.parts("offline_easy_to_hard", belief, _judge_of))


def _order(difficulty: np.ndarray, num_tasks: int, batch_size: int) -> Own:
    def init() -> OrderState:
        place = np.empty(num_tasks, np.int32)
        place[np.argsort(difficulty, kind="stable")] = np.arange(num_tasks)
        return OrderState(jnp.array(place, copy=True), jnp.zeros((), jnp.int32))

    def learn(state: OrderState, rows: Rows, shard: Shard) -> OrderState:
        del rows, shard
        left = np.int32(num_tasks - batch_size)  # no sum that could pass 2^31
        ahead = state.next_place - left
        moved = state.next_place + np.int32(batch_size)
        return state._replace(next_place=jnp.where(ahead >= 0, ahead, moved))

    def fitted(num_tasks: int) -> Own:
        return _order(fit(difficulty, num_tasks), num_tasks, batch_size)

    return Own(init, learn, fitted)


def _judge_of(key: Array) -> JudgeFn:
    del key

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        state, cut = own_of(task)
        scores = order_scores(cut(state.place), state.next_place)
        return scores, beta_mean(task.alpha, task.beta)

    return judge


def order_scores(place: Array, next_place: Array) -> Array:
    """Scores by which places from the next one on come first, then those before it.

    Exact for the 2^22 places from the next one on and for the first 2^24.

    Args:
      place: int32 [P], in [0, N).
      next_place: int32 scalar, in [0, N).

    Returns:
      float32 [P], higher is better.

    Example:
      >>> order_scores(jnp.int32([0, 1, 2, 3]), jnp.int32(2))
      Array([-1. , -2. ,  1. ,  0.5], dtype=float32)
    """
    ahead = (place - next_place).astype(jnp.float32)
    behind = -1 - place.astype(jnp.float32)
    return jnp.where(place >= next_place, 1 / (1 + jnp.maximum(ahead, 0)), behind)
