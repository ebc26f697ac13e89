"""The density of Beta against SciPy, and its bound against every density there is."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from bots_jax.beta import density_bound, log_beta_density
from bots_jax.beta.density import stirling_error

density = importlib.import_module("bots_jax.beta.density")
CONCENTRATIONS = (0.03, 0.3, 2.0, 5.0, 20.0, 100.0, 1e3, 1e4, 2e5)


def shapes(concentration: float, above_one: bool, n: int = 20_000):
    """Pairs of float32 shapes with about this sum."""
    rng = np.random.default_rng(0)
    least = 1.0 if above_one else 1e-2 * concentration
    alpha = rng.uniform(least, concentration - least, n).astype(np.float32)
    beta = np.maximum(concentration - alpha, least).astype(np.float32)
    return alpha, beta


def worst_density_error(concentration: float, above_one: bool = False) -> float:
    """Relative error within 6 standard deviations of the mean."""
    alpha, beta = shapes(concentration, above_one)
    a, b = alpha.astype(np.float64), beta.astype(np.float64)
    mean = a / (a + b)
    spread = np.sqrt(mean * (1 - mean) / (a + b + 1))
    x = mean + spread * np.random.default_rng(1).uniform(-6, 6, a.size)
    x = np.clip(x, 1e-7, 1 - 1e-7).astype(np.float32)
    rest = (1 - x.astype(np.float64)).astype(np.float32)
    given = (jnp.asarray(z) for z in (alpha, beta, x, rest))
    got = log_beta_density(*given, above_one=above_one)
    want = stats.beta.logpdf(x.astype(np.float64), a, b)
    return float(np.max(np.abs(np.expm1(np.asarray(got, np.float64) - want))))


@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_density_equals_scipy(concentration):
    allowed = 1e-4 if concentration <= 1e4 else 3e-4
    assert worst_density_error(concentration) < allowed
    if concentration > 2:
        assert worst_density_error(concentration, above_one=True) < allowed


def test_density_of_both_tails():
    """Far below float32's resolution around 1, where only 1 - x can tell."""
    tiny = jnp.float32([1e-30, 1e-20, 1e-9])
    one, two = jnp.ones(3), jnp.full(3, 2.0)
    for a, b in ((one, two), (two, one), (one / 2, two)):
        left = log_beta_density(a, b, tiny, one)
        right = log_beta_density(b, a, one, tiny)
        want = stats.beta.logpdf(np.float64(tiny), np.float64(a), np.float64(b))
        np.testing.assert_allclose(left, want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(right, want, rtol=1e-5, atol=1e-5)


def test_density_is_nothing_outside():
    outside = jnp.float32([-0.1, 0.0, 1.0, 1.1])
    got = log_beta_density(jnp.ones(4) * 2, jnp.ones(4) * 3, outside, 1 - outside)
    assert np.isneginf(got).all()


def test_density_catches_planted_bugs(monkeypatch):
    with monkeypatch.context() as patch:  # no Stirling remainder
        zero = lambda z, above_one=False: jnp.zeros_like(z)  # noqa: E731
        patch.setattr(density, "stirling_error", zero)
        assert worst_density_error(20.0) > 1e-3
    with monkeypatch.context() as patch:  # log1p alone, which far from the mode cancels
        patch.setattr(density, "_deviance", lambda y, ratio: y - jnp.log1p(y))
        assert worst_density_error(5.0) > 1e-2


def test_stirling_error_equals_scipy():
    z = np.geomspace(1e-3, 1e6, 4000).astype(np.float32)
    wide = z.astype(np.float64)
    log_root = 0.5 * np.log(2 * np.pi)
    want = special.gammaln(wide) - ((wide - 0.5) * np.log(wide) - wide + log_root)
    small = wide < 1e4  # beyond, gammaln itself cancels
    got = np.asarray(stirling_error(jnp.asarray(z)), np.float64)
    assert np.max(np.abs(got - want)[small] / (1 + want[small])) < 2e-7
    assert (np.diff(got) <= 1e-7).all() and (got > 0).all()
    above = stirling_error(jnp.asarray(z[z >= 1]), above_one=True)
    np.testing.assert_array_equal(above, got[z >= 1].astype(np.float32))


def highest(concentration: float, x: float, above_one: bool) -> float:
    """Supremum over alpha of the density at x, by a fine grid."""
    least = 1.0 if above_one else 1e-6 * concentration
    left = np.geomspace(least, concentration / 2, 4000)
    alpha = np.concatenate([left, concentration - left])
    return float(np.max(stats.beta.pdf(x, alpha, concentration - alpha)))


def bound_ratios(above_one: bool, low=0.03, high=0.97) -> np.ndarray:
    """The bound over the highest density at or below a concentration."""
    ratios = []
    for concentration in (2.1, 2.5, 3.0, 5.0, 20.0, 100.0, 1e3, 1e4):
        for x in (low, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, high):
            bound = density.density_bound(
                jnp.float32(concentration),
                jnp.float32(x),
                jnp.float32(x),
                above_one=above_one,
            )
            fractions = (0.01, 0.1, 0.5, 1.0) if not above_one else (1.0,)
            for part in fractions:
                ratios.append(
                    float(bound) / highest(part * concentration, x, above_one)
                )
    return np.array(ratios)


def test_bound_holds_and_is_tight_in_the_middle():
    for above_one in (False, True):
        assert bound_ratios(above_one).min() >= 1
    half = jnp.float32(0.5)
    bound = float(density_bound(jnp.float32(20), half, half))
    assert bound < 1.02 * highest(20, 0.5, False)


def test_bound_of_shapes_above_one_holds_at_the_ends():
    for concentration in (2.0, 2.5, 20.0, 1e3):
        for x in (0.0, 1e-4, 0.5, 1.0):
            bound = density_bound(
                jnp.float32(concentration),
                jnp.float32(x),
                jnp.float32(x),
                above_one=True,
            )
            if concentration > 2:
                assert float(bound) >= highest(concentration, x, True)
            assert np.isfinite(bound)
    assert np.isinf(density_bound(jnp.float32(9), jnp.float32(0), jnp.float32(0)))


def test_bound_of_an_interval_is_that_of_its_ends():
    n, low, high = jnp.float32(30), jnp.float32(0.2), jnp.float32(0.6)
    bound = float(density_bound(n, low, high))
    inside = jnp.linspace(0.2, 0.6, 101)
    each = jax.vmap(lambda x: density_bound(n, x, x))(inside)
    assert bound >= float(each.max()) * (1 - 1e-6)


def test_bound_catches_planted_bug(monkeypatch):
    """Without the skew term, as sqrt(n / (2 pi v)) alone, the bound is broken."""
    honest = density.density_bound

    def wrong(n, low, high, above_one=False):
        v = low * (1 - low)
        return jnp.sqrt(n / (2 * np.pi * v)) * np.float32(1 + 2e-4)

    monkeypatch.setattr(density, "density_bound", wrong)
    assert bound_ratios(False).min() < 1
    assert honest is not wrong


def test_exp_digamma_is_superadditive():
    """The step of the proof that makes the bound grow with the concentration."""
    rng = np.random.default_rng(0)
    a, b = 10 ** rng.uniform(-3, 4, (2, 100_000))
    both = np.exp(special.digamma(a)) + np.exp(special.digamma(b))
    assert (np.exp(special.digamma(a + b)) >= both * (1 - 1e-9)).all()
