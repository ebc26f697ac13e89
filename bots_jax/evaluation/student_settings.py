"""How simulated students are made and how they learn."""

import dataclasses

from bots_jax import checks

MAX_LOGITS = 100.0
"""Largest size of a setting on the scale of logits."""

_RANGES = {
    "difficulty_mean": (-MAX_LOGITS, MAX_LOGITS),
    "difficulty_sd": (0.0, MAX_LOGITS),
    "deviation_sd": (0.0, MAX_LOGITS),
    "discrimination_sd": (0.0, 10.0),
    "start_ability": (-MAX_LOGITS, MAX_LOGITS),
    "group_sd": (0.0, MAX_LOGITS),
    "drift": (-MAX_LOGITS, MAX_LOGITS),
    "learning_rate": (0.0, MAX_LOGITS),
    "transfer": (0.0, 1.0),
    "own_rate": (0.0, MAX_LOGITS),
    "weak_ability": (-MAX_LOGITS, MAX_LOGITS),
    "strong_ability": (-MAX_LOGITS, MAX_LOGITS),
    "shared_deviation": (0.0, 1.0),
    "reference_sd": (0.0, MAX_LOGITS),
    "label_sd": (0.0, MAX_LOGITS),
}


@dataclasses.dataclass(frozen=True)
class StudentSettings:
    """How simulated students are made and how they learn, in logits.

    By default a student improves from outside, whatever it trains on.
    """

    difficulty_mean: float = 1.0
    """Mean difficulty of the tasks."""
    difficulty_sd: float = 2.0
    """Its standard deviation."""
    deviation_sd: float = 1.0
    """Standard deviation of what no reference model tells about a task."""
    discrimination_sd: float = 0.0
    """Standard deviation of the log of how sharply a task tells abilities apart."""
    num_groups: int = 8
    """Groups of tasks, each with an ability of its own."""
    group_sd: float = 0.0
    """Standard deviation of the groups' abilities at the start."""
    start_ability: float = -1.0
    """Mean ability at the start."""
    drift: float = 4.0
    """Ability gained over the whole run, whatever is trained on."""
    learning_rate: float = 0.0
    """Ability a group gains in a step, per mean p(1-p) of the batch."""
    transfer: float = 0.5
    """Share of what is learnt in one group that reaches the others."""
    own_rate: float = 0.0
    """What a trained task itself gains, per p(1-p)."""
    weak_ability: float = -1.0
    """Ability of the weakest reference model."""
    strong_ability: float = 2.0
    """Ability of the strongest one."""
    reference_rollouts: int = 16
    """Rollouts per task and reference model."""
    shared_deviation: float = 0.0
    """Share of the student's deviations that the reference models have too."""
    reference_sd: float = 0.0
    """Standard deviation of what only one reference model deviates by."""
    label_sd: float = 1.0
    """Standard deviation of the error of the difficulty labels."""


def check_student_settings(settings: StudentSettings) -> None:
    """Checks every number of the settings.

    Raises:
      ValueError: naming the setting, the value received and what is allowed.

    Example:
      >>> check_student_settings(StudentSettings(transfer=2.0))
      Traceback (most recent call last):
      ValueError: transfer must be in [0, 1], got 2.
    """
    for name, (low, high) in _RANGES.items():
        checks.check_number(name, getattr(settings, name), low, high)
    checks.check_count("num_groups", settings.num_groups)
    checks.check_count("reference_rollouts", settings.reference_rollouts)
