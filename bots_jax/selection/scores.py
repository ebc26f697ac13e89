"""How wanted each task is, and the success chances that this is judged by."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax.beta import beta_mean, sample_beta
from bots_jax.beta.density import log_beta_density
from bots_jax.types import PerTask, Setting


def thompson_draws(
    key: Array, alpha: PerTask, beta: PerTask, *, shapes_above_one: bool = False
) -> PerTask:
    """Draws a success chance per task from its posterior (Thompson sampling).

    Args:
      key: consumed.
      alpha: float32 [N], in [0.01, 1e5].
      beta: float32 [N], likewise.
      shapes_above_one: promise that alpha and beta are >= 1; faster.

    Returns:
      float32 [N] in [0, 1].

    Source: arXiv 2510.26374, selection by posterior sampling.

    Example:
      >>> import jax
      >>> thompson_draws(jax.random.key(0), jnp.ones(3), jnp.ones(3)).shape
      (3,)
    """
    return sample_beta(key, alpha, beta, shapes_above_one=shapes_above_one)


def posterior_means(key: Array, alpha: PerTask, beta: PerTask) -> PerTask:
    """Takes the posterior mean of each task; without noise, so it only exploits.

    Under a Beta(1, 1) prior and a target of 1/2 every unseen task scores highest, and
    the whole pool is swept first. Watch the coverage.

    Args:
      key: not used.
      alpha: float32 [N], > 0.
      beta: float32 [N], > 0.

    Returns:
      float32 [N] in (0, 1).

    Example:
      >>> import jax
      >>> posterior_means(jax.random.key(0), jnp.float32([3]), jnp.float32([1]))
      Array([0.75], dtype=float32)
    """
    del key
    return beta_mean(alpha, beta)


def target_distance_scores(success_prob: PerTask, target: Setting) -> PerTask:
    """Scores tasks by nearness to a target success chance: -|success_prob - target|.

    Args:
      success_prob: float32 [N] in [0, 1].
      target: float32 [] or [N], in [0, 1]; p* in the paper.

    Returns:
      float32 [N] in [-1, 0], higher is better.

    Source: arXiv 2510.26374, the selection rule. (The text maximises the distance; the
    code, as here, its negative.)

    Example:
      >>> target_distance_scores(jnp.float32([0.5, 1.0]), jnp.float32(0.5))
      Array([-0. , -0.5], dtype=float32)
    """
    return -jnp.abs(success_prob - target)


def target_log_density(alpha: PerTask, beta: PerTask, target: Setting) -> PerTask:
    """Scores tasks by the log of their posterior density at the target.

    With Gumbel noise of temperature 1, tasks are chosen in proportion to the chance
    that their success chance is the target.

    Args:
      alpha: float32 [N], in [0.01, 1e5].
      beta: float32 [N], likewise.
      target: float32 [] or [N]; p* in the paper. Clipped to [1e-6, 1 - 1e-6], since a
        density may be infinite at 0 and 1.

    Returns:
      float32 [N], higher is better.

    Example:
      >>> two = jnp.float32([2])
      >>> log_density = target_log_density(two, two, jnp.float32(0.5))
      >>> round(float(log_density[0]), 3)  # log 1.5
      0.405
    """
    margin = np.float32(1e-6)
    x = jnp.broadcast_to(jnp.clip(target, margin, 1 - margin), alpha.shape)
    return log_beta_density(alpha, beta, x, 1 - x)
