"""Which tasks come next: what is wanted, and the choice among the eligible."""

from bots_jax.selection.gumbel import gumbel_noise, temper
from bots_jax.selection.scores import (
    posterior_means,
    target_distance_scores,
    thompson_draws,
)
from bots_jax.selection.top_k import count_eligible, select_top_k

__all__ = [
    "count_eligible",
    "gumbel_noise",
    "posterior_means",
    "select_top_k",
    "target_distance_scores",
    "temper",
    "thompson_draws",
]
