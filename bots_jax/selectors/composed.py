"""A selector composed of a belief, a rule, and what keeps the pool in play.

Every selector of the package but `bots` and `uniform`, which have special paths of
their own, is made here: a rival is a belief and a rule, in a file of its own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int32

from bots_jax import checks
from bots_jax.selection.candidates import choose_among
from bots_jax.selection.completion import Selection
from bots_jax.selection.coverage import (
    Coverage,
    JudgeFn,
    choose_covered,
    needs_stages,
    rested,
    sweep_judged,
    tempered,
)
from bots_jax.selection.pool import Pool, TaskFacts
from bots_jax.selection.top_k import count_eligible
from bots_jax.selectors.belief import Belief
from bots_jax.selectors.common import evidence_info, fit, select_info
from bots_jax.shard import Cut, Shard
from bots_jax.types import (
    Evidence,
    IdPerTask,
    MaskSetting,
    PerTask,
    SelectInfo,
    Setting,
    TaskIds,
    TaskSelector,
    UpdateInfo,
)

FAST, SLOW = np.float32(0.5), np.float32(0.1)
"""How far a visit moves the two running success rates whose gap is progress."""

_MAX_SHIFT = np.float32(0.4)
_LOWEST_TARGET, _HIGHEST_TARGET = np.float32(0.02), np.float32(0.98)


class Composed(NamedTuple):
    """What a composed selector is made of, checked.

    Attributes:
      name: of the factory.
      num_tasks: N.
      batch_size: B.
      belief: what is kept of the tasks.
      make_judge: key -> rule; the key is consumed.
      temperature: of Gumbel noise on the rule's scores, >= 0.
      race: (key, pool) -> batch, the same law, coverage included, without a sweep; None
        for none. Not used with candidates.
      num_candidates: tasks picked at random that the rule chooses among; None for all.
      coverage: what keeps the pool in play.
      target_success_prob: a number or [N].
      pacing: share of the gap between target and success rate of a batch that the
        target moves against it, >= 0.
      eligible: bool or [N].
      group_ids: int [N]; None without.
      token_costs: a number or [N]; None without.
      tracks_progress: whether running success rates are kept.
    """

    name: str
    num_tasks: int
    batch_size: int
    belief: Belief
    make_judge: Callable[[Array], JudgeFn]
    temperature: Any = 0.0
    race: Callable[[Array, Pool], Selection] | None = None
    num_candidates: int | None = None
    coverage: Coverage = Coverage()
    target_success_prob: Any = 0.5
    pacing: Any = 0.0
    eligible: Any = True
    group_ids: Any = None
    token_costs: Any = None
    tracks_progress: bool = False

    def fitted(self, num_tasks: int) -> "Composed":
        """The same for another number of tasks."""
        names = ("target_success_prob", "eligible", "group_ids", "token_costs")
        given = {name: getattr(self, name) for name in names}
        per_task = {k: x if x is None else fit(x, num_tasks) for k, x in given.items()}
        return self._replace(
            num_tasks=num_tasks, belief=self.belief.fit(num_tasks), **per_task
        )


class ComposedState(NamedTuple):
    """All that the next step of a composed selector needs.

    Attributes:
      belief: state of the belief.
      target_success_prob: float32 [] or [N], in [0, 1].
      target_shift: float32, what pacing has moved it by.
      eligible: bool [] or [N], True = may be chosen.
      num_eligible: int32, how many may be.
      num_updates: int32, the selector's clock.
      group_ids: int32 [N]; None without.
      token_costs: float32 [] or [N], > 0; None without.
      fast_rate: float32 [N], running success rate that forgets fast; NaN before the
        first visit; None where progress is not tracked.
      slow_rate: float32 [N], one that forgets slowly; likewise.
    """

    belief: Any
    target_success_prob: Setting
    target_shift: Array
    eligible: MaskSetting
    num_eligible: Int32[Array, ""]
    num_updates: Int32[Array, ""]
    group_ids: IdPerTask | None
    token_costs: Setting | None
    fast_rate: PerTask | None
    slow_rate: PerTask | None


def compose(parts: Composed) -> TaskSelector:
    """Makes a selector of its parts.

    Args:
      parts: checked by the factory that calls this.

    Returns:
      A selector whose state is a `ComposedState`.

    Example:
      >>> from bots_jax.selectors.belief import BetaSettings, beta_belief
      >>> rule = lambda key: lambda task, ids: (task.alpha, task.alpha)
      >>> belief = beta_belief(BetaSettings(num_tasks=3))
      >>> selector = compose(Composed("mine", 3, 1, belief, rule))
      >>> selector.select(jax.random.key(0), selector.init())[0]
      Array([0], dtype=int32)
    """
    return _compose(parts, Shard(parts.num_tasks))


def _compose(parts: Composed, shard: Shard) -> TaskSelector:
    belief, num_tasks = parts.belief, shard.num_tasks

    def init(references: Any = None) -> ComposedState:
        return init_composed(parts, references)

    def select(key: Array, state: ComposedState) -> tuple[Array, SelectInfo]:
        pool = make_pool(parts, state, shard)
        chosen = choose(key, pool, parts)
        return chosen.task_ids, select_info(pool, chosen, state.num_eligible)

    def update(
        state: ComposedState, evidence: Evidence
    ) -> tuple[ComposedState, UpdateInfo]:
        rows = belief.collect(evidence, num_tasks)
        return update_composed(parts, state, rows, shard)

    def posterior(state: ComposedState) -> tuple[Array, Array]:
        alpha, beta = belief.counts(state.belief, lambda x: x, shard)
        return jnp.copy(alpha), jnp.copy(beta)

    def remake(shard: Shard) -> TaskSelector:
        checks.check_batch_fits(shard.num_tasks, parts.batch_size)
        return _compose(parts.fitted(shard.num_tasks), shard)

    return TaskSelector(
        init=init,
        select=select,
        update=update,
        posterior=posterior,
        name=parts.name,
        num_tasks=num_tasks,
        batch_size=parts.batch_size,
        forgetting=belief.forgetting,
        remake=remake,
        num_references=belief.num_references,
    )


def init_composed(parts: Composed, references: Any) -> ComposedState:
    """Builds fresh state, in buffers of its own.

    Args:
      parts: of the selector.
      references: for the belief's plug-in.

    Returns:
      The state.

    Raises:
      ValueError: from the plug-in, for references that it cannot use.

    Example:
      >>> from bots_jax.selectors.belief import BetaSettings, beta_belief
      >>> belief = beta_belief(BetaSettings(num_tasks=3))
      >>> parts = Composed("mine", 3, 1, belief, lambda key: None)
      >>> init_composed(parts, None).num_eligible
      Array(3, dtype=int32)
    """
    own = lambda x, dtype: None if x is None else jnp.array(x, dtype, copy=True)  # noqa: E731
    rates = lambda: (  # noqa: E731
        jnp.full((parts.num_tasks,), jnp.nan, jnp.float32)
        if parts.tracks_progress
        else None
    )
    mask = jnp.array(parts.eligible, bool, copy=True)
    return ComposedState(
        belief=parts.belief.init(references),
        target_success_prob=jnp.array(
            parts.target_success_prob, jnp.float32, copy=True
        ),
        target_shift=jnp.zeros((), jnp.float32),
        eligible=mask,
        num_eligible=count_eligible(mask, parts.num_tasks),
        num_updates=jnp.zeros((), jnp.int32),
        group_ids=own(parts.group_ids, jnp.int32),
        token_costs=own(parts.token_costs, jnp.float32),
        fast_rate=rates(),
        slow_rate=rates(),
    )


def make_pool(parts: Composed, state: ComposedState, shard: Shard) -> Pool:
    """Makes the pool that a rule looks at.

    Example:
      >>> from bots_jax.selectors.belief import BetaSettings, beta_belief
      >>> belief = beta_belief(BetaSettings(num_tasks=3))
      >>> parts = Composed("mine", 3, 1, belief, lambda key: None)
      >>> pool = make_pool(parts, init_composed(parts, None), Shard(3))
      >>> pool.at(jnp.array([2])).facts.never
      Array([ True], dtype=bool)
    """
    belief = parts.belief

    def facts(cut: Cut) -> TaskFacts:
        last = belief.last_update(state.belief, cut)
        none = jnp.zeros(last.shape, jnp.float32)
        progress, groups, cost = none, jnp.zeros_like(last), jnp.ones_like(none)
        if state.fast_rate is not None and state.slow_rate is not None:
            gap = jnp.abs(cut(state.fast_rate) - cut(state.slow_rate))
            progress = jnp.nan_to_num(gap)
        if state.group_ids is not None:
            groups = cut(state.group_ids)
        if state.token_costs is not None:
            own = state.token_costs
            cost = jnp.broadcast_to(own if own.ndim == 0 else cut(own), none.shape)
        return TaskFacts(
            age=state.num_updates - last,
            never=last == 0,
            token_cost=cost,
            progress=progress,
            group_ids=groups,
            belief=state.belief,
            cut=cut,
        )

    target = state.target_success_prob
    if not (isinstance(parts.pacing, (int, float)) and parts.pacing == 0):
        target = target + state.target_shift
        target = jnp.clip(target, _LOWEST_TARGET, _HIGHEST_TARGET)
    return Pool(
        num_tasks=shard.num_tasks,
        counts=lambda cut: belief.counts(state.belief, cut, shard),
        max_concentration=belief.most(state.belief),
        target=target,
        eligible=state.eligible,
        shard=shard,
        facts=facts,
        rested=rested(parts.coverage),
    )


def choose(key: Array, pool: Pool, parts: Composed) -> Selection:
    """Chooses a batch: by a race, in stages, among candidates, or by a sweep.

    Example:
      >>> from bots_jax.selectors.belief import BetaSettings, beta_belief
      >>> belief = beta_belief(BetaSettings(num_tasks=3))
      >>> rule = lambda key: lambda task, ids: (ids.astype(jnp.float32), task.alpha)
      >>> parts = Composed("mine", 3, 1, belief, rule)
      >>> pool = make_pool(parts, init_composed(parts, None), Shard(3))
      >>> choose(jax.random.key(0), pool, parts).task_ids
      Array([2], dtype=int32)
    """
    batch_size, staged = parts.batch_size, needs_stages(parts.coverage)
    if parts.race is not None and parts.num_candidates is None:
        return parts.race(key, pool)
    judge_key, noise_key, other_key = jax.random.split(key, 3)
    judge = parts.make_judge(judge_key)
    if staged:
        noisy = tempered(noise_key, judge, parts.temperature)
        return choose_covered(other_key, pool, batch_size, parts.coverage, noisy)
    if parts.num_candidates is not None:
        noisy = tempered(noise_key, judge, parts.temperature)
        return choose_among(other_key, pool, batch_size, parts.num_candidates, noisy)
    return sweep_judged(noise_key, pool, batch_size, judge, parts.temperature)


def update_composed(
    parts: Composed, state: ComposedState, rows: Any, shard: Shard
) -> tuple[ComposedState, UpdateInfo]:
    """Learns from the evidence of one step.

    Args:
      parts: of the selector.
      state: before.
      rows: one row per task, as the belief collects them.
      shard: which of the tasks are here.

    Returns:
      State of the same structure, shapes and dtypes, and info.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> from bots_jax.selectors.belief import BetaSettings, beta_belief
      >>> belief = beta_belief(BetaSettings(num_tasks=3))
      >>> parts = Composed("mine", 3, 1, belief, lambda key: None)
      >>> rows = collect_rows(evidence_from_counts([1], [3], 4), 3)
      >>> state = init_composed(parts, None)
      >>> int(update_composed(parts, state, rows, Shard(3))[0].num_updates)
      1
    """
    new_belief, learnt = parts.belief.learn(state.belief, rows, shard)
    rates = parts.belief.rates
    info = evidence_info(rows, *learnt, rates)
    new = state._replace(belief=new_belief, num_updates=state.num_updates + 1)
    if state.fast_rate is not None and state.slow_rate is not None:
        rate, _ = rates(rows)
        new = new._replace(
            fast_rate=_moved(state.fast_rate, rows.task_ids, rate, FAST, shard),
            slow_rate=_moved(state.slow_rate, rows.task_ids, rate, SLOW, shard),
        )
    pacing = parts.pacing
    if not (isinstance(pacing, (int, float)) and pacing == 0):
        new = new._replace(target_shift=_paced(state, rows, info, pacing, shard))
    return new, info


def _moved(
    running: PerTask, task_ids: TaskIds, rate: Array, share: np.float32, shard: Shard
) -> PerTask:
    """Moves running rates of the rolled-out tasks; the first visit sets them."""
    before = shard.at(task_ids, "clip")(running)
    after = jnp.where(jnp.isnan(before), rate, before + share * (rate - before))
    return running.at[shard.rows_of(task_ids)].set(after, mode="drop")


def _paced(
    state: ComposedState, rows: Any, info: UpdateInfo, pacing: Any, shard: Shard
) -> Array:
    """Moves the aim against the gap between what was wanted and what came."""
    target = state.target_success_prob
    if target.ndim:
        at_rows = shard.at(rows.task_ids, "clip")(target)
        target = jnp.mean(at_rows, where=rows.valid)
    gap = target - info.success_rate
    shift = state.target_shift + jnp.asarray(pacing, jnp.float32) * gap
    shift = jnp.clip(shift, -_MAX_SHIFT, _MAX_SHIFT)
    return jnp.where(jnp.isnan(gap), state.target_shift, shift)
