"""Tests of laws, with what float32 can and cannot show taken into account."""

from collections.abc import Callable

import numpy as np
from scipy import stats

HONEST = 1e-3
"""A true law falls below this p-value once in a thousand keys; ours are fixed."""

CAUGHT = 1e-6
"""A planted bug must fall below this."""

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


def ks_pvalue(draws: np.ndarray, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    """Kolmogorov-Smirnov for float32 draws, which stand for one ulp to either side.

    A draw of 0 stands for all that float32 flushes to 0, one of 1 for all that rounds
    to 1. Without this the law of a shape of 0.01 fails on rounding alone.
    """
    draws = np.asarray(draws)
    assert draws.dtype == np.float32
    values, counts = np.unique(draws, return_counts=True)
    slack = np.maximum(np.spacing(np.abs(values)), SMALLEST_NORMAL).astype(np.float64)
    at_most = np.cumsum(counts) / draws.size
    below = at_most - counts / draws.size
    exact = values.astype(np.float64)
    distance = max(
        np.max(at_most - cdf(exact + slack)), np.max(cdf(exact - slack) - below), 0.0
    )
    return float(stats.kstwo.sf(distance, draws.size))


def chi_square_pvalue(counts: np.ndarray, chances: np.ndarray) -> float:
    """Goodness of fit of counts to exact chances; rare cells are pooled."""
    counts, chances = np.ravel(counts), np.ravel(chances)
    possible = chances > 0
    assert counts[~possible].sum() == 0
    counts, expected = counts[possible], chances[possible] * counts.sum()
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
    statistic = np.sum((counts - expected) ** 2 / expected)
    return float(stats.chi2.sf(statistic, len(counts) - 1))


def two_sample_pvalue(left: np.ndarray, right: np.ndarray) -> float:
    """Chi-square for two samples of one law over the same cells."""
    rare = left + right < 20
    table = np.stack([left, right])
    pooled = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
    pooled = pooled[:, pooled.sum(0) > 0]
    return contingency_pvalue(pooled)


def contingency_pvalue(table: np.ndarray) -> float:
    """Pearson's chi-square for the independence of rows and columns."""
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    statistic = np.sum((table - expected) ** 2 / expected)
    return float(stats.chi2.sf(statistic, (table.shape[0] - 1) * (table.shape[1] - 1)))


def inclusion_pvalue(ids: np.ndarray, num_tasks: int) -> float:
    """Tests that batches [n, B], each without repeats, hold every task equally often.

    Counts of one batch exclude each other, so that their covariance is that of
    sampling without replacement: variance p (1 - p), p = B / N.
    """
    n, batch_size = ids.shape
    share = batch_size / num_tasks
    counts = np.bincount(ids.ravel(), minlength=num_tasks)
    variance = n * share * (1 - share)
    q = np.sum((counts - n * share) ** 2) / variance * (num_tasks - 1) / num_tasks
    return float(stats.chi2.sf(q, num_tasks - 1))


def set_counts(ids: np.ndarray, num_tasks: int) -> np.ndarray:
    """How often each set of tasks was a batch, as counts over bit masks."""
    masks = np.sum(1 << ids.astype(np.int64), axis=1)
    return np.bincount(masks, minlength=2**num_tasks)


def order_counts(ids: np.ndarray, num_tasks: int) -> np.ndarray:
    """How often each ordered batch was drawn, as counts over base-N numbers."""
    places = num_tasks ** np.arange(ids.shape[1])[::-1]
    return np.bincount(ids @ places, minlength=num_tasks ** ids.shape[1])


def independence_pvalue(left: np.ndarray, right: np.ndarray, bins: int = 8) -> float:
    """Chi-square of a table of the ranks of two samples."""
    cells = []
    for sample in (left, right):
        order = np.argsort(np.argsort(sample, kind="stable"), kind="stable")
        cells.append(order * bins // sample.size)
    table = np.bincount(cells[0] * bins + cells[1], minlength=bins * bins)
    return contingency_pvalue(table.reshape(bins, bins))
