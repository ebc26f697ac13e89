"""Moments against SciPy in float64."""

import jax.numpy as jnp
import numpy as np
from scipy import stats

from bots_jax.beta import beta_mean, beta_variance, concentration

RNG = np.random.default_rng(0)
ALPHA, BETA = (10 ** RNG.uniform(-2, 5, (2, 500))).astype(np.float32)


def test_moments_are_those_of_the_beta_law():
    alpha, beta = jnp.asarray(ALPHA), jnp.asarray(BETA)
    law = stats.beta(ALPHA.astype(np.float64), BETA.astype(np.float64))
    np.testing.assert_allclose(beta_mean(alpha, beta), law.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        concentration(alpha, beta), ALPHA.astype(float) + BETA, rtol=1e-6
    )
    # 1 - mean loses digits where the mean is near 1
    np.testing.assert_allclose(
        beta_variance(alpha, beta), law.var(), rtol=1e-5, atol=1e-7
    )


def test_moments_by_hand_are_not_swapped():
    # Beta(3, 1): mean 3/4, variance 3 / (16 * 5)
    one = jnp.ones(1, jnp.float32)
    assert float(beta_mean(3 * one, one)[0]) == 0.75
    np.testing.assert_allclose(beta_variance(3 * one, one), 3 / 80, rtol=1e-6)
