"""Beta(alpha, beta) on plain arrays: moments, density, exact sampling."""

from bots_jax.beta.density import density_bound, log_beta_density
from bots_jax.beta.moments import beta_mean, beta_variance, concentration
from bots_jax.beta.sampling import sample_beta

__all__ = [
    "beta_mean",
    "beta_variance",
    "concentration",
    "density_bound",
    "log_beta_density",
    "sample_beta",
]
