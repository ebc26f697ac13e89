"""Scores of posteriors against SciPy, and on simulated tasks that obey them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from bots_jax import metrics


def calibrated(n: int = 40_000):
    """Shapes of many sizes, and chances drawn from them."""
    rng = np.random.default_rng(0)
    alpha, beta = 10 ** rng.uniform(-0.3, 3, (2, n))
    arrays = alpha, beta, rng.beta(alpha, beta)
    return tuple(jnp.asarray(x, jnp.float32) for x in arrays)


def sequence_loss(a, b, s, f):
    a, b, s, f = (np.asarray(x, np.float64) for x in (a, b, s, f))
    return special.betaln(a, b) - special.betaln(a + s, b + f)


@pytest.mark.parametrize("high", [0.0, 2.0, 5.0])
def test_predictive_log_loss_equals_scipy(high):
    rng = np.random.default_rng(1)
    alpha, beta = (10 ** rng.uniform(-2, high, (2, 400))).astype(np.float32)
    wins, losses = rng.integers(0, 17, (2, 400)).astype(np.float32)
    wins[:50], losses[40:90] = 0, 0
    wins[100:150] += np.float32(0.25)
    got = np.array(
        [
            float(x)
            for x in jax.jit(jax.vmap(lambda *row: metrics.predictive_log_loss(*row)))(
                *(jnp.asarray(x)[:, None] for x in (alpha, beta, wins, losses))
            )
        ]
    )
    want = sequence_loss(alpha, beta, wins, losses)
    is_group = wins + losses > 0
    np.testing.assert_allclose(got[is_group], want[is_group], rtol=2e-6, atol=3e-5)
    assert np.isnan(got[~is_group]).all() and (~is_group).sum() > 0
    every = metrics.predictive_log_loss(*map(jnp.asarray, (alpha, beta, wins, losses)))
    assert float(every) == pytest.approx(want[is_group].mean(), rel=1e-5, abs=1e-5)
    swapped = sequence_loss(beta, alpha, wins, losses)
    assert np.abs(swapped - want).mean() > 0.1


def test_predictive_log_loss_is_that_of_the_trials_one_by_one():
    a, b = np.float32(0.7), np.float32(2.4)
    group = metrics.predictive_log_loss(*(jnp.float32([x]) for x in (a, b, 2, 1)))
    singles = 0.0
    for won in (True, False, True):
        chance = a / (a + b) if won else b / (a + b)
        singles -= np.log(chance)
        a, b = a + won, b + (not won)
    assert float(group) == pytest.approx(singles, rel=1e-5)
    coefficient = np.log(3)  # of the Beta-binomial, which is left out
    binomial = stats.betabinom.logpmf(2, 3, 0.7, 2.4)
    assert float(group) == pytest.approx(coefficient - binomial, rel=1e-5)


def test_predictive_log_loss_prefers_the_truth():
    alpha, beta, p = calibrated()
    wins = jnp.asarray(np.random.default_rng(2).binomial(16, p), jnp.float32)
    honest = metrics.predictive_log_loss(alpha, beta, wins, 16 - wins)
    sure = metrics.predictive_log_loss(alpha * 20, beta * 20, wins, 16 - wins)
    vague = metrics.predictive_log_loss(alpha / 20, beta / 20, wins, 16 - wins)
    assert float(honest) < float(sure) - 0.01 and float(honest) < float(vague) - 0.01


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_interval_coverage_is_the_level_of_a_calibrated_posterior(level):
    alpha, beta, p = calibrated()
    rule = jax.jit(metrics.interval_coverage)
    tolerance = 4 * np.sqrt(level * (1 - level) / p.size)
    level = jnp.float32(level)
    assert float(rule(alpha, beta, p, level=level)) == pytest.approx(
        level, abs=tolerance
    )
    for planted in ((beta, alpha, p), (3 * alpha, 3 * beta, p)):  # swapped; too sure
        assert float(rule(*planted, level=level)) < level - 5 * tolerance
    assert float(rule(alpha / 3, beta / 3, p, level=level)) > level


def test_interval_coverage_equals_scipy():
    alpha, beta, p = calibrated(5000)
    a, b = (np.asarray(z, np.float64) for z in (alpha, beta))
    low, high = stats.beta.ppf(0.1, a, b), stats.beta.ppf(0.9, a, b)
    want = np.mean((np.asarray(p) >= low) & (np.asarray(p) <= high))
    got = metrics.interval_coverage(alpha, beta, p, level=0.8)
    assert float(got) == pytest.approx(want, abs=5e-4)


def test_mean_squared_z():
    alpha, beta, p = calibrated()
    a, b, x = (np.asarray(z, np.float64) for z in (alpha, beta, p))
    variance = a * b / (a + b) ** 2 / (a + b + 1)
    z_squared = (x - a / (a + b)) ** 2 / variance
    got = float(metrics.mean_squared_z(alpha, beta, p))
    assert got == pytest.approx(z_squared.mean(), rel=1e-4)
    assert got == pytest.approx(1, abs=4 * z_squared.std() / np.sqrt(p.size))
    assert float(metrics.mean_squared_z(3 * alpha, 3 * beta, p)) > 2
    assert float(metrics.mean_squared_z(beta, alpha, p)) > 2
    assert float(metrics.mean_squared_z(alpha / 3, beta / 3, p)) < 0.6


@pytest.mark.parametrize("name", ["interval_coverage", "mean_squared_z"])
def test_left_out_items_and_nothing(name):
    metric, (alpha, beta, p) = getattr(metrics, name), calibrated(50)
    want = float(metric(alpha, beta, p))
    padded = [jnp.concatenate([x, jnp.float32([np.nan])]) for x in (alpha, beta, p)]
    where = jnp.arange(51) < 50
    assert float(metric(*padded, where=where)) == pytest.approx(want, rel=1e-5)
    assert np.isnan(metric(*padded))
    assert np.isnan(metric(*(x[:0] for x in padded)))
    with jax.enable_x64(True):
        assert metric(alpha, beta, p).dtype == jnp.float32


def test_left_out_groups_and_nothing():
    one, none = jnp.ones(2), jnp.zeros(2)
    assert np.isnan(metrics.predictive_log_loss(one, one, none, none))
    bad = jnp.float32([1, np.nan])
    got = metrics.predictive_log_loss(bad, one, one, one, jnp.array([True, False]))
    assert float(got) == pytest.approx(np.log(6), rel=1e-5)
    assert np.isnan(metrics.predictive_log_loss(bad, one, one, one))
    assert np.isnan(metrics.predictive_log_loss(one, one, bad, one))


def test_bad_level_is_refused():
    with pytest.raises(ValueError, match=r"level must be in \[0, 1\], got 95"):
        metrics.interval_coverage(jnp.ones(1), jnp.ones(1), jnp.ones(1), level=95.0)
