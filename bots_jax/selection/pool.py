"""What a selection knows of N tasks, however and wherever the posterior is kept."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from bots_jax.shard import Cut, Shard
from bots_jax.types import MaskSetting, Setting


class TaskFacts(NamedTuple):
    """What may count for a choice beside beliefs.

    Attributes:
      age: int32 [P], updates since the task was last rolled out, or since the start.
      never: bool [P], True for tasks that were never rolled out.
      token_cost: float32 [] or [P], > 0, expected tokens of a rollout; 1 without.
      progress: float32 [P], >= 0, how fast its success rate moves; 0 without.
      group_ids: int32 [P]; 0 without.
      belief: state of the belief, for rules that look deeper than alpha and beta.
      cut: takes these tasks out of its per-task arrays.
    """

    age: Array
    never: Array
    token_cost: Array
    progress: Array
    group_ids: Array
    belief: Any
    cut: Any


class Candidates(NamedTuple):
    """Some of the tasks.

    Attributes:
      alpha: float32 [P].
      beta: float32 [P].
      target: float32 [] or [P], in [0, 1].
      eligible: bool [] or [P], True = may be chosen.
      facts: what else is known of them; None in pools without.
    """

    alpha: Array
    beta: Array
    target: Array
    eligible: Array
    facts: TaskFacts | None = None


class Pool(NamedTuple):
    """All of the tasks; made anew in every step, and never part of a state.

    Attributes:
      num_tasks: N.
      counts: cut -> alpha and beta of the tasks that it takes.
      max_concentration: float32 scalar, at least alpha + beta of every task.
      target: float32 [] or [N], in [0, 1].
      eligible: bool [] or [N], True = may be chosen.
      shard: which of the tasks are here; all by default. Where it is a block, arrays
        [N] hold that block.
      facts: cut -> what else is known of tasks; None for nothing.
      rested: facts -> bool [P], False for tasks that must wait; None if none has to.
    """

    num_tasks: int
    counts: Callable[[Cut], tuple[Array, Array]]
    max_concentration: Array
    target: Setting
    eligible: MaskSetting
    shard: Shard | None = None
    facts: Callable[[Cut], TaskFacts] | None = None
    rested: Callable[[TaskFacts], Array] | None = None

    @property
    def here(self) -> Shard:
        """Which of the tasks are here."""
        return Shard(self.num_tasks) if self.shard is None else self.shard

    def _cut(self, cut: Cut) -> Candidates:
        setting = lambda x: x if x.ndim == 0 else cut(x)  # noqa: E731
        alpha, beta = self.counts(cut)
        eligible, facts = setting(self.eligible), None
        if self.facts is not None:
            facts = self.facts(cut)
            if self.rested is not None:
                eligible = eligible & self.rested(facts)
        return Candidates(alpha, beta, setting(self.target), eligible, facts)

    def at(self, task_ids: Array) -> Candidates:
        """Looks tasks up; int32 [P] ids in [0, N)."""
        return self._cut(self.here.at(task_ids))

    def block(self, start: Any, size: int) -> Candidates:
        """Takes `size` tasks from row `start` on; all that are here without a copy."""
        if size == self.here.size:
            return self._cut(lambda x: x)
        return self._cut(lambda x: lax.dynamic_slice_in_dim(x, start, size))

    def target_at(self, task_ids: Array) -> Array:
        """Looks targets up, alone."""
        if self.target.ndim == 0:
            return jnp.broadcast_to(self.target, task_ids.shape)
        return self.here.at(task_ids)(self.target)

    def target_range(self) -> tuple[Array, Array]:
        """The smallest and the largest target of all tasks."""
        if self.target.ndim == 0:
            return self.target, self.target
        return self.here.smallest(self.target), self.here.largest(self.target)
