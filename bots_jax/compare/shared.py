"""What all arms share from one start: tasks, warm-up, references."""

import hashlib
import pathlib
from typing import Any, NamedTuple

import jax
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
      settings: of the comparison, at this start.
      data: pool, held-out tasks, demonstrations.
      policy: after the warm-up.
      references: float32 [N, 2], measured pass rates of a weak and a strong model.
      pool: what selectors may be built from.
      belief_ids: int64 [M], tasks on which posteriors are judged.
      fingerprint: of the policy and the references, to the bit.
    """

    settings: CompareSettings
    data: RunData
    policy: Policy
    references: np.ndarray
    pool: Pool
    belief_ids: np.ndarray
    fingerprint: str


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
        num_sources=1,
        source_ids=jnp.zeros(settings.num_tasks, jnp.int32),
        references=np.zeros((settings.num_tasks, 2), np.float32),
    )


def prepare_shared(
    settings: CompareSettings, directory: pathlib.Path, quiet: bool = False
) -> Shared:
    """Makes the common start, or reads what an earlier run has made of it.

    Groups of tasks are the cells of family and level, sources the families. Difficulty
    labels are the true log-odds of failure of the warmed-up policy, with noise, as
    ranks in [0, 1].

    Args:
      settings: of the comparison, at one start.
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
    names, sources = np.unique(tasks.family, return_inverse=True)
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
        num_sources=len(names),
        source_ids=jnp.asarray(sources.reshape(-1), jnp.int32),
        references=references,
    )
    belief_ids = np.sort(rng.choice(len(tasks), settings.belief_tasks, replace=False))
    return Shared(
        settings=settings,
        data=data,
        policy=policy,
        references=references,
        pool=pool,
        belief_ids=belief_ids,
        fingerprint=fingerprint_of(policy.params, references),
    )


def fingerprint_of(*trees: Any) -> str:
    """Hashes every bit of some arrays, and their shapes and dtypes.

    A warm-up on another machine, with other software or another number of threads adds
    in another order, and ends elsewhere: the same settings are not the same start.

    Example:
      >>> fingerprint_of(np.float32([1, 2])), fingerprint_of(np.float32([1, 3]))
      ('ad838d43ffae', '6f4b6797dc6a')
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(trees):
        array = np.asarray(leaf)
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:12]


def check_same_start(path: pathlib.Path, theirs: str | None, mine: str | None) -> None:
    """Refuses a result that began elsewhere than those it is to be paired with.

    Raises:
      ValueError: naming the result and what can be done.

    Example:
      >>> check_same_start(pathlib.Path("runs/a/results/x.json"), "c4c2", "9c4a")
      Traceback (most recent call last):
      ValueError: runs/a/results/x.json began at start c4c2, the others of its seed at
        9c4a: the same warm-up rounds differently on another machine. Remove it, bring
        the folder `shared` that it was made from, or use another output directory.
    """
    if theirs != mine:
        raise ValueError(
            f"{path} began at start {theirs}, the others of its seed at {mine}: the "
            "same warm-up rounds differently on another machine. Remove it, bring the "
            "folder `shared` that it was made from, or use another output directory."
        )
