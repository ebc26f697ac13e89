"""The plug-in for tasks that come in groups: a Beta fitted to what each has shown.

Success chances of the tasks of a group are taken for draws from a Beta, whose mean and
concentration are fitted by moments to all that its tasks have shown, faded by the
update. With n_i trials and s_i successes in row i, faded by f_i = keep^age_i, rows are
weighted by w_i = f_i n_i:

    w = sum w_i,   p = (sum f_i s_i + 1/2) / (w + 1),   S = sum w_i (s_i / n_i - p)^2
    A = sum f_i - sum f_i w_i / w,                      C = w - sum w_i^2 / w
    correlation = (S / (p (1 - p)) - A) / (C - A),      concentration = 1 / corr. - 1

Without fading this is `host.groups.fit_beta`. A group that has shown little is drawn to
what all tasks have shown, fitted in the same way as one group; or, where groups are
parts of larger ones, to its parent, and that to all tasks.

The concentration is what a mean cannot tell. Of tasks that are solved always or never,
half and half, rollouts teach nothing, though their mean is 1/2; where each is solved
half of the time they teach most. `expected_variance` of the Beta tells the two apart.

Source: Kleinman, "Proportions with extraneous variance" (JASA 1973), for general
weights w_i.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float32, Int32

from bots_jax import checks
from bots_jax.evidence.counts import Rows
from bots_jax.evidence.plugin import Plugin, Prediction
from bots_jax.evidence.plugin_inputs import check_groups, continued
from bots_jax.shard import Cut, Shard
from bots_jax.types import IdPerTask, Scalar

MIN_CONCENTRATION, MAX_CONCENTRATION = 0.5, 64.0
_UNKNOWN_CORRELATION = 1 / 3  # that of Beta(1, 1), where nothing tells tasks apart

PerGroup = Float32[Array, "groups_of_tasks"]  # noqa: F821
"""One number per group: float32 [H]."""


class GroupPriorState(NamedTuple):
    """What the plug-in knows of H groups, all sums faded.

    Attributes:
      group_ids: int32 [N].
      group_parents: int32 [H], which larger group each is part of.
      group_rows: float32 [H], sum of f_i over the rows seen.
      group_trials: float32 [H], sum of f_i n_i.
      group_successes: float32 [H], sum of f_i s_i.
      group_rates: float32 [H], sum of f_i s_i^2 / n_i.
      group_faded_trials: float32 [H], sum of f_i^2 n_i.
      group_faded_squares: float32 [H], sum of f_i^2 n_i^2.
    """

    group_ids: IdPerTask
    group_parents: Int32[Array, "groups_of_tasks"]  # noqa: F821
    group_rows: PerGroup
    group_trials: PerGroup
    group_successes: PerGroup
    group_rates: PerGroup
    group_faded_trials: PerGroup
    group_faded_squares: PerGroup


class GroupBelief(NamedTuple):
    """What is believed of a new task of each group.

    Attributes:
      success_prob: float32 [H] in [0, 1].
      concentration: float32 [H], in [0.5, 64]; 0 before any evidence at all.
    """

    success_prob: Array
    concentration: Array


class _Settings(NamedTuple):
    groups: np.ndarray
    num_groups: int
    parents: np.ndarray
    num_parents: int
    forgetting: Any
    prior_tasks: Any


def group_prior(
    groups: Any,
    num_groups: int | None = None,
    *,
    parents: Any = None,
    forgetting: Any = 0.02,
    prior_tasks: Any = 4.0,
) -> Plugin:
    """Makes the plug-in that predicts a task by its group.

    Args:
      groups: integers [N], in [0, num_groups), on the host.
      num_groups: H; None for the largest id in `groups` and one more.
      parents: integers [H], in [0, H), on the host: which larger group each
        group is part of, such as the source of groups that are source and level. None
        for all tasks.
      forgetting: share of what was shown that is lost in an update, in [0, 1]. Below
        about 1e-6 nothing new counts once a group has shown 2^24 trials.
      prior_tasks: in [0, 1e6], how many tasks of the parent, or of the pool at large,
        stand beside those that a group has shown.

    Returns:
      A plug-in that wants no references: `init` lets go of any, unchecked, so that it
      can stand in for any other. Its state is a `GroupPriorState`. Concentrations are
      in [0.5, 64], and 0 before any evidence at all. Rollouts count in full: how much
      those of a task repeat each other is what is fitted.

    Raises:
      ValueError: naming the argument, the value received and what is allowed.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> plugin = group_prior([0, 0, 0, 1], prior_tasks=0)
      >>> rows = collect_rows(evidence_from_counts([0, 1], [12, 14], 16), 4)
      >>> state = plugin.learn(plugin.init(None), rows, 8.0, Shard(4))
      >>> said = plugin.predict(state, lambda x: x, Shard(4)).success_prob
      >>> [round(float(p), 2) for p in said]
      [0.8, 0.8, 0.8, 0.8]
    """
    groups, num_groups = check_groups(groups, num_groups)
    checks.check_number("forgetting", forgetting, 0, 1)
    checks.check_number("prior_tasks", prior_tasks, 0, 1e6)
    larger, num_parents = np.zeros((num_groups,), np.int32), 1
    if parents is not None:
        larger, _ = check_groups(parents, num_groups, num_groups, name="parents")
        num_parents = int(larger.max()) + 1
    return _make(
        _Settings(groups, num_groups, larger, num_parents, forgetting, prior_tasks)
    )


def _make(settings: _Settings) -> Plugin:
    def init(references: Any) -> GroupPriorState:
        del references
        nothing = [jnp.zeros((settings.num_groups,), jnp.float32) for _ in range(6)]
        parents = jnp.array(settings.parents)
        return GroupPriorState(jnp.array(settings.groups), parents, *nothing)

    def predict(state: GroupPriorState, cut: Cut, shard: Shard) -> Prediction:
        del shard
        belief = fit_groups(state, settings.prior_tasks, settings.num_parents)
        group = cut(state.group_ids)
        return Prediction(belief.success_prob[group], belief.concentration[group])

    def fit(num_tasks: int) -> Plugin:
        return _make(settings._replace(groups=continued(settings.groups, num_tasks)))

    return Plugin(
        init=init,
        predict=predict,
        learn=lambda state, rows, concentration, shard: learn_groups(
            state, rows, shard, settings.forgetting
        ),
        capability=lambda state: jnp.float32(jnp.nan),
        fit=fit,
        num_references=0,
        name="group_prior",
        num_tasks=len(settings.groups),
        fits_concentration=True,
    )


def learn_groups(
    state: GroupPriorState, rows: Rows, shard: Shard, forgetting: Scalar
) -> GroupPriorState:
    """Adds the evidence of one step to the faded sums, in O(B + H).

    Args:
      state: before.
      rows: one row per task.
      shard: which of the tasks are here.
      forgetting: share lost in an update, in [0, 1].

    Returns:
      State one update later.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> rows = collect_rows(evidence_from_counts([0, 1], [4, 2], 4), 2)
      >>> state = group_prior([0, 0]).init(None)
      >>> learn_groups(state, rows, Shard(2), 0.1).group_rates
      Array([5.], dtype=float32)
    """
    keep = jnp.asarray(1 - forgetting, jnp.float32)
    group = shard.at(rows.task_ids, "clip")(state.group_ids)
    n, s = rows.successes + rows.failures, rows.successes
    safe = jnp.where(rows.valid, n, 1)

    def add(total: Array, keep: Array, row: Array) -> Array:
        return (keep * total).at[group].add(jnp.where(rows.valid, row, 0))

    return state._replace(
        group_rows=add(state.group_rows, keep, jnp.ones_like(n)),
        group_trials=add(state.group_trials, keep, n),
        group_successes=add(state.group_successes, keep, s),
        group_rates=add(state.group_rates, keep, s * s / safe),
        group_faded_trials=add(state.group_faded_trials, keep * keep, n),
        group_faded_squares=add(state.group_faded_squares, keep * keep, n * n),
    )


class _Sums(NamedTuple):
    """The sums of a state, of groups of any size: float32 [H] each."""

    rows: Array
    trials: Array
    successes: Array
    rates: Array
    faded_trials: Array
    faded_squares: Array


class _Fit(NamedTuple):
    """Of groups: mean and correlation of their Betas, float32 [H] each."""

    mean: Array
    correlation: Array


class _Moments(NamedTuple):
    """Of groups, float32 [H] each."""

    mean: Array
    excess: Array  # S / (p (1 - p)) - A
    scale: Array  # C - A


_TINY = np.float32(1e-6)


def _moments(sums: _Sums) -> _Moments:
    w, s = sums.trials, sums.successes
    mean = (s + 0.5) / (w + 1)
    spread = sums.rates - 2 * mean * s + mean * mean * w
    per_trial = 1 / jnp.where(w > 0, w, 1)
    apart = sums.rows - sums.faded_trials * per_trial
    whole = w - sums.faded_squares * per_trial
    excess = jnp.maximum(spread, 0) / (mean * (1 - mean)) - apart
    return _Moments(mean, excess, whole - apart)


def _clipped(correlation: Array) -> Array:
    least = np.float32(1 / (1 + MAX_CONCENTRATION))
    most = np.float32(1 / (1 + MIN_CONCENTRATION))
    return jnp.clip(correlation, least, most)


def _fit_whole(sums: _Sums) -> _Fit:
    """Fits groups by what they have shown alone."""
    found = _moments(sums)
    known = found.scale > _TINY
    correlation = found.excess / jnp.where(known, found.scale, 1)
    unknown = np.float32(_UNKNOWN_CORRELATION)
    return _Fit(found.mean, _clipped(jnp.where(known, correlation, unknown)))


def _fit_drawn(sums: _Sums, towards: _Fit, m: Array, n: Array) -> _Fit:
    """Fits groups, with m tasks of n rollouts each of what they are drawn to."""
    found = _moments(sums)
    prior_scale = m * jnp.maximum(n - 1, 0)
    scale = found.scale + prior_scale
    fitted = found.excess + prior_scale * towards.correlation
    fitted = fitted / jnp.where(scale > _TINY, scale, 1)
    correlation = _clipped(jnp.where(scale > _TINY, fitted, towards.correlation))
    mixed = lambda squares, trials: (  # noqa: E731
        correlation * squares + (1 - correlation) * trials
    )
    shown = mixed(sums.faded_squares, sums.faded_trials)
    worth = sums.trials * sums.trials / jnp.where(shown > 0, shown, 1)
    prior_worth = m * n / jnp.maximum(mixed(n, jnp.ones_like(n)), _TINY)
    total = worth + prior_worth
    mean = worth * found.mean + prior_worth * towards.mean
    mean = mean / jnp.where(total > 0, total, 1)
    return _Fit(jnp.where(total > 0, mean, towards.mean), correlation)


def fit_groups(
    state: GroupPriorState, prior_tasks: Scalar, num_parents: int = 1
) -> GroupBelief:
    """Fits a Beta to each group, drawn to its parent where it has shown little.

    With m prior tasks of as many trials as tasks have on average, n per row, the
    correlation is (excess + m (n - 1) r) / (scale + m (n - 1)), where r is that of the
    parent; and the mean is that of the group's rollouts and those of m tasks of the
    parent, all counted as independent ones: sum(w_i)^2 / (corr. sum(w_i^2) + (1 -
    corr.) sum(f_i w_i)) of the group and m / (corr. + (1 - corr.) / n) of the parent.
    Parents are drawn to all tasks likewise.

    Args:
      state: what is known.
      prior_tasks: m, >= 0.
      num_parents: of the groups; 1 for all tasks.

    Returns:
      What is believed of a new task of each group.

    Example:
      >>> state = group_prior([0, 1]).init(None)
      >>> fit_groups(state, 4.0).success_prob
      Array([0.5, 0.5], dtype=float32)
    """
    sums = _Sums(*state[2:])
    at_large = _Sums(*(jnp.sum(x, keepdims=True) for x in sums))
    n = at_large.trials / jnp.maximum(at_large.rows, _TINY)
    m = jnp.asarray(prior_tasks, jnp.float32)
    towards = _fit_whole(at_large)
    if num_parents > 1:
        nothing = jnp.zeros((num_parents,), jnp.float32)
        add = lambda x: nothing.at[state.group_parents].add(x)  # noqa: E731
        parents = _fit_drawn(_Sums(*map(add, sums)), towards, m, n)
        towards = _Fit(*(x[state.group_parents] for x in parents))
    fitted = _fit_drawn(sums, towards, m, n)
    concentration = (1 - fitted.correlation) / fitted.correlation
    return GroupBelief(fitted.mean, jnp.where(at_large.trials > 0, concentration, 0))
