"""The one equation: how the Beta posterior of every task moves in one step.

    alpha' = (1 - forgetting) * alpha + forgetting * prior_alpha
             + (1 - implicit_weight) * s + implicit_weight * s~
    beta'  = the same with the prior_beta, f and f~

s and f are the successes and failures of tasks that were rolled out, for which
s~ = s and f~ = f, so that they count in full. For all others s = f = 0, and with a
predicted success chance p~ and G rollouts, s~ = G p~ and f~ = G (1 - p~).

Source: arXiv 2510.26374, equation 1; `_update` of the official code.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from bots_jax.evidence.counts import Rows
from bots_jax.types import PerTask, Scalar, Setting


class Posterior(NamedTuple):
    """Beta beliefs of N tasks, and the prior that forgetting returns them to.

    Attributes:
      alpha: float32 [N], pseudo-successes, >= prior_alpha.
      beta: float32 [N], pseudo-failures, >= prior_beta.
      prior_alpha: float32 [] or [N], > 0.
      prior_beta: float32 [] or [N], > 0.
    """

    alpha: PerTask
    beta: PerTask
    prior_alpha: Setting
    prior_beta: Setting


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
    own = lambda prior: jnp.array(prior, jnp.float32, copy=True)  # noqa: E731
    everywhere = lambda prior: jnp.full((num_tasks,), own(prior), jnp.float32)  # noqa: E731
    return Posterior(
        alpha=everywhere(prior_alpha) + 0,
        beta=everywhere(prior_beta) + 0,
        prior_alpha=own(prior_alpha),
        prior_beta=own(prior_beta),
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
    implied_alpha = 0 if predicted is None else weight * predicted
    implied_beta = 0 if predicted is None else weight * (1 - predicted)

    def absorb(counts: Array, prior: Array, implied: Array | int, seen: Array) -> Array:
        at_rows = lambda x: x if x.ndim == 0 else x.at[rows.task_ids].get(mode="clip")  # noqa: E731
        direct = discount(at_rows(counts), at_rows(prior), forgetting) + seen
        everyone = discount(counts, prior, forgetting) + implied
        return everyone.at[rows.task_ids].set(direct, mode="drop")

    return posterior._replace(
        alpha=absorb(
            posterior.alpha, posterior.prior_alpha, implied_alpha, rows.successes
        ),
        beta=absorb(posterior.beta, posterior.prior_beta, implied_beta, rows.failures),
    )
