"""ARCUS: a Kalman filter in arc length, and tasks near a frontier that yield."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.posterior.arc_length import (
    LEARNING_RATE,
    ArcLength,
    as_beta,
    init_arc_length,
    observe_arcs,
    predict_arcs,
)
from bots_jax.posterior.recurrence import own_setting
from bots_jax.selection.arc_yield import arc_yield_scores, pace_target
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.belief import Belief, Learnt
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, check_common, let_go
from bots_jax.shard import Cut, Shard
from bots_jax.types import TaskSelector

PACE_SAMPLE = 4096
"""Tasks that the pace of the target looks at."""

_MOST = 2 * checks.MAX_PRIOR
_FIRST = np.float32(1e3)  # a score that no other reaches


class ArcusState(NamedTuple):
    """State of ARCUS's belief.

    Attributes:
      arcs: what is believed of every task, and of how all of them move.
      arc_target: float32, in [0, pi/2]; psi* in the paper.
    """

    arcs: ArcLength
    arc_target: Array


def arcus(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: int = 16,
    target_success_prob: Any = 0.5,
    width: Any = 0.2,
    temperature: Any = 0.3,
    pacing: bool = True,
    warmup: bool = True,
    learning_rate: Any = LEARNING_RATE,
    drift: Any = 0.0,
    noise: Any = 1e-3,
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the ARCUS selector.

    Each task's psi = arcsin(sqrt(success chance)) is believed to be Normal; how it
    moves and what rollouts show of it is in `posterior.arc_length`.

    Selection: the B highest of

      kernel(psi; target, width) * yield(psi; group_size) + temperature * Gumbel noise

    both expected under the belief, as in `selection.arc_yield`. With warmup the tasks
    that were never rolled out come first, at random, for the first N / B steps.
    With pacing the target moves in each step, by `pace_target`, toward the hardest
    tasks that still yield, as 4096 tasks of the pool, others in each step, tell.

    Where this differs from the authors' work, of which we know no public code:

      - Their over-provisioning, M = 1.25 B tasks for B that are trained on, is left to
        who asks for tasks: give M as the batch_size.
      - The width of the kernel and the noise to begin with are not known to us. The
        formula of the pace is ours; see `pace_target`.
      - No empirical Bayes of the prior, which is that of a success chance uniform in
        arc length.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: G, in [2, 4096].
      target_success_prob: to begin with, in [0, 1]; sin(psi*)^2. `info` keeps
        measuring distances from this one.
      width: in [1e-3, 10], of the kernel in arc length; s in the paper.
      temperature: >= 0, of the Gumbel noise on scores in [0, 1]; 0.3 in the paper.
      pacing: whether the target moves.
      warmup: whether all tasks come once before any comes again.
      learning_rate: in [0, 1], of drift and noise; b in the paper.
      drift: in [-1, 1], to begin with; v in the paper.
      noise: in [1e-5, 1], to begin with; Q in the paper.
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
      >>> selector = arcus(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2609.38018; its numbers are not confirmed by others.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    group_size = checks.check_count("group_size", group_size, 2, 4096)
    checks.check_number("target_success_prob", target_success_prob, 0, 1)
    checks.check_number("width", width, 1e-3, 10)
    checks.check_number("temperature", temperature, 0, 1e6)
    for name, value in (("pacing", pacing), ("warmup", warmup)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r:.60}.")
    checks.check_number("learning_rate", learning_rate, 0, 1)
    init_arc_length(1, drift=drift, noise=noise)  # refuses what it cannot start from
    settings = _Settings(
        group_size=group_size,
        batch_size=common.batch_size,
        target=target_success_prob,
        width=width,
        pacing=pacing,
        learning_rate=learning_rate,
        drift=drift,
        noise=noise,
    )
    warmup_steps = -(-common.num_tasks // common.batch_size) if warmup else 0

    def make_judge(key: Array) -> JudgeFn:
        del key
        return _judge_by(settings, warmup_steps)

    return compose(
        common.parts(
            "arcus",
            arc_belief(common.num_tasks, settings),
            make_judge,
            temperature=temperature,
            target_success_prob=target_success_prob,
        )
    )


class _Settings(NamedTuple):
    group_size: int
    batch_size: int
    target: Any
    width: Any
    pacing: bool
    learning_rate: Any
    drift: Any
    noise: Any


def arc_belief(num_tasks: int, settings: Any) -> Belief:
    """Makes ARCUS's belief; references are checked and let go.

    Args:
      num_tasks: N.
      settings: of `arcus`, checked.

    Returns:
      The belief; its state is an `ArcusState`.

    Example:
      >>> settings = _Settings(8, 1, 0.5, 0.2, True, 0.1, 0.0, 1e-3)
      >>> belief = arc_belief(2, settings)
      >>> belief.init(None).arc_target.round(4)
      Array(0.7854, dtype=float32)
    """

    def init(references: Any = None) -> ArcusState:
        let_go(references, num_tasks)
        arcs = init_arc_length(num_tasks, drift=settings.drift, noise=settings.noise)
        target = jnp.asarray(settings.target, jnp.float32)
        return ArcusState(arcs, own_setting(jnp.arcsin(jnp.sqrt(target))))

    def counts(state: ArcusState, cut: Cut, shard: Shard) -> tuple[Array, Array]:
        del shard
        return as_beta(*predict_arcs(state.arcs, cut))

    def learn(state: ArcusState, rows: Rows, shard: Shard) -> tuple[ArcusState, Learnt]:
        rate = jnp.asarray(settings.learning_rate, jnp.float32)
        arcs = observe_arcs(state.arcs, rows, shard, learning_rate=rate)
        target = state.arc_target
        if settings.pacing:
            target = _paced(target, arcs, settings, shard)
        nothing = jnp.float32(jnp.nan)
        return ArcusState(arcs, target), Learnt(nothing, nothing, nothing)

    return Belief(
        init=init,
        counts=counts,
        most=lambda state: jnp.float32(_MOST),
        last_update=lambda state, cut: cut(state.arcs.last_step),
        learn=learn,
        fit=lambda num_tasks: arc_belief(num_tasks, settings),
        forgetting=0.0,
        above_one=False,
    )


def _paced(target: Array, arcs: ArcLength, settings: Any, shard: Shard) -> Array:
    """Moves the target by what evenly spaced tasks tell, others in each step."""
    size = min(shard.num_tasks, PACE_SAMPLE)
    apart = shard.num_tasks // size
    offset = arcs.step % np.int32(apart)
    sample = lax.iota(jnp.int32, size) * np.int32(apart) + offset
    mean, variance = predict_arcs(arcs, shard.at(sample))
    return pace_target(
        target,
        mean,
        variance,
        group_size=settings.group_size,
        width=settings.width,
        min_tasks=settings.batch_size * size / shard.num_tasks,
    )


def _judge_by(settings: Any, warmup_steps: int) -> JudgeFn:
    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        facts = task.facts
        assert facts is not None
        state: ArcusState = facts.belief
        mean, variance = predict_arcs(state.arcs, facts.cut)
        scores = arc_yield_scores(
            mean, variance, state.arc_target, settings.group_size, settings.width
        )
        if warmup_steps:
            is_first = facts.never & (state.arcs.step < warmup_steps)
            scores = jnp.where(is_first, _FIRST, scores)
        return scores, beta_mean(task.alpha, task.beta)

    return judge
