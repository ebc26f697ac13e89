"""The belief about every task, and how it moves."""

from bots_jax.posterior.recurrence import (
    Posterior,
    discount,
    init_posterior,
    update_posterior,
)

__all__ = ["Posterior", "discount", "init_posterior", "update_posterior"]
