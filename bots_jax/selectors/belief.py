"""What a selector believes of its tasks: prior, plug-in, and what rollouts showed.

    alpha = prior_alpha + trust * predicted       + successes, faded by the clock
    beta  = prior_beta  + trust * (1 - predicted) + failures, faded likewise

Nothing of length N is touched in an update but the rows of the batch: predictions are
made when they are read, and counts fade when they are read. In the steady state of
BOTS's recurrence, with its forgetting and implicit_weight, this is the same posterior
with trust = implicit_weight * group_size / forgetting and without the lag of
1 / forgetting steps behind the plug-in.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bots_jax.evidence.counts import Rows, collect_rows
from bots_jax.evidence.plugin import Plugin, PluginState, Prediction
from bots_jax.posterior.adaptation import (
    Bank,
    Foreseen,
    expected_trust,
    forgetting_weights,
    init_bank,
    learn_bank,
    limited,
)
from bots_jax.posterior.explicit import (
    ExplicitCounts,
    add_explicit,
    init_explicit,
    lost_per_step,
    mixed_explicit,
    read_explicit,
)
from bots_jax.posterior.recurrence import own_setting, prior_of
from bots_jax.selectors.common import count_rates, fit
from bots_jax.shard import Cut, Shard
from bots_jax.types import Setting


class Learnt(NamedTuple):
    """What a person wants to see of an update of beliefs; float32 scalars, NaN if none.

    Attributes:
      plugin_error: mean |predicted - observed| success rate, before learning.
      capability: of the plug-in, after learning.
      trust: what its predictions count for, after learning.
    """

    plugin_error: Array
    capability: Array
    trust: Array


class Belief(NamedTuple):
    """What is kept of N tasks, and how; pure functions, whatever the family.

    Attributes:
      init: references or None -> state.
      counts: (state, cut, shard) -> alpha and beta, float32 [P] each, of the tasks that
        the cut takes: the Beta that stands for the belief.
      most: state -> float32 scalar, at least alpha + beta of every task.
      last_update: (state, cut) -> int32 [P], number of the update, from 1, that last
        held evidence of the task; 0 = none.
      learn: (state, rows, shard) -> state and `Learnt`.
      fit: num_tasks -> the same for another number of tasks.
      forgetting: share of its weight that evidence loses in a step, for `TaskSampler`;
        0 where several forgettings are tried.
      above_one: promise that every alpha and beta is >= 1.
      num_references: columns that `init` wants; 0 for None.
      collect: (evidence, num_tasks) -> rows, one per task, that `learn` takes; they
        have the fields of `Rows` but the counts.
      rates: rows -> success rates float32 [B], 0 where nothing, and bool [B], True for
        a group whose rewards differ.
    """

    init: Callable[[Any], Any]
    counts: Callable[[Any, Cut, Shard], tuple[Array, Array]]
    most: Callable[[Any], Array]
    last_update: Callable[[Any, Cut], Array]
    learn: Callable[[Any, Any, Shard], tuple[Any, Learnt]]
    fit: Callable[[int], "Belief"]
    forgetting: Any
    above_one: bool
    num_references: int = 0
    collect: Callable[[Any, int], Any] = collect_rows
    rates: Callable[[Any], tuple[Array, Array]] = count_rates


class BetaState(NamedTuple):
    """State of a Beta belief.

    Attributes:
      explicit: what rollouts showed.
      plugin: state of the plug-in; None without.
      bank: forgettings and trusts, and what is believed of them.
      prior_alpha: float32 [] or [N].
      prior_beta: float32 [] or [N].
      most_prior: float32, at least prior_alpha + prior_beta of every task.
    """

    explicit: ExplicitCounts
    plugin: PluginState
    bank: Bank
    prior_alpha: Setting
    prior_beta: Setting
    most_prior: Array


class BetaSettings(NamedTuple):
    """What a Beta belief was asked to be, checked.

    Attributes:
      num_tasks: N.
      prior_alpha: a number or [N].
      prior_beta: likewise.
      forgettings: tuple of numbers or traced scalars; more than one are chosen among.
      clock: one of `posterior.explicit.CLOCKS`.
      plugin: None without.
      trusts: tuple of numbers; more than one are chosen among.
      fading: of the bank's scores.
    """

    num_tasks: int
    prior_alpha: Any = 1.0
    prior_beta: Any = 1.0
    forgettings: tuple[Any, ...] = (0.1,)
    clock: str = "step"
    plugin: Plugin | None = None
    trusts: tuple[Any, ...] = (16.0,)
    fading: Any = 0.02


def beta_belief(settings: BetaSettings, above_one: bool = False) -> Belief:
    """Makes the Beta belief of the header.

    Args:
      settings: checked by the factory that calls this.
      above_one: promise that the priors are >= 1.

    Returns:
      The belief.

    Example:
      >>> belief = beta_belief(BetaSettings(num_tasks=3, prior_beta=2.0))
      >>> belief.counts(belief.init(None), lambda x: x, Shard(3))[1]
      Array([2., 2., 2.], dtype=float32)
    """
    plugin, clock = settings.plugin, settings.clock
    lost = lost_per_step(settings.forgettings[0], clock)

    def init(references: Any = None) -> BetaState:
        own_alpha = own_setting(settings.prior_alpha)
        own_beta = own_setting(settings.prior_beta)
        return BetaState(
            explicit=init_explicit(settings.num_tasks, settings.forgettings, clock),
            plugin=None if plugin is None else plugin.init(references),
            bank=init_bank(len(settings.forgettings), settings.trusts, settings.fading),
            prior_alpha=own_alpha,
            prior_beta=own_beta,
            most_prior=jnp.max(own_alpha + own_beta) + jnp.float32(0),
        )

    def fitted(num_tasks: int) -> Belief:
        fitted = settings._replace(
            num_tasks=num_tasks,
            prior_alpha=fit(settings.prior_alpha, num_tasks),
            prior_beta=fit(settings.prior_beta, num_tasks),
            plugin=None if plugin is None else plugin.fit(num_tasks),
        )
        return beta_belief(fitted, above_one)

    return Belief(
        init=init,
        counts=lambda state, cut, shard: beta_counts(state, cut, shard, settings),
        most=lambda state: beta_most(state, settings),
        last_update=lambda state, cut: cut(state.explicit.last_update),
        learn=lambda state, rows, shard: learn_beta(state, rows, shard, settings),
        fit=fitted,
        forgetting=lost if len(settings.forgettings) == 1 else 0.0,
        above_one=above_one,
        num_references=0 if plugin is None else plugin.num_references,
    )


def beta_counts(
    state: BetaState, cut: Cut, shard: Shard, settings: BetaSettings
) -> tuple[Array, Array]:
    """Reads alpha and beta of some tasks.

    Args:
      state: of N tasks.
      cut: takes P of them.
      shard: which of the tasks are here.
      settings: of the belief.

    Returns:
      float32 [P] each.

    Example:
      >>> settings = BetaSettings(num_tasks=2)
      >>> state = beta_belief(settings).init(None)
      >>> beta_counts(state, lambda x: x[:1], Shard(2), settings)[0]
      Array([1.], dtype=float32)
    """
    weights = jnp.ones((1,), jnp.float32)
    if len(settings.forgettings) > 1:
        weights = forgetting_weights(state.bank)
    successes, failures = mixed_explicit(state.explicit, cut, settings.clock, weights)
    alpha = prior_of(state.prior_alpha, cut) + successes
    beta = prior_of(state.prior_beta, cut) + failures
    if settings.plugin is None:
        return alpha, beta
    said = settings.plugin.predict(state.plugin, cut, shard)
    trust = limited(expected_trust(state.bank), said.concentration)
    return alpha + trust * said.success_prob, beta + trust * (1 - said.success_prob)


def beta_most(state: BetaState, settings: BetaSettings) -> Array:
    """Bounds alpha + beta of every task.

    Example:
      >>> settings = BetaSettings(num_tasks=2)
      >>> beta_most(beta_belief(settings).init(None), settings)
      Array(2., dtype=float32)
    """
    most = state.most_prior + state.explicit.most_trials
    if settings.plugin is None:
        return most
    return most + expected_trust(state.bank)


def learn_beta(
    state: BetaState, rows: Rows, shard: Shard, settings: BetaSettings
) -> tuple[BetaState, Learnt]:
    """Learns from the evidence of one update: first the bank, then what it scores.

    Args:
      state: before.
      rows: one row per task.
      shard: which of the tasks are here.
      settings: of the belief.

    Returns:
      State after it, and what a person wants to see.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> settings = BetaSettings(num_tasks=2)
      >>> state = beta_belief(settings).init(None)
      >>> rows = collect_rows(evidence_from_counts([1], [3], 4), 2)
      >>> state, _ = learn_beta(state, rows, Shard(2), settings)
      >>> beta_counts(state, lambda x: x, Shard(2), settings)[0]
      Array([1., 4.], dtype=float32)
    """
    nothing = jnp.float32(jnp.nan)
    plugin, bank, learnt = (
        settings.plugin,
        state.bank,
        Learnt(nothing, nothing, nothing),
    )
    at_rows = shard.at(rows.task_ids, "clip")
    size = rows.task_ids.shape[0]
    said = Prediction(
        jnp.full((size,), 0.5, jnp.float32), jnp.zeros((size,), jnp.float32)
    )
    if plugin is not None and size:
        said = plugin.predict(state.plugin, at_rows, shard)
        learnt = learnt._replace(plugin_error=_error(said, rows))
    if bank.log_weights.size > 1 and size:
        faded = read_explicit(state.explicit, at_rows, settings.clock)
        prior = lambda x: jnp.broadcast_to(prior_of(x, at_rows), (size,))  # noqa: E731
        seen = Foreseen(
            prior(state.prior_alpha), prior(state.prior_beta), *said, *faded
        )
        bank = learn_bank(bank, seen, rows.successes, rows.failures, rows.valid)
    new = state._replace(bank=bank)
    if plugin is not None:
        worth = expected_trust(bank)
        if size:
            taught = plugin.learn(state.plugin, rows, worth, shard)
            new = new._replace(plugin=taught)
        learnt = learnt._replace(capability=plugin.capability(new.plugin), trust=worth)
    explicit = add_explicit(state.explicit, rows, settings.clock, shard)
    return new._replace(explicit=explicit), learnt


def _error(said: Prediction, rows: Rows) -> Array:
    """Mean error over the rows of which something was predicted; NaN if none."""
    counts = rows.valid & (said.concentration > 0)
    trials = jnp.where(rows.valid, rows.successes + rows.failures, 1)
    error = jnp.abs(said.success_prob - rows.successes / trials)
    return jnp.mean(error, where=counts)
