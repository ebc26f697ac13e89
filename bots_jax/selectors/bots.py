"""BOTS: Bayesian online task selection.

    init    alpha, beta = prior of every task
    select  draw a success chance per task, take the B nearest the target
    update  forget a little, add what was seen, add what it implies for the rest

Source: arXiv 2510.26374; official code in Trinity-RFT (`difficulty_estimator.py`,
`selector.py`); `bots_jax/docs/engine.md` lists the deliberate differences from it.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.evidence.counts import Rows, collect_rows
from bots_jax.evidence.interpolation import (
    interpolate,
    known_references,
    learn_capability,
)
from bots_jax.posterior.lazy import (
    LazyPosterior,
    num_remembered,
    references_at,
    update_lazy_posterior,
)
from bots_jax.posterior.recurrence import update_posterior
from bots_jax.selection.pool import Pool
from bots_jax.selectors.common import evidence_info, fit, select_info
from bots_jax.selectors.effective_size import (
    settle_forgetting,
    settle_implicit_weight,
)
from bots_jax.selectors.engine import ENGINES, SELECTIONS, ChooseFn, Rule, make_plan
from bots_jax.selectors.state import BotsState, counts_of, init_bots
from bots_jax.shard import Shard
from bots_jax.types import (
    EstimateFn,
    Evidence,
    ScoreFn,
    SelectInfo,
    TaskSelector,
    UpdateInfo,
)


def bots(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: float = 16,
    forgetting: Any = None,
    implicit_weight: Any = None,
    ess_max: Any = None,
    ess_implicit: Any = None,
    target_success_prob: Any = 0.5,
    temperature: Any = 0.0,
    capability_momentum: Any = 0.9,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
    estimate: EstimateFn | None = None,
    score: ScoreFn | None = None,
    engine: str = "auto",
    selection: str = "auto",
) -> TaskSelector:
    """Makes the BOTS selector.

    Numbers may be Python numbers, arrays or traced scalars: traced ones are not
    range-checked, so that a sweep over them is a `vmap` over this factory.

    What is believed of a task settles between ess_implicit and ess_max rollouts beyond
    the prior, by how often it is visited:

      forgetting = group_size / ess_max
      implicit_weight = forgetting * ess_implicit / group_size

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: rollouts per task that implicit evidence is worth before its weight,
        in [1, 2^24]; n in the paper. Real evidence counts its own rollouts.
      forgetting: share of the way back to the prior that every task goes in a step,
        in [0, 1]; lambda in the paper. None for 0.1, or for what `ess_max` says.
      implicit_weight: weight of what the plug-in predicts for tasks that were not
        rolled out, in [0, 1]; rho in the paper. Without references it has no effect.
        None for 0.1, or for what `ess_implicit` says.
      ess_max: instead of forgetting, how many rollouts beyond the prior are believed
        of a task that is visited in every step, >= group_size.
      ess_implicit: instead of implicit_weight, how many are believed of a task that is
        never visited, by the plug-in alone, in [0, group_size / forgetting].
      target_success_prob: wanted success chance, in [0, 1], a scalar or [N]; p*.
      temperature: >= 0; 0 takes the nearest draws, more draws batches tempered by
        exp(-distance / temperature); tau in the official code.
      capability_momentum: share of the capability that a step keeps, in [0, 1];
        gamma, 0.9 in the official code.
      prior_alpha: in [0.01, 1e5], a scalar or [N].
      prior_beta: likewise.
      eligible: bool or bool [N]; False tasks are never chosen. `set_eligible` changes
        it later.
      estimate: what tasks are judged by; `thompson_draws` by default, or
        `posterior_means`, or any function of all N tasks.
      score: how wanted a task is, in place of an estimate's distance to the target:
        `target_log_density`, with a temperature of 1 for example, or any function of
        alpha, beta and target.
      engine: how the posterior is kept: "dense", alpha and beta as they are, all of
        them moved in every step; "lazy", the same numbers in O(B) per step; "auto"
        decides by the rules in `selectors/engine.py`.
      selection: how the batch is found: "sweep" scores every task; "race" looks at a
        few random points per chosen task, for Thompson draws and for
        `target_log_density`, with the same law; "auto" likewise. Under `vmap` over
        states or settings a sweep is cheaper.

    Returns:
      A selector whose state is a `BotsState`.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> import jax
      >>> selector = bots(num_tasks=100, batch_size=4)
      >>> state = selector.init()
      >>> task_ids, info = selector.select(jax.random.key(0), state)
      >>> task_ids.shape, int(info.num_eligible)
      ((4,), 100)

    Source: arXiv 2510.26374.
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    batch_size = checks.check_count("batch_size", batch_size)
    checks.check_batch_fits(num_tasks, batch_size)
    checks.check_number("group_size", group_size, 1, 2.0**24)
    forgetting = settle_forgetting(forgetting, ess_max, group_size)
    implicit_weight = settle_implicit_weight(
        implicit_weight, ess_implicit, forgetting, group_size
    )
    checks.check_number("temperature", temperature, 0, 1e6)
    checks.check_number("capability_momentum", capability_momentum, 0, 1)
    checks.check_setting("target_success_prob", target_success_prob, num_tasks, 0, 1)
    low, high = checks.MIN_PRIOR, checks.MAX_PRIOR
    checks.check_setting("prior_alpha", prior_alpha, num_tasks, low, high)
    checks.check_setting("prior_beta", prior_beta, num_tasks, low, high)
    checks.check_eligible(eligible, num_tasks, batch_size)
    checks.check_choice("engine", engine, ENGINES)
    checks.check_choice("selection", selection, SELECTIONS)
    for name, rule in (("estimate", estimate), ("score", score)):
        if rule is not None:
            checks.check_callable(name, rule)
    if estimate is not None and score is not None:
        raise ValueError("estimate and score must not both be given, got both.")
    settings = _Settings(
        batch_size=batch_size,
        forgetting=forgetting,
        pseudo_rollouts=implicit_weight * group_size,
        capability_momentum=capability_momentum,
        target_success_prob=target_success_prob,
        prior_alpha=prior_alpha,
        prior_beta=prior_beta,
        eligible=eligible,
        rule=Rule(estimate, score, temperature),
        engine=engine,
        selection=selection,
    )
    return _make_bots(settings, Shard(num_tasks))


