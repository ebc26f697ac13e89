"""Rows moved from one state into another: pools that grow, or are not the same."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bots_jax.placement import is_per_task
from bots_jax.posterior.lazy import LazyPosterior, implied_counts


class Carried(NamedTuple):
    """What became of the tasks of a checkpoint.

    Attributes:
      kept: tasks whose beliefs were carried over.
      dropped: tasks of the checkpoint that are not in the pool.
      new: tasks of the pool that the checkpoint did not know.
    """

    kept: int
    dropped: int
    new: int


class Start(NamedTuple):
    """Where new tasks start.

    Attributes:
      rows: int32 [n], where they are.
      alpha: float32 [n], beliefs; those below the prior are raised to it.
      beta: float32 [n].
    """

    rows: np.ndarray
    alpha: np.ndarray
    beta: np.ndarray


_ROW_NUMBERS = "neighbour_ids"
"""A per-task field that names other rows, -1 for none."""

GRAPH = frozenset({_ROW_NUMBERS, "neighbour_weights"})
"""Per-task fields that say who is whose neighbour in a pool."""


_GIVEN = GRAPH | {
    "difficulty",
    "eligible",
    "group_ids",
    "inputs",
    "place",
    "prior_alpha",
    "prior_beta",
    "prior_level_counts",
    "prior_precision_count",
    "prior_precision_rate",
    "prior_precision_shape",
    "prior_reward_mean",
    "prior_transition_counts",
    "strong",
    "table",
    "target_success_prob",
    "token_costs",
    "weak",
}
"""Per-task fields that hold what was given, or are set by `Start`, not learnt."""


def unlearnt(state: Any, fresh: Any) -> Any:
    """Takes out of a state what was learnt of each task, not what was given.

    Args:
      state: NumPy leaves.
      fresh: of the same shapes, as it was at the start.

    Returns:
      A state of NumPy leaves.

    Example:
      >>> import bots_jax
      >>> selector = bots_jax.mopps(num_tasks=3, batch_size=1)
      >>> evidence = bots_jax.evidence_from_counts([1], [3], 4)
      >>> state, _ = selector.update(selector.init(), evidence)
      >>> new = unlearnt(*map(jax.device_get, (state, selector.init())))
      >>> float(new.belief.explicit.explicit_successes.max())
      0.0
    """

    def choose(path: Any, leaf: np.ndarray, first: np.ndarray) -> np.ndarray:
        is_given = getattr(path[-1], "name", None) in _GIVEN
        return leaf if is_given or not is_per_task(path, leaf) else first

    return jax.tree_util.tree_map_with_path(choose, state, fresh)


def carry(
    old: Any,
    fresh: Any,
    old_rows: np.ndarray,
    new_rows: np.ndarray,
    start: Start | None = None,
    stays: frozenset[str] = frozenset(),
) -> Any:
    """Carries rows of one state into another, and all that is not per task.

    Args:
      old: NumPy leaves.
      fresh: NumPy leaves; of the same kind, with any number of tasks. Its rows stay
        where nothing is carried.
      old_rows: int32 [n].
      new_rows: int32 [n], where they go.
      start: beliefs of tasks that are new.
      stays: per-task fields that are left as they are in `fresh`.

    Returns:
      A state of NumPy leaves. Where lists of neighbours are carried, those of tasks
      that are not carried are taken out.

    Example:
      >>> import bots_jax
      >>> make = lambda n: bots_jax.bots(num_tasks=n, batch_size=1)
      >>> old = bots_jax.set_posterior(
      ...     make(2), make(2).init(), np.float32([1, 5]), np.float32([1, 1]))
      >>> old = jax.device_get(old)
      >>> fresh = jax.device_get(make(3).init())
      >>> carry(old, fresh, np.array([1]), np.array([0])).posterior.alpha
      array([5., 1., 1.], dtype=float32)
    """

    def move(path: Any, fresh: Any, old: Any) -> np.ndarray:
        if not is_per_task(path, fresh):
            return np.array(old)
        rows, name = np.array(fresh), getattr(path[-1], "name", None)
        if name in stays:
            return rows
        carried = old[old_rows]
        if name == _ROW_NUMBERS:
            where = np.full(len(old) + 1, -1, rows.dtype)  # the last one is row -1
            where[old_rows] = new_rows
            carried = where[carried]
        rows[new_rows] = carried
        return rows

    moved = jax.tree_util.tree_map_with_path(move, fresh, old)
    if not hasattr(moved, "posterior"):
        return moved
    posterior, other = moved.posterior, fresh.posterior
    most = np.maximum(posterior.max_concentration, other.max_concentration)
    posterior = posterior._replace(
        max_prior=np.maximum(posterior.max_prior, other.max_prior),
        max_concentration=np.asarray(most),
    )
    if start is not None and len(start.rows):
        posterior = _begin(posterior, start)
    return moved._replace(posterior=posterior)


def at_rows(setting: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Gives a setting, of all tasks or per task, of some rows.

    Example:
      >>> at_rows(np.float32(2), np.array([7, 8]))
      array([2., 2.], dtype=float32)
    """
    return np.broadcast_to(setting, rows.shape) if setting.ndim == 0 else setting[rows]


def _begin(posterior: Any, start: Start) -> Any:
    """Sets the beliefs of new tasks, in whichever way they are kept."""
    rows = start.rows
    prior_alpha = at_rows(posterior.prior_alpha, rows)
    prior_beta = at_rows(posterior.prior_beta, rows)
    alpha = np.maximum(start.alpha, prior_alpha).astype(np.float32)
    beta = np.maximum(start.beta, prior_beta).astype(np.float32)
    most = np.maximum(posterior.max_concentration, (alpha + beta).max())
    posterior = posterior._replace(max_concentration=np.asarray(most, np.float32))
    if not isinstance(posterior, LazyPosterior):
        posterior.alpha[rows], posterior.beta[rows] = alpha, beta
        return posterior
    # What the plug-in said before they came is taken back, so that they start there.
    more_alpha, more_beta = alpha - prior_alpha, beta - prior_beta
    if posterior.has_references:
        successes, failures = _implied(posterior, np.asarray(posterior.table)[rows])
        more_alpha, more_beta = more_alpha - successes, more_beta - failures
    excess = np.stack([more_alpha, more_beta], axis=1) / posterior.scale
    posterior.table[rows, -2:] = excess
    return posterior


def _implied(posterior: LazyPosterior, table: np.ndarray) -> tuple[Any, Any]:
    length = 1 << max(0, len(table) - 1).bit_length()  # few lengths, few programs
    padded = np.pad(table, ((0, length - len(table)), (0, 0)))
    scalars = posterior._replace(table=None, prior_alpha=None, prior_beta=None)
    successes, failures = _implied_compiled(scalars, jnp.asarray(padded))
    return np.asarray(successes)[: len(table)], np.asarray(failures)[: len(table)]


@jax.jit
def _implied_compiled(posterior: LazyPosterior, table: Any) -> tuple[Any, Any]:
    return implied_counts(posterior, table[:, 0], table[:, 1])
