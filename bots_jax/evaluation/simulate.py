"""Every arm on every pool and seed: runs what is missing, one file per result."""

import dataclasses
import time

import jax
import numpy as np
from jax import Array

from bots_jax import checks
from bots_jax.evaluation.arms import ARMS, Pool
from bots_jax.evaluation.loop import Arm, as_arm, make_run
from bots_jax.evaluation.store import Cell, ResultStore
from bots_jax.evaluation.students import (
    Student,
    StudentSettings,
    make_labels,
    make_references,
    make_student,
)
from bots_jax.evaluation.summary import curves_of, summarise_run
from bots_jax.evaluation.tables import ratio_with_coverage
from bots_jax.progress import TellFn
from bots_jax.types import State


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What decides a result, besides its pool's size, its arm and its seed."""

    epochs: float = 1.0
    """Length of a run, in passes over the pool."""
    steps: int | None = None
    """Length of a run in steps, in place of epochs."""
    batch_size: int = 64
    """Tasks per step."""
    group_size: int = 16
    """Rollouts per task."""
    student: StudentSettings = StudentSettings()
    """The simulated student."""

    def num_steps(self, num_tasks: int) -> int:
        """Returns the steps of a run.

        Example:
          >>> RunSettings().num_steps(20_000), RunSettings(steps=7).num_steps(20_000)
          (312, 7)
        """
        if self.steps is not None:
            return self.steps
        return max(1, round(self.epochs * num_tasks / self.batch_size))


def run_cells(
    store: ResultStore, settings: RunSettings, cells: list[Cell], tell: TellFn
) -> None:
    """Runs results and writes each when it is there.

    Args:
      store: where they go.
      settings: what decides them.
      cells: which, those of one pool and arm next to each other.
      tell: called before and after every result.
    """
    compiled, made_for = None, None
    for cell in cells:
        what = f"{cell.num_tasks:,} tasks, {cell.arm}, seed {cell.seed}"
        tell(what, 0)
        arm, inputs = _prepare(cell, settings)
        num_steps = settings.num_steps(cell.num_tasks)
        if compiled is None or made_for != cell[:2]:
            run = make_run(
                arm,
                settings.student,
                num_steps=num_steps,
                group_size=settings.group_size,
            )
            compiled, made_for = jax.jit(run).lower(*inputs).compile(), cell[:2]
        started = time.perf_counter()
        result = jax.block_until_ready(compiled(*inputs))
        seconds = time.perf_counter() - started
        summary = summarise_run(result)
        summary["ms_per_step"] = 1e3 * seconds / num_steps
        store.write(cell, {"summary": summary, "curves": curves_of(result)})
        reached = ratio_with_coverage(
            summary["effective_task_ratio"], summary["coverage"]
        )
        tell(f"{what}: effective tasks {reached}", 1)


def _prepare(
    cell: Cell, settings: RunSettings
) -> tuple[Arm, tuple[Array, Student, State]]:
    """Makes a seed's student and pool, the same for all arms, and the arm's start."""
    keys = jax.random.split(jax.random.key(cell.seed), 4)
    chosen = settings.student
    student = make_student(keys[0], cell.num_tasks, chosen)
    recipe = ARMS[cell.arm]
    references = None
    if recipe.num_references:
        references = make_references(
            keys[1],
            student,
            np.linspace(
                chosen.weak_ability, chosen.strong_ability, recipe.num_references
            ).tolist(),
            chosen.reference_rollouts,
            shared_deviation=chosen.shared_deviation,
            reference_sd=chosen.reference_sd,
        )
    pool = Pool(
        cell.num_tasks,
        settings.batch_size,
        settings.group_size,
        chosen.num_groups,
        student.group_ids,
        make_labels(keys[2], student, chosen.label_sd),
        num_sources=chosen.num_groups,
        source_ids=student.group_ids,
        references=references,
    )
    arm = as_arm(recipe.build(pool))
    return arm, (keys[3], student, arm.selector.init(references))


def check_run_settings(settings: RunSettings, sizes: tuple[int, ...]) -> None:
    """Checks what can be refused before the first file is written.

    Raises:
      ValueError: naming the setting, the value received and what is allowed.

    Example:
      >>> check_run_settings(RunSettings(batch_size=64), (32,))
      Traceback (most recent call last):
      ValueError: batch_size must be at most num_tasks = 32, got 64.
    """
    checks.check_count("batch_size", settings.batch_size)
    checks.check_count("group_size", settings.group_size, 2, 4096)
    checks.check_number("epochs", settings.epochs, 1e-6, 1e6)
    if settings.steps is not None:
        checks.check_count("steps", settings.steps)
        if settings.epochs != RunSettings.epochs:
            raise ValueError("steps and epochs must not both be given, got both.")
    if not sizes:
        raise ValueError("num_tasks must name at least one size, got none.")
    for size in sizes:
        checks.check_count("num_tasks", size)
        checks.check_batch_fits(size, settings.batch_size)
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"num_tasks must not repeat, got {list(sizes)}.")
