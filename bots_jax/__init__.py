"""Bayesian online task selection for reinforcement finetuning, in JAX.

Importing starts no device and sets no configuration.
"""

from bots_jax.beta import sample_beta
from bots_jax.distributed import share_evidence
from bots_jax.evidence import (
    check_evidence,
    empty_evidence,
    evidence_from_counts,
    evidence_from_rewards,
)
from bots_jax.host import Carried, TaskSampler
from bots_jax.metrics import coverage, effective_task_ratio
from bots_jax.selection import posterior_means, target_log_density, thompson_draws
from bots_jax.selectors import (
    BotsState,
    UniformState,
    bots,
    set_eligible,
    set_posterior,
    uniform,
)
from bots_jax.sharding import shard_selector
from bots_jax.step import make_step
from bots_jax.types import (
    Evidence,
    SelectInfo,
    StepInfo,
    TaskSelector,
    UpdateInfo,
    flatten_info,
)
from bots_jax.version import __version__

__all__ = [
    "BotsState",
    "Carried",
    "Evidence",
    "SelectInfo",
    "StepInfo",
    "TaskSampler",
    "TaskSelector",
    "UniformState",
    "UpdateInfo",
    "__version__",
    "bots",
    "check_evidence",
    "coverage",
    "effective_task_ratio",
    "empty_evidence",
    "evidence_from_counts",
    "evidence_from_rewards",
    "flatten_info",
    "make_step",
    "posterior_means",
    "sample_beta",
    "set_eligible",
    "set_posterior",
    "shard_selector",
    "share_evidence",
    "target_log_density",
    "thompson_draws",
    "uniform",
]
