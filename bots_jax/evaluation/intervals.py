"""Bootstrap intervals of means over seeds, in float64 on the host.

With few seeds the plain percentile interval is too narrow: the bootstrap's spread is
too small by sqrt((n-1)/n), and it knows nothing of the t distribution. The percentiles
are therefore moved outwards to where a normal sample would give Student's interval:

    share = normal_cdf(-sqrt(n / (n-1)) * t_quantile(1 - (1 - level) / 2, n-1))

and the interval reaches from the `share` to the `1 - share` quantile of the resampled
means. For n to infinity this is the percentile interval.

Source: Hesterberg, "What teachers should know about the bootstrap", The American
Statistician 69 (2015), the expanded percentile interval.
"""

import math
import statistics
from typing import Any, NamedTuple

import numpy as np

from bots_jax import checks

MIN_PAIRS = 8
"""Seeds below which an interval must be asked for."""

_RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean and where it may lie.

    Attributes:
      mean: of the values.
      low: lower end.
      high: upper end.
      num_pairs: how many values.
    """

    mean: float
    low: float
    high: float
    num_pairs: int


def paired_interval(
    first: Any,
    second: Any,
    *,
    level: float = 0.95,
    seed: int = 0,
    num_resamples: int = _RESAMPLES,
    min_pairs: int = MIN_PAIRS,
) -> Interval:
    """Bootstraps the mean of first - second, pair by pair.

    Seeds are resampled, not arms: what both arms share, such as an easy pool, leaves
    the difference.

    Args:
      first: real [n], one value per seed.
      second: real [n], of the same seeds in the same order.
      level: chance to cover the true mean, in [0.5, 0.999].
      seed: of the resampling.
      num_resamples: bootstrap means.
      min_pairs: fewer pairs are refused; 2 at least.

    Returns:
      The mean difference and its interval.

    Raises:
      ValueError: for shapes that differ, values that are not finite, too few pairs.

    Example:
      >>> one, two = [1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.5]
      >>> interval = paired_interval(one, two, min_pairs=2)
      >>> interval.mean, 0.5 <= interval.low < interval.mean < interval.high <= 1.0
      (0.875, True)
      >>> paired_interval(one, two)
      Traceback (most recent call last):
      ValueError: an interval needs at least 8 pairs, got 4.
    """
    one, two = (np.asarray(values, np.float64) for values in (first, second))
    if one.shape != two.shape:
        raise ValueError(f"pairs must match, got shapes {one.shape} and {two.shape}.")
    return mean_interval(
        one - two,
        level=level,
        seed=seed,
        num_resamples=num_resamples,
        min_pairs=min_pairs,
    )


def mean_interval(
    values: Any,
    *,
    level: float = 0.95,
    seed: int = 0,
    num_resamples: int = _RESAMPLES,
    min_pairs: int = MIN_PAIRS,
) -> Interval:
    """Bootstraps a mean; arguments as for `paired_interval`.

    Raises:
      ValueError: for values that are not finite, too few of them, another shape.

    Example:
      >>> mean_interval(np.full(8, 0.5))
      Interval(mean=0.5, low=0.5, high=0.5, num_pairs=8)
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must have shape (seeds,), got {array.shape}.")
    checks.check_number("level", level, 0.5, 0.999)
    count, needed = len(array), max(2, min_pairs)
    if count < needed:
        raise ValueError(f"an interval needs at least {needed} pairs, got {count}.")
    if not np.isfinite(array).all():
        raise ValueError("an interval needs finite values, got some that are not.")
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, count, (num_resamples, count))
    share = _expanded_share(level, count)
    low, high = np.quantile(array[rows].mean(axis=1), [share, 1 - share])
    return Interval(float(array.mean()), float(low), float(high), count)


def _expanded_share(level: float, count: int) -> float:
    quantile = _student_quantile(1 - (1 - level) / 2, count - 1)
    scale = math.sqrt(count / (count - 1))
    return statistics.NormalDist().cdf(-scale * quantile)


def _student_quantile(share: float, freedom: int) -> float:
    """Where Student's distribution function is `share`, for share > 1/2; bisection."""
    low, high = 0.0, 1.0
    while _student_central(high, freedom) < 2 * share - 1:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        below = _student_central(middle, freedom) < 2 * share - 1
        low, high = (middle, high) if below else (low, middle)
    return high


def _student_central(t: float, freedom: int) -> float:
    """The chance of |T| < t, by the finite series for integer degrees of freedom.

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    theta = math.atan(t / math.sqrt(freedom))
    cosine, odd = math.cos(theta), freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    if odd:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total
