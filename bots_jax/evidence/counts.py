"""From rollout rewards to counts, and from rows of counts to one row per task."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Int32

from bots_jax import checks
from bots_jax.evidence.rows import (
    bounded_rewards,
    checked_ids,
    checked_rewards,
    kinds_of_rows,
    with_dtype,
)
from bots_jax.types import Evidence, PerRow, RowMask, TaskIds

MAX_COUNT = 2.0**24
"""Largest count of a row; float32 holds integers exactly up to here."""


def evidence_from_rewards(
    task_ids: Any, rewards: Any, mask: Any | None = None
) -> Evidence:
    """Counts successes and failures of each task's rollouts.

    successes = sum(rewards), failures = sum(1 - rewards), over the rollouts kept

    Args:
      task_ids: integers [B], in [0, N); -1 marks a padding row.
      rewards: [B, G] in [0, 1]; fractions count as fractions of a success.
      mask: bool [B, G], True = a real rollout; all by default. A masked reward may
        be anything. A row without a rollout is padding.

    Returns:
      Evidence for B rows.

    Raises:
      ValueError: for shapes that do not match, for wrong dtypes, and, where the
        values are concrete, for an unmasked reward that is NaN or outside [0, 1].
        Under jit such a reward makes its row's counts NaN, so that `update` drops the
        row and counts it in `num_invalid`; the other rows are not touched.

    Example:
      >>> evidence_from_rewards([7, 2], np.array([[1, 0, 1], [0, 0, 0.5]])).successes
      Array([2. , 0.5], dtype=float32)
    """
    ids, rewards, mask = checked_rewards(task_ids, rewards, mask)
    values, valid = bounded_rewards(rewards, mask, 0.0, 1.0)
    rollouts = jnp.sum(valid, axis=1, dtype=jnp.float32)
    successes = jnp.sum(values, axis=1)
    return Evidence(ids, successes, rollouts - successes)


def evidence_from_counts(task_ids: Any, successes: Any, rollouts: Any) -> Evidence:
    """Makes evidence of counts, for instance those that other hosts have summed.

    Args:
      task_ids: integers [B], in [0, N); -1 marks a padding row.
      successes: real [B], in [0, rollouts].
      rollouts: real [B] or a scalar, >= 0: how often each task was tried.

    Returns:
      Evidence for B rows.

    Raises:
      ValueError: for shapes and dtypes that do not match and, where the values are
        concrete, for successes outside [0, rollouts]. Under jit the failures of such
        a row are negative or NaN, so that `update` drops and counts it.

    Example:
      >>> evidence_from_counts([3], [5], 4)
      Traceback (most recent call last):
      ValueError: successes must be in [0, rollouts], got 5 of 4 at row 0.
    """
    successes, rollouts = with_dtype(successes), with_dtype(rollouts)
    if np.ndim(successes) != 1:
        raise ValueError(f"successes must have shape (rows,), got {successes.shape}.")
    ids = checked_ids(task_ids, successes.shape[0])
    checks.check_shape("rollouts", rollouts, ((), successes.shape))
    for name, value in (("successes", successes), ("rollouts", rollouts)):
        checks.check_dtype(name, value, (np.floating, np.integer), "real numbers")
    if not checks.is_traced(successes) and not checks.is_traced(rollouts):
        _check_successes(np.asarray(successes), np.asarray(rollouts))
    counts = jnp.asarray(successes).astype(jnp.float32)
    return Evidence(ids, counts, jnp.asarray(rollouts).astype(jnp.float32) - counts)


def _check_successes(successes: np.ndarray, rollouts: np.ndarray) -> None:
    rollouts = np.broadcast_to(rollouts, successes.shape)
    checks.check_in_range("rollouts", rollouts, 0.0, MAX_COUNT)
    bad = ~((successes >= 0) & (successes <= rollouts))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(
            f"successes must be in [0, rollouts], "
            f"got {successes[row]:g} of {rollouts[row]:g} at row {row}."
        )


def empty_evidence(num_rows: int) -> Evidence:
    """Makes evidence of padding alone, to start a loop of steps with.

    Args:
      num_rows: B, so that the step has the same shapes from the start.

    Returns:
      Evidence for B rows that `update` drops and counts as masked.

    Raises:
      ValueError: for a number of rows that is not an integer >= 0.

    Example:
      >>> empty_evidence(2).task_ids
      Array([-1, -1], dtype=int32)
    """
    checks.check_count("num_rows", num_rows, minimum=0)
    return Evidence(
        jnp.full((num_rows,), -1, jnp.int32),
        jnp.zeros((num_rows,), jnp.float32),
        jnp.zeros((num_rows,), jnp.float32),
    )


def check_evidence(
    evidence: Evidence,
    num_tasks: int,
    *,
    group_size: int | None = None,
    distinct: bool = False,
) -> None:
    """Refuses on the host what `update` would drop and count on the device.

    Args:
      evidence: concrete evidence.
      num_tasks: N; ids must be in [0, N).
      group_size: if given, no row may hold more rollouts than this.
      distinct: if True, a repeated id is refused too.

    Raises:
      ValueError: with the first bad row, or for shapes and dtypes that do not match.

    Example:
      >>> check_evidence(evidence_from_counts([0, 9], [1, 1], 2), num_tasks=4)
      Traceback (most recent call last):
      ValueError: task_ids must be in [0, 4), got 9 at row 1.
    """
    _checked_evidence(evidence)
    ids = np.asarray(evidence.task_ids)
    successes, failures = np.asarray(evidence.successes), np.asarray(evidence.failures)
    limit = MAX_COUNT if group_size is None else group_size
    _refuse((ids < 0) | (ids >= num_tasks), "task_ids", f"in [0, {num_tasks})", ids)
    for name, counts in (("successes", successes), ("failures", failures)):
        _refuse(
            ~((counts >= 0) & (counts <= limit)), name, f"in [0, {limit:g}]", counts
        )
    total = successes + failures
    what = f"at most group_size = {limit:g}"
    _refuse(total > limit + 1e-3, "successes + failures", what, total)
    if distinct:
        repeated = np.ones(ids.shape, bool)
        repeated[np.unique(ids, return_index=True)[1]] = False
        _refuse(repeated, "task_ids", "distinct", ids)


def _refuse(bad: np.ndarray, name: str, allowed: str, values: np.ndarray) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{name} must be {allowed}, got {values[row]:g} at row {row}.")


class Rows(NamedTuple):
    """Valid evidence, one row per distinct task.

    Attributes:
      task_ids: int32 [B]; N, out of range, in rows that hold nothing.
      successes: float32 [B], summed over the rows of the task; 0 where nothing.
      failures: float32 [B], likewise.
      valid: bool [B], False in rows that hold nothing.
      num_repeated, num_masked, num_out_of_range, num_invalid: int32 scalars, as in
        `UpdateInfo`.
    """

    task_ids: TaskIds
    successes: PerRow
    failures: PerRow
    valid: RowMask
    num_repeated: Int32[Array, ""]
    num_masked: Int32[Array, ""]
    num_out_of_range: Int32[Array, ""]
    num_invalid: Int32[Array, ""]


def collect_rows(evidence: Evidence, num_tasks: int) -> Rows:
    """Adds up rows of the same task, and drops and counts those that are not valid.

    A row is masked if it holds no trials or the id -1, else out of range if its id is
    not in [0, N), else invalid if a count is NaN, negative or above 2^24.

    Args:
      evidence: B rows.
      num_tasks: N.

    Returns:
      B rows, of which the valid ones hold distinct tasks, each at its first row.

    Raises:
      ValueError: when traced with shapes or dtypes that do not match.

    Example:
      >>> rows = collect_rows(evidence_from_counts([5, 1, 5, -1], [1, 2, 3, 4], 4), 8)
      >>> rows.task_ids, rows.successes, int(rows.num_repeated), int(rows.num_masked)
      (Array([5, 1, 8, 8], dtype=int32), Array([4., 2., 0., 0.], dtype=float32), 1, 1)
    """
    ids, successes, failures = _checked_evidence(evidence)
    bounded = (successes >= 0) & (failures >= 0) & (successes + failures <= MAX_COUNT)
    is_empty = (successes == 0) & (failures == 0)
    kinds = kinds_of_rows(ids, is_empty, bounded, num_tasks)
    return Rows(
        task_ids=jnp.where(kinds.valid, ids, num_tasks),
        successes=kinds.totals(successes),
        failures=kinds.totals(failures),
        valid=kinds.valid,
        num_repeated=kinds.num_repeated,
        num_masked=kinds.num_masked,
        num_out_of_range=kinds.num_out_of_range,
        num_invalid=kinds.num_invalid,
    )


def _checked_evidence(evidence: Evidence) -> tuple[Array, Array, Array]:
    ids = with_dtype(evidence.task_ids)
    if np.ndim(ids) != 1:
        raise ValueError(f"task_ids must have shape (rows,), got {np.shape(ids)}.")
    ids = checked_ids(ids, ids.shape[0])
    counts = []
    for name in ("successes", "failures"):
        value = with_dtype(getattr(evidence, name))
        checks.check_shape(name, value, (ids.shape,))
        checks.check_dtype(name, value, (np.floating, np.integer), "real numbers")
        counts.append(jnp.asarray(value).astype(jnp.float32))
    return ids, counts[0], counts[1]
