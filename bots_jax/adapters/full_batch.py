"""Draws a full batch, whatever is in flight."""

from typing import Any

import numpy as np

from bots_jax import checks


def select_full(sampler: Any, num_tasks: int, draw: int) -> np.ndarray:
    """Chooses exactly as many tasks as asked, for trainers that cannot take fewer.

    A pool that is too small for what is in flight is filled up with tasks in flight,
    picked at random; what is seen of them counts like all evidence.

    Args:
      sampler: a `TaskSampler`.
      num_tasks: k, at most the tasks of the pool.
      draw: a number that is another one in every call of a step, such as how many
        tasks were chosen before.

    Returns:
      Keys of k distinct tasks.

    Raises:
      ValueError: if the pool has fewer than k tasks.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=6, batch_size=4)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> len(select_full(sampler, 4, draw=0)), len(select_full(sampler, 4, draw=4))
      (4, 4)
    """
    pool = sampler.num_tasks
    num_tasks = checks.check_count("num_tasks", num_tasks, 1, pool)
    chosen = sampler.select(num_tasks)
    missing = num_tasks - len(chosen)
    if not missing:
        return chosen
    others = np.setdiff1d(sampler.task_ids(), chosen)
    picked = np.random.default_rng([sampler.step, draw]).choice(
        others, missing, replace=False
    )
    return np.concatenate([chosen, picked])
