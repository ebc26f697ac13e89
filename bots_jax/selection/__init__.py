"""Which tasks come next: what is wanted, and the choice among the eligible."""

from bots_jax.selection.gumbel import gumbel_noise, temper
from bots_jax.selection.pool import Candidates, Pool
from bots_jax.selection.race import race_nearest
from bots_jax.selection.scores import (
    posterior_means,
    target_distance_scores,
    target_log_density,
    thompson_draws,
)
from bots_jax.selection.sweep import sweep
from bots_jax.selection.top_k import count_eligible, select_top_k

__all__ = [
    "Candidates",
    "Pool",
    "count_eligible",
    "gumbel_noise",
    "posterior_means",
    "race_nearest",
    "select_top_k",
    "sweep",
    "target_distance_scores",
    "target_log_density",
    "temper",
    "thompson_draws",
]
