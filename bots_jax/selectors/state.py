"""The state of BOTS: built, read, and set."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int32

from bots_jax import checks
from bots_jax.evidence.interpolation import (
    InterpolationState,
    init_interpolation,
    known_references,
)
from bots_jax.posterior.lazy import (
    LazyPosterior,
    init_lazy_posterior,
    lazy_counts,
    lazy_from_counts,
)
from bots_jax.posterior.recurrence import Posterior, init_posterior
from bots_jax.selection.pool import Cut
from bots_jax.selection.top_k import count_eligible
from bots_jax.types import MaskSetting, Setting, TaskSelector

MAX_CONCENTRATION = 1e7
"""Largest alpha or beta that may be set; rollouts do not get there by far."""


class BotsState(NamedTuple):
    """All that the next step of BOTS needs.

    Attributes:
      posterior: beliefs and priors, dense or as causes that fade.
      plugin: references and capability; None without references.
      target_success_prob: float32 [] or [N], in [0, 1]; p* in the paper.
      eligible: bool [] or [N], True = may be chosen.
      num_eligible: int32, how many may be.
      num_updates: int32, the selector's clock.
    """

    posterior: Posterior | LazyPosterior
    plugin: InterpolationState | None
    target_success_prob: Setting
    eligible: MaskSetting
    num_eligible: Int32[Array, ""]
    num_updates: Int32[Array, ""]


def init_bots(
    references: Any,
    num_tasks: int,
    prior_alpha: Any,
    prior_beta: Any,
    target_success_prob: Any,
    eligible: Any,
    remembered: int | None = None,
) -> BotsState:
    """Builds fresh state; call it outside jit, so that values are checked.

    Args:
      references: floating [N, 2] in [0, 1], weak and strong, or a tuple of two [N];
        None without.
      num_tasks: N.
      prior_alpha: a number or [N].
      prior_beta: a number or [N].
      target_success_prob: a number or [N].
      eligible: bool or [N].
      remembered: for a lazy posterior, how many steps outside [0, 1] it remembers;
        None for a dense one.

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
    priors = (num_tasks, prior_alpha, prior_beta)
    plugin = None if references is None else init_interpolation(references)
    if remembered is None:
        posterior = init_posterior(*priors)
    elif plugin is None:
        posterior = init_lazy_posterior(*priors, remembered)
    else:
        pair = known_references(plugin)
        posterior = init_lazy_posterior(*priors, remembered, pair)
        plugin = plugin._replace(weak=None, strong=None)
    mask = jnp.array(eligible, bool, copy=True)
    return BotsState(
        posterior=posterior,
        plugin=plugin,
        target_success_prob=jnp.array(target_success_prob, jnp.float32, copy=True),
        eligible=mask,
        num_eligible=count_eligible(mask, num_tasks),
        num_updates=jnp.zeros((), jnp.int32),
    )


def counts_of(state: BotsState, cut: Cut) -> tuple[Array, Array]:
    """Takes alpha and beta of some tasks, whichever way they are kept.

    Example:
      >>> state = init_bots(None, 3, 1.0, 2.0, 0.5, True)
      >>> counts_of(state, lambda x: x[:2])[1]
      Array([2., 2.], dtype=float32)
    """
    posterior = state.posterior
    if isinstance(posterior, LazyPosterior):
        return lazy_counts(posterior, cut)
    return cut(posterior.alpha), cut(posterior.beta)


def set_posterior(
    selector: TaskSelector, state: BotsState, alpha: Any, beta: Any
) -> BotsState:
    """Sets what is believed of every task, for instance from another run's posterior.

    Args:
      selector: the BOTS selector that the state belongs to.
      state: left as it is; all but the beliefs is kept.
      alpha: floating [N], at least the prior's alpha, at most 1e7.
      beta: likewise.

    Returns:
      State with the new beliefs in buffers of their own.

    Raises:
      ValueError: for another shape or dtype and, where the values are concrete, for
        beliefs outside the range. Traced ones are raised to the prior, NaN too.

    Example:
      >>> import bots_jax
      >>> selector = bots_jax.bots(num_tasks=2, batch_size=1)
      >>> beta = np.array([2.0, 3.0])
      >>> state = set_posterior(selector, selector.init(), np.ones(2), beta)
      >>> selector.posterior(state)[1]
      Array([2., 3.], dtype=float32)
    """
    posterior = state.posterior
    own = []
    for name, counts, prior in (
        ("alpha", alpha, posterior.prior_alpha),
        ("beta", beta, posterior.prior_beta),
    ):
        checks.check_shape(name, counts, ((selector.num_tasks,),))
        checks.check_dtype(name, counts, (np.floating,), "floating point")
        if not checks.is_traced(counts) and not checks.is_traced(prior):
            low = float(np.min(prior)) if np.ndim(prior) == 0 else 0.0
            checks.check_in_range(name, counts, low, MAX_CONCENTRATION)
        counts = jnp.asarray(counts, jnp.float32)
        if selector.placement.mesh is not None:
            counts = selector.placement.put(counts, selector.num_tasks)
        own.append(jnp.fmax(counts, prior))
    largest = jnp.max(own[0] + own[1])
    if isinstance(posterior, LazyPosterior):
        new = lazy_from_counts(posterior, *own)
    else:
        new = posterior._replace(alpha=own[0], beta=own[1])
    bounded = new._replace(max_concentration=jnp.maximum(largest, new.max_prior))
    return state._replace(posterior=bounded)
