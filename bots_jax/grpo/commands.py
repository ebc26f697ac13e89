"""`bots-jax train`: from command-line options to a run."""

import dataclasses
import math
import pathlib
from typing import Annotated

import tyro

from bots_jax.grpo.config import TrainConfig
from bots_jax.grpo.config_checks import check_config
from bots_jax.grpo.devices import keep_freed_memory, use_all_cores
from bots_jax.grpo.loop import make_selector
from bots_jax.grpo.run_dir import (
    adopt_base,
    check_base,
    create_run,
    default_run_dir,
    read_run_config,
)
from bots_jax.grpo.train import RunOptions, train
from bots_jax.tasks.families import resolve_families


@dataclasses.dataclass(frozen=True)
class TrainCommand:
    """Train a small language model by GRPO, with a selector choosing its tasks.

    Builds a pool of tasks, warms a model up on demonstrations of mixed quality, rolls
    two references out over the whole pool, trains, and leaves metrics, checkpoints
    and figures in the run's directory.
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig()
    """Settings of the run."""
    run_dir: pathlib.Path | None = None
    """Directory of the run, new or empty; runs/SELECTOR-TIME if not given."""
    resume: pathlib.Path | None = None
    """Go on with the run in this directory, with its own settings."""
    warmup_from: pathlib.Path | None = None
    """Take warm-up and references from this run, whose settings must agree."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run's directory too."""
    quiet: bool = False
    """Print no progress and no closing table."""


def run_train(command: TrainCommand) -> dict[str, float]:
    """Starts a run, or goes on with one.

    Args:
      command: the options.

    Returns:
      The summary.

    Raises:
      ValueError: for options that contradict each other, settings out of range, a
        directory that is not empty, a run that is not there, an unknown family.
      OSError: with one sentence, if the disk is full.
    """
    if command.resume is not None:
        directory = command.resume
        config = _resumed_config(command)
    else:
        config = command.config
        _check_early(config)
        directory = command.run_dir or default_run_dir(config)
        if command.warmup_from is not None:
            check_base(config, command.warmup_from)
        create_run(config, directory)
        if command.warmup_from is not None:
            adopt_base(command.warmup_from, directory)
    keep_freed_memory()
    rollouts = config.grpo.batch_size * config.grpo.group_size
    use_all_cores(math.gcd(rollouts, config.warmup.batch_size))
    if not command.quiet:
        print(f"run directory: {directory}", flush=True)
    return train(config, directory, RunOptions(command.tensorboard, command.quiet))


def _resumed_config(command: TrainCommand) -> TrainConfig:
    assert command.resume is not None
    for name in ("run_dir", "warmup_from"):
        if getattr(command, name) is not None:
            flag = name.replace("_", "-")
            raise ValueError(f"--resume goes on where a run is; drop --{flag}.")
    config = read_run_config(command.resume)
    if command.config not in (TrainConfig(), config):
        raise ValueError(
            f"--resume takes its settings from {command.resume / 'config.json'}; "
            "drop the others, or start a new run."
        )
    return config


def _check_early(config: TrainConfig) -> None:
    """Refuses what can be refused before the first file is written."""
    check_config(config)
    resolve_families(config.families)
    make_selector(config.selector, config.grpo, config.num_tasks)
