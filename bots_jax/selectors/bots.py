"""BOTS: Bayesian online task selection.

    init    alpha, beta = prior of every task
    select  draw a success chance per task, take the B nearest the target
    update  forget a little, add what was seen, add what it implies for the rest

Source: arXiv 2510.26374; official code in Trinity-RFT (`difficulty_estimator.py`,
`selector.py`), from which the table in the README lists the deliberate differences.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int32

from bots_jax import checks
from bots_jax.beta import beta_mean
from bots_jax.evidence.counts import Rows, collect_rows
from bots_jax.evidence.interpolation import (
    InterpolationState,
    init_interpolation,
    interpolate,
    learn_capability,
)
from bots_jax.posterior.recurrence import Posterior, init_posterior, update_posterior
from bots_jax.selection.gumbel import temper
from bots_jax.selection.scores import target_distance_scores, thompson_draws
from bots_jax.selection.top_k import count_eligible, select_top_k
from bots_jax.selectors.common import evidence_info
from bots_jax.types import (
    EstimateFn,
    Evidence,
    MaskSetting,
    SelectInfo,
    Setting,
    TaskSelector,
    UpdateInfo,
)


class BotsState(NamedTuple):
    """All that the next step of BOTS needs.

    Attributes:
      posterior: beliefs and priors.
      plugin: references and capability; None without references.
      target_success_prob: float32 [] or [N], in [0, 1]; p* in the paper.
      eligible: bool [] or [N], True = may be chosen.
      num_updates: int32, the selector's clock.
    """

    posterior: Posterior
    plugin: InterpolationState | None
    target_success_prob: Setting
    eligible: MaskSetting
    num_updates: Int32[Array, ""]


def bots(
    *,
    num_tasks: int,
    batch_size: int,
    group_size: float = 16,
    forgetting: Any = 0.1,
    implicit_weight: Any = 0.1,
    target_success_prob: Any = 0.5,
    temperature: Any = 0.0,
    capability_momentum: Any = 0.9,
    prior_alpha: Any = 1.0,
    prior_beta: Any = 1.0,
    eligible: Any = True,
    estimate: EstimateFn | None = None,
) -> TaskSelector:
    """Makes the BOTS selector.

    Numbers may be Python numbers, arrays or traced scalars: traced ones are not
    range-checked, so that a sweep over them is a `vmap` over this factory.

    Args:
      num_tasks: N, in [1, 2^31 - 2].
      batch_size: B, distinct tasks per step, in [1, N].
      group_size: rollouts per task that implicit evidence is worth before its weight,
        in [1, 2^24]; n in the paper. Real evidence counts its own rollouts.
      forgetting: share of the way back to the prior that every task goes in a step,
        in [0, 1]; lambda in the paper.
      implicit_weight: weight of what the plug-in predicts for tasks that were not
        rolled out, in [0, 1]; rho in the paper. Without references it has no effect.
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
        `posterior_means`.

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
    checks.check_number("forgetting", forgetting, 0, 1)
    checks.check_number("implicit_weight", implicit_weight, 0, 1)
    checks.check_number("temperature", temperature, 0, 1e6)
    checks.check_number("capability_momentum", capability_momentum, 0, 1)
    checks.check_setting("target_success_prob", target_success_prob, num_tasks, 0, 1)
    low, high = checks.MIN_PRIOR, checks.MAX_PRIOR
    checks.check_setting("prior_alpha", prior_alpha, num_tasks, low, high)
    checks.check_setting("prior_beta", prior_beta, num_tasks, low, high)
    checks.check_eligible(eligible, num_tasks, batch_size)
    if estimate is None:
        above_one = _is_at_least_one(prior_alpha) and _is_at_least_one(prior_beta)
        estimate = functools.partial(thompson_draws, shapes_above_one=above_one)
    checks.check_callable("estimate", estimate)

    def init(references: Any = None) -> BotsState:
        return init_bots(
            references,
            num_tasks,
            prior_alpha,
            prior_beta,
            target_success_prob,
            eligible,
        )

    def select(key: Array, state: BotsState) -> tuple[Array, SelectInfo]:
        return select_bots(key, state, batch_size, estimate, temperature)

    def update(state: BotsState, evidence: Evidence) -> tuple[BotsState, UpdateInfo]:
        rows = collect_rows(evidence, num_tasks)
        pseudo_rollouts = implicit_weight * group_size
        return update_bots(
            state, rows, forgetting, pseudo_rollouts, capability_momentum
        )

    def posterior(state: BotsState) -> tuple[Array, Array]:
        return jnp.copy(state.posterior.alpha), jnp.copy(state.posterior.beta)

    return TaskSelector(init, select, update, posterior, "bots", num_tasks, batch_size)