class _Settings(NamedTuple):
    """What a BOTS selector was asked to be, checked."""

    batch_size: int
    forgetting: Any
    pseudo_rollouts: Any
    capability_momentum: Any
    target_success_prob: Any
    prior_alpha: Any
    prior_beta: Any
    eligible: Any
    rule: Rule
    engine: str
    selection: str

    def fitted(self, num_tasks: int) -> "_Settings":
        """The same for another number of tasks."""
        names = ("target_success_prob", "prior_alpha", "prior_beta", "eligible")
        per_task = {name: fit(getattr(self, name), num_tasks) for name in names}
        return self._replace(**per_task)


def _make_bots(settings: _Settings, shard: Shard) -> TaskSelector:
    num_tasks, forgetting = shard.num_tasks, settings.forgetting
    above_one = _is_at_least_one(settings.prior_alpha)
    plan = make_plan(
        settings.engine,
        settings.selection,
        settings.rule,
        num_tasks=num_tasks,
        batch_size=settings.batch_size,
        forgetting=forgetting,
        target_success_prob=settings.target_success_prob,
        above_one=above_one and _is_at_least_one(settings.prior_beta),
    )
    remembered = num_remembered(forgetting) if plan.is_lazy else None
    settings = settings._replace(engine="lazy" if plan.is_lazy else "dense")

    def init(references: Any = None) -> BotsState:
        return init_bots(
            references,
            num_tasks,
            settings.prior_alpha,
            settings.prior_beta,
            settings.target_success_prob,
            settings.eligible,
            remembered,
        )

    def select(key: Array, state: BotsState) -> tuple[Array, SelectInfo]:
        return select_bots(key, state, shard, plan.choose)

    def update(state: BotsState, evidence: Evidence) -> tuple[BotsState, UpdateInfo]:
        return update_bots(
            state,
            collect_rows(evidence, num_tasks),
            shard,
            forgetting,
            settings.pseudo_rollouts,
            settings.capability_momentum,
        )

    def posterior(state: BotsState) -> tuple[Array, Array]:
        alpha, beta = counts_of(state, lambda x: x)
        return jnp.copy(alpha), jnp.copy(beta)

    def remake(shard: Shard) -> TaskSelector:
        checks.check_batch_fits(shard.num_tasks, settings.batch_size)
        return _make_bots(settings.fitted(shard.num_tasks), shard)

    return TaskSelector(
        init=init,
        select=select,
        update=update,
        posterior=posterior,
        name="bots",
        num_tasks=num_tasks,
        batch_size=settings.batch_size,
        forgetting=forgetting,
        remake=remake,
    )


