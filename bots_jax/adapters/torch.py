"""Samplers for torch's DataLoader and torchdata's StatefulDataLoader.

    batches = BotsBatchSampler(sampler, num_batches=1000)
    loader = StatefulDataLoader(rows, batch_sampler=batches, num_workers=0)
    for batch in loader:
        rewards = ...                                  # [B, G], by your trainer
        sampler.observe(batch["task_id"], rewards)
        sampler.advance()
    torch.save(loader.state_dict(), path)              # posterior and all

A batch is drawn when the loader asks for it. With worker processes, or under
accelerate, that is some batches before it is trained on; what was read ahead is in
flight, is not drawn twice, and comes again after a restart.

With `num_workers=0` the loader's state holds everything, NumPy arrays too, so that
`torch.load(path, weights_only=False)` reads it. With workers a loader keeps
a snapshot *per batch, taken when the batch was drawn*, so evidence that came since
would be missing from it. Give `whole_state=False` there: the loader's state then holds
a place only, and `batches.save(directory)` saves the rest as it is now:

    batches = BotsBatchSampler(sampler, 1000, whole_state=False)
    loader = StatefulDataLoader(
        rows, batch_sampler=batches, num_workers=4, multiprocessing_context="spawn")
    ...
    torch.save(loader.state_dict(), path); batches.save(directory)
    ...
    batches.restore(directory); loader.load_state_dict(torch.load(path))

JAX has threads, so workers should not be forked from its process, hence "spawn".

torch itself is not imported: a loader takes any object that has `__iter__` and
`__len__`. Run against torch 2.13 and torchdata 0.11.
"""

import os
from collections.abc import Iterator
from typing import Any

from bots_jax import checks
from bots_jax.adapters.batches import DrawnBatches
from bots_jax.host.task_sampler import TaskSampler


class _Stream:
    """A place in an epoch, in units of which a batch has `_per_batch`."""

    def __init__(self, batches: DrawnBatches, num_batches: int, whole_state: bool):
        self.batches = batches
        self._num_batches = checks.check_count("num_batches", num_batches)
        self._per_batch = 1
        self._whole_state = whole_state
        self._first = self._place = 0
        self._is_loaded = False

    def __len__(self) -> int:
        return self._num_batches * self._per_batch

    def __iter__(self) -> Iterator[Any]:
        # A generator: loaders make iterators that they never use.
        self._begin()
        while self._place < len(self):
            unit = self._unit(*divmod(self._place, self._per_batch))
            self._place += 1
            yield unit

    def _begin(self) -> None:
        if not self._is_loaded or self._place >= len(self):
            self._first += -(-self._place // self._per_batch)
            self._place = 0
        self._is_loaded = False

    def _unit(self, batch: int, place: int) -> Any:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Says how much of the epoch was read; with `whole_state`, everything.

        Returns:
          "first_batch" and "place", integers, and "drawn", a dict of NumPy arrays and
          of what JSON can hold.
        """
        state: dict[str, Any] = {"first_batch": self._first, "place": self._place}
        if self._whole_state:
            state["drawn"] = self.batches.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on in the middle of an epoch; the next iteration is the rest of it.

        Raises:
          ValueError: with one sentence, if it is not such a state or of other tasks.
        """
        if not {"first_batch", "place"} <= state.keys():
            raise ValueError(
                f"state must be what state_dict gave, got the names {sorted(state)}."
            )
        if "drawn" in state:
            self.batches.load_state_dict(state["drawn"])
        self._first, self._place = int(state["first_batch"]), int(state["place"])
        self._is_loaded = True

    def save(self, directory: str | os.PathLike[str], *, keep: int | None = 3) -> None:
        """Saves the sampler, and which batches were drawn last.

        Args:
          directory: where checkpoints lie; made if it is not there.
          keep: how many of the newest stay; None for all.
        """
        self.batches.save(directory, keep=keep)

    def restore(self, directory: str | os.PathLike[str]) -> None:
        """Goes on from the newest checkpoint, with a new epoch.

        A StatefulDataLoader whose state is loaded afterwards goes on where it was, with
        what it had read ahead.
        """
        self.batches.restore(directory)
        self._first, self._place = self.batches.num_drawn, 0
        self._is_loaded = True


class BotsBatchSampler(_Stream):
    """Gives a loader lists of row numbers, one list per batch.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=100, batch_size=4)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> batches = BotsBatchSampler(sampler, num_batches=3)
      >>> [len(rows) for rows in batches], len(batches)
      ([4, 4, 4], 3)
    """

    def __init__(
        self,
        sampler: TaskSampler,
        num_batches: int,
        *,
        batch_size: int | None = None,
        row_keys: Any = None,
        keep: int = 64,
        whole_state: bool = True,
    ):
        """Draws nothing yet.

        Args:
          sampler: nobody else should draw from it.
          num_batches: batches until the loader ends, >= 1; an epoch is what you like.
          batch_size: tasks per batch; the selector's by default. A batch is smaller
            where fewer tasks may be chosen.
          row_keys: keys of the data's rows, in the data's order; None where tasks are
            known by their row numbers.
          keep: how many batches are remembered; more than a loader reads ahead.
          whole_state: whether `state_dict` holds the sampler too; see above.
        """
        batches = DrawnBatches(sampler, batch_size, row_keys=row_keys, keep=keep)
        super().__init__(batches, num_batches, whole_state)

    def _unit(self, batch: int, place: int) -> list[int]:
        return self.batches.rows(self._first + batch)


class BotsSampler(_Stream):
    """Gives a loader row numbers one by one; the loader makes batches of them.

    With repeats, batches come as trainers with groups of rollouts want them: for a
    batch [4, 7], repeats=2 and batch_repeats=3 it is 4 4 7 7, three times.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=100, batch_size=2)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> rows = list(BotsSampler(sampler, num_batches=1, repeats=2, batch_repeats=3))
      >>> len(rows), rows[0] == rows[1] == rows[4], rows[1] == rows[2]
      (12, True, False)
    """

    def __init__(
        self,
        sampler: TaskSampler,
        num_batches: int,
        *,
        batch_size: int | None = None,
        repeats: int = 1,
        batch_repeats: int = 1,
        row_keys: Any = None,
        keep: int = 64,
        whole_state: bool = True,
    ):
        """Draws nothing yet.

        Args:
          sampler: nobody else should draw from it.
          num_batches: draws until the loader ends, >= 1.
          batch_size: distinct tasks per draw; the selector's by default. If fewer may
            be chosen, that is an error, because loaders count rows.
          repeats: how often each row comes, one after the other, >= 1.
          batch_repeats: how often all of that comes, >= 1.
          row_keys: as in `BotsBatchSampler`.
          keep: likewise.
          whole_state: likewise.
        """
        batches = DrawnBatches(
            sampler, batch_size, row_keys=row_keys, keep=keep, whole=True
        )
        super().__init__(batches, num_batches, whole_state)
        self._repeats = checks.check_count("repeats", repeats)
        times = checks.check_count("batch_repeats", batch_repeats)
        self._per_batch = batches.batch_size * self._repeats * times
        self._rows: list[int] = []

    def _unit(self, batch: int, place: int) -> int:
        if not place or not self._rows:
            self._rows = self.batches.rows(self._first + batch)
        return self._rows[place // self._repeats % len(self._rows)]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `BotsBatchSampler.load_state_dict`, in the middle of a batch too."""
        super().load_state_dict(state)
        self._rows = []
