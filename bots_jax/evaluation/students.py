"""Simulated students: item response with drift, learning and transfer.

    success_prob = sigmoid(discrimination * (ability[group] - difficulty)
                           + deviation + own_gain)

Random numbers are keyed by (key, step, task), so that two selectors which roll the
same task out in the same step see the same luck: their difference is their choices.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from bots_jax import checks, counter_bits
from bots_jax.evaluation.student_settings import (
    MAX_LOGITS,
    StudentSettings,
    check_student_settings,
)
from bots_jax.types import PerTask, TaskIds


class Student(NamedTuple):
    """A student as it is, N tasks in D groups.

    Attributes:
      difficulty: float32 [N].
      deviation: float32 [N], task-specific and not visible to the references.
      discrimination: float32 [N], > 0.
      group_ids: int32 [N], in [0, D).
      ability: float32 [D].
      own_gain: float32 [N], what training on the task itself has brought.
      transfer: float32 [D, D], what row's training brings to column.
    """

    difficulty: PerTask
    deviation: PerTask
    discrimination: PerTask
    group_ids: Array
    ability: Array
    own_gain: PerTask
    transfer: Array


def make_student(key: Array, num_tasks: int, settings: StudentSettings) -> Student:
    """Draws a student and its tasks.

    Args:
      key: consumed.
      num_tasks: N.
      settings: laws of what is drawn.

    Returns:
      A student before its first step.

    Raises:
      ValueError: for a setting out of range.

    Example:
      >>> student = make_student(jax.random.key(0), 4, StudentSettings(num_groups=2))
      >>> student.difficulty.shape, student.ability
      ((4,), Array([-1., -1.], dtype=float32))
    """
    num_tasks = checks.check_count("num_tasks", num_tasks)
    check_student_settings(settings)
    return _draw_student(key, num_tasks, settings)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _draw_student(key: Array, num_tasks: int, settings: StudentSettings) -> Student:
    keys = jax.random.split(key, 5)
    shape, groups = (num_tasks,), settings.num_groups

    def normal(key: Array, shape: tuple[int, ...], mean: float, sd: float) -> Array:
        draws = jax.random.normal(key, shape, jnp.float32)
        return np.float32(mean) + np.float32(sd) * draws

    off_diagonal = jnp.full((groups, groups), settings.transfer, jnp.float32)
    return Student(
        difficulty=normal(
            keys[0], shape, settings.difficulty_mean, settings.difficulty_sd
        ),
        deviation=normal(keys[1], shape, 0.0, settings.deviation_sd),
        discrimination=jnp.exp(normal(keys[2], shape, 0.0, settings.discrimination_sd)),
        group_ids=jax.random.randint(keys[3], shape, 0, groups, jnp.int32),
        ability=normal(keys[4], (groups,), settings.start_ability, settings.group_sd),
        own_gain=jnp.zeros(shape, jnp.float32),
        transfer=jnp.where(jnp.eye(groups, dtype=bool), jnp.float32(1), off_diagonal),
    )


def success_probs(student: Student) -> PerTask:
    """The chance that the student solves each task, float32 [N].

    sigmoid(discrimination * (ability[group] - difficulty) + deviation + own_gain)

    Example:
      >>> student = make_student(jax.random.key(0), 4, StudentSettings())
      >>> bool(jnp.all((success_probs(student) > 0) & (success_probs(student) < 1)))
      True
    """
    ability = student.ability[student.group_ids]
    known = student.discrimination * (ability - student.difficulty)
    return jax.nn.sigmoid(known + student.deviation + student.own_gain)


def train_student(
    student: Student,
    task_ids: TaskIds,
    trained: Array,
    settings: StudentSettings,
    drift_per_step: float,
    batch_size: int,
) -> Student:
    """Moves a student by one training step.

    signal = p(1-p) of each trained task
    ability += drift_per_step
               + learning_rate * sum(signal * transfer[group]) / batch_size
    own_gain[task] += own_rate * signal

    Args:
      student: before the step.
      task_ids: int32 [B]; a repeated task gains twice.
      trained: bool [B]; rows that are False may hold any id.
      settings: the rates.
      drift_per_step: what every ability moves by anyway.
      batch_size: slots of a full batch, so that an unfilled one teaches less.

    Returns:
      The student after it.

    Example:
      >>> still = StudentSettings(learning_rate=1.0, num_groups=1)
      >>> student = make_student(jax.random.key(0), 4, still)
      >>> ids = jnp.array([0, -1])
      >>> after = train_student(student, ids, ids >= 0, still, 0.5, 2)
      >>> p = success_probs(student)[0]
      >>> bool(jnp.allclose(after.ability[0], -1 + 0.5 + p * (1 - p) / 2))
      True
    """
    num_tasks = student.difficulty.shape[0]
    rows = jnp.where(trained, task_ids, 0)
    success_prob = success_probs(student)[rows]
    signal = jnp.where(trained, success_prob * (1 - success_prob), 0)
    reach = student.transfer[student.group_ids[rows]]
    learnt = jnp.sum(signal[:, None] * reach, axis=0) / np.float32(batch_size)
    moved = np.float32(drift_per_step) + np.float32(settings.learning_rate) * learnt
    own = jnp.where(trained, task_ids, num_tasks)
    gained = np.float32(settings.own_rate) * signal
    return student._replace(
        ability=student.ability + moved,
        own_gain=student.own_gain.at[own].add(gained, mode="drop"),
    )


def roll_out(
    key: Array, task_ids: TaskIds, success_prob: Array, group_size: int
) -> Array:
    """Counts the successes of G rollouts per task: Binomial(G, success_prob).

    The G uniform numbers of a task hang on (key, task) alone, so the counts of a task
    are the same in whatever batch it stands, and never fall as its chance rises.

    Args:
      key: consumed; one per step.
      task_ids: int32 [B], >= 0; equal ids get equal numbers.
      success_prob: float32 [B].
      group_size: G.

    Returns:
      float32 [B], integers in [0, G].

    Example:
      >>> ids = jnp.array([3, 5])
      >>> roll_out(jax.random.key(0), ids, jnp.float32([0, 1]), 7)
      Array([0., 7.], dtype=float32)
    """
    key0, key1 = counter_bits.key_words(key)
    counters = task_ids.astype(jnp.uint32)

    def count_pair(pair: Array, successes: Array) -> Array:
        words = counter_bits.threefry2x32(key0, key1, counters, pair.astype(jnp.uint32))
        for half, word in enumerate(words):
            solved = _open_unit(word) < success_prob
            is_rollout = 2 * pair + half < group_size
            successes += (solved & is_rollout).astype(jnp.float32)
        return successes

    none = jnp.zeros(task_ids.shape, jnp.float32)
    return lax.fori_loop(jnp.int32(0), jnp.int32(-(-group_size // 2)), count_pair, none)


def _open_unit(words: Array) -> Array:
    """Maps words to the middles of 2^23 steps of (0, 1): none is 0 or 1."""
    steps = (words >> np.uint32(9)).astype(jnp.float32)
    return (steps + np.float32(0.5)) * np.float32(2.0**-23)


def make_references(
    key: Array,
    student: Student,
    abilities: Sequence[float],
    num_rollouts: int = 16,
    *,
    shared_deviation: float = 0.0,
    reference_sd: float = 0.0,
) -> Array:
    """Measures reference models of given abilities on the student's tasks.

    logit = discrimination * (ability - difficulty)
            + shared_deviation * deviation + reference_sd * normal

    Args:
      key: consumed.
      student: whose tasks they are.
      abilities: M numbers, the weakest first.
      num_rollouts: rollouts per model and task.
      shared_deviation: share of the student's deviations that every model has, in
        [0, 1]; with 0, references follow the difficulty alone.
      reference_sd: standard deviation of what each model deviates by on its own.

    Returns:
      float32 [N, M] in [0, 1], pass rates.

    Raises:
      ValueError: for no model, no rollout, or a share outside [0, 1].

    Example:
      >>> student = make_student(jax.random.key(0), 1000, StudentSettings())
      >>> rates = make_references(jax.random.key(1), student, (-1.0, 2.0))
      >>> rates.shape, bool(rates[:, 0].mean() < rates[:, 1].mean())
      ((1000, 2), True)
    """
    checks.check_count("len(abilities)", len(abilities))
    checks.check_count("num_rollouts", num_rollouts)
    checks.check_number("shared_deviation", shared_deviation, 0, 1)
    checks.check_number("reference_sd", reference_sd, 0, MAX_LOGITS)
    columns = [
        _measure(
            jax.random.fold_in(key, model),
            student,
            np.float32(ability),
            num_rollouts,
            np.float32(shared_deviation),
            np.float32(reference_sd),
        )
        for model, ability in enumerate(abilities)
    ]
    return jnp.stack(columns, axis=1)


@functools.partial(jax.jit, static_argnums=3)
def _measure(
    key: Array,
    student: Student,
    ability: Array,
    num_rollouts: int,
    shared_deviation: Array,
    reference_sd: Array,
) -> Array:
    """The pass rates of one reference model, float32 [N]."""
    task_ids = lax.iota(jnp.int32, student.difficulty.shape[0])
    noise_key, rollout_key = jax.random.split(key)
    own = reference_sd * jax.random.normal(noise_key, task_ids.shape, jnp.float32)
    known = student.discrimination * (ability - student.difficulty)
    chance = jax.nn.sigmoid(known + shared_deviation * student.deviation + own)
    successes = roll_out(rollout_key, task_ids, chance, num_rollouts)
    return successes / np.float32(num_rollouts)


def make_labels(key: Array, student: Student, label_sd: float) -> Array:
    """Labels tasks by how hard they seem: 0 the easiest, 1 the hardest.

    The rank of difficulty + label_sd * normal, as a share of the pool.

    Args:
      key: consumed.
      student: whose tasks they are.
      label_sd: standard deviation of the labels' error, in logits.

    Returns:
      float32 [N] in [0, 1].

    Example:
      >>> student = make_student(jax.random.key(0), 5, StudentSettings())
      >>> sorted(make_labels(jax.random.key(1), student, 1.0).tolist())
      [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    noise = jax.random.normal(key, student.difficulty.shape, jnp.float32)
    seen = student.difficulty + np.float32(label_sd) * noise
    rank = jnp.argsort(jnp.argsort(seen)).astype(jnp.float32)
    return rank / np.float32(max(1, seen.shape[0] - 1))
