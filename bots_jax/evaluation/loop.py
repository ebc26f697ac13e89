"""A selector and a simulated student in a closed loop, as one compiled scan.

inform (an oracle only) -> select -> roll out -> keep -> train -> update
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks
from bots_jax.evaluation.oracle import InformFn
from bots_jax.evaluation.students import (
    Student,
    StudentSettings,
    roll_out,
    success_probs,
    train_student,
)
from bots_jax.metrics import coverage, effective_task_ratio
from bots_jax.selectors.dynamic_sampling import is_mixed, keep_mixed
from bots_jax.types import Evidence, State, TaskSelector


class Arm(NamedTuple):
    """A selector, and what is done with what it selects.

    With `dynamic_sampling` the selector's tasks are cut into generations of
    `batch_size`. The next one is rolled out while fewer than `batch_size` groups with
    mixed outcomes are there; only the first `batch_size` mixed groups are trained on,
    but all rollouts are charged, and all are evidence. Where the generations run out,
    the batch stays short.

    Attributes:
      selector: chooses `batch_size` tasks, or those of all generations at once, so
        that they are distinct.
      batch_size: B, tasks that a full batch trains on.
      dynamic_sampling: whether to train on mixed groups only.
      inform: tells an oracle the success chances before it selects; None for a
        selector that must find out.

    Source: DAPO, arXiv 2503.14476, dynamic sampling.
    """

    selector: TaskSelector
    batch_size: int
    dynamic_sampling: bool = False
    inform: InformFn | None = None


class StepRecord(NamedTuple):
    """What one step was worth; [T] each in a run.

    Attributes:
      effective_task_ratio: float32, share of the tasks rolled out that had mixed
        outcomes; NaN where none was. Read it with the coverage.
      coverage: float32, of the tasks trained on from the start to this step; NaN
        before the first.
      value: float32, sum of p(1-p) over the tasks trained on, before training.
      best_value: float32, the same for the B best tasks of the student as it is.
      regret: float32, best_value - value, >= 0.
      batch_success: float32, mean p of the tasks trained on; NaN where none was.
      pool_success: float32, mean p of all tasks.
      num_trained: int32, tasks trained on.
      num_rollouts: int32, rollouts charged.
    """

    effective_task_ratio: Array
    coverage: Array
    value: Array
    best_value: Array
    regret: Array
    batch_success: Array
    pool_success: Array
    num_trained: Array
    num_rollouts: Array


class StudentRun(NamedTuple):
    """A whole run.

    Attributes:
      steps: one row per step.
      visits: int32 [N], steps in which each task was trained on.
      alpha: float32 [N], the selector's posterior at the end.
      beta: float32 [N].
      success_prob: float32 [N], the student's true success chances at the end.
    """

    steps: StepRecord
    visits: Array
    alpha: Array
    beta: Array
    success_prob: Array


RunFn = Callable[[Array, Student, State], StudentRun]
"""run(key, student, state) -> what happened; pure."""


def as_arm(arm: TaskSelector | Arm) -> Arm:
    """Takes a bare selector as the arm that trains on all it selects."""
    return arm if isinstance(arm, Arm) else Arm(arm, arm.batch_size)


def make_run(
    arm: TaskSelector | Arm,
    settings: StudentSettings,
    *,
    num_steps: int,
    group_size: int,
) -> RunFn:
    """Makes run(key, student, state): T steps as one `lax.scan`.

    The run is pure, and holds no array of length N: jit it once and call it for every
    seed, or vmap it over keys, students and states. Of two arms with the same key and
    student, tasks that both roll out in a step get the same uniform numbers.

    Args:
      arm: a selector, or a selector with a way to use it.
      settings: how the student learns.
      num_steps: T.
      group_size: G, rollouts per task.

    Returns:
      The run; its key is consumed.

    Raises:
      ValueError: for a count that is not an integer >= 1, or a selector that chooses
        fewer tasks than the arm trains on.

    Example:
      >>> import bots_jax
      >>> from bots_jax.evaluation.students import make_student
      >>> settings = StudentSettings()
      >>> selector = bots_jax.uniform(num_tasks=32, batch_size=4)
      >>> run = jax.jit(make_run(selector, settings, num_steps=3, group_size=8))
      >>> student = make_student(jax.random.key(0), 32, settings)
      >>> result = run(jax.random.key(1), student, selector.init())
      >>> int(result.visits.sum()), result.steps.value.shape
      (12, (3,))
    """
    num_steps = checks.check_count("num_steps", num_steps)
    group_size = checks.check_count("group_size", group_size)
    checked = as_arm(arm)
    if checked.selector.batch_size < checked.batch_size:
        raise ValueError(
            f"the selector must choose at least batch_size = {checked.batch_size} "
            f"tasks, got {checked.selector.batch_size}."
        )
    drift_per_step = settings.drift / num_steps

    def run(key: Array, student: Student, state: State) -> StudentRun:
        select_key, rollout_key = jax.random.split(key)

        def step(carry: _Carry, number: Array) -> tuple[_Carry, StepRecord]:
            keys = (
                jax.random.fold_in(select_key, number),
                jax.random.fold_in(rollout_key, number),
            )
            return _take_step(
                checked, settings, drift_per_step, group_size, keys, carry
            )

        visits = jnp.zeros(student.difficulty.shape, jnp.int32)
        numbers = lax.iota(jnp.int32, num_steps)
        carry, records = lax.scan(step, _Carry(student, state, visits), numbers)
        alpha, beta = checked.selector.posterior(carry.state)
        final = success_probs(carry.student)
        return StudentRun(records, carry.visits, alpha, beta, final)

    return run


def run_student(
    arm: TaskSelector | Arm,
    student: Student,
    settings: StudentSettings,
    key: Array,
    num_steps: int,
    group_size: int,
    references: Any = None,
) -> StudentRun:
    """Runs a selector with a student once; for many seeds, see `make_run`.

    Args:
      arm: a selector, or a selector with a way to use it.
      student: at its start.
      settings: how it learns.
      key: consumed.
      num_steps: T.
      group_size: G, rollouts per task.
      references: as the selector's `init` takes them.

    Returns:
      What happened.

    Raises:
      ValueError: for a count that is not an integer >= 1, or a student with another
        number of tasks than the selector.

    Example:
      >>> import bots_jax
      >>> from bots_jax.evaluation.students import make_student
      >>> student = make_student(jax.random.key(0), 32, StudentSettings())
      >>> selector = bots_jax.bots(num_tasks=32, batch_size=4)
      >>> key = jax.random.key(1)
      >>> result = run_student(selector, student, StudentSettings(), key, 3, 8)
      >>> bool((result.steps.regret >= 0).all())
      True
    """
    selector = as_arm(arm).selector
    checks.check_shape("difficulty", student.difficulty, ((selector.num_tasks,),))
    run = make_run(arm, settings, num_steps=num_steps, group_size=group_size)
    return jax.jit(run)(key, student, selector.init(references))


class _Carry(NamedTuple):
    """What one step leaves to the next."""

    student: Student
    state: State
    visits: Array


def _take_step(
    arm: Arm,
    settings: StudentSettings,
    drift_per_step: float,
    group_size: int,
    keys: tuple[Array, Array],
    carry: _Carry,
) -> tuple[_Carry, StepRecord]:
    student, state, visits = carry
    select_key, rollout_key = keys
    success_prob = success_probs(student)
    if arm.inform is not None:
        state = arm.inform(state, success_prob)
    task_ids, _ = arm.selector.select(select_key, state)
    rows = jnp.maximum(task_ids, 0)
    chance = success_prob[rows]
    successes = roll_out(rollout_key, rows, chance, group_size)
    failures = np.float32(group_size) - successes
    mixed = is_mixed(task_ids, successes, failures)
    rolled_out, trained = _keep(arm, task_ids >= 0, mixed)

    evidence = Evidence(
        jnp.where(rolled_out, task_ids, -1),
        jnp.where(rolled_out, successes, 0),
        jnp.where(rolled_out, failures, 0),
    )
    student = train_student(
        student, task_ids, trained, settings, drift_per_step, arm.batch_size
    )
    state, _ = arm.selector.update(state, evidence)
    visited = jnp.where(trained, task_ids, visits.shape[0])
    visits = visits.at[visited].add(1, mode="drop")
    num_rolled_out = jnp.sum(rolled_out, dtype=jnp.int32)
    value, best_value, regret = _values(arm.batch_size, success_prob, chance, trained)
    return _Carry(student, state, visits), StepRecord(
        effective_task_ratio=effective_task_ratio(evidence),
        coverage=coverage(visits),
        value=value,
        best_value=best_value,
        regret=regret,
        batch_success=jnp.mean(chance, where=trained),
        pool_success=jnp.mean(success_prob),
        num_trained=jnp.sum(trained, dtype=jnp.int32),
        num_rollouts=num_rolled_out * np.int32(group_size),
    )


def _keep(arm: Arm, filled: Array, mixed: Array) -> tuple[Array, Array]:
    """Tells which of the selected tasks are rolled out, and which are trained on."""
    if not arm.dynamic_sampling:
        return filled, filled
    kept = keep_mixed(filled, mixed, arm.batch_size)
    return kept.rolled_out, kept.trained


def _values(
    batch_size: int, success_prob: Array, chance: Array, trained: Array
) -> tuple[Array, Array, Array]:
    """Sums p(1-p) over the tasks trained on, over the best ones, and what is lost."""
    best, _ = lax.top_k(success_prob * (1 - success_prob), batch_size)
    # Largest first on both sides: no difference is negative, rounding included.
    got, _ = lax.top_k(jnp.where(trained, chance * (1 - chance), 0), batch_size)
    return jnp.sum(got), jnp.sum(best), jnp.sum(best - got)