def _is_at_least_one(prior: Any) -> bool:
    return not checks.is_traced(prior) and bool(np.all(np.asarray(prior) >= 1))


def select_bots(
    key: Array,
    state: BotsState,
    shard: Shard,
    choose: ChooseFn,
) -> tuple[Array, SelectInfo]:
    """Chooses a batch.

    Args:
      key: consumed.
      state: left as it is.
      shard: which of the tasks are here.
      choose: (key, pool) -> batch, from `selection.choose`.

    Returns:
      int32 [B] distinct ids, best first, and info.

    Example:
      >>> import functools, jax
      >>> from bots_jax.selection.choose import sweep_draws
      >>> state = init_bots(None, 3, 1.0, 1.0, 0.5, np.array([True, False, False]))
      >>> choose = functools.partial(sweep_draws, batch_size=1)
      >>> select_bots(jax.random.key(0), state, Shard(3), choose)[0]
      Array([0], dtype=int32)
    """
    pool = Pool(
        num_tasks=shard.num_tasks,
        counts=lambda cut: counts_of(state, cut),
        max_concentration=state.posterior.max_concentration,
        target=state.target_success_prob,
        eligible=state.eligible,
        shard=shard,
    )
    chosen = choose(key, pool)
    return chosen.task_ids, select_info(pool, chosen, state.num_eligible)


def update_bots(
    state: BotsState,
    rows: Rows,
    shard: Shard,
    forgetting: Any,
    pseudo_rollouts: Any,
    capability_momentum: Any,
) -> tuple[BotsState, UpdateInfo]:
    """Learns from the evidence of one step.

    Before the capability's first estimate the plug-in adds no implicit evidence. An
    empty batch still forgets, and implies what the last capability implied.

    Args:
      state: before the step.
      rows: the evidence, one row per task.
      shard: which of the tasks are here.
      forgetting: in [0, 1].
      pseudo_rollouts: implicit_weight * group_size.
      capability_momentum: in [0, 1].

    Returns:
      State of the same structure, shapes and dtypes, and info.

    Example:
      >>> from bots_jax.evidence import evidence_from_counts
      >>> state = init_bots(None, 2, 1.0, 1.0, 0.5, True)
      >>> rows = collect_rows(evidence_from_counts([1], [3], 4), 2)
      >>> update_bots(state, rows, Shard(2), 0.1, 0.4, 0.9)[0].posterior.alpha
      Array([1., 4.], dtype=float32)
    """
    plugin, old = state.plugin, state.posterior
    capability = error = jnp.float32(jnp.nan)
    weight = jnp.asarray(pseudo_rollouts, jnp.float32)
    predicted = said = None
    if plugin is not None:
        at_rows = shard.at(rows.task_ids, "clip")
        if isinstance(old, LazyPosterior):
            weak, strong = references_at(old, at_rows)
        else:
            weak, strong = (at_rows(x) for x in known_references(plugin))
        plugin, error = learn_capability(
            plugin, rows, weak, strong, capability_momentum
        )
        known = plugin.num_estimates > 0
        weight = jnp.where(known, weight, 0)
        capability = jnp.where(known, plugin.capability, jnp.nan)
        if isinstance(old, LazyPosterior):
            rate = interpolate(weak, strong, plugin.capability)
            said = plugin.capability, jnp.where(rows.valid, rate, 0)
        else:
            predicted = interpolate(*known_references(plugin), plugin.capability)
    if isinstance(old, LazyPosterior):
        posterior = update_lazy_posterior(old, rows, said, forgetting, weight, shard)
    else:
        posterior = update_posterior(old, rows, predicted, forgetting, weight, shard)
    new = state._replace(
        posterior=posterior, plugin=plugin, num_updates=state.num_updates + 1
    )
    return new, evidence_info(rows, plugin_error=error, capability=capability)
