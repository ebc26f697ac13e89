"""The one equation: how the Beta posterior of every task moves in one step.

    alpha' = (1 - forgetting) * alpha + forgetting * prior_alpha
             + (1 - implicit_weight) * s + implicit_weight * s~
    beta'  = the same with the prior_beta, f and f~

s and f are the successes and failures of tasks that were rolled out, for which
s~ = s and f~ = f, so that they count in full. For all others s = f = 0, and with a
predicted success chance p~ and G rollouts, s~ = G p~ and f~ = G (1 - p~).

Source: arXiv 2510.26374, equation 1; `_update` of the official code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

from bots_jax.evidence.counts import Rows
from bots_jax.fences import after, computed_apart
from bots_jax.shard import Shard
from bots_jax.types import PerTask, Scalar, Setting


class Posterior(NamedTuple):
    """Beta beliefs of N tasks, and the prior that forgetting returns them to.

    Attributes:
      alpha: float32 [N], pseudo-successes, >= prior_alpha.
      beta: float32 [N], pseudo-failures, >= prior_beta.
      prior_alpha: float32 [] or [N], > 0.
      prior_beta: float32 [] or [N], > 0.
      max_prior: float32, the largest prior_alpha + prior_beta.
      max_concentration: float32, at least alpha + beta of every task; what the race
        of `selection` needs.
    """

    alpha: PerTask
    beta: PerTask
    prior_alpha: Setting
    prior_beta: Setting
    max_prior: Float32[Array, ""]
    max_concentration: Float32[Array, ""]


def own_setting(setting: Any) -> Setting:
    """Copies a setting into a float32 buffer of its own.

    Example:
      >>> own_setting(2)
      Array(2., dtype=float32)
    """
    return jnp.array(setting, jnp.float32, copy=True)


def prior_of(prior: Setting, cut: Callable[[Array], Array]) -> Array:
    """Takes the prior of some tasks: all of a scalar, a part of [N].

    Example:
      >>> prior_of(jnp.float32([1, 2, 3]), lambda x: x[:2])
      Array([1., 2.], dtype=float32)
    """
    return prior if prior.ndim == 0 else cut(prior)


def init_posterior(num_tasks: int, prior_alpha: Any, prior_beta: Any) -> Posterior:
    """Builds a posterior equal to its prior, in buffers of its own.

    Args:
      num_tasks: N.
      prior_alpha: one number, or one per task, in [0.01, 1e5]; already checked.
      prior_beta: likewise.

    Returns:
      float32 arrays that share no buffer, so that the state can be donated.

    Example:
      >>> init_posterior(3, 1.0, 2.0).beta
      Array([2., 2., 2.], dtype=float32)
    """
    everywhere = lambda prior: jnp.full((num_tasks,), own_setting(prior)) + 0  # noqa: E731
    largest = jnp.max(own_setting(prior_alpha) + own_setting(prior_beta))
    return Posterior(
        alpha=everywhere(prior_alpha),
        beta=everywhere(prior_beta),
        prior_alpha=own_setting(prior_alpha),
        prior_beta=own_setting(prior_beta),
        max_prior=largest,
        max_concentration=jnp.copy(largest),
    )


def discount(counts: Array, prior: Array, forgetting: Scalar) -> Array:
    """Moves pseudo-counts toward their prior.

    new = (1 - forgetting) * counts + forgetting * prior

    It is computed as prior + (1 - forgetting) * (counts - prior), so that rounding
    never takes a count below its prior. A forgetting below about 1e-6 is lost in
    float32.

    Args:
      counts: float32 alpha or beta of any shape, >= prior.
      prior: float32, what is left when forgetting = 1; > 0.
      forgetting: in [0, 1]; lambda in the paper. Range-checked by the factory.

    Returns:
      float32, >= prior.

    Example:
      >>> discount(jnp.float32([9, 1]), jnp.float32(1), 0.5)
      Array([5., 1.], dtype=float32)
    """
    keep = jnp.asarray(1 - forgetting, jnp.float32)
    return prior + keep * (counts - prior)


def update_posterior(
    posterior: Posterior,
    rows: Rows,
    predicted: PerTask | None,
    forgetting: Scalar,
    pseudo_rollouts: Scalar,
    shard: Shard | None = None,
) -> Posterior:
    """Applies the recurrence to all N tasks: one dense pass and B rows.

    The rows are written, not added, since each holds its whole new value: their tasks
    take no implicit evidence, and taking it back by subtraction would round.

    Args:
      posterior: N tasks.
      rows: the evidence of the step, one row per task.
      predicted: float32 [N] in [0, 1], p~; None for no implicit evidence.
      forgetting: in [0, 1]; lambda in the paper.
      pseudo_rollouts: implicit_weight * group_size, >= 0; rho n in the paper.
      shard: which of the tasks are here; all by default.

    Returns:
      The posterior one step later.

    Example:
      >>> from bots_jax.evidence.counts import collect_rows, evidence_from_counts
      >>> posterior = init_posterior(2, 1.0, 1.0)
      >>> rows = collect_rows(evidence_from_counts([0], [3], 4), 2)
      >>> new = update_posterior(posterior, rows, jnp.float32([.5, .5]), 0.1, 0.4)
      >>> new.alpha, new.beta
      (Array([4. , 1.2], dtype=float32), Array([2. , 1.2], dtype=float32))
    """
    weight = jnp.asarray(pseudo_rollouts, jnp.float32)
    here = Shard(posterior.alpha.shape[0]) if shard is None else shard
    at_rows = here.at(rows.task_ids, "clip")
    discounted = lambda counts, prior: discount(counts, prior, forgetting)  # noqa: E731

    def new_rows() -> tuple[Array, Array]:
        alpha, prior_alpha = at_rows(posterior.alpha), posterior.prior_alpha
        beta, prior_beta = at_rows(posterior.beta), posterior.prior_beta
        return (
            rows.successes + discounted(alpha, prior_of(prior_alpha, at_rows)),
            rows.failures + discounted(beta, prior_of(prior_beta, at_rows)),
        )

    forgetting = jnp.asarray(forgetting, jnp.float32)
    if rows.task_ids.size:  # read the rows first, so that all can be updated in place
        alpha_at_rows, beta_at_rows = computed_apart(rows.successes, new_rows)
        forgetting = after(forgetting, alpha_at_rows)
    else:
        alpha_at_rows, beta_at_rows = new_rows()

    def everyone(counts: Array, prior: Array, implied: Array | int) -> Array:
        return discount(counts, prior, forgetting) + implied

    implied_alpha = 0 if predicted is None else weight * predicted
    implied_beta = 0 if predicted is None else weight * (1 - predicted)
    alpha = everyone(posterior.alpha, posterior.prior_alpha, implied_alpha)
    beta = everyone(posterior.beta, posterior.prior_beta, implied_beta)
    place = here.rows_of(rows.task_ids)
    write = lambda x, row: x.at[place].set(row, mode="drop")  # noqa: E731
    return posterior._replace(
        alpha=write(alpha, alpha_at_rows),
        beta=write(beta, beta_at_rows),
        max_concentration=grown_bound(
            posterior.max_concentration,
            posterior.max_prior,
            forgetting,
            weight if predicted is not None else jnp.float32(0),
            jnp.max(alpha_at_rows + beta_at_rows, where=rows.valid, initial=0),
        ),
    )


def grown_bound(
    bound: Array,
    max_prior: Array,
    forgetting: Scalar,
    pseudo_rollouts: Array,
    largest_row: Array,
) -> Array:
    """Bounds every alpha + beta after a step by what bounded them before it.

    Args:
      bound: float32 scalar, at least alpha + beta of every task before the step.
      max_prior: float32 scalar, at least prior_alpha + prior_beta of every task.
      forgetting: in [0, 1].
      pseudo_rollouts: float32 scalar, what tasks that were not rolled out gain.
      largest_row: float32 scalar, the largest alpha + beta of those that were.

    Returns:
      float32 scalar.

    Example:
      >>> number = jnp.float32
      >>> grown_bound(number(10), number(2), 0.5, number(1), number(4))
      Array(7., dtype=float32)
    """
    everyone = discount(bound, max_prior, forgetting) + pseudo_rollouts
    return jnp.maximum(everyone, largest_row)
