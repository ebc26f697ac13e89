"""The scores of tasks, for `bots(score=...)` and `adaptive(score=...)`."""

from bots_jax.selection.scores import (
    posterior_means,
    target_log_density,
    thompson_draws,
)
from bots_jax.selection.values import (
    expected_abs_advantage,
    expected_variance,
    information_gain,
    log_of,
    mixed_group_prob,
    optimistic_variance,
    pass_at_k_target,
    target_interval_log_prob,
    variance_drop,
)

__all__ = [
    "expected_abs_advantage",
    "expected_variance",
    "information_gain",
    "log_of",
    "mixed_group_prob",
    "optimistic_variance",
    "pass_at_k_target",
    "posterior_means",
    "target_interval_log_prob",
    "target_log_density",
    "thompson_draws",
    "variance_drop",
]
