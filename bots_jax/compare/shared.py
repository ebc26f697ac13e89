"""What all arms and seeds of a comparison share: tasks, warm-up, references."""

import pathlib
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bots_jax.compare.settings import CompareSettings
from bots_jax.evaluation.arms import Pool
from bots_jax.grpo.data import RunData, load_data
from bots_jax.grpo.devices import Devices
from bots_jax.grpo.rollouts import Policy
from bots_jax.grpo.success import success_probs
from bots_jax.grpo.train import prepare


class Shared(NamedTuple):
    """The common start.

    Attributes:
      settings: of the comparison.
      data: pool, held-out tasks, demonstrations.
      policy: after the warm-up.
      references: float32 [N, 2], measured pass rates of a weak and a strong model.
      pool: what selectors may be built from.
      belief_ids: int64 [M], tasks on which posteriors are judged.
    """

    settings: CompareSettings
    data: RunData
    policy: Policy
    references: np.ndarray
    pool: Pool
    belief_ids: np.ndarray


def stand_in_pool(settings: CompareSettings) -> Pool:
    """Makes a pool of the right size that knows nothing: one group, labels in order.

    Example:
      >>> stand_in_pool(CompareSettings(num_tasks=3)).difficulty_labels
      Array([0. , 0.5, 1. ], dtype=float32)
    """
    return Pool(
        num_tasks=settings.num_tasks,
        batch_size=settings.grpo.batch_size,
        group_size=settings.grpo.group_size,
        num_groups=1,
        group_ids=jnp.zeros(settings.num_tasks, jnp.int32),
        difficulty_labels=jnp.linspace(0, 1, settings.num_tasks, dtype=jnp.float32),
    )


def prepare_shared(
    settings: CompareSettings, directory: pathlib.Path, quiet: bool = False
) -> Shared:
    """Makes the common start, or reads what an earlier run has made of it.

    Groups of tasks are the cells of family and level. Difficulty labels are the true
    log-odds of failure of the warmed-up policy, with noise, as ranks in [0, 1].

    Args:
      settings: of the comparison.
      directory: where warm-up and references are kept.
      quiet: True for no progress.

    Returns:
      What all arms share.

    Raises:
      ValueError: for settings that do not fit together, or files of other settings.
    """
    config = settings.train_config()
    data = load_data(config, quiet)
    policy, references = prepare(config, data, Devices(), directory, quiet)
    tasks = data.train.pool
    cells = np.stack([tasks.family, tasks.level])
    groups, group_ids = np.unique(cells, axis=1, return_inverse=True)
    rng = np.random.default_rng([settings.task_seed, 13])
    chances = np.clip(success_probs(policy, data.train.tokens), 1e-4, 1 - 1e-4)
    odds = np.log1p(-chances.astype(np.float64)) - np.log(chances)
    noisy = odds + settings.label_sd * rng.standard_normal(len(odds))
    labels = np.argsort(np.argsort(noisy)) / max(1, len(noisy) - 1)
    pool = Pool(
        num_tasks=settings.num_tasks,
        batch_size=settings.grpo.batch_size,
        group_size=settings.grpo.group_size,
        num_groups=groups.shape[1],
        group_ids=jnp.asarray(group_ids.reshape(-1), jnp.int32),
        difficulty_labels=jnp.asarray(labels, jnp.float32),
    )
    belief_ids = np.sort(rng.choice(len(tasks), settings.belief_tasks, replace=False))
    return Shared(settings, data, policy, references, pool, belief_ids)
