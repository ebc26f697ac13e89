"""Turns what trainers hand back, rewards in a row, into what TaskSampler observes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bots_jax import checks

Success = float | Callable[[np.ndarray], Any] | None
"""What counts as solved: a threshold, a function of the rewards, or None: as it is."""


def to_success(rewards: Any, success: Success = None) -> tuple[np.ndarray, np.ndarray]:
    """Turns rewards into successes in [0, 1].

    Args:
      rewards: real numbers of any shape; NaN where a rollout was not evaluated.
      success: a threshold, at or above which a rollout is a success; or a function of
        an array of rewards to successes in [0, 1] of the same shape; or None, if
        rewards are in [0, 1] already.

    Returns:
      Successes, float32, 0 where there is none; which rollouts were evaluated, bool.

    Raises:
      ValueError: if rewards are outside [0, 1] and `success` does not say what counts.

    Example:
      >>> values, mask = to_success([1.2, 0.2, float("nan")], success=1.0)
      >>> values.tolist(), mask.tolist()
      ([1.0, 0.0, 0.0], [True, True, False])
    """
    raw = np.asarray(rewards)
    checks.check_dtype(
        "rewards", raw, (np.floating, np.integer, np.bool_), "real numbers"
    )
    values = raw.astype(np.float64)
    mask = ~np.isnan(values)
    if callable(success):
        made = np.asarray(success(values), np.float64)
        checks.check_shape("success(rewards)", made, (values.shape,))
        mask, values, name = mask & ~np.isnan(made), made, "success(rewards)"
    elif success is not None:
        checks.check_in_range("success", success, -np.inf, np.inf)
        values, name = (values >= success).astype(np.float64), "rewards"
    else:
        name = "rewards"
    values = np.where(mask, values, 0.0)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        wrong = values[(values < 0) | (values > 1)][0]
        raise ValueError(
            f"{name} must be in [0, 1], got {wrong:g}; success= says from which reward "
            "on a rollout counts as solved."
        )
    return values.astype(np.float32), mask


def group_rows(
    task_ids: Any, values: np.ndarray, mask: np.ndarray
) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Gathers rollouts that come one per row into one row per task.

    Args:
      task_ids: R keys; a task's rows may stand anywhere.
      values: [R].
      mask: bool [R].

    Returns:
      B distinct keys in order of appearance, values [B, G] and mask [B, G], G the
      largest number of rollouts; smaller groups are masked at their end.

    Raises:
      ValueError: if there is not one key for each value.

    Example:
      >>> keys, values, mask = group_rows(["a", "b", "a"], np.ones(3), np.ones(3, bool))
      >>> keys, mask.tolist()
      (['a', 'b'], [[True, True], [True, False]])
    """
    keys = [key.item() if hasattr(key, "item") else key for key in task_ids]
    if values.shape != (len(keys),) or mask.shape != values.shape:
        raise ValueError(
            f"rewards must have one number per task id, {len(keys)} here, "
            f"got shape {values.shape}."
        )
    place: dict[Any, int] = {}
    rows = np.array([place.setdefault(key, len(place)) for key in keys], np.int64)
    order = np.argsort(rows, kind="stable")
    sizes = np.bincount(rows, minlength=len(place))
    starts = np.cumsum(sizes) - sizes
    columns = np.empty(len(keys), np.int64)
    columns[order] = np.arange(len(keys)) - np.repeat(starts, sizes)
    shape = (len(place), int(sizes.max(initial=0)))
    grouped, kept = np.zeros(shape, values.dtype), np.zeros(shape, bool)
    grouped[rows, columns], kept[rows, columns] = values, mask
    return list(place), grouped, kept


def observe_rows(
    sampler: Any, task_ids: Any, rewards: Any, success: Success = None, **how: Any
) -> int:
    """Gives a sampler one reward per rollout, in any order.

    Args:
      sampler: a `TaskSampler`.
      task_ids: R keys, one per rollout.
      rewards: [R]; NaN was not evaluated.
      success: as in `to_success`.
      **how: passed on to `TaskSampler.observe` (`drawn_at`, `group_ids`), per task.

    Returns:
      How many tasks will be updated by the next `advance`.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=8, batch_size=2)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> drawn = sampler.select()
      >>> observe_rows(sampler, np.repeat(drawn, 3), [1, 0, 1, 0, 0, 0])
      2
    """
    values, mask = to_success(rewards, success)
    keys, grouped, kept = group_rows(task_ids, values, mask)
    if not keys:
        return 0
    return sampler.observe(keys, grouped, mask=kept, **how)