def _is_at_least_one(prior: Any) -> bool:
    return not checks.is_traced(prior) and bool(np.all(np.asarray(prior) >= 1))


def init_bots(
    references: Any,
    num_tasks: int,
    prior_alpha: Any,
    prior_beta: Any,
    target_success_prob: Any,
    eligible: Any,
) -> BotsState:
    """Builds fresh state; call it outside jit, so that values are checked.

    Args:
      references: floating [N, 2] in [0, 1], weak and strong; None without.
      num_tasks: N.
      prior_alpha: a number or [N].
      prior_beta: a number or [N].
      target_success_prob: a number or [N].
      eligible: bool or [N].

    Returns:
      State in which no two fields share a buffer.

    Raises:
      ValueError: for references of another shape or dtype, NaN or outside [0, 1].

    Example:
      >>> init_bots(None, 3, 1.0, 1.0, 0.5, True).posterior.alpha
      Array([1., 1., 1.], dtype=float32)
    """
    if references is not None:
        checks.check_references(references, num_tasks)
    return BotsState(
        posterior=init_posterior(num_tasks, prior_alpha, prior_beta),
        plugin=None if references is None else init_interpolation(references),
        target_success_prob=jnp.array(target_success_prob, jnp.float32, copy=True),
        eligible=jnp.array(eligible, bool, copy=True),
        num_updates=jnp.zeros((), jnp.int32),
    )


def select_bots(
    key: Array,
    state: BotsState,
    batch_size: int,
    estimate: EstimateFn,
    temperature: Any,
) -> tuple[Array, SelectInfo]:
    """Takes the B tasks whose estimated success chance lies nearest the target.

    Args:
      key: consumed.
      state: left as it is.
      batch_size: B.
      estimate: what tasks are judged by.
      temperature: >= 0. A Python 0 saves the noise; an array 0 gives the same batch.

    Returns:
      int32 [B] distinct ids, best first, and info.

    Example:
      >>> import jax
      >>> state = init_bots(None, 3, 1.0, 1.0, 0.5, np.array([True, False, False]))
      >>> select_bots(jax.random.key(0), state, 1, thompson_draws, 0.0)[0]
      Array([0], dtype=int32)
    """
    draw_key, noise_key = jax.random.split(key)
    posterior = state.posterior
    num_tasks = posterior.alpha.shape[0]
    draws = estimate(draw_key, posterior.alpha, posterior.beta)
    scores = target_distance_scores(draws, state.target_success_prob)
    if not (isinstance(temperature, (int, float)) and temperature == 0):
        scores = temper(noise_key, scores, temperature)
    task_ids = select_top_k(scores, state.eligible, batch_size)
    filled = task_ids >= 0
    target = state.target_success_prob
    if target.ndim:
        target = target[task_ids]
    mean = lambda x: jnp.mean(x, where=filled)  # noqa: E731
    return task_ids, SelectInfo(
        draw_mean=mean(draws[task_ids]),
        posterior_mean=mean(
            beta_mean(posterior.alpha[task_ids], posterior.beta[task_ids])
        ),
        target_distance=jnp.max(
            jnp.abs(draws[task_ids] - target), where=filled, initial=0
        ),
        num_eligible=count_eligible(state.eligible, num_tasks),
        num_unfilled=jnp.sum(~filled, dtype=jnp.int32),
    )


def update_bots(
    state: BotsState,
    rows: Rows,
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
      forgetting: in [0, 1].
      pseudo_rollouts: implicit_weight * group_size.
      capability_momentum: in [0, 1].

    Returns:
      State of the same structure, shapes and dtypes, and info.

    Example:
      >>> from bots_jax.evidence import evidence_from_counts
      >>> state = init_bots(None, 2, 1.0, 1.0, 0.5, True)
      >>> rows = collect_rows(evidence_from_counts([1], [3], 4), 2)
      >>> update_bots(state, rows, 0.1, 0.4, 0.9)[0].posterior.alpha
      Array([1., 4.], dtype=float32)
    """
    plugin, predicted = state.plugin, None
    capability = error = jnp.float32(jnp.nan)
    weight = jnp.asarray(pseudo_rollouts, jnp.float32)
    if plugin is not None:
        plugin, error = learn_capability(plugin, rows, capability_momentum)
        known = plugin.num_estimates > 0
        predicted = interpolate(plugin.weak, plugin.strong, plugin.capability)
        weight = jnp.where(known, weight, 0)
        capability = jnp.where(known, plugin.capability, jnp.nan)
    new = state._replace(
        posterior=update_posterior(
            state.posterior, rows, predicted, forgetting, weight
        ),
        plugin=plugin,
        num_updates=state.num_updates + 1,
    )
    return new, evidence_info(rows, plugin_error=error, capability=capability)
