"""What is learnt from rollouts: counts, and what they imply for other tasks."""

from bots_jax.evidence.counts import (
    check_evidence,
    empty_evidence,
    evidence_from_counts,
    evidence_from_rewards,
)
from bots_jax.evidence.interpolation import interpolate

__all__ = [
    "check_evidence",
    "empty_evidence",
    "evidence_from_counts",
    "evidence_from_rewards",
    "interpolate",
]
