"""The Beta of a given mean and variance."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax.beta.moments import Shape
from bots_jax.checks import MAX_PRIOR, MIN_PRIOR


def beta_of_moments(mean: Shape, variance: Shape) -> tuple[Array, Array]:
    """Matches a Beta to the mean and the variance of a belief about a success chance.

    concentration = mean * (1 - mean) / variance - 1
    alpha = mean * concentration, beta = (1 - mean) * concentration

    Args:
      mean: float32, clipped to [0, 1].
      variance: float32 >= 0, same shape. No Beta has one of mean * (1 - mean) or
        more: it is given the least concentration, 0.02.

    Returns:
      alpha and beta, float32 in [0.01, 1e5], same shape; NaN where a moment is NaN.
      Beliefs that are too narrow for this keep their mean.

    Example:
      >>> alpha, beta = beta_of_moments(jnp.float32([0.25]), jnp.float32([3 / 80]))
      >>> round(float(alpha[0]), 3), round(float(beta[0]), 3)
      (1.0, 3.0)
    """
    least, most = np.float32(MIN_PRIOR), np.float32(MAX_PRIOR)
    mean = jnp.clip(mean, 0, 1)
    product = mean * (1 - mean)
    known = variance > product / (most + 1)
    ratio = product / jnp.where(known, variance, 1) - 1
    concentration = jnp.clip(jnp.where(known, ratio, most), 2 * least, most)
    no_number = jnp.isnan(mean) | jnp.isnan(variance)
    side = lambda share: jnp.where(  # noqa: E731
        no_number, jnp.nan, jnp.clip(share * concentration, least, most)
    )
    return side(mean), side(1 - mean)
