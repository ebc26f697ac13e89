"""How far predicted success chances are from what happened."""

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks
from bots_jax.metrics.reduce import (
    ItemMask,
    PerItem,
    centred_midranks,
    item_weights,
    mean,
    used,
)

_MARGIN = np.float32(1e-6)


def constant_predictor(
    successes: PerItem, failures: PerItem, where: ItemMask | None = None
) -> Array:
    """Pools all trials into one success rate: the prediction to beat.

    sum successes / sum (successes + failures)

    Args:
      successes: float32 [M], >= 0.
      failures: float32 [M], >= 0.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar in [0, 1]; NaN without trials.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> constant_predictor(jnp.float32([1, 8]), jnp.float32([3, 0]))
      Array(0.75, dtype=float32)
    """
    where = used(successes, where, failures)
    total = jnp.sum(successes, where=where)
    return total / (total + jnp.sum(failures, where=where))


def brier(
    predicted: PerItem,
    outcomes: PerItem,
    weights: PerItem | None = None,
    where: ItemMask | None = None,
) -> Array:
    """Mean squared error of predicted chances: mean (predicted - outcomes)^2.

    Args:
      predicted: float32 [M] in [0, 1].
      outcomes: float32 [M] in [0, 1]: 0 or 1 of a trial, a rate, or the true chance.
        Of a rate r, the score of its single trials is larger by the mean of r (1 - r).
      weights: float32 [M], >= 0, such as numbers of trials; 1 by default.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar in [0, 1]; NaN without weight.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> brier(jnp.float32([0.5, 1]), jnp.float32([1, 1]))
      Array(0.125, dtype=float32)
    """
    where = used(predicted, where, outcomes)
    weights = item_weights(predicted, weights, where)
    return mean(lax.square(predicted - outcomes), weights)


def mean_absolute_error(
    predicted: PerItem,
    outcomes: PerItem,
    weights: PerItem | None = None,
    where: ItemMask | None = None,
) -> Array:
    """Mean absolute error: mean |predicted - outcomes|.

    Args:
      predicted: float32 [M].
      outcomes: float32 [M].
      weights: float32 [M], >= 0; 1 by default.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar >= 0; NaN without weight.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> mean_absolute_error(jnp.float32([0.5, 1]), jnp.float32([1, 1]))
      Array(0.25, dtype=float32)
    """
    where = used(predicted, where, outcomes)
    weights = item_weights(predicted, weights, where)
    return mean(jnp.abs(predicted - outcomes), weights)


def log_loss(
    predicted: PerItem,
    outcomes: PerItem,
    weights: PerItem | None = None,
    where: ItemMask | None = None,
) -> Array:
    """Mean negative log-likelihood per trial, in nats.

    mean of -outcomes log(predicted) - (1 - outcomes) log(1 - predicted)

    Args:
      predicted: float32 [M], clipped to [1e-6, 1 - 1e-6].
      outcomes: float32 [M] in [0, 1].
      weights: float32 [M], >= 0, such as numbers of trials; 1 by default.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar in [0, 13.9]; NaN without weight.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> log_loss(jnp.float32([0.5, 0.5]), jnp.float32([1, 0]))
      Array(0.6931472, dtype=float32)
    """
    where = used(predicted, where, outcomes)
    weights = item_weights(predicted, weights, where)
    chance = jnp.clip(predicted, _MARGIN, 1 - _MARGIN)
    likelihood = outcomes * jnp.log(chance) + (1 - outcomes) * jnp.log1p(-chance)
    return mean(-likelihood, weights)


def calibration_error(
    predicted: PerItem,
    outcomes: PerItem,
    weights: PerItem | None = None,
    where: ItemMask | None = None,
    *,
    num_bins: int = 10,
) -> Array:
    """Expected calibration error, over bins of equally many items.

    sum over bins of their share of the weight |mean predicted - mean outcomes|

    Args:
      predicted: float32 [M], M < 2^30.
      outcomes: float32 [M] in [0, 1].
      weights: float32 [M], >= 0; 1 by default. Bins are made by numbers of items.
      where: bool [M], items that count; all by default.
      num_bins: static, in [1, 1000]. An item's midrank decides its bin, so that equal
        predictions share one: a constant predictor is judged as a whole.

    Returns:
      float32 scalar in [0, 1]; NaN without weight.

    Raises:
      ValueError: for num_bins out of range, and for shapes that differ.

    Example:
      >>> predicted = jnp.float32([0.2, 0.2, 0.9, 0.9])
      >>> error = calibration_error(predicted, jnp.float32([0, 0, 1, 1]), num_bins=2)
      >>> round(float(error), 4)  # (0.2 + 0.1) / 2
      0.15
    """
    num_bins = checks.check_count("num_bins", num_bins, 1, 1000)
    where = used(predicted, where, outcomes)
    weights = item_weights(predicted, weights, where)
    count = jnp.sum(where, dtype=jnp.int32)
    twice_rank = centred_midranks(predicted, where) + count  # in [1, 2 count - 1]
    bin_ = jnp.arange(1, num_bins, dtype=jnp.int32)
    whole, rest = jnp.divmod(2 * count, np.int32(num_bins))
    limits = whole * bin_ + (rest * bin_ + (num_bins - 1)) // np.int32(num_bins)
    bins = jnp.searchsorted(limits, twice_rank, side="right").astype(jnp.int32)
    shares = jnp.where(where, weights / jnp.sum(weights), np.float32(0))
    excess = jnp.where(shares == 0, np.float32(0), (predicted - outcomes) * shares)

    def add(total: Array, i: Array) -> tuple[Array, None]:
        return total + jnp.abs(jnp.sum(jnp.where(bins == i, excess, 0))), None

    error, _ = lax.scan(add, jnp.float32(0), jnp.arange(num_bins, dtype=jnp.int32))
    return jnp.where(jnp.sum(weights) > 0, error, np.float32(np.nan))


def rmse_debiased(
    predicted: PerItem,
    successes: PerItem,
    failures: PerItem,
    where: ItemMask | None = None,
) -> Array:
    """Root mean squared error against true chances, of which only trials are known.

    sqrt(max(0, mean [(predicted - r)^2 - r (1 - r) / (n - 1)])),
    r = successes / n, n = successes + failures

    The second term is the unbiased estimate of the binomial noise of r.

    Args:
      predicted: float32 [M] in [0, 1].
      successes: float32 [M], >= 0.
      failures: float32 [M], >= 0.
      where: bool [M], items that count; all by default. Those with n <= 1 never do,
        since they do not show their noise.

    Returns:
      float32 scalar >= 0; 0 where noise explains the whole error. NaN without items.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> predicted, wins, losses = jnp.float32([[0.9], [2], [2]])
      >>> round(float(rmse_debiased(predicted, wins, losses)), 4)  # 0.16 - 1/12
      0.2769
    """
    where = used(predicted, where, successes, failures)
    trials = successes + failures
    where &= ~(trials <= 1)
    trials = jnp.where(where, trials, 2)
    rate, rest = successes / trials, failures / trials
    squared = lax.square(predicted - rate) - rate * rest / (trials - 1)
    return jnp.sqrt(jnp.maximum(mean(squared, where.astype(jnp.float32)), 0))
