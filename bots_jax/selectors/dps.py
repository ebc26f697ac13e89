"""DPS: a hidden Markov model per task, and the tasks most likely to be mixed next."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.posterior.hidden_markov import (
    NUM_STATES,
    HiddenMarkov,
    as_beta,
    init_hidden_markov,
    observe_states,
    predict_states,
)
from bots_jax.selection.coverage import Coverage, JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.belief import Belief, Learnt
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import FREE, check_common, count_candidates, let_go
from bots_jax.shard import Cut, Shard
from bots_jax.types import IdPerTask, TaskSelector

PROGRESS = ((1.0, 0.5, 0.5), (1.0, 1.0, 0.5), (1.0, 1.0, 1.0))
"""A prior of transitions by which tasks rather become easier; "progress" there."""

STABILITY = ((1.0, 0.5, 0.5), (0.5, 1.0, 0.5), (0.5, 0.5, 1.0))
"""A prior by which they rather stay as they are; "stability" there."""

LOCAL = ((1.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.0, 1.0, 1.0))
"""A prior by which no task goes from all wrong to all right at once; "local" there."""

_MOST = 2 * checks.MAX_PRIOR


class DpsState(NamedTuple):
    """State of DPS's belief.

    Attributes:
      hidden: the model of every task.
      last_update: int32 [N], number of the last update with rollouts; 0 = never.
      num_updates: int32.
    """

    hidden: HiddenMarkov
    last_update: IdPerTask
    num_updates: Array


def dps(
    *,
    num_tasks: int,
    batch_size: int,
    retention: Any = 1.0,
    candidate_ratio: float | None = 8,
    entropy_weight: Any = 0.0,
    prior_transition_counts: Any = 1.0,
    initial_state_probs: Any = (1 / 3, 1 / 3, 1 / 3),
    eligible: Any = True,
    coverage: Coverage = FREE,
    group_ids: Any = None,
    num_groups: int | None = None,
) -> TaskSelector:
    """Makes the DPS selector.

    In each step a task's rollouts are all wrong, mixed, or all right. What is believed
    of this state, and of how it changes, is the hidden Markov model of
    `posterior.hidden_markov`, which moves all N tasks in every step:

      state_probs' = transitions @ state_probs   for tasks without rollouts
      transition_counts' = retention * transition_counts
                           + (1 - retention) * prior + pairs

    Selection: of candidate_ratio * B tasks at random, the B with the highest

      P(mixed) + entropy_weight * entropy(state_probs)

    of the predicted states. `posterior` reads them as a Beta in which a mixed task may
    have any success chance.

    Where this differs from the authors' code (`task_sampler.py`):

      - Candidates are drawn anew in each step. There they are the next batch of a
        shuffled epoch, so that a task is a candidate once in each pass. With stages (a
        review share or quotas) all tasks are candidates.
      - All tasks begin together; there a task begins when it is first a candidate.
      - Ties go to the first of the randomly ordered candidates.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      retention: in [0, 1]; the paper's l, 0.7 for MATH and 0.5 for Countdown; 1 by
        default in their code.
      candidate_ratio: candidates per slot, >= 1; None for all tasks. 32 in the paper
        for MATH, 8 for Countdown.
      entropy_weight: in [0, 1e3].
      prior_transition_counts: in [0, 1e5], one number or [3, 3], to state i from state
        j, no column all 0. `PROGRESS`, `STABILITY` and `LOCAL` are theirs.
      initial_state_probs: [3] in [0, 1], summing to 1.
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
      >>> selector = dps(num_tasks=100, batch_size=4)
      >>> task_ids, _ = selector.select(jax.random.key(0), selector.init())
      >>> task_ids.shape
      (4,)

    Source: arXiv 2603.10887; github.com/maoyixiu/DPS.
    """
    common = check_common(
        num_tasks, batch_size, eligible, coverage, group_ids, num_groups
    )
    checks.check_number("retention", retention, 0, 1)
    checks.check_number("entropy_weight", entropy_weight, 0, 1e3)
    name, square = "prior_transition_counts", (NUM_STATES, NUM_STATES)
    checks.check_shape(name, prior_transition_counts, ((), square))
    checks.check_shape("initial_state_probs", initial_state_probs, ((NUM_STATES,),))
    prior = np.asarray(prior_transition_counts, np.float32)
    start = np.asarray(initial_state_probs, np.float32)
    init_hidden_markov(1, prior, start)  # refuses what it cannot start from

    def make_judge(key: Array) -> JudgeFn:
        del key
        return _judge_by(entropy_weight)

    return compose(
        common.parts(
            "dps",
            hidden_markov_belief(common.num_tasks, retention, prior, start),
            make_judge,
            num_candidates=count_candidates(
                candidate_ratio, common.num_tasks, common.batch_size
            ),
        )
    )


def hidden_markov_belief(
    num_tasks: int, retention: Any, prior: np.ndarray, start: np.ndarray
) -> Belief:
    """Makes DPS's belief; references are checked and let go.

    Args:
      num_tasks: N.
      retention: in [0, 1].
      prior: float32 [] or [3, 3], of the transitions.
      start: float32 [3], of the states.

    Returns:
      The belief; its state is a `DpsState`.

    Example:
      >>> belief = hidden_markov_belief(2, 1.0, np.float32(1), np.full(3, 1 / 3))
      >>> belief.counts(belief.init(None), lambda x: x, Shard(2))[0].round(3)
      Array([0.143, 0.143], dtype=float32)
    """

    def init(references: Any = None) -> DpsState:
        let_go(references, num_tasks)
        return DpsState(
            hidden=init_hidden_markov(num_tasks, prior, start),
            last_update=jnp.zeros((num_tasks,), jnp.int32),
            num_updates=jnp.zeros((), jnp.int32),
        )

    def counts(state: DpsState, cut: Cut, shard: Shard) -> tuple[Array, Array]:
        del shard
        return as_beta(predict_states(state.hidden, cut))

    def learn(state: DpsState, rows: Rows, shard: Shard) -> tuple[DpsState, Learnt]:
        forgetting = 1 - jnp.asarray(retention, jnp.float32)
        number = state.num_updates + 1
        place = shard.rows_of(rows.task_ids)
        new = DpsState(
            hidden=observe_states(state.hidden, rows, forgetting, shard),
            last_update=state.last_update.at[place].set(number, mode="drop"),
            num_updates=number,
        )
        nothing = jnp.float32(jnp.nan)
        return new, Learnt(nothing, nothing, nothing)

    return Belief(
        init=init,
        counts=counts,
        most=lambda state: jnp.float32(_MOST),
        last_update=lambda state, cut: cut(state.last_update),
        learn=learn,
        fit=lambda num_tasks: hidden_markov_belief(num_tasks, retention, prior, start),
        forgetting=0.0,
        above_one=False,
    )


def _judge_by(entropy_weight: Any) -> JudgeFn:
    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        assert task.facts is not None
        probs = predict_states(task.facts.belief.hidden, task.facts.cut)
        return mixed_scores(probs, entropy_weight), beta_mean(task.alpha, task.beta)

    return judge


def mixed_scores(state_probs: Array, entropy_weight: Any = 0.0) -> Array:
    """Scores tasks by the chance of mixed rollouts, and how open their state is.

    P(mixed) - entropy_weight * sum(state_probs * log(state_probs + 1e-10))

    Args:
      state_probs: float32 [P, 3], summing to 1.
      entropy_weight: >= 0.

    Returns:
      float32 [P], higher is better.

    Example:
      >>> mixed_scores(jnp.float32([[0.5, 0.5, 0], [0, 1, 0]]), 1.0).round(1)
      Array([1.2, 1. ], dtype=float32)

    Source: arXiv 2603.10887.
    """
    mixed = state_probs[:, 1]
    if isinstance(entropy_weight, (int, float)) and entropy_weight == 0:
        return mixed
    logs = jnp.log(state_probs + np.float32(1e-10))
    entropy = -jnp.sum(state_probs * logs, axis=1)
    return mixed + jnp.asarray(entropy_weight, jnp.float32) * entropy
