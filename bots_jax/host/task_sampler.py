"""The sampler as users have it: all of it can be saved, and restored elsewhere."""

import os
import pathlib
from typing import Any

import jax
import numpy as np

from bots_jax import distributed
from bots_jax.checkpoint import Checkpoints
from bots_jax.checkpoint_tree import Saved, to_host
from bots_jax.host.carry import GRAPH, Carried, Start, carry, unlearnt
from bots_jax.host.groups import Groups
from bots_jax.host.growing import GrowingSampler
from bots_jax.host.keys import set_fingerprint
from bots_jax.host.sampler import COUNTERS
from bots_jax.host.saved import FORMAT, checked
from bots_jax.placement import is_per_task

_FINGERPRINT = "bots_jax.TaskSampler"


class TaskSampler(GrowingSampler):
    """Chooses tasks for trainers without a jitted loop; thread-safe.

    Example:
      >>> import bots_jax
      >>> selector = bots_jax.bots(num_tasks=100, batch_size=4)
      >>> sampler = TaskSampler(selector, jax.random.key(0), selector.init())
      >>> batch = sampler.select()
      >>> sampler.observe(batch, np.ones((4, 8)))
      4
      >>> sampler.advance()
      >>> sampler.metrics()["update/success_rate"], sampler.step
      (1.0, 1)
    """

    _checkpoints: Checkpoints | None = None
    _saves_to: tuple[pathlib.Path, int | None] | None = None

    def state_dict(self) -> dict[str, Any]:
        """Copies everything that the next call needs to the host.

        Returns:
          "arrays": names to NumPy arrays, and "extra": a dict that JSON can hold.
        """
        return self._snapshot(copy=True)

    def _snapshot(self, copy: bool) -> dict[str, Any]:
        with self._lock:
            placement, capacity = self._selector.placement, self._rows.capacity
            tree = {
                "state": placement.fetch_state(self.state, capacity, copy),
                "rows": self._rows.arrays(),
                "feedback": self._feedback.arrays(),
                "key": np.asarray(jax.random.key_data(self._key)),
            }
            if self._keys.has_names:
                hashes = np.zeros(capacity, np.uint64)
                rows = np.flatnonzero(self._rows.exists)
                hashes[rows] = self._keys.hashes(rows)
                tree["keys"] = hashes
            extra = {
                "format": FORMAT,
                "selector": self._selector.name,
                "key_impl": str(jax.random.key_impl(self._key)),
                "capacity": capacity,
                "num_rows": self._keys.num_rows,
                "task_set": self.fingerprint(),
                "step": self._step,
                "num_draws": self._num_draws,
                "counters": dict(self._counters),
            }
            if self._groups is not None:
                extra["groups"] = self._groups.labels.tolist()
            stored = to_host(tree, copy=False)
            return {"arrays": {n: x.array for n, x in stored.items()}, "extra": extra}

    def fingerprint(self) -> str:
        """Hashes the set of tasks, whatever their order.

        Where tasks have no names it is their number.
        """
        with self._lock:
            rows = np.flatnonzero(self._rows.exists)
            hashes = self._keys.hashes(rows)
            return set_fingerprint(hashes, self._keys.has_names)

    def load_state_dict(self, saved: dict[str, Any], remap: bool = False) -> Carried:
        """Goes on from what `state_dict` gave, on any number of devices.

        Args:
          saved: of a sampler over the same tasks, in any order, with the same rule.
          remap: carry over what is known of tasks that both have, where the tasks are
            not the same; others start as they do in this sampler, which also says who
            is whose neighbour.

        Returns:
          How many tasks were kept, dropped and new.

        Raises:
          ValueError: with one sentence, if the tasks or the rule are not the same, or
            it is not a state that this code has written; then nothing is changed.
        """
        arrays, extra = checked(saved)
        with self._lock:
            loaded = self._loaded(arrays, extra)
            hashes = self._hashes_in(arrays)
            if extra["task_set"] == self.fingerprint():
                return self._continue(loaded, arrays, extra, hashes)
            if not remap:
                raise ValueError(
                    f"the state saved is of {len(hashes[0])} tasks that are not the "
                    f"{self.num_tasks} of this sampler; remap=True carries over what "
                    "is known of those that both have."
                )
            return self._remap(loaded, arrays, extra, hashes)

    def save(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int | None = 3,
        wait: bool = True,
    ) -> None:
        """Saves a checkpoint numbered by `step`, whole or not at all.

        From the first save on this sampler is the only writer of the directory, until
        `close`. In several processes all must call it; the first one writes.

        Args:
          directory: where checkpoints lie; made if it is not there.
          keep: how many of the newest stay; None for all.
          wait: False to write in the background. What goes wrong there is raised by
            the next `save` or by `close`, which wait for it.

        Raises:
          OSError: with one sentence, if the disk is full; earlier ones are kept.
          BlockingIOError: naming the other writer, if there is one.
        """
        with self._lock:
            saved = self._snapshot(copy=False)
            spans = distributed.spans_processes(self._selector.placement.mesh)
            try:
                if not spans or jax.process_index() == 0:
                    place = pathlib.Path(directory).absolute()
                    checkpoints = self._opened(place, keep)
                    checkpoints.save(self._step, saved["arrays"], saved["extra"])
                    if wait:
                        checkpoints.wait()
            finally:
                if spans and wait:
                    distributed.wait_for_all()

    def _opened(self, directory: pathlib.Path, keep: int | None) -> Checkpoints:
        if self._checkpoints is None or self._saves_to != (directory, keep):
            self.close()
            self._checkpoints = Checkpoints(
                directory, _FINGERPRINT, keep, asynchronous=True
            )
            self._saves_to = directory, keep
        return self._checkpoints

    def close(self) -> None:
        """Waits for a save in the background, and lets another writer in."""
        with self._lock:
            checkpoints, self._checkpoints = self._checkpoints, None
            if checkpoints is not None:
                checkpoints.close()

    def __enter__(self) -> "TaskSampler":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def restore(
        self, directory: str | os.PathLike[str], remap: bool = False
    ) -> Carried:
        """Goes on from the newest checkpoint that is whole.

        Args:
          directory: where `save` has put it.
          remap: as in `load_state_dict`.

        Returns:
          How many tasks were kept, dropped and new.

        Raises:
          FileNotFoundError: if no checkpoint is there that can be read.
          ValueError: as `load_state_dict`.
        """
        saved = Checkpoints(directory, _FINGERPRINT).read_latest()
        if saved is None:
            raise FileNotFoundError(f"no checkpoint of a sampler in {directory}.")
        state = {"arrays": saved.arrays, "extra": saved.extra}
        return self.load_state_dict(state, remap)

    def _loaded(self, arrays: dict[str, np.ndarray], extra: dict[str, Any]) -> Any:
        """The selector's state that was saved, with NumPy leaves."""
        if extra["selector"] != self._selector.name:
            raise ValueError(
                f"the state saved is of selector {extra['selector']!r}, this one is "
                f"{self._selector.name!r}."
            )
        capacity = extra["capacity"]

        def wanted(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            rows = (capacity,) if is_per_task(path, leaf) else leaf.shape[:1]
            return jax.ShapeDtypeStruct((*rows, *leaf.shape[1:]), leaf.dtype)

        template = jax.tree_util.tree_map_with_path(wanted, self._state)
        try:
            return Saved(0, arrays, {}, "").tree(template, "state")
        except ValueError as error:
            raise ValueError(
                "the state saved is of a selector with other settings (engine, "
                f"references, settings per task): {error}"
            ) from None

    def _hashes_in(
        self, arrays: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the tasks saved, and their rows."""
        if ("keys" in arrays) != self._keys.has_names:
            has = "has" if "keys" in arrays else "has no"
            raise ValueError(
                f"the state saved {has} task_keys, and this sampler "
                f"{'has' if self._keys.has_names else 'has none'}."
            )
        rows = np.flatnonzero(arrays["rows/exists"])
        if self._keys.has_names:
            return arrays["keys"][rows], rows
        return rows.astype(np.uint64), rows

    def _continue(
        self,
        state: Any,
        arrays: dict[str, np.ndarray],
        extra: dict[str, Any],
        hashes: tuple[np.ndarray, np.ndarray],
    ) -> Carried:
        """Takes over all of it; rows are those of the state saved."""
        found, rows = hashes
        selector = self._remade(extra["capacity"])
        if self._keys.has_names:
            mine = np.flatnonzero(self._rows.exists)
            order = _match(self._keys.hashes(mine), found)
            if self._groups is not None:
                labels, self._groups = self._groups.labels[mine][order], Groups(0, [])
                self._groups.add(labels.tolist(), rows)
            self._keys.put(self._keys.at(mine)[order], rows)
        else:
            self._keys.resize(extra["num_rows"])
        if self._groups is not None and "groups" in extra:
            self._groups = Groups(len(extra["groups"]), extra["groups"])
        self._rows.load(_part(arrays, "rows"))
        self._feedback.load(_part(arrays, "feedback"))
        self._take_clock(arrays, extra)
        placed = selector.placement.put_state(state, selector.num_tasks)
        self._use(selector, placed)
        self._set_mask()
        return Carried(len(rows), 0, 0)

    def _remap(
        self,
        state: Any,
        arrays: dict[str, np.ndarray],
        extra: dict[str, Any],
        hashes: tuple[np.ndarray, np.ndarray],
    ) -> Carried:
        """Takes over what is known of tasks that both have."""
        selector = self._selector
        found, rows = hashes
        mine = np.flatnonzero(self._rows.exists)
        match = _match(found, self._keys.hashes(mine), missing=-1)
        kept = match >= 0
        old_rows, new_rows = rows[match[kept]], mine[kept]
        fresh = unlearnt(
            selector.placement.fetch_state(self.state, selector.num_tasks),
            self._fresh_state(),
        )
        new = mine[~kept].astype(np.int32)
        start = np.zeros(len(new), np.float32)
        begin = Start(new, start, start)
        moved = carry(state, fresh, old_rows, new_rows, begin, stays=GRAPH)
        where = np.full(extra["capacity"], -1, np.int32)
        where[old_rows] = new_rows
        self._rows.load(self._moved_rows(arrays, where))
        self._feedback.load(_part(arrays, "feedback"))
        self._feedback.move(where)
        self._take_clock(arrays, extra)
        placed = selector.placement.put_state(moved, selector.num_tasks)
        self._state = placed
        self._set_mask()
        num_kept = int(kept.sum())
        return Carried(num_kept, len(rows) - num_kept, len(new))

    def _moved_rows(
        self, arrays: dict[str, np.ndarray], where: np.ndarray
    ) -> dict[str, np.ndarray]:
        """What was known of the rows saved, where[i] being the row of i here, or -1."""
        retired = self._rows.retired.copy()
        retired[where[where >= 0]] = arrays["rows/retired"][where >= 0]
        drawn = where[arrays["rows/drawn"]]
        stays = drawn >= 0
        return {
            "exists": self._rows.exists,
            "retired": retired,
            "drawn": drawn[stays],
            "drawn_at": arrays["rows/drawn_at"][stays],
            "drawn_in_flight": arrays["rows/drawn_in_flight"][stays],
        }

    def _take_clock(self, arrays: dict[str, Any], extra: dict[str, Any]) -> None:
        self._step, self._num_draws = extra["step"], extra["num_draws"]
        self._counters = {name: extra["counters"][name] for name in COUNTERS}
        self._key = jax.random.wrap_key_data(arrays["key"], impl=extra["key_impl"])
        self._select_info = self._update_info = None


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return Saved(0, arrays, {}, "").part(prefix)


def _match(
    hashes: np.ndarray, wanted: np.ndarray, missing: int | None = None
) -> np.ndarray:
    """Finds where each wanted hash stands.

    Args:
      hashes: uint64 [n], distinct.
      wanted: uint64 [m].
      missing: stands for those that are not there, if that is allowed.

    Returns:
      int64 [m].
    """
    if not len(hashes):
        return np.full(len(wanted), missing if missing is not None else 0)
    order = np.argsort(hashes, kind="stable")
    at = np.minimum(np.searchsorted(hashes, wanted, sorter=order), len(hashes) - 1)
    place = order[at]
    if missing is not None:
        place = np.where(hashes[place] == wanted, place, missing)
    return place
