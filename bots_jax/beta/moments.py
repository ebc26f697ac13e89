"""Mean, variance and concentration of Beta(alpha, beta)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float32

Shape = Float32[Array, "*shape"]


def beta_mean(alpha: Shape, beta: Shape) -> Shape:
    """Mean of Beta(alpha, beta): alpha / (alpha + beta).

    Args:
      alpha: float32, > 0.
      beta: float32, > 0, same shape.

    Returns:
      float32 in (0, 1), same shape.

    Example:
      >>> beta_mean(jnp.float32([1, 3]), jnp.float32([1, 1]))
      Array([0.5 , 0.75], dtype=float32)
    """
    return alpha / (alpha + beta)


def beta_variance(alpha: Shape, beta: Shape) -> Shape:
    """Variance of Beta(alpha, beta): alpha beta / (n^2 (n + 1)), n = alpha + beta.

    Args:
      alpha: float32, > 0.
      beta: float32, > 0, same shape.

    Returns:
      float32 in (0, 1/4), same shape.

    Example:
      >>> beta_variance(jnp.float32([1, 2]), jnp.float32([1, 2]))
      Array([0.08333334, 0.05      ], dtype=float32)
    """
    total = concentration(alpha, beta)
    return (alpha / total) * (beta / total) / (total + 1)


def concentration(alpha: Shape, beta: Shape) -> Shape:
    """Amount of belief, in pseudo-rollouts: alpha + beta.

    Args:
      alpha: float32, > 0.
      beta: float32, > 0, same shape.

    Returns:
      float32 > 0, same shape.

    Example:
      >>> concentration(jnp.float32([1]), jnp.float32([2]))
      Array([3.], dtype=float32)
    """
    return jnp.add(alpha, beta)
