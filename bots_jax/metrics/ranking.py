"""Whether predictions put items in the right order, whatever their scale."""

import jax.numpy as jnp
import numpy as np
from jax import Array

from bots_jax.metrics.reduce import (
    ItemMask,
    PerItem,
    below_and_up_to,
    centred_midranks,
    item_weights,
    mean,
    sort_into_groups,
    used,
)


def auc(
    predicted: PerItem,
    outcomes: PerItem,
    weights: PerItem | None = None,
    where: ItemMask | None = None,
) -> Array:
    """Chance that a random success was predicted above a random failure.

    P(predicted of the success > that of the failure) + P(they are equal) / 2

    A constant predictor has 1/2. A prediction that only tells domains apart can have
    much more: read it beside that of such a predictor, and with `spearman`.

    Args:
      predicted: float32 [M], any scale.
      outcomes: float32 [M] in [0, 1]: 1 = solved, or a task's share of solved trials.
      weights: float32 [M], >= 0, each item's number of trials; 1 by default. An item
        then counts as weights outcomes successes and weights (1 - outcomes) failures.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar in [0, 1], right to 1e-6 up to 10^7 items. NaN without a success
      or without a failure.

    Raises:
      ValueError: for shapes that differ.

    Source: Mann and Whitney (1947), U / (successes failures).

    Example:
      >>> predicted = jnp.float32([0.1, 0.4, 0.4, 0.8])
      >>> auc(predicted, jnp.float32([0, 0, 1, 1]))  # (1 + 1/2 + 2) of 4 pairs
      Array(0.875, dtype=float32)
    """
    where = used(predicted, where, outcomes)
    weights = item_weights(predicted, weights, where)
    outcomes = jnp.where(where, outcomes, np.float32(0))
    predicted = jnp.where(where, predicted, np.float32(0))
    successes, failures = weights * outcomes, weights * (1 - outcomes)
    num_successes, num_failures = jnp.sum(successes), jnp.sum(failures)
    groups = sort_into_groups(predicted)
    below, up_to = below_and_up_to(groups, failures[groups.order] / num_failures)
    won = (below + up_to) * (successes[groups.order] / (2 * num_successes))
    return _nan_if(jnp.any(jnp.isnan(predicted)), jnp.clip(jnp.sum(won), 0, 1))


def _nan_if(condition: Array, value: Array) -> Array:
    return jnp.where(condition, np.float32(np.nan), value)


def pearson(x: PerItem, y: PerItem, where: ItemMask | None = None) -> Array:
    """Linear correlation.

    sum (x - mean x) (y - mean y) / sqrt(sum (x - mean x)^2 sum (y - mean y)^2)

    Args:
      x: float32 [M].
      y: float32 [M].
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar in [-1, 1]; NaN if either is constant.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> round(float(pearson(jnp.float32([1, 2, 3]), jnp.float32([1, 3, 2]))), 4)
      0.5
    """
    where = used(x, where, y)
    return _correlation(_centred(x, where), _centred(y, where))


def _centred(x: Array, where: Array) -> Array:
    """Subtracts the mean, in two steps: a constant becomes exactly 0."""
    if x.shape[0] == 0:
        return x
    x = jnp.where(where, x - x[jnp.argmax(where)], np.float32(0))
    x = jnp.where(where, x - mean(x, where.astype(jnp.float32)), np.float32(0))
    return x / jnp.max(jnp.abs(x))


def _correlation(x: Array, y: Array) -> Array:
    spread = jnp.sqrt(jnp.sum(x * x) * jnp.sum(y * y))
    return jnp.clip(jnp.sum(x * y) / spread, -1, 1)


def spearman(x: PerItem, y: PerItem, where: ItemMask | None = None) -> Array:
    """Rank correlation: `pearson` of the midranks, which equal values share.

    Args:
      x: float32 [M], M < 2^30; any scale.
      y: float32 [M], likewise.
      where: bool [M], items that count; all by default.

    Returns:
      float32 scalar in [-1, 1]; NaN if either is constant. Ranks are whole numbers,
      exact at any M.

    Raises:
      ValueError: for shapes that differ.

    Example:
      >>> spearman(jnp.float32([1, 2, 30]), jnp.float32([5, 6, 7]))
      Array(1., dtype=float32)
    """
    where = used(x, where, y)
    scale = np.float32(1 / max(1, x.shape[0]))
    ranks = [centred_midranks(z, where).astype(jnp.float32) * scale for z in (x, y)]
    ranks = [jnp.where(where, rank, np.float32(0)) for rank in ranks]
    is_bad = jnp.any(where & (jnp.isnan(x) | jnp.isnan(y)))
    return _nan_if(is_bad, _correlation(ranks[0], ranks[1]))
