"""What a selection knows of N tasks, whichever way the posterior is kept."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.types import MaskSetting, Setting

Cut = Callable[[Array], Array]
"""Takes the tasks wanted out of an array whose first axis is N."""


class Candidates(NamedTuple):
    """Some of the tasks.

    Attributes:
      alpha: float32 [P].
      beta: float32 [P].
      target: float32 [] or [P], in [0, 1].
      eligible: bool [] or [P], True = may be chosen.
    """

    alpha: Array
    beta: Array
    target: Array
    eligible: Array


class Pool(NamedTuple):
    """All of the tasks; made anew in every step, and never part of a state.

    Attributes:
      num_tasks: N.
      counts: cut -> alpha and beta of the tasks that it takes.
      max_concentration: float32 scalar, at least alpha + beta of every task.
      target: float32 [] or [N], in [0, 1].
      eligible: bool [] or [N], True = may be chosen.
    """

    num_tasks: int
    counts: Callable[[Cut], tuple[Array, Array]]
    max_concentration: Array
    target: Setting
    eligible: MaskSetting

    def _cut(self, cut: Cut) -> Candidates:
        setting = lambda x: x if x.ndim == 0 else cut(x)  # noqa: E731
        alpha, beta = self.counts(cut)
        return Candidates(alpha, beta, setting(self.target), setting(self.eligible))

    def at(self, task_ids: Array) -> Candidates:
        """Looks tasks up; int32 [P] ids in [0, N)."""
        return self._cut(lambda x: x.at[task_ids].get(mode="promise_in_bounds"))

    def block(self, start: Any, size: int) -> Candidates:
        """Takes `size` tasks from `start` on; all of them without a copy."""
        if size == self.num_tasks:
            return self._cut(lambda x: x)
        return self._cut(lambda x: lax.dynamic_slice_in_dim(x, start, size))

    def target_at(self, task_ids: Array) -> Array:
        """Looks targets up, alone."""
        if self.target.ndim == 0:
            return jnp.broadcast_to(self.target, task_ids.shape)
        return self.target.at[task_ids].get(mode="promise_in_bounds")
