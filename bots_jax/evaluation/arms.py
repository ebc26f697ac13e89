"""The arms of a comparison: a name, and how to build its selector for a pool.

To add one, add a line to `ARMS`. Everything of length N must travel in the selector's
state: a run is compiled for one seed's selector and used with the states of all.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from bots_jax.evaluation.loop import Arm
from bots_jax.evaluation.oracle import inform_oracle, oracle
from bots_jax.plugins import Plugin, ability, references
from bots_jax.selectors import (
    adaptive,
    adarft,
    arcus,
    bots,
    bots_dots,
    bots_mopps,
    cures,
    dps,
    dynamic_sampling,
    greso,
    insight,
    mapp,
    mopps,
    offline_easy_to_hard,
    sec,
    uniform,
)
from bots_jax.types import TaskSelector


class Pool(NamedTuple):
    """What a selector may be built from.

    Attributes:
      num_tasks: N.
      batch_size: B.
      group_size: G, rollouts per task.
      num_groups: D, of tasks.
      group_ids: int32 [N] in [0, D), such as the family of each task.
      difficulty_labels: float32 [N] in [0, 1], 1 the hardest; noisy.
    """

    num_tasks: int
    batch_size: int
    group_size: int
    num_groups: int
    group_ids: Array
    difficulty_labels: Array

    @property
    def sizes(self) -> dict[str, Any]:
        """The keyword arguments that every factory takes."""
        return {"num_tasks": self.num_tasks, "batch_size": self.batch_size}


BuildFn = Callable[[Pool], "TaskSelector | Arm"]
"""pool -> a selector, or an `Arm` if it uses one in a way of its own."""


class ArmRecipe(NamedTuple):
    """How to build one arm.

    Attributes:
      build: pool -> a selector, or an `Arm` if it uses one in a way of its own.
      num_references: columns of the references that `init` is given; 0 for None.
    """

    build: BuildFn
    num_references: int = 0


def _oracle(pool: Pool) -> Arm:
    return Arm(oracle(**pool.sizes), pool.batch_size, inform=inform_oracle)


def _dynamic_sampling(pool: Pool, max_batches: int = 3) -> Arm:
    rolled_out = min(pool.num_tasks, max_batches * pool.batch_size)
    selector = dynamic_sampling(num_tasks=pool.num_tasks, batch_size=rolled_out)
    return Arm(selector, pool.batch_size, dynamic_sampling=True)


def _bots(pool: Pool) -> TaskSelector:
    """BOTS as published: lambda = rho = 0.1, two references."""
    sizes = _sized(pool)
    return bots(**sizes, forgetting=0.1, implicit_weight=0.1)


def _adaptive(make_plugin: Callable[[Pool], Plugin] | None) -> BuildFn:
    """Our own, with everything else at its default."""

    def build(pool: Pool) -> TaskSelector:
        plugin = None if make_plugin is None else make_plugin(pool)
        return adaptive(**_sized(pool), plugin=plugin)

    return build


def _references(pool: Pool) -> Plugin:
    del pool
    return references(num_references=2)


def _ability(pool: Pool) -> Plugin:
    groups = np.asarray(pool.group_ids)
    sizes = pool.num_tasks, pool.num_groups
    return ability(num_tasks=sizes[0], groups=groups, num_groups=sizes[1])


def _labels(pool: Pool) -> dict[str, Any]:
    return pool.sizes | {"difficulty": np.asarray(pool.difficulty_labels)}


def _grouped(pool: Pool) -> dict[str, Any]:
    groups = np.asarray(pool.group_ids)
    return pool.sizes | {"group_ids": groups, "num_groups": pool.num_groups}


def _sized(pool: Pool) -> dict[str, Any]:
    return pool.sizes | {"group_size": pool.group_size}


ARMS: dict[str, ArmRecipe] = {
    "uniform": ArmRecipe(lambda pool: uniform(**pool.sizes)),
    "offline_easy_to_hard": ArmRecipe(
        lambda pool: offline_easy_to_hard(**_labels(pool))
    ),
    "bots": ArmRecipe(_bots, num_references=2),
    "bots_mopps": ArmRecipe(lambda pool: bots_mopps(**_sized(pool))),
    "bots_dots": ArmRecipe(lambda pool: bots_dots(**_sized(pool)), num_references=2),
    "mopps": ArmRecipe(lambda pool: mopps(**pool.sizes)),
    "dps": ArmRecipe(lambda pool: dps(**pool.sizes)),
    "insight": ArmRecipe(lambda pool: insight(**_sized(pool))),
    "mapp": ArmRecipe(lambda pool: mapp(**_sized(pool))),
    "cures": ArmRecipe(lambda pool: cures(**pool.sizes)),
    "arcus": ArmRecipe(lambda pool: arcus(**_sized(pool))),
    "adarft": ArmRecipe(lambda pool: adarft(**_labels(pool))),
    "sec": ArmRecipe(lambda pool: sec(**_grouped(pool))),
    "greso": ArmRecipe(lambda pool: greso(**pool.sizes)),
    "dynamic_sampling": ArmRecipe(_dynamic_sampling),
    "adaptive": ArmRecipe(_adaptive(_references), num_references=2),
    "adaptive_no_references": ArmRecipe(_adaptive(_ability)),
    "adaptive_explicit": ArmRecipe(_adaptive(None)),
    "oracle": ArmRecipe(_oracle),
}
"""Every arm by its name, in the order of the tables."""

BASELINE = "bots"
"""The arm that the others are compared with."""


def check_arms(names: Sequence[str]) -> tuple[str, ...]:
    """Checks names of arms.

    Returns:
      The names, as a tuple.

    Raises:
      ValueError: for no name, one that is not in the table, or one given twice.

    Example:
      >>> check_arms(["bots", "best"])  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      ValueError: arms must be among uniform, ...; got 'best'.
    """
    if not names:
        raise ValueError("arms must name at least one arm, got none.")
    for name in names:
        if name not in ARMS:
            raise ValueError(
                f"arms must be among {', '.join(ARMS)}; got {str(name)!r:.60}."
            )
    if len(set(names)) < len(names):
        raise ValueError(f"arms must not repeat, got {list(names)}.")
    return tuple(names)
