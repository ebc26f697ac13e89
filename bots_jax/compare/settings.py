"""Every number of a comparison, besides its arms and its seeds."""

import dataclasses

from bots_jax import checks
from bots_jax.grpo.config import (
    DEFAULT_FAMILIES,
    EvaluationConfig,
    GrpoConfig,
    ModelConfig,
    ReferenceConfig,
    TrainConfig,
    WarmupConfig,
)
from bots_jax.grpo.config_checks import check_config

MAX_STARTS = 1024


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """What decides a result, besides its arm and its seed."""

    task_seed: int = 0
    """Of the tasks, the warm-up and the references, which all arms share."""
    starts: int = 1
    """Starts, each with tasks, a warm-up and references of its own, of the task seeds
    from `task_seed` on: seed s begins at start s modulo this. With one start, intervals
    tell about luck in training only; with as many as seeds, about other tasks and
    warm-ups too."""
    num_tasks: int = 4096
    """Tasks in the pool (N)."""
    families: tuple[str, ...] = DEFAULT_FAMILIES
    """Families of tasks."""
    held_out_tasks: int = 1024
    """Tasks that are never trained on, in the pool's mix; success on them is the
    score."""
    evaluate_every: int = 5
    """Training steps' worth of rollouts between evaluations."""
    belief_tasks: int = 1024
    """Random tasks of the pool on which posteriors are compared with the truth."""
    label_sd: float = 0.5
    """Noise, in log-odds, of the difficulty labels that some arms are given."""
    model: ModelConfig = ModelConfig()
    warmup: WarmupConfig = WarmupConfig(num_tasks=20_000)
    reference: ReferenceConfig = ReferenceConfig()
    grpo: GrpoConfig = GrpoConfig(num_steps=200, batch_size=16)

    def train_config(self) -> TrainConfig:
        """Returns what the trainer has to know."""
        return TrainConfig(
            seed=self.task_seed,
            num_tasks=self.num_tasks,
            families=self.families,
            exact_answers_only=True,
            model=self.model,
            warmup=self.warmup,
            reference=self.reference,
            grpo=self.grpo,
            evaluation=EvaluationConfig(num_tasks=self.held_out_tasks),
        )

    def start_of(self, seed: int) -> int:
        """Tells at which start a seed begins.

        Example:
          >>> CompareSettings(starts=3).start_of(4)
          1
        """
        return seed % self.starts

    def at_start(self, start: int) -> "CompareSettings":
        """Returns the settings of one start alone.

        Example:
          >>> CompareSettings(task_seed=5, starts=3).at_start(1).task_seed
          6
        """
        return dataclasses.replace(self, task_seed=self.task_seed + start, starts=1)

    @property
    def rollouts_per_step(self) -> int:
        """Rollouts of a full step, B times G."""
        return self.grpo.batch_size * self.grpo.group_size


def check_settings(settings: CompareSettings) -> None:
    """Checks every number before any work is done.

    Raises:
      ValueError: naming the setting, the value received and what is allowed.

    Example:
      >>> check_settings(CompareSettings(evaluate_every=0))
      Traceback (most recent call last):
      ValueError: evaluate_every must be an integer in [1, 2147483646], got 0.
    """
    checks.check_count("task_seed", settings.task_seed, minimum=0)
    checks.check_count("starts", settings.starts, maximum=MAX_STARTS)
    checks.check_count("held_out_tasks", settings.held_out_tasks)
    checks.check_count("evaluate_every", settings.evaluate_every)
    checks.check_count("belief_tasks", settings.belief_tasks, 2, settings.num_tasks)
    checks.check_number("label_sd", settings.label_sd, 0.0, 100.0)
    check_config(settings.train_config())
    if settings.grpo.temperature != 1.0:
        raise ValueError(
            "grpo.temperature must be 1: success chances are computed for it; "
            f"got {settings.grpo.temperature}."
        )
