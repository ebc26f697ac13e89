"""slime: a data source and the hook that sees all samples, both named by path, no fork.

    --data-source-path bots_jax.adapters.slime.BotsDataSource
    --rollout-all-samples-process-path bots_jax.adapters.slime.observe_all_samples
    --custom-config-path bots.yaml

and in bots.yaml, all of it optional:

    bots_task_key: task_id          # a field of every row's metadata that names it
    bots_success: 1.0               # the reward from which on a rollout is solved
    bots_references: [weak_pass_rate, strong_pass_rate]   # fields of the metadata
    bots_seed: 0
    bots_max_delay: 64              # as in TaskSampler
    bots: {group_size: 8, forgetting: 0.1}                # of bots_jax.bots

Without `bots_task_key` tasks are known by their row. The hook is given all groups,
those that a dynamic filter drops too, and takes one step per rollout. Where a rollout
was cut into several samples the last one has its reward. Groups that slime aborts and
does not keep are given back to the pool; with `--partial-rollout` they stay in flight.
`save` and `load` keep the selector beside slime's own file, by the same number. In the
rollout manager's environment set JAX_PLATFORMS=cpu.

Run against the data sources, `Sample` and `Dataset.shuffle` of slime 0.3.1 as of
2026-08-21, unmodified, by path. A whole training run, which needs GPUs, was not run.
"""

import copy
import os
from typing import Any

import jax
import numpy as np

from bots_jax.adapters.common import observe_rows
from bots_jax.adapters.full_batch import select_full
from bots_jax.host.task_sampler import TaskSampler
from bots_jax.selectors.bots import bots

_MISSING: ImportError | None = None
try:
    from slime.rollout.data_source import (  # pyright: ignore[reportMissingImports]
        RolloutDataSource,
        RolloutDataSourceWithBuffer,
    )
except ImportError as error:
    _MISSING = error

    class RolloutDataSource:
        """Stands where slime's would, so that this module can be imported."""

    class RolloutDataSourceWithBuffer(RolloutDataSource):
        """Likewise."""


_HOOK = "rollout_all_samples_process_path"


class _DrawnDataSource(RolloutDataSource):  # pyright: ignore[reportGeneralTypeIssues]
    """Gives what BOTS draws, where slime's own gives one row after the other."""

    args: Any
    dataset: Any
    sample_group_index: int
    sample_index: int

    def __init__(self, args: Any):
        if _MISSING is not None:
            raise ImportError(
                "BotsDataSource needs slime with slime.rollout.data_source, of August "
                "2026 or later."
            ) from _MISSING
        if not getattr(args, _HOOK, None):
            raise ValueError(
                f"--{_HOOK.replace('_', '-')} must be "
                "bots_jax.adapters.slime.observe_all_samples, or a function that calls "
                "it, got none; without it nothing is learnt."
            )
        super().__init__(args)
        if self.dataset is None:
            raise ValueError("--prompt-data must name a dataset, got none.")
        self._rows = self.dataset.origin_samples  # `samples` changes its order
        settings = dict(getattr(args, "bots", None) or {})
        settings = {"group_size": args.n_samples_per_prompt, **settings}
        batch_size = min(args.rollout_batch_size, len(self._rows))
        selector = bots(num_tasks=len(self._rows), batch_size=batch_size, **settings)
        name = getattr(args, "bots_task_key", None)
        keys = None if name is None else self._fields(name)
        self._places = {key: i for i, key in enumerate(keys or range(len(self._rows)))}
        names = getattr(args, "bots_references", None)
        references = None if names is None else [self._fields(x) for x in names]
        self.sampler = TaskSampler(
            selector,
            jax.random.key(getattr(args, "bots_seed", 0)),
            selector.init(references and np.array(references, np.float32).T),
            task_keys=keys,
            max_delay=getattr(args, "bots_max_delay", 64),
        )

    def _fields(self, name: str) -> list[Any]:
        """A field of every row's metadata."""
        values = [row.metadata.get(name) for row in self._rows]
        if None in values:
            raise ValueError(
                f"the metadata of every row must have {name!r}, row "
                f"{values.index(None)} has {sorted(self._rows[0].metadata)}."
            )
        return values

    def get_samples(self, num_samples: int) -> list[list[Any]]:
        """Draws tasks, and copies each as often as it is rolled out.

        Returns:
          `num_samples` groups of samples, whose metadata has their "task_id".
        """
        groups = []
        keys = select_full(self.sampler, num_samples, self.sample_group_index).tolist()
        for key in keys:
            group = []
            for _ in range(self.args.n_samples_per_prompt):
                sample = copy.deepcopy(self._rows[self._places[key]])
                sample.metadata = {**sample.metadata, "task_id": key}
                sample.group_index = self.sample_group_index
                sample.index = self.sample_index
                self.sample_index += 1
                group.append(sample)
            self.sample_group_index += 1
            groups.append(group)
        return groups


