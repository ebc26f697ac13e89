"""Batches as they were drawn, for loaders that read ahead, skip and start again.

A loader asks for rows long before they are trained on, and after a restart it asks
again for what it had read ahead. So batches are numbered, and the last ones are
remembered: asked for again, a batch is what it was, and only a new number draws.
"""

import json
import os
import pathlib
import threading
from typing import Any, NamedTuple

import numpy as np

from bots_jax import checks
from bots_jax.host.keys import ABSENT, TaskKeys
from bots_jax.host.task_sampler import TaskSampler
from bots_jax.whole_files import write_text

_FILE = "batches-{}.json"


class Remembered(NamedTuple):
    """What is known of past batches; all of it fits into JSON.

    Attributes:
      num_drawn: batches drawn so far.
      tasks_drawn: the sampler's count of tasks at that time.
      keys: of the tasks of the last batches, oldest first.
    """

    num_drawn: int
    tasks_drawn: int
    keys: list[list[Any]]


class DrawnBatches:
    """Numbers a sampler's batches; thread-safe.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=100, batch_size=4)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> batches = DrawnBatches(sampler)
      >>> first = batches.rows(0)
      >>> second = batches.rows(1)
      >>> batches.rows(0) == first, set(first) & set(second), batches.num_drawn
      (True, set(), 2)
    """

    def __init__(
        self,
        sampler: TaskSampler,
        batch_size: int | None = None,
        *,
        row_keys: Any = None,
        keep: int = 64,
        whole: bool = False,
    ):
        """Draws nothing yet.

        Args:
          sampler: nobody else should draw from it.
          batch_size: tasks per batch, >= 1; the selector's by default.
          row_keys: keys of the data's rows, in the data's order; None where tasks are
            known by their row numbers.
          keep: how many batches are remembered, >= 1; more than a loader reads ahead.
          whole: refuse batches of fewer tasks, for loaders that count rows.

        Raises:
          ValueError: for tasks with names and no `row_keys`.
        """
        size = sampler.selector.batch_size if batch_size is None else batch_size
        self.sampler = sampler
        self.batch_size = checks.check_count("batch_size", size)
        self._keep = checks.check_count("keep", keep)
        self._whole = whole
        self._row_keys = None
        if row_keys is not None:
            self._row_keys = TaskKeys(len(row_keys), row_keys)
        elif sampler.task_ids().dtype == object:
            raise ValueError(
                "row_keys must give the keys of the data's rows where tasks have names "
                "that are strings, got None."
            )
        self._lock = threading.RLock()
        self._batches: dict[int, list[Any]] = {}
        self._num_drawn = 0

    def __getstate__(self) -> Any:
        raise TypeError(
            "tasks are drawn in the process that has the sampler, so this cannot go to "
            "another one; let worker processes read rows, or read ahead in a thread."
        )

    @property
    def num_drawn(self) -> int:
        """How many batches were drawn; also the number of the next one."""
        return self._num_drawn

    def is_forgotten(self, number: int) -> bool:
        """Whether a batch was drawn, but is not remembered any more."""
        with self._lock:
            return number < self._num_drawn and number not in self._batches

    def keys(self, number: int) -> list[Any]:
        """Gives a batch's task keys; draws it, if it is the next one.

        Raises:
          ValueError: for a batch that is forgotten, or not the next one.
          RuntimeError: if too few tasks can be chosen.
        """
        with self._lock:
            if number == self._num_drawn:
                self._draw()
            if number not in self._batches:
                oldest = min(self._batches, default=self._num_drawn)
                raise ValueError(
                    f"number must be that of a batch in [{oldest}, {self._num_drawn}], "
                    f"got {number}: earlier ones are forgotten, later ones not drawn."
                )
            return self._batches[number]

    def rows(self, number: int) -> list[int]:
        """Gives a batch's rows in the data; draws it, if it is the next one.

        Raises:
          ValueError: as `keys`, and for a task that is not among the data's rows.
          RuntimeError: if too few tasks can be chosen.
        """
        keys = self.keys(number)
        if self._row_keys is None:
            return [int(key) for key in keys]
        rows = self._row_keys.rows_of(keys)
        if (rows == ABSENT).any():
            missing = keys[int(np.argmax(rows == ABSENT))]
            raise ValueError(f"row_keys must name every task, {missing!r:.60} is not.")
        return rows.tolist()

    def _draw(self) -> None:
        keys = self.sampler.select(self.batch_size).tolist()
        if len(keys) < (self.batch_size if self._whole else 1):
            counts = self.sampler.metrics()
            tasks, away, retired = (
                int(counts[f"sampler/{name}"])
                for name in ("tasks", "in_flight", "retired")
            )
            raise RuntimeError(
                f"{len(keys)} of {self.batch_size} tasks could be chosen: of {tasks} "
                f"in the pool, {away} are in flight and {retired} retired. The pool "
                "must hold more than all batches that are read ahead."
            )
        self._batches[self._num_drawn] = keys
        self._num_drawn += 1
        self._batches.pop(self._num_drawn - 1 - self._keep, None)

    def state_dict(self) -> dict[str, Any]:
        """Copies the sampler's state, and what is remembered, to the host."""
        with self._lock:
            remembered = self._remembered()
            return {
                "sampler": self.sampler.state_dict(),
                "batches": remembered._asdict(),
            }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave.

        Raises:
          ValueError: with one sentence, if it is not such a state or of other tasks.
        """
        with self._lock:
            remembered = _checked(state.get("batches"))
            self.sampler.load_state_dict(state["sampler"])
            self._recall(remembered)

    def save(self, directory: str | os.PathLike[str], *, keep: int | None = 3) -> None:
        """Saves both as `TaskSampler.save` does, numbered by the sampler's step.

        Args:
          directory: where checkpoints lie; made if it is not there.
          keep: how many of the newest stay; None for all.
        """
        with self._lock:
            place = pathlib.Path(directory)
            file = place / _FILE.format(self.sampler.step)
            remembered = json.dumps(self._remembered()._asdict())
            write_text(file, remembered, durable=True)
            self.sampler.save(directory, keep=keep)
            files = sorted(place.glob(_FILE.format("*")), key=_step_of)
            for old in files[: -keep if keep else 0]:
                old.unlink()

    def restore(self, directory: str | os.PathLike[str]) -> None:
        """Goes on from the newest checkpoint that is whole.

        Raises:
          FileNotFoundError: if there is none.
          ValueError: with one sentence, if it is of other tasks or damaged.
        """
        with self._lock:
            self.sampler.restore(directory)
            file = pathlib.Path(directory) / _FILE.format(self.sampler.step)
            try:
                stored = json.loads(file.read_text())
            except FileNotFoundError:
                raise FileNotFoundError(
                    f"no batches for step {self.sampler.step} in {directory}; it was "
                    "saved by a sampler alone."
                ) from None
            except ValueError as error:
                raise ValueError(f"{file} cannot be read: {error}.") from None
            self._recall(_checked(stored))

    def _remembered(self) -> Remembered:
        drawn = int(self.sampler.metrics()["sampler/drawn"])
        keys = [self._batches[number] for number in sorted(self._batches)]
        return Remembered(self._num_drawn, drawn, keys)

    def _recall(self, remembered: Remembered) -> None:
        """Takes batches over, but none that the sampler restored has not drawn."""
        num_drawn, drawn, keys = remembered
        keys, restored = list(keys), int(self.sampler.metrics()["sampler/drawn"])
        while keys and drawn > restored:
            drawn -= len(keys.pop())
            num_drawn -= 1
        first = num_drawn - len(keys)
        self._num_drawn = num_drawn
        self._batches = {first + place: batch for place, batch in enumerate(keys)}


def _checked(stored: Any) -> Remembered:
    try:
        return Remembered(**stored)
    except TypeError:
        raise ValueError(
            f"state must be what state_dict gave, got {stored!r:.60} for its batches."
        ) from None


def _step_of(file: pathlib.Path) -> int:
    return int(file.stem.rpartition("-")[2])
