"""The smallest run that still learns something, and what tests ask of runs."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import jax

from bots_jax.checkpoint import Checkpoints
from bots_jax.grpo.config import (
    EvaluationConfig,
    GrpoConfig,
    ModelConfig,
    ReferenceConfig,
    TrainConfig,
    WarmupConfig,
)
from bots_jax.grpo.run_dir import read_run_config, run_fingerprint

REPOSITORY = pathlib.Path(__file__).parents[2]

MODEL = ModelConfig(num_layers=1, width=16, num_heads=2, num_kv_heads=1, mlp_width=16)
TINY = TrainConfig(
    num_tasks=200,
    families=("ab", "count_bits", "gcd", "spell_backward"),
    checkpoint_every=2,
    model=MODEL,
    warmup=WarmupConfig(
        num_steps=30,
        batch_size=64,
        learning_rate=3e-2,
        strong_steps=4,
        checkpoint_every=10,
    ),
    reference=ReferenceConfig(rollouts=2, tasks_per_chunk=64),
    grpo=GrpoConfig(num_steps=6, batch_size=8, group_size=4, warmup_steps=2),
    evaluation=EvaluationConfig(
        every=2,
        num_tasks=40,
        rollouts=2,
        calibration_tasks=30,
        calibration_rollouts=2,
    ),
)


def arguments(config: TrainConfig = TINY) -> list[str]:
    """Spells a config as command-line options; defaults are left out."""
    return options_of("", config, TrainConfig())


def options_of(prefix: str, config: Any, default: Any) -> list[str]:
    """Spells what differs from the default."""
    options = []
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        name = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            options += options_of(f"{name}.", value, usual)
        elif value != usual:
            values = value if isinstance(value, tuple) else (value,)
            options += [f"--{name.replace('_', '-')}", *map(str, values)]
    return options


def run_python(
    *command: str, devices: int = 1, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own, its cores shown as so many devices."""
    return subprocess.run(
        [sys.executable, *command],
        env=environment(devices),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=check,
        timeout=300,
    )


def environment(devices: int = 1) -> dict[str, str]:
    shown = {
        "JAX_PLATFORMS": "cpu",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
        "PYTHONWARNINGS": "ignore",
    }
    if devices:
        shown["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    compiled = jax.config.values["jax_compilation_cache_dir"]
    if compiled:
        shown["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    return os.environ | shown


def read_rows(directory: pathlib.Path) -> list[dict[str, Any]]:
    """Reads the lines of metrics.jsonl strictly, without what a clock decides."""
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [
        {k: v for k, v in json.loads(line).items() if not k.startswith("seconds/")}
        for line in lines
    ]


def read_summary(directory: pathlib.Path) -> dict[str, Any]:
    """Reads summary.json without what a clock decides."""
    summary = json.loads((directory / "summary.json").read_text())
    timed = {"seconds_per_step", "seconds_total", "selector_share"}
    assert timed <= set(summary)
    return {name: value for name, value in summary.items() if name not in timed}


def last_checkpoint(directory: pathlib.Path, trainer: Any) -> Any:
    """Reads the step and the arrays that a finished run has left."""
    fingerprint = run_fingerprint(
        read_run_config(directory), trainer.data.train.pool.fingerprint
    )
    found = Checkpoints(directory / "checkpoints", fingerprint).read_latest()
    assert found is not None
    return found.step, found.arrays
