"""Checks of a training config, in the voice of `bots_jax.checks`."""

from typing import Any

from bots_jax import checks
from bots_jax.grpo.config import TrainConfig
from bots_jax.grpo.model import check_model_config

_COUNTS = (
    ("num_tasks", 2),
    ("checkpoint_every", 1),
    ("keep_checkpoints", 1),
    ("warmup.correct_steps", 0),
    ("warmup.num_steps", 0),
    ("warmup.num_tasks", 0),
    ("warmup.batch_size", 1),
    ("warmup.strong_steps", 0),
    ("warmup.checkpoint_every", 1),
    ("reference.rollouts", 1),
    ("reference.tasks_per_chunk", 1),
    ("grpo.num_steps", 1),
    ("grpo.batch_size", 1),
    ("grpo.group_size", 2),
    ("grpo.warmup_steps", 0),
    ("grpo.num_updates", 1),
    ("grpo.num_microbatches", 1),
    ("evaluation.every", 1),
    ("evaluation.num_tasks", 1),
    ("evaluation.rollouts", 1),
    ("evaluation.calibration_tasks", 1),
    ("evaluation.calibration_rollouts", 1),
)
_RANGES = (
    ("model.rotary_base", 1.0, 1e6),
    ("warmup.learning_rate", 1e-9, 1.0),
    ("grpo.learning_rate", 0.0, 1.0),
    ("grpo.max_grad_norm", 1e-9, 1e9),
    ("grpo.clip_eps", 1e-6, 1.0),
    ("grpo.kl_coef", 0.0, 1e6),
    ("grpo.temperature", 1e-3, 100.0),
)


def check_config(config: TrainConfig) -> None:
    """Checks every number of a config before any work is done.

    The selector's own settings are checked by its factory, the families by the pool.

    Raises:
      ValueError: naming the setting, the value received and what is allowed.

    Example:
      >>> check_config(TrainConfig(num_tasks=0))
      Traceback (most recent call last):
      ValueError: num_tasks must be an integer in [2, 2147483646], got 0.
    """
    checks.check_count("seed", config.seed, minimum=0)
    for name, minimum in _COUNTS:
        checks.check_count(name, _get(config, name), minimum)
    for name, low, high in _RANGES:
        checks.check_number(name, _get(config, name), low, high)
    for level, rate in enumerate(config.warmup.wrong_rates):
        checks.check_number(f"warmup.wrong_rates[{level}]", rate, 0.0, 1.0)
    checks.check_batch_fits(config.num_tasks, config.grpo.batch_size)
    check_model_config(config.model)
    rollouts = config.grpo.batch_size * config.grpo.group_size
    if rollouts % config.grpo.num_microbatches:
        raise ValueError(
            f"grpo.num_microbatches must divide batch_size * group_size = {rollouts}, "
            f"got {config.grpo.num_microbatches}."
        )


def _get(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name)
    return config
