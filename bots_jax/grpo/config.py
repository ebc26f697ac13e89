"""Every number of a training run, as frozen dataclasses that hash and serialise."""

import dataclasses
from typing import Any, Literal

DEFAULT_FAMILIES = (
    "ab",
    "base_conversion",
    "binary_alternation",
    "chain_sum",
    "count_bits",
    "gcd",
    "letter_counting",
    "number_filtering",
    "number_sorting",
    "products",
    "simple_equations",
    "spell_backward",
)
"""Families whose procedures a model of this size can learn in minutes."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Sizes of the decoder-only transformer."""

    num_layers: int = 2
    """Transformer blocks."""
    width: int = 64
    """Size of the residual stream."""
    num_heads: int = 4
    """Query heads; width / num_heads is the size of a head."""
    num_kv_heads: int = 2
    """Key and value heads; divides num_heads (grouped-query attention)."""
    mlp_width: int = 224
    """Hidden size of the SwiGLU."""
    rotary_base: float = 1000.0
    """Longest wavelength of the rotary positions, over 2 pi."""


@dataclasses.dataclass(frozen=True)
class WarmupConfig:
    """Supervised learning from demonstrations of mixed quality."""

    correct_steps: int = 0
    """Optimiser steps on correct demonstrations, before those of mixed quality: with
    them the policy knows the right procedures well, and then seldom uses them."""
    num_steps: int = 2400
    """Optimiser steps on demonstrations of mixed quality, before GRPO."""
    num_tasks: int = 0
    """Tasks that are made for the demonstrations alone; 0 to show the pool's own."""
    batch_size: int = 256
    """Demonstrations a step."""
    learning_rate: float = 4e-3
    """Peak of the schedule."""
    strong_steps: int = 500
    """Further steps, on correct demonstrations, that make the strong reference."""
    wrong_rates: tuple[float, float, float, float] = (0.03, 0.75, 0.9, 0.97)
    """Share of wrong demonstrations, from the easiest level to the hardest."""
    checkpoint_every: int = 400
    """Steps between checkpoints."""


@dataclasses.dataclass(frozen=True)
class ReferenceConfig:
    """Pass rates of the weak and the strong reference on the whole pool."""

    rollouts: int = 8
    """Rollouts per task and model."""
    tasks_per_chunk: int = 512
    """Tasks generated at once."""


@dataclasses.dataclass(frozen=True)
class SelectorConfig:
    """Which tasks come next; the names and ranges are those of `bots_jax.bots`."""

    name: Literal["bots", "uniform"] = "bots"
    """The rule that chooses."""
    forgetting: float = 0.1
    """lambda of the paper, in [0, 1]."""
    implicit_weight: float = 0.1
    """rho of the paper, in [0, 1]."""
    target_success_prob: float = 0.5
    """p* of the paper, in [0, 1]."""
    temperature: float = 0.0
    """tau of the official code; 0 is plain Thompson sampling."""
    capability_momentum: float = 0.9
    """gamma, in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class GrpoConfig:
    """Group-relative policy optimisation."""

    num_steps: int = 300
    """Training steps."""
    batch_size: int = 64
    """Tasks a step (B)."""
    group_size: int = 8
    """Rollouts per task (G)."""
    learning_rate: float = 2e-4
    """After warm-up, constant."""
    warmup_steps: int = 10
    """Steps over which the learning rate rises from 0."""
    max_grad_norm: float = 1.0
    """Global norm that gradients are clipped to."""
    clip_eps: float = 0.2
    """The ratio is clipped to [1 - clip_eps, 1 + clip_eps]."""
    kl_coef: float = 0.0
    """Weight of the KL divergence from the policy that GRPO started with."""
    temperature: float = 1.0
    """Sampling temperature of rollouts and of the held-out evaluation."""
    num_updates: int = 1
    """Optimiser steps on each batch of rollouts."""
    num_microbatches: int = 1
    """Pieces that a gradient is summed over, to save memory."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Held-out success rate, by sampling."""

    every: int = 50
    """Training steps between evaluations."""
    num_tasks: int = 1024
    """Held-out tasks, in the pool's own mix of families and levels."""
    rollouts: int = 4
    """Rollouts per task."""
    calibration_tasks: int = 512
    """Pool tasks on which the final posterior is compared with the truth."""
    calibration_rollouts: int = 16
    """Rollouts per task for that truth."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One run, from nothing to a picture."""

    seed: int = 0
    """Everything random follows from it."""
    num_tasks: int = 20_000
    """Tasks in the pool (N)."""
    families: tuple[str, ...] = DEFAULT_FAMILIES
    """Families of tasks."""
    checkpoint_every: int = 50
    """GRPO steps between checkpoints."""
    keep_checkpoints: int = 2
    """Checkpoints kept."""
    exact_answers_only: bool = False
    """Whether a rollout earns 1 for the pool's own answer, letter by letter, and 0 for
    anything else; otherwise it earns what the task's scorer gives, fractions too."""
    model: ModelConfig = ModelConfig()
    warmup: WarmupConfig = WarmupConfig()
    reference: ReferenceConfig = ReferenceConfig()
    selector: SelectorConfig = SelectorConfig()
    grpo: GrpoConfig = GrpoConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


def to_dict(config: Any) -> dict[str, Any]:
    """Turns a config into plain JSON values.

    Example:
      >>> to_dict(ModelConfig())["num_layers"]
      2
    """
    return dataclasses.asdict(config)


def from_dict(cls: type, values: dict[str, Any]) -> Any:
    """Builds a config back from `to_dict`.

    Raises:
      ValueError: for a field that the config does not have.

    Example:
      >>> from_dict(TrainConfig, to_dict(TrainConfig(seed=3))).seed
      3
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {unknown[0]!r}, allowed: {sorted(fields)}."
        )
    built = {}
    for name, value in values.items():
        kind = fields[name].type
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            value = from_dict(kind, value)
        elif isinstance(value, list):
            value = tuple(value)
        built[name] = value
    return cls(**built)
