"""The arms of a comparison: a name, and how to build its selector for a pool.

To add one, add a line to `ARMS`. Everything of length N must travel in the selector's
state: a run is compiled for one seed's selector and used with the states of all.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jax import Array

from bots_jax.evaluation.loop import Arm
from bots_jax.evaluation.oracle import inform_oracle, oracle
from bots_jax.plugins import ability, group_prior, reference_groups, references
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
from bots_jax.selectors.adaptive import default_coverage
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
      num_sources: of tasks, alike in size.
      source_ids: int32 [N] in [0, num_sources), where each task comes from; groups may
        be finer.
      references: float32 [N, 2], for arms that are built from them; None for others.
    """

    num_tasks: int
    batch_size: int
    group_size: int
    num_groups: int
    group_ids: Array
    difficulty_labels: Array
    num_sources: int
    source_ids: Array
    references: Any = None


BuildFn = Callable[..., "TaskSelector | Arm"]
"""`(pool, **options)` -> a selector, or an `Arm` if it uses one in a way of its own."""


class ArmRecipe(NamedTuple):
    """How to build one arm.

    Attributes:
      build: `(pool, **options)` -> a selector, or an `Arm` if it uses one in a way of
        its own; options are those of `factory`, in place of the arm's own.
      num_references: columns of the references that `init` is given; 0 for None.
      factory: what makes the selector; None where it takes no options.
    """

    build: BuildFn
    num_references: int = 0
    factory: Callable[..., TaskSelector] | None = None


InputsFn = Callable[[Pool], dict[str, Any]]
"""pool -> keyword arguments of a factory."""


def _oracle(pool: Pool, proportional: bool = False) -> Arm:
    selector = oracle(**_sizes(pool), proportional=proportional)
    return Arm(selector, pool.batch_size, inform=inform_oracle)


def _dynamic_sampling(pool: Pool, max_batches: int = 3) -> Arm:
    rolled_out = min(pool.num_tasks, max_batches * pool.batch_size)
    selector = dynamic_sampling(num_tasks=pool.num_tasks, batch_size=rolled_out)
    return Arm(selector, pool.batch_size, dynamic_sampling=True)


def _recipe(
    factory: Callable[..., TaskSelector], inputs: InputsFn, num_references: int = 0
) -> ArmRecipe:
    """Makes the recipe of a selector that is used as it is."""

    def build(pool: Pool, **options: Any) -> TaskSelector:
        return factory(**(inputs(pool) | options))

    return ArmRecipe(build, num_references, factory)


def _sizes(pool: Pool) -> dict[str, Any]:
    return {"num_tasks": pool.num_tasks, "batch_size": pool.batch_size}


def _sized(pool: Pool) -> dict[str, Any]:
    return _sizes(pool) | {"group_size": pool.group_size}


def _published(pool: Pool) -> dict[str, Any]:
    """BOTS as published: lambda = rho = 0.1, two references."""
    return _sized(pool) | {"forgetting": 0.1, "implicit_weight": 0.1}


def _labels(pool: Pool) -> dict[str, Any]:
    return _sizes(pool) | {"difficulty": np.asarray(pool.difficulty_labels)}


def _grouped(pool: Pool) -> dict[str, Any]:
    groups = np.asarray(pool.group_ids)
    return _sizes(pool) | {"group_ids": groups, "num_groups": pool.num_groups}


def _with_references(pool: Pool) -> dict[str, Any]:
    """Our own, with everything else at its default."""
    return _sized(pool) | {"plugin": references(num_references=2)}


def _by_source(pool: Pool) -> dict[str, Any]:
    """The same, with the mix of sources kept.

    All seeds of a size share a compiled run, so that quotas are of the settings alone.
    """
    shares = (1 / pool.num_sources,) * pool.num_sources
    usual = default_coverage(pool.num_tasks, pool.batch_size)
    kept = {"coverage": usual._replace(quotas=shares)}
    return _with_references(pool) | kept | {"group_ids": np.asarray(pool.source_ids)}


def _with_groups(pool: Pool) -> dict[str, Any]:
    """Without references: a Beta for each group of tasks, and the mix kept."""
    plugin = group_prior(np.asarray(pool.group_ids), pool.num_groups)
    return _by_source(pool) | {"plugin": plugin}


def _with_both(pool: Pool) -> dict[str, Any]:
    """A Beta for what is alike in group and references, and the mix kept."""
    groups, parents = reference_groups(
        np.asarray(pool.references), np.asarray(pool.group_ids), pool.num_groups
    )
    plugin = group_prior(groups, len(parents), parents=parents, prior_tasks=1.5)
    return _by_source(pool) | {"plugin": plugin}


def _with_ability(pool: Pool) -> dict[str, Any]:
    groups = np.asarray(pool.group_ids)
    plugin = ability(
        num_tasks=pool.num_tasks, groups=groups, num_groups=pool.num_groups
    )
    return _sized(pool) | {"plugin": plugin}


ARMS: dict[str, ArmRecipe] = {
    "uniform": _recipe(uniform, _sizes),
    "offline_easy_to_hard": _recipe(offline_easy_to_hard, _labels),
    "bots": _recipe(bots, _published, num_references=2),
    "bots_mopps": _recipe(bots_mopps, _sized),
    "bots_dots": _recipe(bots_dots, _sized, num_references=2),
    "mopps": _recipe(mopps, _sizes),
    "dps": _recipe(dps, _sizes),
    "insight": _recipe(insight, _sized),
    "mapp": _recipe(mapp, _sized),
    "cures": _recipe(cures, _sizes),
    "arcus": _recipe(arcus, _sized),
    "adarft": _recipe(adarft, _labels),
    "sec": _recipe(sec, _grouped),
    "greso": _recipe(greso, _sizes),
    "dynamic_sampling": ArmRecipe(_dynamic_sampling),
    "adaptive": _recipe(adaptive, _with_references, num_references=2),
    "adaptive_sources": _recipe(adaptive, _by_source, num_references=2),
    "adaptive_groups": _recipe(adaptive, _with_groups),
    "adaptive_both": _recipe(adaptive, _with_both, num_references=2),
    "adaptive_no_references": _recipe(adaptive, _with_ability),
    "adaptive_explicit": _recipe(adaptive, _sized),
    "oracle": ArmRecipe(_oracle),
    "oracle_proportional": ArmRecipe(partial(_oracle, proportional=True)),
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
