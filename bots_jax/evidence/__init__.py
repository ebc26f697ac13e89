"""What is learnt from rollouts: counts, and what they imply for other tasks."""

from bots_jax.evidence.counts import (
    check_evidence,
    empty_evidence,
    evidence_from_counts,
    evidence_from_rewards,
)
from bots_jax.evidence.interpolation import interpolate
from bots_jax.evidence.rewards import (
    LevelEvidence,
    MomentEvidence,
    evidence_from_scores,
    level_evidence_from_rewards,
    moment_evidence_from_rewards,
)

__all__ = [
    "LevelEvidence",
    "MomentEvidence",
    "check_evidence",
    "empty_evidence",
    "evidence_from_counts",
    "evidence_from_rewards",
    "evidence_from_scores",
    "interpolate",
    "level_evidence_from_rewards",
    "moment_evidence_from_rewards",
]
