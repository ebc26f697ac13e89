"""Beta(alpha, beta) on plain arrays: moments and exact sampling."""

from bots_jax.beta.moments import beta_mean, beta_variance, concentration
from bots_jax.beta.sampling import sample_beta

__all__ = ["beta_mean", "beta_variance", "concentration", "sample_beta"]
