"""The belief about every task, and how it moves."""

from bots_jax.posterior.lazy import LazyPosterior, init_lazy_posterior, lazy_counts
from bots_jax.posterior.recurrence import (
    Posterior,
    discount,
    init_posterior,
    update_posterior,
)

__all__ = [
    "LazyPosterior",
    "init_lazy_posterior",
    "lazy_counts",
    "Posterior",
    "discount",
    "init_posterior",
    "update_posterior",
]
