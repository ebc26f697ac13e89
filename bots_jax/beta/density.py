"""Density of Beta(alpha, beta), and a bound on it that holds for every task at once."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

_STIRLING = (  # Chebyshev fit of z * stirling_error(z) in 1 / z, z >= 1
    8.333326277e-02,
    4.757984913e-06,
    -2.829690369e-03,
    1.896131846e-04,
    5.818240182e-04,
    -2.183648904e-04,
)
_LOG_ROOT_TWO_PI = np.float32(0.5 * np.log(2 * np.pi))
_ROUNDING = np.float32(1 + 2e-4)  # more than the density's own error, see below


def stirling_error(z: Array, *, above_one: bool = False) -> Array:
    """What Stirling's formula leaves out of the log of the gamma function.

    stirling_error(z) = log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2)

    Args:
      z: float32 > 0.
      above_one: promise that z >= 1; saves a logarithm.

    Returns:
      float32, positive and decreasing in z, within 1.5e-7 of the truth (relative to
      1 + its size).

    Example:
      >>> round(float(stirling_error(jnp.float32(1.0))), 4)
      0.0811
    """
    shifted = z if above_one else jnp.where(z < 1, z + 1, z)
    inverse = 1 / shifted
    series = jnp.full_like(inverse, _STIRLING[-1])
    for coefficient in _STIRLING[-2::-1]:
        series = series * inverse + np.float32(coefficient)
    series = series * inverse
    if above_one:
        return series
    small = jnp.minimum(z, 1)
    return series + jnp.where(
        z < 1, (small + np.float32(0.5)) * jnp.log1p(1 / small) - 1, np.float32(0)
    )


def _deviance(excess: Array, ratio: Array) -> Array:
    """Price of being off by y = excess = ratio - 1: y - log(1 + y) >= 0.

    Near the mode log1p keeps the digits of a small y, far from it log keeps those of
    a small 1 + y.
    """
    near = jnp.abs(excess) < np.float32(0.5)
    return excess - jnp.where(near, jnp.log1p(excess), jnp.log(ratio))


def log_beta_density(
    alpha: Array, beta: Array, x: Array, one_minus_x: Array, *, above_one: bool = False
) -> Array:
    """Log of the density of Beta(alpha, beta) at x.

    The saddle-point form: the large logs of gamma functions, which would cancel, never
    appear. With n = alpha + beta, m = alpha / n and d(y) = y - log(1 + y),

        log f = log(alpha beta / (2 pi n)) / 2 - log(x (1 - x))
                - alpha d((x - m) / m) - beta d((m - x) / (1 - m))
                + stirling_error(n) - stirling_error(alpha) - stirling_error(beta)

    Args:
      alpha: float32 > 0, of any shape.
      beta: float32 > 0, same shape.
      x: float32 in (0, 1), same shape.
      one_minus_x: 1 - x, given apart so that both tails are exact.
      above_one: promise that alpha and beta are >= 1; faster.

    Returns:
      float32; within 6 standard deviations of the mean the density's relative error is
      below 1e-4 for n up to 1e4 and below 3e-4 up to 2e5 (median 1e-5 and less). -inf
      where x is outside (0, 1).

    Example:
      >>> half = jnp.float32(0.5)
      >>> jnp.exp(log_beta_density(jnp.float32(2), jnp.float32(2), half, half)).round(4)
      Array(1.5, dtype=float32)

    Source: Loader, "Fast and accurate computation of binomial probabilities" (2000).
    """
    inside = (x > 0) & (one_minus_x > 0)
    x, one_minus_x = jnp.where(inside, x, 0.5), jnp.where(inside, one_minus_x, 0.5)
    total = alpha + beta
    excess = x * beta - one_minus_x * alpha  # n (x - m), without cancellation in a tail
    price = alpha * _deviance(excess / alpha, x * total / alpha)
    price += beta * _deviance(-excess / beta, one_minus_x * total / beta)
    remainder = (
        stirling_error(total, above_one=above_one)
        - stirling_error(alpha, above_one=above_one)
        - stirling_error(beta, above_one=above_one)
    )
    height = 0.5 * (jnp.log(alpha) + jnp.log(beta / total)) - _LOG_ROOT_TWO_PI
    log_density = height - jnp.log(x * one_minus_x) - price + remainder
    return jnp.where(inside, log_density, -jnp.inf)


def density_bound(
    max_concentration: Array, low: Array, high: Array, *, above_one: bool = False
) -> Array:
    """Bounds the density of every Beta with alpha + beta <= n, on an interval.

    Two bounds, of which the smaller holds. With v = x (1 - x):

        (1)  f(x) <= sqrt(n / (2 pi v)) exp((1 - 2 x)^2 / (32 n v^2))
        (2)  f(x) <= n - 1                     if alpha, beta >= 1

    Proof of (1). Let S(n, x) be the largest density at x over alpha + beta = n. There
    digamma(alpha) - digamma(beta) = log(x / (1 - x)), and by the envelope theorem
    dS/dn >= 0 iff exp(digamma(n)) >= exp(digamma(alpha)) + exp(digamma(beta)). That
    holds, since exp(digamma) is convex (digamma'' + digamma'^2 > 0) and 0 at 0, hence
    superadditive. So S(n', x) <= S(n, x) for n' <= n: only alpha + beta = n matters.
    In the formula of `log_beta_density` the remainder is negative, since
    stirling_error is positive and decreasing, and the price is n KL(m || x) >=
    2 n (m - x)^2 (Pinsker). With log(m (1 - m)) <= log v + (1 - 2 x) (m - x) / v
    (concavity), log f <= log(n / (2 pi v)) / 2 + c (m - x) - 2 n (m - x)^2, where
    c = (1 - 2 x) / (2 v); its maximum over m adds c^2 / (8 n).

    Proof of (2). At the mode, f / (n - 1) = h(s) h(t) / h(s + t) with s = alpha - 1,
    t = beta - 1, h(s) = s^s / Gamma(s + 1). log h is convex (1 / s > digamma'(s + 1))
    and 0 at 0, hence superadditive, so the ratio is at most 1.

    Both bounds grow with |x - 1/2|, so the ends of the interval bound its inside.

    Args:
      max_concentration: float32 scalar n > 0, at least alpha + beta of every task.
      low: float32 scalar, the interval's lower end; clipped to [0, 1].
      high: float32 scalar, its upper end; likewise.
      above_one: promise that every alpha and beta is >= 1.

    Returns:
      float32 scalar, 0.02 % above the bound, for rounding; inf where there is none.

    Example:
      >>> half = jnp.float32(0.5)
      >>> round(float(density_bound(jnp.float32(20), half, half)), 2)
      3.57
    """
    low, high = jnp.clip(low, 0, 1), jnp.clip(high, 0, 1)
    v = jnp.minimum(low * (1 - low), high * (1 - high))
    skew = jnp.maximum(jnp.abs(1 - 2 * low), jnp.abs(1 - 2 * high))
    safe = jnp.maximum(v, np.float32(1e-6))
    inner = jnp.sqrt(max_concentration / (np.float32(2 * np.pi) * safe)) * jnp.exp(
        lax.square(skew / safe) / (32 * max_concentration)
    )
    bound = jnp.where(v < np.float32(1e-6), jnp.inf, inner)
    if above_one:
        bound = jnp.minimum(bound, max_concentration - 1)
    return bound * _ROUNDING
