"""How well a Beta belief foresaw the successes and failures that came."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax.beta.density import stirling_error


def log_beta_binomial(
    alpha: Array, beta: Array, successes: Array, failures: Array
) -> Array:
    """Log chance of one order of successes and failures under a Beta belief.

    log B(alpha + successes, beta + failures) - log B(alpha, beta)

    The binomial coefficient, which is the same for every belief, is left out.

    Args:
      alpha: float32 of any shape, in [0.01, 1e5].
      beta: float32, same shape.
      successes: float32, same shape, >= 0; fractions are allowed.
      failures: float32, same shape, >= 0.

    Returns:
      float32, <= 0; within 1e-5 plus 1e-5 of its size. Large logs of gamma functions,
      which would cancel, never appear.

    Example:
      >>> one = jnp.ones(())
      >>> float(jnp.exp(log_beta_binomial(one, one, one, 0 * one)).round(4))
      0.5

    Source: the Beta-binomial (Polya) distribution.
    """
    total, trials = alpha + beta, successes + failures
    half = np.float32(0.5)
    after = total + trials
    log_chance = successes * jnp.log((alpha + successes) / after)
    log_chance += failures * jnp.log((beta + failures) / after)
    log_chance += (alpha - half) * jnp.log1p(successes / alpha)
    log_chance += (beta - half) * jnp.log1p(failures / beta)
    log_chance -= (total - half) * jnp.log1p(trials / total)
    log_chance += stirling_error(alpha + successes) - stirling_error(alpha)
    log_chance += stirling_error(beta + failures) - stirling_error(beta)
    log_chance -= stirling_error(after) - stirling_error(total)
    return jnp.minimum(log_chance, 0)
