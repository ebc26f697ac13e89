"""Bayesian online task selection for reinforcement finetuning, in JAX.

Importing starts no device and sets no configuration.
"""

from bots_jax import metrics, plugins, scores
from bots_jax.beta import sample_beta
from bots_jax.distributed import share_evidence
from bots_jax.evidence import (
    LevelEvidence,
    MomentEvidence,
    check_evidence,
    empty_evidence,
    evidence_from_counts,
    evidence_from_rewards,
    evidence_from_scores,
    level_evidence_from_rewards,
    moment_evidence_from_rewards,
)
from bots_jax.host import Carried, TaskSampler
from bots_jax.metrics import coverage, effective_task_ratio
from bots_jax.selection import posterior_means, target_log_density, thompson_draws
from bots_jax.selection.budget import allocate_rollouts
from bots_jax.selection.coverage import Coverage
from bots_jax.selectors import (
    BotsState,
    UniformState,
    adaptive,
    adarft,
    arcus,
    bots,
    bots_dots,
    bots_mopps,
    continuous,
    cures,
    dps,
    dynamic_sampling,
    graded,
    greso,
    insight,
    mapp,
    mopps,
    offline_easy_to_hard,
    sec,
    set_eligible,
    set_policy_change,
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
    "Coverage",
    "Evidence",
    "LevelEvidence",
    "MomentEvidence",
    "SelectInfo",
    "StepInfo",
    "TaskSampler",
    "TaskSelector",
    "UniformState",
    "UpdateInfo",
    "__version__",
    "adaptive",
    "adarft",
    "allocate_rollouts",
    "arcus",
    "bots",
    "bots_dots",
    "bots_mopps",
    "check_evidence",
    "continuous",
    "coverage",
    "cures",
    "dps",
    "dynamic_sampling",
    "effective_task_ratio",
    "empty_evidence",
    "evidence_from_counts",
    "evidence_from_rewards",
    "evidence_from_scores",
    "flatten_info",
    "graded",
    "greso",
    "insight",
    "level_evidence_from_rewards",
    "make_step",
    "mapp",
    "metrics",
    "moment_evidence_from_rewards",
    "mopps",
    "offline_easy_to_hard",
    "plugins",
    "posterior_means",
    "sample_beta",
    "scores",
    "sec",
    "set_eligible",
    "set_policy_change",
    "set_posterior",
    "shard_selector",
    "share_evidence",
    "target_log_density",
    "thompson_draws",
    "uniform",
]
