"""prime-rl: a task sampler for the curriculum of an environment.

prime-rl's configuration knows only its own samplers, so that the orchestrator is
started by a file of yours, from where the command `orchestrator` would be:

    from bots_jax.adapters import prime_rl
    from prime_rl.entrypoints.orchestrator import main

    prime_rl.install(batch_size=32, group_size=8, forgetting=0.1)
    main()

`install` puts this sampler in the place of the standard one, which environments have
whose configuration names no sampler. Gates work as before: every finalized group is
observed, admitted or not. In the orchestrator's environment set JAX_PLATFORMS=cpu.

A step, in which the posterior forgets once, is `batch_size` finalized groups. Tasks are
drawn `batch_size` at a time, so that one call of the compiled program serves as many
tasks; a task may be that many draws older than what was last observed. Groups that
prime-rl drops as stale never come back; their tasks may be drawn again after
`max_delay` steps.

Run against the curriculum, the sampler's base class and the gates of prime-rl 0.8.0 as
of 2026-08-21, unmodified, by path. `install` before a real orchestrator is read, not
run.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from bots_jax import checks
from bots_jax.adapters.common import Success, observe_rows
from bots_jax.adapters.full_batch import select_full
from bots_jax.host.task_sampler import TaskSampler as Sampler
from bots_jax.selectors.bots import bots

try:
    from prime_rl.orchestrator.curriculum.samplers.base import (  # pyright: ignore[reportMissingImports]
        TaskSampler,
    )
except ImportError:  # the same protocol, so that it can be tried without prime-rl
    TaskSampler = Iterator


class BotsTaskSampler(TaskSampler):  # pyright: ignore[reportGeneralTypeIssues]
    """Chooses tasks of one environment by BOTS.

    Example:
      >>> import types
      >>> make = types.SimpleNamespace
      >>> tasks = [make(key=f"task-{i}") for i in range(20)]
      >>> sampler = BotsTaskSampler(tasks, batch_size=2)
      >>> for reward in (1.0, 0.0):
      ...     task = next(sampler)
      ...     trainable = make(trainable=True)
      ...     trace = make(reward=reward, has_error=False, agent=trainable)
      ...     sampler.observe([make(task=task, traces=[trace])] * 4)
      >>> sampler.metrics()["sampler/step"], sampler.metrics()["update/success_rate"]
      (1.0, 0.5)
    """

    def __init__(
        self,
        tasks: Sequence[Any],
        *,
        batch_size: int = 32,
        seed: int = 0,
        success: Success = None,
        references: Any = None,
        max_delay: int = 64,
        remap: bool = False,
        **settings: Any,
    ):
        """Takes a finite set of tasks.

        Args:
          tasks: each with a `key` of its own.
          batch_size: groups per step, and tasks per draw.
          seed: of the draws.
          success: what counts as solved, as in `adapters.common.to_success`.
          references: [N, 2], pass rates of a weak and a strong model, or None.
          max_delay: as in `TaskSampler`.
          remap: carry a saved state over if the tasks have changed.
          **settings: of `bots_jax.bots`.

        Raises:
          ValueError: naming what was wrong, received and allowed.
        """
        if not isinstance(tasks, Sequence):
            raise ValueError(
                "tasks must be a finite sequence, got an iterator; set num_tasks of "
                "the environment."
            )
        keys = [task.key for task in tasks]
        if None in keys:
            raise ValueError(f"every task must have a key, task {keys.index(None)} not")
        checks.check_count("batch_size", batch_size)
        self._batch_size = min(batch_size, len(keys)) or 1
        selector = bots(num_tasks=len(keys), batch_size=self._batch_size, **settings)
        self.sampler = Sampler(
            selector,
            jax.random.key(seed),
            selector.init(references),
            task_keys=keys,
            max_delay=max_delay,
        )
        self._tasks = dict(zip(keys, tasks, strict=True))
        self._success, self._remap = success, remap
        self._ready: list[Any] = []  # drawn, not yet handed out
        self._num_drawn = self._num_groups = 0

    def __iter__(self) -> "BotsTaskSampler":
        """Is its own iterator, without an end."""
        return self

    def __next__(self) -> Any:
        """Hands out the next task."""
        if not self._ready:
            keys = select_full(self.sampler, self._batch_size, self._num_drawn)
            self._ready = keys.tolist()
            self._num_drawn += len(self._ready)
        return self._tasks[self._ready.pop(0)]

    def observe(self, group: Sequence[Any]) -> None:
        """Learns from the finalized episodes of one task.

        Traces with an error, and those of agents that are not trained, are left out; a
        group without any other is only no longer in flight.

        Raises:
          ValueError: naming what was wrong; then nothing was learnt.
        """
        key = group[0].task.key
        rewards = [
            trace.reward
            for episode in group
            for trace in episode.traces
            if not trace.has_error and trace.agent.trainable
        ]
        rewards = rewards or [np.nan]
        observe_rows(self.sampler, [key] * len(rewards), rewards, self._success)
        self._num_groups += 1
        if self._num_groups % self._batch_size == 0:
            self.sampler.advance()

    def metrics(self) -> dict[str, float]:
        """As `TaskSampler.metrics`."""
        return self.sampler.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Gives everything that the next call needs, for `progress.pt`."""
        return {
            "sampler": self.sampler.state_dict(),
            "ready": list(self._ready),
            "num_drawn": self._num_drawn,
            "num_groups": self._num_groups,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises:
          ValueError: if it is that of another sampler, or of other tasks and `remap`
            is false; then nothing is changed.
        """
        if "sampler" not in state_dict:
            raise ValueError(
                "the state saved must be one of BotsTaskSampler, got one of another "
                f"sampler, with {sorted(state_dict)}."
            )
        self.sampler.load_state_dict(state_dict["sampler"], self._remap)
        self._ready = [key for key in state_dict["ready"] if key in self._tasks]
        self._num_drawn = state_dict["num_drawn"]
        self._num_groups = state_dict["num_groups"]


def install(**settings: Any) -> None:
    """Makes environments without a sampler of their own use `BotsTaskSampler`.

    Args:
      **settings: as `BotsTaskSampler` takes them.

    Raises:
      ImportError: if prime-rl is not installed, or has no curriculum.
    """
    try:
        from prime_rl.orchestrator.curriculum import (  # pyright: ignore[reportMissingImports]
            samplers,
        )
    except ImportError as error:
        raise ImportError(
            "install needs prime-rl with prime_rl.orchestrator.curriculum, of August "
            "2026 or later."
        ) from error
    samplers.StandardSampler = functools.partial(BotsTaskSampler, **settings)
