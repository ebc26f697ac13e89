"""verl up to 0.7.1: a curriculum sampler named in the configuration, no fork.

    data.sampler.class_path=pkg://bots_jax.adapters.verl
    data.sampler.class_name=BotsSampler
    data.dataloader_num_workers=0
    +data.sampler.success=1.0
    +data.sampler.bots.group_size=16
    +data.sampler.bots.forgetting=0.1
    +data.sampler.references=[weak_pass_rate,strong_pass_rate]

Optional are all lines with a plus: the score from which on a rollout counts as solved,
any argument of `bots_jax.bots`, and the dataset's columns of a weak and a strong
model's pass rates; and `+data.sampler.max_delay`, as in `TaskSampler`.

Tasks are known by `extra_info.index`, which verl hands through as "index"; number the
rows of all files of a run in one sequence. `+data.sampler.index_key=NAME` takes another
column. Rewards are `token_level_scores`, summed over tokens: what the reward function
gave, before any KL penalty.

verl writes its checkpoint before it calls `update`, so that a run that is resumed has
not seen the evidence of the very last step before the checkpoint; the tasks of that
step may be drawn again after `max_delay` steps.

After 0.7.1 `AbstractCurriculumSampler` is gone and the order of rows is fixed. What is
left, as read in 0.8.0 to 0.9.1, not run: `train_dataset.on_batch_end(batch=)` of the
older trainer, from which a dataset of your own can call `update` of this module's
`Curriculum` and look up its next row in `draw`; and a `ReplayBuffer` of your own.

Run against the abstract class and `DataProto` of verl 0.7.1, unmodified, by path, and
torchdata's StatefulDataLoader. A whole training run, which needs GPUs, was not run.
"""

import collections
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from bots_jax import checks
from bots_jax.adapters.common import observe_rows
from bots_jax.adapters.full_batch import select_full
from bots_jax.host.task_sampler import TaskSampler
from bots_jax.selectors.bots import bots

_MISSING: ImportError | None = None
try:
    from verl.experimental.dataset.sampler import (  # pyright: ignore[reportMissingImports]
        AbstractCurriculumSampler,
    )
except ImportError as error:
    AbstractCurriculumSampler, _MISSING = object, error


def task_keys_of(dataset: Any, index_key: str = "index") -> list[Any]:
    """Reads what a batch will call its tasks, in order of rows.

    Args:
      dataset: verl's RLHFDataset; its `dataframe` is read.
      index_key: a column; "index" for the field of that name of "extra_info".

    Raises:
      ValueError: if a task has no key, or two have the same.

    Example:
      >>> import types
      >>> rows = {"extra_info": [{"index": 7}, {"index": 3}]}
      >>> task_keys_of(types.SimpleNamespace(dataframe=rows))
      [7, 3]
    """
    table = dataset.dataframe
    columns = list(getattr(table, "column_names", None) or table)
    column = "extra_info" if index_key == "index" else index_key
    if column not in columns:
        raise ValueError(f"the dataset has no column {column!r}; it has {columns}.")
    keys = list(table[column])
    if index_key == "index":  # verl puts extra_info.index there, whatever else is
        keys = [(info or {}).get("index") for info in keys]
    if any(key is None for key in keys):
        raise ValueError(
            f"every row must have a key, row {keys.index(None)} has none in {column!r};"
            " data.sampler.index_key= takes a column that names tasks."
        )
    ((most, times),) = collections.Counter(keys).most_common(1)
    if times > 1:
        raise ValueError(
            f"{index_key} must name each row by itself, {most!r} names {times}; "
            "number the rows of all files in one sequence."
        )
    return keys


