"""Bootstrap intervals: coverage by simulation, and the planted bug of not pairing."""

import numpy as np
import pytest
from scipy import stats

from bots_jax.evaluation.intervals import (
    MIN_PAIRS,
    _expanded_share,
    _student_quantile,
    mean_interval,
    paired_interval,
)


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 8, 30, 101])
@pytest.mark.parametrize("share", [0.8, 0.975, 0.9995])
def test_quantile_of_students_distribution(freedom, share):
    wanted = stats.t.ppf(share, freedom)
    assert _student_quantile(share, freedom) == pytest.approx(wanted, rel=1e-9)


def test_expanded_share_tends_to_the_percentile():
    assert _expanded_share(0.95, 8) == pytest.approx(0.005738, abs=1e-6)
    assert _expanded_share(0.95, 100_000) == pytest.approx(0.025, abs=1e-5)


def shares(num_pairs: int, draw, interval, runs: int = 1500) -> tuple[float, float]:
    """How often an interval covers a true mean of 0, and its mean width."""
    rng = np.random.default_rng(num_pairs)
    covered, width = 0, 0.0
    for seed in range(runs):
        low, high = interval(draw(rng, num_pairs), seed)
        covered += low <= 0 <= high
        width += (high - low) / runs
    return covered / runs, width


def ours(pair, seed) -> tuple[float, float]:
    interval = paired_interval(*pair, seed=seed, num_resamples=600)
    return interval.low, interval.high


def percentile(pair, seed) -> tuple[float, float]:
    """The textbook interval, which is too narrow for few pairs."""
    difference, rng = pair[0] - pair[1], np.random.default_rng(seed)
    means = rng.choice(difference, (600, len(difference))).mean(1)
    return tuple(np.quantile(means, [0.025, 0.975]))


def unpaired(pair, seed) -> tuple[float, float]:
    """The planted bug: arms resampled each on its own."""
    rng = np.random.default_rng(seed)
    count = len(pair[0])
    one, two = (rng.choice(values, (600, count)).mean(1) for values in pair)
    share = _expanded_share(0.95, count)
    return tuple(np.quantile(one - two, [share, 1 - share]))


def normal_pairs(rng, count):
    shared = rng.normal(0, 3, count)  # an easy or a hard pool, the same for both arms
    return shared + rng.normal(size=count), shared + rng.normal(size=count)


def skewed_pairs(rng, count):
    shared = rng.normal(0, 3, count)
    return shared + rng.exponential(size=count), shared + rng.exponential(size=count)


@pytest.mark.parametrize("num_pairs", [8, 20])
@pytest.mark.parametrize("draw", [normal_pairs, skewed_pairs])
def test_coverage_is_nominal(num_pairs, draw):
    covered, _ = shares(num_pairs, draw, ours)
    assert 0.93 <= covered <= 0.97


def test_check_of_coverage_fails_for_planted_bugs():
    narrow, _ = shares(8, normal_pairs, percentile)
    assert narrow < 0.925
    loose, wide = shares(8, normal_pairs, unpaired)
    _, width = shares(8, normal_pairs, ours)
    assert loose > 0.985 and wide > 2 * width


def test_interval_of_the_mean():
    values = np.random.default_rng(0).normal(5, 1, 500)
    interval = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(500)
    assert interval.mean == pytest.approx(values.mean(), abs=1e-12)
    assert interval.low == pytest.approx(values.mean() - half, rel=3e-3)
    assert interval.high == pytest.approx(values.mean() + half, rel=3e-3)
    assert interval == mean_interval(values) != mean_interval(values, seed=1)
    assert all(type(x) is float for x in interval[:3])


def test_pairs_shift_and_change_sign():
    rng = np.random.default_rng(1)
    one, two = rng.normal(size=9), rng.normal(size=9)
    there, back = paired_interval(one, two), paired_interval(two, one)
    assert there.mean == -back.mean and there.num_pairs == 9
    assert there.low == pytest.approx(-back.high)
    moved = paired_interval(one + 7, two + 7)
    assert moved.low == pytest.approx(there.low)


def test_few_pairs_must_be_asked_for():
    values = np.arange(MIN_PAIRS - 1.0)
    with pytest.raises(ValueError, match="at least 8 pairs, got 7"):
        mean_interval(values)
    asked = mean_interval(values[:2], min_pairs=2)
    assert (asked.low, asked.mean, asked.high) == (0, 0.5, 1)
    with pytest.raises(ValueError, match="at least 2 pairs, got 1"):
        mean_interval(values[:1], min_pairs=1)


@pytest.mark.parametrize(
    "first, second, sentence",
    [
        (np.ones(8), np.ones(9), "pairs must match, got shapes (8,) and (9,)."),
        (
            np.ones((8, 2)),
            np.ones((8, 2)),
            "values must have shape (seeds,), got (8, 2).",
        ),
        (
            np.full(8, np.nan),
            np.ones(8),
            "an interval needs finite values, got some that are not.",
        ),
    ],
)
def test_bad_values(first, second, sentence):
    with pytest.raises(ValueError) as caught:
        paired_interval(first, second)
    assert str(caught.value) == sentence
