"""AdaRFT: the tasks whose difficulty label is nearest a target that follows reward."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.posterior.recurrence import own_setting
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.common import fit
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, Own, check_common, own_of, touched_beta
from bots_jax.shard import Shard
from bots_jax.types import PerTask, Scalar, TaskSelector

_WIDEST = 1e6


class CurriculumState(NamedTuple):
    """What AdaRFT keeps.

    Attributes:
      difficulty: float32 [N], the labels.
      target_difficulty: float32, T in the paper.
    """

    difficulty: PerTask
    target_difficulty: Array


def adarft(
    *,
    num_tasks: int,
    batch_size: int,
    difficulty: Any,
    min_difficulty: float = 0.0,
    max_difficulty: float = 1.0,
    initial_difficulty: Any = None,
    step_size: Any = 0.5,
    sensitivity: Any = 2.0,
    wanted_reward: Any = 0.5,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the AdaRFT selector.

    select  the B tasks with the least |difficulty - target_difficulty|
    update  target_difficulty' = clip(target_difficulty + change, min_difficulty,
              max_difficulty)
            change = step_size * range * tanh(sensitivity * (reward - wanted_reward))

    with range = max_difficulty - min_difficulty, and reward the mean over all rollouts
    of a step. A step without evidence changes nothing.

    Where this differs from the authors' code (`custom_sampler.py`, `ray_trainer.py`):
    their step_size holds the range, 50 for labels in [0, 100]; equal distances go to
    the lower id, there to whatever the sort gives. Nothing else: a task may come again
    in the next step there as well, and does while the target stays. A cooldown helps.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      difficulty: [N], in [min_difficulty, max_difficulty], higher is harder.
      min_difficulty: d_min in the paper.
      max_difficulty: d_max in the paper, > min_difficulty; at most 1e6 in size.
      initial_difficulty: in the same range; None for the easiest, as there.
      step_size: in [0, 10], share of the range; eta in the paper, 50 of 100 there.
      sensitivity: in [0, 1e3]; alpha in the paper.
      wanted_reward: in [0, 1]; beta in the paper.
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
      >>> selector = adarft(
      ...     num_tasks=4, batch_size=2, difficulty=[0.9, 0.1, 0.5, 0.2])
      >>> selector.select(jax.random.key(0), selector.init())[0]
      Array([1, 3], dtype=int32)

    Source: arXiv 2504.05520; github.com/uscnlp-lime/verl.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    checks.check_number("min_difficulty", min_difficulty, -_WIDEST, _WIDEST)
    checks.check_number("max_difficulty", max_difficulty, -_WIDEST, _WIDEST)
    low, high = float(min_difficulty), float(max_difficulty)
    if not low < high:
        raise ValueError(
            f"max_difficulty must be above min_difficulty = {low:g}, got {high:g}."
        )
    start = low if initial_difficulty is None else initial_difficulty
    checks.check_shape("difficulty", difficulty, ((common.num_tasks,),))
    checks.check_in_range("difficulty", difficulty, low, high)
    checks.check_number("initial_difficulty", start, low, high)
    checks.check_number("step_size", step_size, 0, 10)
    checks.check_number("sensitivity", sensitivity, 0, 1e3)
    checks.check_number("wanted_reward", wanted_reward, 0, 1)

    def moved(target: Array, reward: Array) -> Array:
        return next_difficulty(
            target, reward, step_size, sensitivity, wanted_reward, low, high
        )

    def learn(state: CurriculumState, rows: Rows, shard: Shard) -> CurriculumState:
        del shard
        trials = jnp.sum(rows.successes + rows.failures)
        reward = jnp.sum(rows.successes) / jnp.where(trials > 0, trials, 1)
        target = moved(state.target_difficulty, reward)
        return state._replace(
            target_difficulty=jnp.where(trials > 0, target, state.target_difficulty)
        )

    def own(difficulty: Any) -> Own:
        return Own(
            init=lambda: CurriculumState(own_setting(difficulty), own_setting(start)),
            learn=learn,
            fit=lambda num_tasks: own(fit(difficulty, num_tasks)),
        )

    belief = touched_beta(common.num_tasks, own=own(np.asarray(difficulty)))
    return compose(common.parts("adarft", belief, _judge_of))


def next_difficulty(
    target_difficulty: Scalar,
    reward: Scalar,
    step_size: Scalar,
    sensitivity: Scalar,
    wanted_reward: Scalar,
    min_difficulty: float,
    max_difficulty: float,
) -> Array:
    """Moves the target by how far the reward is from the wanted one.

    Args:
      target_difficulty: in [min_difficulty, max_difficulty].
      reward: in [0, 1], mean of a step.
      step_size: share of the range.
      sensitivity: alpha in the paper.
      wanted_reward: beta in the paper.
      min_difficulty: d_min.
      max_difficulty: d_max.

    Returns:
      float32 scalar in [min_difficulty, max_difficulty].

    Example:
      >>> next_difficulty(jnp.float32(30), 1.0, 0.5, 2.0, 0.5, 0.0, 100.0).round(1)
      Array(68.1, dtype=float32)

    Source: arXiv 2504.05520, the update of the target.
    """
    reward, wanted = (jnp.asarray(x, jnp.float32) for x in (reward, wanted_reward))
    step = jnp.asarray(step_size, jnp.float32)
    step = step * np.float32(max_difficulty - min_difficulty)
    change = step * jnp.tanh(jnp.asarray(sensitivity, jnp.float32) * (reward - wanted))
    moved = jnp.asarray(target_difficulty, jnp.float32) + change
    return jnp.clip(moved, np.float32(min_difficulty), np.float32(max_difficulty))


def _judge_of(key: Array) -> JudgeFn:
    del key

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        state, cut = own_of(task)
        scores = -jnp.abs(cut(state.difficulty) - state.target_difficulty)
        return scores, beta_mean(task.alpha, task.beta)

    return judge
