"""What the rivals share: their common arguments, and beliefs with something beside."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows
from bots_jax.selection.coverage import Coverage, JudgeFn, check_coverage
from bots_jax.selection.pool import Candidates
from bots_jax.selectors.belief import Belief as Belief
from bots_jax.selectors.belief import BetaSettings, BetaState, Learnt, beta_belief
from bots_jax.selectors.composed import Composed
from bots_jax.shard import Shard
from bots_jax.types import ScoreFn

FREE = Coverage()
"""No coverage control: what rivals do by default."""

RETENTION = 0.5
"""Of a rival's record of success rates, where its rule does not look at them."""


class Common(NamedTuple):
    """The arguments that all rivals take, checked.

    Attributes:
      num_tasks: N.
      batch_size: B.
      eligible: bool or [N].
      coverage: what keeps the pool in play.
      group_ids: int32 [N] on the host; None without.
      num_groups: 0 without.
    """

    num_tasks: int
    batch_size: int
    eligible: Any
    coverage: Coverage
    group_ids: np.ndarray | None
    num_groups: int

    def parts(self, name: str, belief: Belief, make_judge: Any, **more: Any) -> Any:
        """Lays out a selector; groups are kept only where quotas need them."""
        needed = self.coverage.quotas is not None
        return Composed(
            name=name,
            num_tasks=self.num_tasks,
            batch_size=self.batch_size,
            belief=belief,
            make_judge=make_judge,
            coverage=self.coverage,
            eligible=self.eligible,
            group_ids=self.group_ids if needed else None,
            **more,
        )


