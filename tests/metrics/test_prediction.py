"""Errors of predictions, by float64 references and by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from bots_jax import metrics

LOSSES = ["brier", "mean_absolute_error", "log_loss", "calibration_error"]


def items(seed: int = 0, n: int = 500):
    rng = np.random.default_rng(seed)
    predicted = np.round(rng.beta(0.8, 1.4, n), 2)
    outcomes = rng.binomial(5, np.clip(predicted + 0.07, 0, 1)) / 5
    weights = rng.integers(0, 6, n)
    return predicted.astype("f4"), outcomes.astype("f4"), weights.astype("f4")


def calibration_reference(p, r, w, num_bins):
    """Bins by midrank, loops and float64."""
    count = len(p)
    error = np.zeros(num_bins)
    for i in range(count):
        twice = 2 * np.sum(p < p[i]) + np.sum(p == p[i])
        error[int(twice * num_bins // (2 * count))] += w[i] * (p[i] - r[i])
    return np.abs(error).sum() / w.sum()


def reference(name, p, r, w, num_bins=10):
    p, r, w = (np.asarray(x, np.float64) for x in (p, r, w))
    q = np.clip(p, 1e-6, 1 - 1e-6)
    if name == "calibration_error":
        return calibration_reference(p, r, w, num_bins)
    each = {
        "brier": (p - r) ** 2,
        "mean_absolute_error": np.abs(p - r),
        "log_loss": -r * np.log(q) - (1 - r) * np.log(1 - q),
    }[name]
    return np.sum(w * each) / w.sum()


@pytest.mark.parametrize("name", LOSSES)
def test_losses_equal_float64(name):
    p, r, w = items()
    metric: Any = jax.jit(getattr(metrics, name))
    got = float(metric(*map(jnp.asarray, (p, r, w))))
    assert got == pytest.approx(reference(name, p, r, w), rel=2e-6)
    alike = float(metric(jnp.asarray(p), jnp.asarray(r)))
    assert alike == pytest.approx(reference(name, p, r, np.ones_like(w)), rel=2e-6)
    assert abs(alike / got - 1) > 1e-4  # weights are not ignored
    where = np.random.default_rng(1).random(p.size) < 0.5
    want = reference(name, p[where], r[where], w[where])
    p[~where], r[~where], w[~where] = np.nan, np.inf, np.nan
    got = metric(*map(jnp.asarray, (p, r, w)), where=jnp.asarray(where))
    assert float(got) == pytest.approx(want, rel=2e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_nothing_are_nan(name):
    metric, two = getattr(metrics, name), jnp.float32([0.2, 0.4])
    assert np.isnan(metric(two[:0], two[:0]))
    assert np.isnan(metric(two, two, where=jnp.zeros(2, jnp.bool_)))
    assert np.isnan(metric(two, two, jnp.zeros(2)))
    assert np.isnan(metric(two.at[0].set(np.nan), two))
    with jax.enable_x64(True):
        assert metric(two, two).dtype == jnp.float32


@pytest.mark.parametrize("num_bins", [1, 3, 10, 64])
def test_calibration_error_of_any_number_of_bins(num_bins):
    p, r, w = items(3, 257)
    got = metrics.calibration_error(
        jnp.asarray(p), jnp.asarray(r), jnp.asarray(w), num_bins=num_bins
    )
    want = calibration_reference(
        p.astype(float), r.astype(float), w.astype(float), num_bins
    )
    assert float(got) == pytest.approx(want, rel=1e-5)
    order = np.random.default_rng(0).permutation(p.size)
    p, r, w = (jnp.asarray(x[order]) for x in (p, r, w))
    again = metrics.calibration_error(p, r, w, num_bins=num_bins)
    assert float(again) == pytest.approx(float(got), rel=1e-5)


def test_calibration_error_of_a_calibrated_forecast_and_of_a_wrong_one():
    rng = np.random.default_rng(0)
    p = rng.random(100_000).astype(np.float32)
    solved = jnp.asarray(rng.random(p.size) < p, jnp.float32)
    # ten bins of 10^4 trials: mean |noise| about sqrt(p (1 - p) 2 / pi / 10^4) < 0.004
    assert float(metrics.calibration_error(jnp.asarray(p), solved)) < 0.006
    sure = np.clip(1.5 * (p - 0.5) + 0.5, 0, 1)
    assert float(metrics.calibration_error(jnp.asarray(sure), solved)) > 0.05
    constant = metrics.calibration_error(jnp.full(p.shape, 0.5), solved)
    assert float(constant) == pytest.approx(abs(0.5 - float(solved.mean())), abs=1e-6)


def test_losses_by_hand():
    # log_loss clips at 1e-6: -log(1e-6)
    surprise = metrics.log_loss(jnp.float32([0, 1]), jnp.float32([1, 0]))
    assert float(surprise) == pytest.approx(13.8155, abs=0.05)
    sure = metrics.log_loss(jnp.float32([0, 1]), jnp.float32([0, 1]))
    assert 0 < float(sure) < 2e-6


def test_large_means_are_exact():
    """Added one after another in float32 these would be off by several per cent."""
    n = 10_000_000
    tenth = jnp.full(n, 0.1)
    zero = jnp.zeros(n)
    assert float(metrics.mean_absolute_error(tenth, zero)) == pytest.approx(0.1, 1e-5)
    naive = np.float32(0)
    for part in np.full(n, 0.1, np.float32).reshape(-1, 1000).sum(1, dtype="f4"):
        naive += part
    assert naive == pytest.approx(n / 10, rel=0.01)  # even in blocks of a thousand
    two_steps = metrics.constant_predictor(tenth, tenth * 3)
    assert float(two_steps) == pytest.approx(0.25, rel=1e-5)


def test_constant_predictor():
    wins, losses = jnp.float32([1, 8, np.nan]), jnp.float32([3, 0, 1])
    where = jnp.array([True, True, False])
    assert float(metrics.constant_predictor(wins, losses, where)) == 0.75
    assert np.isnan(metrics.constant_predictor(jnp.zeros(2), jnp.zeros(2)))


def simulated(debiased, n: int = 4) -> float:
    """Predictions with an error of 0.1 against chances seen in n trials only."""
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 0.9, 200_000)
    wins = rng.binomial(n, p)
    predicted = p + rng.choice([-0.1, 0.1], p.size)
    arrays = (predicted, wins, n - wins)
    return float(debiased(*(jnp.asarray(x, jnp.float32) for x in arrays)))


def test_rmse_debiased_removes_the_noise_of_trials():
    assert simulated(metrics.rmse_debiased) == pytest.approx(0.1, abs=3e-3)
    assert simulated(metrics.rmse_debiased, n=2) == pytest.approx(0.1, abs=6e-3)

    def divided_by_n(predicted, wins, losses):
        rate, n = wins / (wins + losses), wins + losses
        return jnp.sqrt(jnp.mean((predicted - rate) ** 2 - rate * (1 - rate) / n))

    assert abs(simulated(divided_by_n) - 0.1) > 0.02


def test_rmse_debiased_at_the_edges():
    one, two = jnp.ones(1), jnp.full(1, 2.0)
    assert np.isnan(metrics.rmse_debiased(one, one, 0 * one))  # a single trial
    assert float(metrics.rmse_debiased(one / 2, two, two)) == 0  # all noise
    assert float(metrics.rmse_debiased(one / 4, two, 0 * one)) == 0.75
    both = [
        jnp.concatenate(x) for x in ((one / 4, one), (two, one), (0 * one, 0 * one))
    ]
    assert float(metrics.rmse_debiased(*both)) == 0.75  # the single trial is left out
    assert np.isnan(metrics.rmse_debiased(one * np.nan, two, two))


def test_bad_arguments_are_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    three, four = jnp.ones(3), jnp.ones(4)
    with pytest.raises(ValueError, match=r"num_bins must be an integer in \[1, 1000\]"):
        metrics.calibration_error(three, three, num_bins=0)
    with pytest.raises(ValueError, match=r"items must have shape \(3,\), got \(4,\)"):
        metrics.brier(three, four)
    with pytest.raises(ValueError, match=r"weights must have shape \(3,\), got \(4,\)"):
        metrics.brier(three, three, four)
    with pytest.raises(ValueError, match=r"where must have shape \(3,\), got \(4,\)"):
        metrics.log_loss(three, three, where=four > 0)
    with pytest.raises(ValueError, match=r"items must have shape \(M,\), got \(1, 3\)"):
        metrics.brier(three[None], three[None])
