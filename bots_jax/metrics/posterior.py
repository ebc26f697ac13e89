"""Whether a posterior is as sure as it may be: log loss, intervals, z-scores."""

import jax.numpy as jnp
from jax import Array, lax

from bots_jax import checks
from bots_jax.beta.binomial import log_beta_binomial
from bots_jax.beta.interval import beta_cdf
from bots_jax.metrics.reduce import ItemMask, PerItem, mean, used
from bots_jax.types import Scalar


def predictive_log_loss(
    alpha: PerItem,
    beta: PerItem,
    successes: PerItem,
    failures: PerItem,
    where: ItemMask | None = None,
) -> Array:
    """Mean negative log-likelihood of groups of trials that were yet to come, in nats.

    mean of log B(alpha, beta) - log B(alpha + successes, beta + failures)

    Without the binomial coefficient: it is the chance of the trials in their order, so
    that a group and its single trials, told one by one, cost the same. The coefficient
    does not depend on the belief; beliefs are ranked alike with it.

    Args:
      alpha: float32 [M], in [0.01, 1e5], before the trials.
      beta: float32 [M], likewise.
      successes: float32 [M], >= 0; fractions are allowed.
      failures: float32 [M], >= 0.
      where: bool [M], groups that count; all by default. Those without trials never
        do.

    Returns:
      float32 scalar >= 0, per group; NaN without groups.

    Raises:
      ValueError: for shapes that differ.

    Source: the Beta-binomial; prequential log loss, Dawid (1984).

    Example:
      >>> one = jnp.ones(1)
      >>> round(float(jnp.exp(-predictive_log_loss(one, one, one, one))), 4)  # 1 / 6
      0.1667
    """
    where = used(alpha, where, beta, successes, failures)
    where &= ~(successes + failures <= 0)
    parts = [jnp.where(where, x, 1) for x in (alpha, beta, successes, failures)]
    return mean(-log_beta_binomial(*parts), where.astype(jnp.float32))


def interval_coverage(
    alpha: PerItem,
    beta: PerItem,
    success_prob: PerItem,
    where: ItemMask | None = None,
    *,
    level: Scalar = 0.9,
) -> Array:
    """Share of true chances inside their posterior's central interval.

    mean of |F(success_prob) - 1/2| <= level / 2

    Args:
      alpha: float32 [M], in [0.01, 1e5].
      beta: float32 [M], likewise.
      success_prob: float32 [M] in [0, 1], the truth.
      where: bool [M], items that count; all by default.
      level: chance that the interval holds, in [0, 1]; a calibrated posterior's
        coverage equals it, an overconfident one's is lower.

    Returns:
      float32 scalar in [0, 1]; NaN without items, or where a posterior is NaN.

    Raises:
      ValueError: for level out of range, and for shapes that differ.

    Example:
      >>> one = jnp.ones(3)
      >>> interval_coverage(one, one, jnp.float32([0.01, 0.5, 0.9]))
      Array(0.6666667, dtype=float32)
    """
    checks.check_number("level", level, 0, 1)
    where = used(alpha, where, beta, success_prob)
    alpha, beta = (jnp.where(where, x, 1) for x in (alpha, beta))
    distance = jnp.abs(beta_cdf(alpha, beta, jnp.where(where, success_prob, 0)) - 0.5)
    inside = (distance <= jnp.asarray(level, jnp.float32) / 2).astype(jnp.float32)
    inside = jnp.where(jnp.isnan(distance), distance, inside)
    return mean(inside, where.astype(jnp.float32))


def mean_squared_z(
    alpha: PerItem,
    beta: PerItem,
    success_prob: PerItem,
    where: ItemMask | None = None,
) -> Array:
    """Mean squared error of the posterior mean, in units of the posterior variance.

    mean of (success_prob - m)^2 / Var,  m = alpha / (alpha + beta),
    Var = m (1 - m) / (alpha + beta + 1)

    Args:
      alpha: float32 [M], in [0.01, 1e5].
      beta: float32 [M], likewise.
      success_prob: float32 [M] in [0, 1], the truth.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar >= 0: 1 if calibrated, more if overconfident. NaN without items.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> one = jnp.ones(2)
      >>> mean_squared_z(one, one, jnp.float32([0, 0.5])).round(4)  # 12 / 8
      Array(1.5, dtype=float32)
    """
    where = used(alpha, where, beta, success_prob)
    alpha, beta = (jnp.where(where, x, 1) for x in (alpha, beta))
    off = success_prob * beta - (1 - success_prob) * alpha  # (alpha + beta) (p - m)
    z_squared = (off / alpha) * (off / beta) * (alpha + beta + 1)
    return mean(lax.abs(z_squared), where.astype(jnp.float32))
