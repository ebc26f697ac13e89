"""A grain IterDataset of the rows that a sampler chooses.

    rows = grain.MapDataset.source(source)              # random access: rows[i]
    tasks = BotsIterDataset(sampler, rows)
    loader = iter(tasks.batch(32))                      # then map, batch, as always
    for batch in loader:
        rewards = ...                                   # [B, G], by your trainer
        sampler.observe(batch["task_id"], rewards)
        sampler.advance()

The sampler decides the order: do not shuffle or repeat `rows`. A batch of tasks is
drawn when its first row is asked for. A thread that reads ahead is fine: what it has
read is in flight and is not drawn twice. Processes that read ahead
(`mp_prefetch`) are refused, because the rewards would not reach their copies.

An iterator's state is a place, one integer, as grain's checkpoints want it. What is
known of the tasks is saved beside it:

    tasks.save(directory / "sampler"); state = loader.get_state()
    ...
    tasks.restore(directory / "sampler"); loader.set_state(state)

Rows that were read ahead and not used come again. Run against grain 0.2.18.
"""

import importlib
import os
from typing import Any

from bots_jax import checks
from bots_jax.adapters.batches import DrawnBatches
from bots_jax.host.task_sampler import TaskSampler

_IterDataset: Any = object
_DatasetIterator: Any = object
try:
    _grain = importlib.import_module("grain")
    _IterDataset, _DatasetIterator = _grain.IterDataset, _grain.DatasetIterator
except ImportError:  # this can be imported all the same, and says then what is missing
    pass


class BotsIterDataset(_IterDataset):
    """Rows of a random-access dataset in the order in which a sampler draws them.

    It never ends. Rows of one draw come one after the other.
    """

    def __init__(
        self,
        sampler: TaskSampler,
        rows: Any,
        *,
        batch_size: int | None = None,
        row_keys: Any = None,
        task_column: str | None = "task_id",
        keep: int = 64,
    ):
        """Draws nothing yet.

        Args:
          sampler: nobody else should draw from it.
          rows: `rows[i]` is the i-th row: a MapDataset, a source or a list.
          batch_size: tasks per draw; the selector's by default. Use the same for
            grain's `batch`.
          row_keys: keys of the rows, in their order; None where tasks are known by
            their row numbers.
          task_column: name under which each row, then a dict, is given its task's key;
            None leaves rows as they are.
          keep: how many draws are remembered; more than is read ahead.

        Raises:
          ImportError: without grain.
        """
        if _IterDataset is object:
            raise ImportError(
                "BotsIterDataset needs grain: pip install 'bots-jax[grain]'."
            )
        super().__init__()
        self._batches = DrawnBatches(
            sampler, batch_size, row_keys=row_keys, keep=keep, whole=True
        )
        checks.check_count("len(rows)", len(rows))
        self._rows, self._column = rows, task_column

    def __iter__(self) -> "_BotsIterator":
        return _BotsIterator(self._batches, self._rows, self._column)

    def __str__(self) -> str:
        return f"BotsIterDataset(batch_size={self._batches.batch_size})"

    def save(self, directory: str | os.PathLike[str], *, keep: int | None = 3) -> None:
        """Saves the sampler, and which tasks were drawn last.

        Args:
          directory: where checkpoints lie; made if it is not there.
          keep: how many of the newest stay; None for all.
        """
        self._batches.save(directory, keep=keep)

    def restore(self, directory: str | os.PathLike[str]) -> None:
        """Goes on from the newest checkpoint; an iterator's place is set by its state.

        Raises:
          FileNotFoundError: if there is none.
          ValueError: with one sentence, if it is of other tasks or damaged.
        """
        self._batches.restore(directory)


class _BotsIterator(_DatasetIterator):
    """Counts rows; a new one starts with the next batch that is not drawn yet."""

    def __init__(self, batches: DrawnBatches, rows: Any, column: str | None):
        super().__init__()
        self._batches, self._rows, self._column = batches, rows, column
        self._place = batches.num_drawn * batches.batch_size
        self._number, self._found = -1, ([], [])

    def __next__(self) -> Any:
        self._assert_not_closed()
        number, offset = divmod(self._place, self._batches.batch_size)
        if number != self._number:
            self._found = self._batches.keys(number), self._batches.rows(number)
            self._number = number
        keys, rows = self._found
        row = self._rows[rows[offset]]
        if self._column is not None:
            if not isinstance(row, dict):
                raise ValueError(
                    "rows must be dicts, to be given a task_column, got "
                    f"{type(row).__name__}; task_column=None leaves them as they are."
                )
            row = {**row, self._column: keys[offset]}
        self._place += 1
        return row

    def get_state(self) -> dict[str, Any]:
        return {"place": self._place}

    def set_state(self, state: dict[str, Any]) -> None:
        if not isinstance(state, dict) or "place" not in state:
            raise ValueError(f"state must be what get_state gave, got {state!r:.60}.")
        self._place, self._number = int(state["place"]), -1

    def __str__(self) -> str:
        return f"BotsIterator(place={self._place})"