class BotsDataSource(RolloutDataSourceWithBuffer, _DrawnDataSource):  # pyright: ignore[reportGeneralTypeIssues]
    """BOTS below slime's buffer of partial rollouts; see this module's first lines."""

    args: Any
    sampler: TaskSampler

    def observe(self, all_samples: list[list[Any]]) -> None:
        """Learns from the groups of one rollout; takes one step.

        Raises:
          ValueError: naming what was wrong; then nothing was learnt.
        """
        keys, rewards = rewards_of(self.args, all_samples)
        observe_rows(
            self.sampler, keys, rewards, getattr(self.args, "bots_success", None)
        )
        if not self.args.partial_rollout:
            in_flight = self.sampler.task_ids()[~self.sampler.state.eligible]
            if len(in_flight):
                nothing = np.zeros((len(in_flight), 1))
                self.sampler.observe(in_flight, nothing, mask=nothing > 0)
        self.sampler.advance()

    def save(self, rollout_id: int) -> None:
        """Saves the selector beside what slime saves."""
        super().save(rollout_id)
        self.sampler.save(self._directory(self.args.save, rollout_id), keep=1)

    def load(self, rollout_id: int | None = None) -> None:
        """Goes on from what `save` wrote; without it, from the start.

        Raises:
          ValueError: if it is of other tasks or settings.
        """
        super().load(rollout_id)
        if self.args.load is None:
            return
        directory = self._directory(self.args.load, rollout_id)
        if os.path.isdir(directory):
            self.sampler.restore(directory)

    def _directory(self, root: str, rollout_id: int | None) -> str:
        return os.path.join(root, f"rollout/bots_{rollout_id}")


def rewards_of(args: Any, all_samples: list[Any]) -> tuple[list[Any], np.ndarray]:
    """Reads tasks and rewards of finished groups, one per rollout.

    Args:
      args: slime's; `reward_key` is read.
      all_samples: groups of samples, or of lists of samples if a rollout was cut.

    Returns:
      R keys and float64 [R]; NaN where a rollout has no reward.

    Example:
      >>> import types
      >>> make = types.SimpleNamespace
      >>> task = {"task_id": 3}
      >>> group = [make(metadata=task, reward=r) for r in (1.0, None)]
      >>> rewards_of(make(reward_key=None), [group])
      ([3, 3], array([ 1., nan]))
    """
    last = [
        item[-1] if isinstance(item, list) else item
        for group in all_samples
        for item in group
    ]
    rewards = []
    for sample in last:
        reward = sample.reward
        if reward is not None and args.reward_key:
            reward = reward.get(args.reward_key)
        rewards.append(np.nan if reward is None else float(reward))
    return [sample.metadata["task_id"] for sample in last], np.array(rewards)


def observe_all_samples(args: Any, all_samples: list[Any], data_source: Any) -> None:
    """The hook: gives the groups of a rollout to the data source.

    Args:
      args: slime's.
      all_samples: all groups of a rollout, filtered ones too.
      data_source: a `BotsDataSource`, or its `get_samples`, which is what slime gives.

    Raises:
      ValueError: if it is another data source.

    Example:
      >>> observe_all_samples(None, [], "data.jsonl")
      Traceback (most recent call last):
      ValueError: --data-source-path must be bots_jax.adapters.slime.BotsDataSource,
          got str.
    """
    source = getattr(data_source, "__self__", data_source)
    if not isinstance(source, BotsDataSource):
        raise ValueError(
            "--data-source-path must be bots_jax.adapters.slime.BotsDataSource, got "
            f"{type(source).__name__}."
        )
    source.observe(all_samples)
