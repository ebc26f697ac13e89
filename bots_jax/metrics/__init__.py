"""How well tasks were chosen and predicted: pure functions of arrays.

A metric of nothing is NaN: no items, none that `where` leaves, no weight, or a number
that is not defined, such as the correlation with a constant. NaN in an item that is
used gives NaN; items that are left out may hold anything.
"""

from bots_jax.metrics.groups import (
    SilentGroups,
    effective_task_ratio,
    gain_per_rollout,
    regret,
    silent_groups,
)
from bots_jax.metrics.posterior import (
    interval_coverage,
    mean_squared_z,
    predictive_log_loss,
)
from bots_jax.metrics.prediction import (
    brier,
    calibration_error,
    constant_predictor,
    log_loss,
    mean_absolute_error,
    rmse_debiased,
)
from bots_jax.metrics.ranking import auc, pearson, spearman
from bots_jax.metrics.visits import coverage, gini, max_visits, mean_age

__all__ = [
    "SilentGroups",
    "auc",
    "brier",
    "calibration_error",
    "constant_predictor",
    "coverage",
    "effective_task_ratio",
    "gain_per_rollout",
    "gini",
    "interval_coverage",
    "log_loss",
    "max_visits",
    "mean_absolute_error",
    "mean_age",
    "mean_squared_z",
    "pearson",
    "predictive_log_loss",
    "regret",
    "rmse_debiased",
    "silent_groups",
    "spearman",
]