class Curriculum:
    """The order of rows, and what is learnt from them; without verl's base class.

    Example:
      >>> import types
      >>> rows = {"extra_info": [{"index": 10 * i} for i in range(50)]}
      >>> dataset = types.SimpleNamespace(dataframe=rows)
      >>> curriculum = Curriculum(dataset, {"train_batch_size": 4, "seed": 1})
      >>> rows = curriculum.draw()
      >>> batch = types.SimpleNamespace(
      ...     non_tensor_batch={"index": 10 * rows.repeat(2)},
      ...     batch={"token_level_scores": np.ones((8, 3)) / 3},
      ... )
      >>> curriculum.update(batch)
      >>> curriculum.sampler.step, curriculum.metrics()["update/success_rate"]
      (1, 1.0)
    """

    def __init__(self, data_source: Any, data_config: Any):
        """Reads the settings.

        Args:
          data_source: verl's dataset.
          data_config: `config.data`.

        Raises:
          ValueError: naming what was wrong, received and allowed.
        """
        settings = data_config.get("sampler") or {}
        self._index_key = settings.get("index_key") or "index"
        self._success = settings.get("success")
        keys = task_keys_of(data_source, self._index_key)
        self._place = {key: row for row, key in enumerate(keys)}
        size = data_config.get("gen_batch_size") or data_config.get("train_batch_size")
        self._batch_size = checks.check_count("train_batch_size", size, 1, len(keys))
        selector = bots(
            num_tasks=len(keys),
            batch_size=self._batch_size,
            **dict(settings.get("bots") or {}),
        )
        names = settings.get("references")
        table = data_source.dataframe
        references = (
            np.array([list(table[name]) for name in names], np.float32).T
            if names
            else None
        )
        self.sampler = TaskSampler(
            selector,
            jax.random.key(int(data_config.get("seed") or 0)),
            selector.init(references),
            task_keys=keys,
            max_delay=settings.get("max_delay") or 64,
        )
        self._drawn = 0
        self._given = 0  # rows of this epoch
        self._rest: list[int] = []

    def draw(self) -> np.ndarray:
        """Chooses a batch of rows of the dataset."""
        keys = select_full(self.sampler, self._batch_size, self._drawn)
        self._drawn += len(keys)
        return np.array([self._place[key] for key in keys.tolist()])

    def __iter__(self) -> Iterator[int]:
        """Gives an epoch's rows, or what is left of it, drawn batch by batch."""
        while self._given < len(self):
            if not self._rest:
                self._rest = self.draw().tolist()
            self._given += 1
            yield self._rest.pop(0)
        self._given = 0

    def __len__(self) -> int:
        """Rows of an epoch: full batches only."""
        return len(self._place) // self._batch_size * self._batch_size

    def update(self, batch: Any) -> None:
        """Learns from a training batch; takes one step.

        Args:
          batch: a DataProto with the tasks' keys, "token_level_scores" [rows, tokens]
            and, if it has it, "uid", by which a batch that comes again is ignored.

        Raises:
          ValueError: naming what was wrong; then nothing was learnt.
        """
        named = batch.non_tensor_batch
        if self._index_key not in named:
            raise ValueError(
                f"the batch must have {self._index_key!r}, got {sorted(named)}."
            )
        keys = [x.item() if hasattr(x, "item") else x for x in named[self._index_key]]
        scores = batch.batch["token_level_scores"].sum(-1)
        if hasattr(scores, "detach"):
            scores = scores.detach().float().cpu()
        how = {}
        if "uid" in named:
            first = dict(zip(keys[::-1], list(named["uid"])[::-1], strict=True))
            how["group_ids"] = [first[key] for key in dict.fromkeys(keys)]
        observe_rows(self.sampler, keys, np.asarray(scores), self._success, **how)
        self.sampler.advance()

    def metrics(self) -> dict[str, float]:
        """As `TaskSampler.metrics`."""
        return self.sampler.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Gives everything that the next call needs; the data loader saves it."""
        return {
            "sampler": self.sampler.state_dict(),
            "drawn": self._drawn,
            "given": self._given,
            "rest": list(self._rest),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises:
          ValueError: if it is of other tasks or settings; then nothing is changed.
        """
        self.sampler.load_state_dict(state_dict["sampler"])
        self._drawn, self._given = state_dict["drawn"], state_dict["given"]
        self._rest = list(state_dict["rest"])


class BotsSampler(Curriculum, AbstractCurriculumSampler):  # pyright: ignore[reportGeneralTypeIssues]
    """The curriculum as verl up to 0.7.1 takes it; see this module's first lines."""

    def __init__(self, data_source: Any, data_config: Any):
        """As `Curriculum`.

        Raises:
          ImportError: if there is no verl whose trainer would call `update`.
        """
        if _MISSING is not None:
            raise ImportError(
                "BotsSampler needs verl with AbstractCurriculumSampler: "
                "pip install 'verl<=0.7.1'."
            ) from _MISSING
        Curriculum.__init__(self, data_source, data_config)
