"""The Beta of a mean and a variance: there and back, and at the edges."""

import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.beta import beta_mean, beta_variance
from bots_jax.beta.matching import beta_of_moments


def test_there_and_back():
    rng = np.random.default_rng(0)
    alpha, beta = jnp.float32(np.exp(rng.uniform(-3, 8, (2, 500))))
    moments = beta_mean(alpha, beta), beta_variance(alpha, beta)
    got = beta_of_moments(*moments)
    np.testing.assert_allclose(got[0], alpha, rtol=3e-3)
    np.testing.assert_allclose(got[1], beta, rtol=3e-3)
    # planted: the mean of failures is told apart
    assert (
        np.abs(
            np.asarray(beta_of_moments(1 - moments[0], moments[1])[0]) / alpha - 1
        ).max()
        > 1
    )


@pytest.mark.parametrize(
    ("mean", "variance", "want"),
    [
        (0.5, 0.0, (5e4, 5e4)),  # as narrow as it may be
        (0.1, 1e-9, (1e4, 9e4)),
        (0.0, 0.0, (0.01, 1e5)),
        (1.0, 0.1, (0.02, 0.01)),  # no Beta has so much: as wide as it may be
        (0.5, 0.25, (0.01, 0.01)),
        (0.5, np.inf, (0.01, 0.01)),
        (-3.0, 0.1, (0.01, 0.02)),
        (np.nan, 0.1, (np.nan, np.nan)),
        (0.5, np.nan, (np.nan, np.nan)),
    ],
)
def test_edges(mean, variance, want):
    got = beta_of_moments(jnp.float32([mean]), jnp.float32([variance]))
    np.testing.assert_allclose([got[0][0], got[1][0]], want, rtol=1e-5)
