"""A batch, how it was found, and what completes a race that was given up."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.selection.sweep import Chosen

SWEPT, RACED, RACED_THEN_SWEPT = 0, 1, 2


class Selection(NamedTuple):
    """A batch, and how it was found.

    Attributes:
      task_ids: int32 [B], best first; -1 in slots that no eligible task is left for.
      draws: float32 [B], the success chances that they were judged by.
      path: int32, SWEPT, RACED or RACED_THEN_SWEPT.
      num_points: int32, points that a race looked at; 0 for a sweep.
    """

    task_ids: Array
    draws: Array
    path: Array
    num_points: Array


class Found(NamedTuple):
    """What a race leaves to the sweep that completes it.

    Attributes:
      task_ids: int32 [C], those found in the first `num_found`.
      draws: float32 [C].
      num_found: int32.
    """

    task_ids: Array
    draws: Array
    num_found: Array

    def place(self, ids: Array) -> Array:
        """Where in a block of tasks the found ones are; out of it for the others."""
        place = self.task_ids - ids[0]
        is_here = (place >= 0) & (place < ids.shape[0])
        is_here &= lax.iota(jnp.int32, place.shape[0]) < self.num_found
        return jnp.where(is_here, place, ids.shape[0])


def swept(chosen: Chosen) -> Selection:
    """Calls the best of a sweep a selection.

    Example:
      >>> chosen = Chosen(jnp.array([3]), jnp.float32([0.5]))
      >>> int(swept(chosen).path) == SWEPT
      True
    """
    return Selection(*chosen, jnp.int32(SWEPT), jnp.int32(0))


def completed(
    raced: Chosen, enough: Array, num_points: Array, complete: Callable[[], Chosen]
) -> Selection:
    """Takes what a race found, or completes it by a sweep if that is not enough.

    The sweep stands in a loop of at most one turn, which costs nothing where it is not
    needed; lax.cond would run it in every lane of a vmap, and copies on CPU.

    Args:
      raced: the batch, if it is enough.
      enough: bool.
      num_points: int32, points that the race looked at.
      complete: sweeps, given what was found.

    Returns:
      The batch.

    Example:
      >>> one = Chosen(jnp.array([4]), jnp.float32([0.5]))
      >>> completed(one, jnp.bool_(True), jnp.int32(9), lambda: one).task_ids
      Array([4], dtype=int32)
    """
    _, chosen = lax.while_loop(
        lambda carry: carry[0],
        lambda carry: (jnp.bool_(False), complete()),
        (~enough, raced),
    )
    path = jnp.where(enough, RACED, RACED_THEN_SWEPT).astype(jnp.int32)
    return Selection(*chosen, path, num_points)
