"""`bots-jax reference-eval`: from a table and a model to a table with pass rates."""

import dataclasses
import os
import pathlib
import sys
from typing import Annotated, Literal

import tyro

from bots_jax.tasks.evaluations.reference_eval import (
    EvaluationReport,
    Generate,
    import_evaluation,
    reference_eval,
)
from bots_jax.tasks.rewards.dotted_path import load_function
from bots_jax.tasks.rewards.matching import load_reward
from bots_jax.tasks.rewards.runner import RewardRunner
from bots_jax.tasks.tables.table import TaskTable, open_table

_SOURCES = ("generate", "run", "log")


@dataclasses.dataclass(frozen=True)
class ReferenceEvalCommand:
    """Write pass rates of a model beside the tasks of a table, as a new file.

    Rolls a model out over the table, with --generate or --run, or takes what was
    logged, with --log. Interrupted, the same command again goes on.
    """

    table: Annotated[pathlib.Path, tyro.conf.Positional]
    """Tasks: .parquet, .jsonl or .arrow, or a folder of such files; only read."""
    name: str
    """Of the model: the columns are NAME_pass_rate and NAME_num_rollouts."""
    out: pathlib.Path
    """The new .parquet file; never overwritten. Its log lies beside it."""
    generate: str | None = None
    """Function of (prompts, group_size, seeds), as package.module:function, that
    returns a list of group_size texts per prompt."""
    run: pathlib.Path | None = None
    """Directory of a run of `bots-jax train`, whose model is rolled out."""
    log: pathlib.Path | None = None
    """Logged evaluation, JSON lines of prompt (or key) and rewards; needs no model."""
    reward: str | None = None
    """exact, numeric, boxed, reasoning-gym, pool, or package.module:function of
    (completion, row)."""
    group_size: int = 16
    """Rollouts per task (G)."""
    batch_size: int = 64
    """Tasks rolled out at once."""
    limit: int | None = None
    """Only the first so many tasks; the others stay null."""
    time_limit: float | None = 10.0
    """Seconds for scoring one completion; None scores in this process, without."""
    workers: int | None = None
    """Processes that score; one per core, at most 8, if not given."""
    seed: int = 0
    """Decides, with a task's key, the seed of its rollouts."""
    step: int | None = None
    """Which checkpoint of --run; the newest if not given."""
    phase: Literal["checkpoints", "warmup", "strong"] = "checkpoints"
    """Which model of --run: trained, as warmed up, or its strong reference."""
    model_version: str | None = None
    """Which lines of --log, if it is of several models."""
    prompt: str | None = None
    """Column of prompts; found by its name if not given."""
    answer: str | None = None
    """Column of answers; found by its name if not given."""
    key: str | None = None
    """Column of distinct keys; computed from the tasks if not given."""
    quiet: bool = False
    """Print no progress and no summary."""


def run_reference_eval(command: ReferenceEvalCommand) -> EvaluationReport:
    """Evaluates a model, or imports an evaluation.

    Args:
      command: the options.

    Returns:
      What it came to.

    Raises:
      ValueError: with one sentence, for options that contradict each other, and all
        that `reference_eval` and `import_evaluation` refuse.
      ModuleNotFoundError: naming the extra that is missing.

    Example:
      >>> tasks, out = pathlib.Path("tasks.parquet"), pathlib.Path("out.parquet")
      >>> run_reference_eval(ReferenceEvalCommand(tasks, "weak", out))
      Traceback (most recent call last):
      ValueError: exactly one of --generate, --run and --log must be given, got none.
    """
    _check_options(command)
    if os.getcwd() not in sys.path:  # as `python -m` has it
        sys.path.insert(0, os.getcwd())
    if command.log is not None:
        report = import_evaluation(
            _table(command),
            command.log,
            out=command.out,
            name=command.name,
            model_version=command.model_version,
        )
    else:
        report = _evaluate(command)
    if not command.quiet:
        print(report)
    return report


def _table(command: ReferenceEvalCommand) -> TaskTable:
    return open_table(
        command.table, prompt=command.prompt, answer=command.answer, key=command.key
    )


def _evaluate(command: ReferenceEvalCommand) -> EvaluationReport:
    assert command.reward is not None
    reward = load_reward(command.reward)
    generate, model = _model(command)
    table = _table(command)
    with RewardRunner(
        reward, time_limit=command.time_limit, num_workers=command.workers
    ) as runner:
        return reference_eval(
            table,
            generate,
            runner,
            group_size=command.group_size,
            batch_size=command.batch_size,
            out=command.out,
            name=command.name,
            seed=command.seed,
            limit=command.limit,
            model=model,
            reward=command.reward,
            quiet=command.quiet,
        )


def _model(command: ReferenceEvalCommand) -> tuple[Generate, str]:
    """Returns what generates, and how the log calls it."""
    if command.generate is not None:
        arguments = ("prompts", "group_size", "seeds")
        return load_function("generate", command.generate, arguments), command.generate
    assert command.run is not None
    from bots_jax.grpo.reference_model import RunModel

    model = RunModel(command.run, command.step, command.phase)
    return model, model.name


def _check_options(command: ReferenceEvalCommand) -> None:
    given = [name for name in _SOURCES if getattr(command, name) is not None]
    if len(given) != 1:
        flags = ", ".join(f"--{name}" for name in given) or "none"
        raise ValueError(
            f"exactly one of --generate, --run and --log must be given, got {flags}."
        )
    if command.log is None and command.reward is None:
        raise ValueError(
            "--reward must be given: exact, numeric, boxed, reasoning-gym, pool or "
            "package.module:function."
        )
    usual = {field.name: field.default for field in dataclasses.fields(command)}
    only = {"step": "run", "phase": "run", "model_version": "log"}
    rolled = ("reward", "group_size", "batch_size", "limit", "seed", "workers")
    for option in (*only, *rolled):
        if getattr(command, option) == usual[option]:
            continue
        if option in only and only[option] != given[0]:
            raise ValueError(
                f"--{option.replace('_', '-')} belongs to --{only[option]}; "
                f"drop it, or use that instead of --{given[0]}."
            )
        if option in rolled and given[0] == "log":
            raise ValueError(
                f"--{option.replace('_', '-')} has no meaning with --log, where "
                "nothing is rolled out; drop it."
            )