def check_common(
    num_tasks: Any,
    batch_size: Any,
    eligible: Any,
    coverage: Any,
    group_ids: Any = None,
    num_groups: Any = None,
) -> Common:
    """Checks the arguments that all rivals take.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, in [1, N].
      eligible: bool or bool [N].
      coverage: a `Coverage`.
      group_ids: integers [N] in [0, num_groups); None without groups.
      num_groups: None for one more than the largest id.

    Returns:
      The same, checked.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> check_common(3, 1, True, Coverage(), [0, 2, 1]).num_groups
      3
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    batch_size = checks.check_count("batch_size", batch_size)
    checks.check_batch_fits(num_tasks, batch_size)
    checks.check_eligible(eligible, num_tasks, batch_size)
    ids, groups = None, 0
    if group_ids is not None:
        checks.check_shape("group_ids", group_ids, ((num_tasks,),))
        checks.check_dtype("group_ids", group_ids, (np.integer,), "integers")
        ids = np.asarray(group_ids)
        if num_groups is None:
            num_groups = int(ids.max()) + 1
        groups = checks.check_count("num_groups", num_groups)
        checks.check_in_range("group_ids", ids, 0, groups - 1)
        ids = ids.astype(np.int32)
    elif num_groups is not None:
        raise ValueError(f"num_groups needs group_ids, got {num_groups!r} alone.")
    check_coverage(coverage, num_tasks, batch_size, groups)
    return Common(num_tasks, batch_size, eligible, coverage, ids, groups)


def count_candidates(ratio: Any, num_tasks: int, batch_size: int) -> int | None:
    """Checks a ratio of candidates to slots; None where all tasks are candidates.

    Example:
      >>> count_candidates(8, 100, 4), count_candidates(8, 20, 4)
      (32, None)
    """
    if ratio is None:
        return None
    checks.check_number("candidate_ratio", ratio, 1, 1e6)
    number = int(ratio * batch_size)
    return number if number < num_tasks else None


def judge_by(score: ScoreFn) -> Callable[[Array], JudgeFn]:
    """Makes a rule without chance of its own from a score of alpha, beta and target.

    Example:
      >>> import jax.numpy as jnp
      >>> one = jnp.ones(1)
      >>> rule = judge_by(lambda alpha, beta, target: alpha * target)
      >>> rule(jnp.int32(0))(Candidates(3 * one, one, one, one > 0), jnp.arange(1))
      (Array([3.], dtype=float32), Array([0.75], dtype=float32))
    """

    def make_judge(key: Array) -> JudgeFn:
        del key
        return lambda task, ids: (
            score(task.alpha, task.beta, task.target),
            beta_mean(task.alpha, task.beta),
        )

    return make_judge


def let_go(references: Any, num_tasks: int) -> None:
    """Checks references that are not used, as pass rates of models in columns.

    Example:
      >>> let_go(np.ones((3, 2), np.int32), 3)
      Traceback (most recent call last):
      ValueError: references must be floating point, got dtype int32.
    """
    if references is None:
        return
    shape = np.shape(references) if not isinstance(references, tuple) else ()
    if len(shape) == 2 and shape[1] != 2:
        checks.check_shape("references", references, ((num_tasks, shape[1]),))
        return
    checks.check_references(references, num_tasks)


class Own(NamedTuple):
    """What a rival keeps beside a Beta of its tasks.

    Attributes:
      init: () -> state.
      learn: (state, rows, shard) -> state.
      fit: num_tasks -> the same for another number of tasks.
    """

    init: Callable[[], Any]
    learn: Callable[[Any, Rows, Shard], Any]
    fit: Callable[[int], "Own"]


class BesideState(NamedTuple):
    """State of a belief with something beside.

    Attributes:
      beta: what is believed of every task.
      own: of the rival.
    """

    beta: BetaState
    own: Any


def touched_beta(
    num_tasks: int,
    retention: Any = RETENTION,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    own: Own | None = None,
) -> Belief:
    """Makes MoPPS's Beta, which fades when a task is rolled out; references let go.

    alpha' = retention * alpha + (1 - retention) * prior_alpha + successes
    beta'  = retention * beta  + (1 - retention) * prior_beta  + failures

    for the tasks of the evidence; all others stay as they are.

    Args:
      num_tasks: N.
      retention: in [0, 1].
      prior_alpha: in [0.01, 1e5], a number or [N].
      prior_beta: likewise.
      own: what is kept beside it; None for nothing.

    Returns:
      The belief; its state is a `BetaState`, or a `BesideState` with `own`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> belief = touched_beta(3)
      >>> belief.counts(belief.init(None), lambda x: x, Shard(3))[0]
      Array([1., 1., 1.], dtype=float32)
    """
    checks.check_number("retention", retention, 0, 1)
    low, high = checks.MIN_PRIOR, checks.MAX_PRIOR
    checks.check_setting("prior_alpha", prior_alpha, num_tasks, low, high)
    checks.check_setting("prior_beta", prior_beta, num_tasks, low, high)
    settings = BetaSettings(
        num_tasks=num_tasks,
        prior_alpha=prior_alpha,
        prior_beta=prior_beta,
        forgettings=(1 - retention,),
        clock="touch",
    )
    return _beside(beta_belief(settings), num_tasks, own)


def _beside(base: Belief, num_tasks: int, own: Own | None) -> Belief:
    def init(references: Any = None) -> Any:
        let_go(references, num_tasks)
        beta = base.init(None)
        return beta if own is None else BesideState(beta, own.init())

    def fitted(num_tasks: int) -> Belief:
        other = None if own is None else own.fit(num_tasks)
        fit = base.fit(num_tasks)._replace(forgetting=base.forgetting)
        return _beside(fit, num_tasks, other)

    if own is None:
        return base._replace(init=init, fit=fitted)

    def learn(state: BesideState, rows: Rows, shard: Shard) -> tuple[Any, Learnt]:
        beta, learnt = base.learn(state.beta, rows, shard)
        return BesideState(beta, own.learn(state.own, rows, shard)), learnt

    return base._replace(
        init=init,
        fit=fitted,
        counts=lambda state, cut, shard: base.counts(state.beta, cut, shard),
        most=lambda state: base.most(state.beta),
        last_update=lambda state, cut: base.last_update(state.beta, cut),
        learn=learn,
    )


def own_of(task: Candidates) -> tuple[Any, Callable[[Array], Array]]:
    """What a rival keeps beside its Beta, and how these tasks are taken out of it."""
    assert task.facts is not None
    return task.facts.belief.own, task.facts.cut
