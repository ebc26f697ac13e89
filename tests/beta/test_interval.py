"""The incomplete beta function in float32; intervals are in selection/test_values."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special, stats

from bots_jax.beta.interval import beta_cdf

SHAPES = (0.01, 0.3, 1.0, 3.99, 17.0, 250.0, 5e3, 1e5)
GRID = np.array(list(itertools.product(SHAPES, SHAPES)), np.float32)


def test_beta_cdf_equals_scipy():
    rng = np.random.default_rng(0)
    a, b = GRID.astype(np.float64).T
    cdf = jax.jit(beta_cdf)
    for _ in range(4):
        mean, spread = a / (a + b), stats.beta.std(a, b)
        x = np.clip(mean + spread * rng.uniform(-4, 4, a.size), 0, 1).astype(np.float32)
        got = cdf(*map(jnp.asarray, (*GRID.T, x)))
        want = special.betainc(a, b, x.astype(np.float64))
        np.testing.assert_allclose(got, want, atol=2e-4)
    for x in (0.0, 1.0):
        ends = cdf(*map(jnp.asarray, GRID.T), jnp.full(len(GRID), x, jnp.float32))
        assert (np.asarray(ends) == x).all()


def test_beta_cdf_is_better_than_betainc_of_large_shapes():
    a, b = (np.full(9, x, np.float32) for x in (3e4, 7e4))
    x = np.linspace(0.297, 0.303, 9).astype(np.float32)
    want = special.betainc(3e4, 7e4, x.astype(np.float64))
    error = [
        np.abs(np.asarray(cdf(*map(jnp.asarray, (a, b, x)))) - want).max()
        for cdf in (beta_cdf, jax.scipy.special.betainc)
    ]
    assert error[0] < 2e-4 < 2e-3 < error[1]
