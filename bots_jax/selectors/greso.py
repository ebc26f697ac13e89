"""GRESO: tasks at random, those that gave nothing skipped more and more often."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks, counter_bits
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.posterior.moving import move_tasks
from bots_jax.posterior.recurrence import own_setting
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, Own, check_common, own_of, touched_beta
from bots_jax.shard import Shard
from bots_jax.types import IdPerTask, Scalar, TaskSelector

EASY_SHARE = 1 / 3
"""Of the wanted share of silent groups, those all right; the others are all wrong."""

_LEAST_KEEP = np.float32(0.01)


class SilenceState(NamedTuple):
    """What GRESO keeps.

    Attributes:
      silent_run: int32 [N], visits in a row, up to the last one, in which all of a
        task's rollouts were right, or minus those in which all were wrong; 0 if the
        last visit was mixed, and before the first.
      keep_easy: float32, p_e of the paper for tasks that were all right.
      keep_hard: float32, for tasks that were all wrong.
      num_updates: int32.
    """

    silent_run: IdPerTask
    keep_easy: Array
    keep_hard: Array
    num_updates: Array


def greso(
    *,
    num_tasks: int,
    batch_size: int,
    target_silent_share: Any = 0.25,
    keep_easy: Any = 0.5,
    keep_hard: Any = 0.5,
    keep_step: Any = 0.01,
    min_keep: Any = 0.05,
    max_keep: Any = 0.95,
    warmup_steps: int | None = None,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the GRESO selector.

    A silent group is one of rollouts that are all right or all wrong: it has no
    advantages. With z the silent groups in a row of a task, all right or all wrong, up
    to its last,

      keep = max(p^z, 0.01),   p = keep_easy after all right, keep_hard after all wrong

    Selection: the pool is gone through in random order, and each task is skipped with
    chance 1 - keep, until B are taken. Where the pool ends before, those skipped are
    gone through again. This is drawn at once: a task's number of skips is geometric,
    its place in a pass uniform, and the B with the least sum are taken.

    Update, after warmup_steps, by the shares of silent groups in the step:

      keep_easy' = keep_easy - keep_step   if share all right >= target_silent_share / 3
                   keep_easy + keep_step   else
      keep_hard' = likewise                with share all wrong, 2/3 of the target

    within [min_keep, max_keep]. A step without evidence changes nothing.

    Where this differs from the authors' code (`presampling_selector.py`,
    `ray_trainer.py`):

      - Each step goes through the whole pool anew. There a step takes the next
        batches of a shuffled epoch, so that a task comes at most once in each pass; a
        cooldown of num_tasks / batch_size steps is the like.
      - All right and all wrong are exact, there a mean reward of at least 0.98 and at
        most 0.11.
      - Their batch is filled by dynamic sampling, with an adaptive number of rollouts,
        after the skipping; see `dynamic_sampling`.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      target_silent_share: in [0, 1], wanted share of silent groups, of which a third
        all right.
      keep_easy: to begin with, in [0.01, 1]; p_easy there.
      keep_hard: likewise; p_hard there.
      keep_step: in [0, 1], how far a step moves them.
      min_keep: in [0, 1].
      max_keep: in [0, 1], at least min_keep.
      warmup_steps: updates without a change of keep_easy and keep_hard; None for one
        pass, N / B, as there.
      eligible: bool or bool [N]; False tasks are never chosen.
      coverage: what keeps the pool in play; nothing by default.
      group_ids: integers [N], the group of each task, for quotas; None without.
      num_groups: how many groups; None for one more than the largest id.

    Returns:
      A selector whose state is a `ComposedState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> selector = greso(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2506.02177; github.com/Infini-AI-Lab/GRESO.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    checks.check_number("target_silent_share", target_silent_share, 0, 1)
    checks.check_number("keep_easy", keep_easy, 0.01, 1)
    checks.check_number("keep_hard", keep_hard, 0.01, 1)
    checks.check_number("keep_step", keep_step, 0, 1)
    checks.check_number("min_keep", min_keep, 0, 1)
    least = min_keep if isinstance(min_keep, (int, float)) else 0
    checks.check_number("max_keep", max_keep, least, 1)
    if warmup_steps is not None:
        warmup_steps = checks.check_count("warmup_steps", warmup_steps, 0)
    settings = _Settings(
        common.batch_size,
        warmup_steps,
        (keep_easy, keep_hard),
        target_silent_share,
        keep_step,
        (min_keep, max_keep),
    )
    belief = touched_beta(common.num_tasks, own=_silence(common.num_tasks, settings))
    return compose(common.parts("greso", belief, _judge_of))


class _Settings(NamedTuple):
    batch_size: int
    warmup_steps: int | None
    keep: tuple[Any, Any]
    target: Any
    step: Any
    bounds: tuple[Any, Any]


def _silence(num_tasks: int, settings: _Settings) -> Own:
    warmup = settings.warmup_steps
    if warmup is None:
        warmup = -(-num_tasks // settings.batch_size)

    def init() -> SilenceState:
        easy, hard = (own_setting(x) for x in settings.keep)
        zero = jnp.zeros((), jnp.int32)
        return SilenceState(jnp.zeros((num_tasks,), jnp.int32), easy, hard, zero)

    def learn(state: SilenceState, rows: Rows, shard: Shard) -> SilenceState:
        right = rows.valid & (rows.failures == 0)
        wrong = rows.valid & (rows.successes == 0)
        new = next_keep(
            jnp.stack([state.keep_easy, state.keep_hard]),
            jnp.stack([_share(right, rows.valid), _share(wrong, rows.valid)]),
            settings.target,
            settings.step,
            *settings.bounds,
        )
        moves = jnp.any(rows.valid) & (state.num_updates >= warmup)
        return SilenceState(
            silent_run=count_silence(state.silent_run, rows, right, wrong, shard),
            keep_easy=jnp.where(moves, new[0], state.keep_easy),
            keep_hard=jnp.where(moves, new[1], state.keep_hard),
            num_updates=state.num_updates + 1,
        )

    return Own(init, learn, lambda num_tasks: _silence(num_tasks, settings))


def _share(rows: Array, valid: Array) -> Array:
    number = jnp.sum(valid, dtype=jnp.float32)
    return jnp.sum(rows, dtype=jnp.float32) / jnp.maximum(number, 1)


def next_keep(
    keep: Array,
    silent_share: Array,
    target: Scalar,
    step: Scalar,
    lowest: Scalar,
    highest: Scalar,
) -> Array:
    """Moves keep_easy and keep_hard by one step, down where there is too much silence.

    Args:
      keep: float32 [2], easy and hard.
      silent_share: float32 [2], groups all right and all wrong.
      target: wanted share of both together, in [0, 1].
      step: in [0, 1].
      lowest: in [0, 1].
      highest: in [0, 1].

    Returns:
      float32 [2].

    Example:
      >>> shares = jnp.float32([0.2, 0.1])
      >>> next_keep(jnp.full(2, 0.5), shares, 0.25, 0.01, 0.05, 0.95)
      Array([0.49, 0.51], dtype=float32)
    """
    number = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    share = np.array([EASY_SHARE, 1 - EASY_SHARE], np.float32)
    wanted = number(target) * share
    down = jnp.maximum(keep - number(step), number(lowest))
    up = jnp.minimum(keep + number(step), number(highest))
    return jnp.where(silent_share >= wanted, down, up)


def count_silence(
    silent_run: IdPerTask, rows: Rows, right: Array, wrong: Array, shard: Shard
) -> IdPerTask:
    """Counts silent visits in a row: up when all right, down when all wrong.

    Args:
      silent_run: int32 [N], before.
      rows: one row per task.
      right: bool [B], rows whose rollouts were all right.
      wrong: bool [B], rows whose rollouts were all wrong.
      shard: which of the tasks are here.

    Returns:
      int32 [N].

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([0, 1], [4, 0], 4), 2)
      >>> runs, right = jnp.int32([2, 2]), jnp.array([True, False])
      >>> count_silence(runs, rows, right, ~right, Shard(2))
      Array([ 3, -1], dtype=int32)
    """

    def of_rows(run: Array) -> Array:
        up = jnp.where(right, jnp.maximum(run, 0) + 1, 0)
        return jnp.where(wrong, jnp.minimum(run, 0) - 1, up)

    return move_tasks(silent_run, rows.task_ids, of_rows, None, jnp.int32(0), shard)


def keep_chances(silent_run: Array, keep_easy: Array, keep_hard: Array) -> Array:
    """Tells the chance that a task is not skipped.

    Args:
      silent_run: int32 [P].
      keep_easy: float32 scalar.
      keep_hard: float32 scalar.

    Returns:
      float32 [P] in [0.01, 1]; 1 where silent_run is 0.

    Example:
      >>> half = jnp.float32(0.5)
      >>> keep_chances(jnp.int32([0, 1, -2]), half, half)
      Array([1.  , 0.5 , 0.25], dtype=float32)
    """
    base = jnp.where(silent_run > 0, keep_easy, keep_hard)
    chance = jnp.power(base, jnp.abs(silent_run).astype(jnp.float32))
    return jnp.where(silent_run == 0, 1, jnp.maximum(chance, _LEAST_KEEP))


def _judge_of(key: Array) -> JudgeFn:
    skip_key, place_key = (counter_bits.shared(k) for k in jax.random.split(key))

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        state, cut = own_of(task)
        keep = keep_chances(cut(state.silent_run), state.keep_easy, state.keep_hard)
        words = ids.astype(jnp.uint32)
        # An exponential over -log(1 - keep), rounded down, is geometric.
        rate = -jnp.log1p(-jnp.minimum(keep, np.float32(1 - 2.0**-24)))
        skips = jnp.floor(counter_bits.exponentials(skip_key(), words) / rate)
        skips = jnp.where(keep < 1, skips, 0)
        place = -jnp.expm1(-counter_bits.exponentials(place_key(), words))
        return -(skips + place), beta_mean(task.alpha, task.beta)

    return judge
