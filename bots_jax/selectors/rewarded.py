"""What the selectors for rewards that are not 0 or 1 share: a belief, and its rule.

A family says how its posterior is kept; the rule is the same for all: the log of the
expected variance of a group's rewards, with Gumbel noise.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import collect_rows
from bots_jax.selection.coverage import JudgeFn
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.adaptive import default_coverage
from bots_jax.selectors.belief import Belief, Learnt
from bots_jax.selectors.composed import compose
from bots_jax.selectors.parts import Common, check_common, let_go
from bots_jax.shard import Cut, Shard
from bots_jax.types import Evidence, IdPerTask, TaskSelector

CLOCKS = ("step", "touch")
TEMPERATURE = 0.05

_MOST = 2 * checks.MAX_PRIOR
_TINY = np.float32(1e-30)


class Family(NamedTuple):
    """How beliefs about the rewards of N tasks are kept.

    Attributes:
      init: () -> posterior.
      update: (posterior, rows, shard) -> posterior.
      variance: (posterior, cut) -> float32 [P], expected variance of a group's rewards
        rescaled to [0, 1].
      as_beta: (posterior, cut) -> alpha and beta, float32 [P], in [0.01, 1e5].
      collect: (evidence, num_tasks) -> rows.
      rates: rows -> mean rewards rescaled to [0, 1], and which groups' rewards differ.
      fit: num_tasks -> the same for another number of tasks.
      forgetting: share of its weight that evidence loses in a step.
    """

    init: Callable[[], Any]
    update: Callable[[Any, Any, Shard], Any]
    variance: Callable[[Any, Cut], Array]
    as_beta: Callable[[Any, Cut], tuple[Array, Array]]
    collect: Callable[[Any, int], Any]
    rates: Callable[[Any], tuple[Array, Array]]
    fit: Callable[[int], "Family"]
    forgetting: Any


class RewardState(NamedTuple):
    """State of a belief about rewards.

    Attributes:
      posterior: of the family.
      last_update: int32 [N], number of the last update with rollouts; 0 = never.
      num_updates: int32.
    """

    posterior: Any
    last_update: IdPerTask
    num_updates: Array


def reward_belief(num_tasks: int, family: Family) -> Belief:
    """Makes the belief of a family; references are checked and let go.

    Args:
      num_tasks: N.
      family: made for as many tasks.

    Returns:
      The belief; its state is a `RewardState`.

    Example:
      >>> from bots_jax.selectors.graded import graded_family
      >>> belief = reward_belief(2, graded_family(2, np.float32([0, 1]), 0.1))
      >>> belief.counts(belief.init(None), lambda x: x, Shard(2))[0].round(3)
      Array([1., 1.], dtype=float32)
    """

    def init(references: Any = None) -> RewardState:
        let_go(references, num_tasks)
        return RewardState(
            posterior=family.init(),
            last_update=jnp.zeros((num_tasks,), jnp.int32),
            num_updates=jnp.zeros((), jnp.int32),
        )

    def counts(state: RewardState, cut: Cut, shard: Shard) -> tuple[Array, Array]:
        del shard
        return family.as_beta(state.posterior, cut)

    def learn(
        state: RewardState, rows: Any, shard: Shard
    ) -> tuple[RewardState, Learnt]:
        number = state.num_updates + 1
        place = shard.rows_of(rows.task_ids)
        new = RewardState(
            posterior=family.update(state.posterior, rows, shard),
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
        fit=lambda num_tasks: reward_belief(num_tasks, family.fit(num_tasks)),
        forgetting=family.forgetting,
        above_one=False,
        collect=family.collect,
        rates=family.rates,
    )


def reward_selector(
    name: str, common: Common, family: Family, temperature: Any
) -> TaskSelector:
    """Makes the selector that looks for rewards which vary.

    Args:
      name: of the factory.
      common: the usual arguments, checked.
      family: of the belief.
      temperature: checked.

    Returns:
      A selector whose state is a `ComposedState`.

    Example:
      >>> from bots_jax.selectors.graded import graded_family
      >>> common = check_rewarded(3, 1, 0.1, "step", 0.0, True, None, None)
      >>> family = graded_family(3, np.float32([0, 1]), 0.1)
      >>> reward_selector("mine", common, family, 0.0).num_tasks
      3
    """

    def judge(task: Candidates, ids: Array) -> tuple[Array, Array]:
        del ids
        facts = task.facts
        assert facts is not None
        variance = family.variance(facts.belief.posterior, facts.cut)
        score = jnp.log(jnp.maximum(variance, _TINY))
        return score, beta_mean(task.alpha, task.beta)

    def make_judge(key: Array) -> JudgeFn:
        del key
        return judge

    belief = reward_belief(common.num_tasks, family)
    return compose(common.parts(name, belief, make_judge, temperature=temperature))


def check_rewarded(
    num_tasks: Any,
    batch_size: Any,
    forgetting: Any,
    clock: Any,
    temperature: Any,
    eligible: Any,
    coverage: Any,
    group_ids: Any,
) -> Common:
    """Checks the arguments that these factories share.

    Returns:
      The usual ones.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> check_rewarded(9, 1, 0.1, "policy", 0.0, True, None, None)
      Traceback (most recent call last):
      ValueError: clock must be one of 'step', 'touch', got 'policy'.
    """
    checks.check_number("forgetting", forgetting, 0, 1)
    checks.check_choice("clock", clock, CLOCKS)
    checks.check_number("temperature", temperature, 0, 1e6)
    if coverage is None:
        sizes = ("num_tasks", num_tasks), ("batch_size", batch_size)
        coverage = default_coverage(*(checks.check_count(*size) for size in sizes))
    return check_common(num_tasks, batch_size, eligible, coverage, group_ids)


def plain_evidence(evidence: Any, own: type, num_tasks: int) -> Evidence:
    """Checks that evidence is the plain kind, and makes it float32 and int32.

    Args:
      evidence: B rows.
      own: the other kind that was allowed, for the message.
      num_tasks: N.

    Returns:
      The rows as they are.

    Raises:
      ValueError: for anything else, and for shapes and dtypes that do not match.

    Example:
      >>> plain_evidence({}, RewardState, 3)
      Traceback (most recent call last):
      ValueError: evidence must be Evidence or RewardState, got dict.
    """
    if not all(hasattr(evidence, name) for name in Evidence._fields):
        raise ValueError(
            f"evidence must be Evidence or {own.__name__}, "
            f"got {type(evidence).__name__}."
        )
    collect_rows(evidence, num_tasks)  # refuses shapes and dtypes that do not match
    ids, *counts = (jnp.asarray(getattr(evidence, name)) for name in Evidence._fields)
    return Evidence(ids, *(x.astype(jnp.float32) for x in counts))
