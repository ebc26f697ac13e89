"""Pools that change: tasks that come, retire, come back, or go for good."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from bots_jax import checks
from bots_jax.host.carry import Start, at_rows, carry
from bots_jax.host.groups import Belief, group_belief
from bots_jax.host.keys import check_listed
from bots_jax.host.sampler import SamplerCore
from bots_jax.placement import fetch, is_per_task
from bots_jax.shard import Shard
from bots_jax.types import RemakeFn, TaskSelector


class GrowingSampler(SamplerCore):
    """A sampler whose pool may change without compiling anew each time.

    The state has a capacity of C rows, of which some hold no task and are never chosen.
    Where new tasks do not fit, C at least doubles, and the next calls compile once.
    """

    def retire_tasks(self, task_ids: Any) -> None:
        """Stops choosing tasks; what is believed of them is kept and still learnt.

        Args:
          task_ids: keys of tasks.

        Raises:
          ValueError: for an unknown key; then nothing is changed.
        """
        self._set_retired(task_ids, True)

    def readmit_tasks(self, task_ids: Any) -> None:
        """Lets retired tasks be chosen again.

        Args:
          task_ids: keys of tasks.

        Raises:
          ValueError: for an unknown key; then nothing is changed.
        """
        self._set_retired(task_ids, False)

    def _set_retired(self, task_ids: Any, value: bool) -> None:
        with self._lock:
            self._rows.retired[self.rows_of(task_ids)] = value
            self._set_mask()

    def remove_tasks(self, task_ids: Any) -> None:
        """Takes tasks out of the pool for good, with what is believed of them.

        Their rows go to tasks that are added later. Evidence for them that waits is
        dropped, later evidence is for an unknown key.

        Args:
          task_ids: keys of tasks, which must have names.

        Raises:
          ValueError: for an unknown key, or a pool without names, in which a row
            number would come to mean another task; then nothing is changed.
        """
        with self._lock:
            if not self._keys.has_names:
                raise ValueError(
                    "remove_tasks needs task_keys, since rows are used again; "
                    "retire_tasks works without."
                )
            rows = np.unique(self.rows_of(task_ids))
            self._keys.remove(rows)
            self._rows.empty(rows)
            self._feedback.drop(rows)
            self._set_mask()

    def add_tasks(
        self,
        task_keys: Sequence[Any] | np.ndarray | None = None,
        *,
        num_tasks: int | None = None,
        references: Any = None,
        groups: Sequence[Any] | np.ndarray | None = None,
        from_group: bool = False,
    ) -> np.ndarray:
        """Puts new tasks into the pool.

        Args:
          task_keys: their names, if the pool's tasks have names.
          num_tasks: how many, if they have none; they get the next row numbers.
          references: floating [n, M] in [0, 1], if the pool's tasks have references of
            M models. All else that was given per task when the selector was made
            (priors, targets, token costs, quota groups, features) is that of its first
            task; nobody is their neighbour.
          groups: their labels, if the pool's tasks have groups.
          from_group: start from what the tasks of their group have shown (a Beta fitted
            to them, of concentration 64 at most), not from the prior. A group in which
            fewer than two tasks have shown anything gives the prior. Only for `bots`,
            whose state holds alpha and beta; `adaptive` has `plugins.group_prior`.

        Returns:
          Their keys.

        Raises:
          ValueError: naming what is missing, superfluous or wrong; then nothing is
            changed.
        """
        with self._lock:
            number = self._number_of_new(task_keys, num_tasks)
            self._check_given("groups", groups, self._groups is not None, number)
            if from_group and self._groups is None:
                raise ValueError("from_group needs a sampler with groups, got none.")
            if from_group and not hasattr(self._state, "posterior"):
                raise ValueError(
                    "from_group needs a selector whose state holds alpha and beta, as "
                    f"that of bots, got {self._selector.name!r}."
                )
            rows = self._rows.take_empty(number)
            capacity = self._rows.capacity
            if rows[-1] >= capacity:
                needed = 1 << int(rows[-1]).bit_length()
                capacity = max(needed, 2 * capacity)
            start = self._start_of(rows, groups if from_group else None)
            selector = self._remade(capacity)
            state = self._widened(selector, rows, references, start)
            self._keys.add(task_keys, rows)
            if self._groups is not None and groups is not None:
                self._groups.add(groups, rows)
            self._rows.grow(capacity)
            self._rows.fill(rows)
            if selector is self._selector:
                self._state = state
            else:
                self._use(selector, state)
            self._set_mask()
            return self._keys.at(rows)

    def _number_of_new(self, task_keys: Any, num_tasks: int | None) -> int:
        if self._keys.has_names:
            if task_keys is None or num_tasks is not None:
                raise ValueError("add_tasks needs task_keys, and no num_tasks, here.")
            check_listed("task_keys", task_keys)
            return checks.check_count("the number of task_keys", len(task_keys))
        if task_keys is not None or num_tasks is None:
            raise ValueError(
                "add_tasks needs num_tasks, and no task_keys, since the pool has none."
            )
        return checks.check_count("num_tasks", num_tasks)

    def _check_given(self, name: str, given: Any, wanted: bool, number: int) -> None:
        if (given is not None) != wanted:
            what = "must be given, as" if wanted else "must not be given,"
            raise ValueError(
                f"{name} {what} the pool's tasks have {'' if wanted else 'no '}{name}."
            )
        if wanted and np.ndim(given) == 0:
            raise ValueError(f"{name} must be of {number} tasks, got {given!r:.60}.")
        if wanted and len(given) != number:
            raise ValueError(f"{name} must be of {number} tasks, got {len(given)}.")

    def _remade(self, capacity: int) -> TaskSelector:
        """The same rule for so many rows."""
        if capacity == self._selector.num_tasks:
            return self._selector
        if self._selector.remake is None:
            raise ValueError(
                f"selector {self._selector.name!r} cannot grow: it has remake=None."
            )
        return self._selector.remake(Shard(capacity))

    def _start_of(self, rows: np.ndarray, groups: Any) -> Start:
        zero = np.zeros(len(rows), np.float32)
        start = Start(rows, zero, zero.copy())  # raised to the prior
        if groups is None:
            return start
        assert self._groups is not None
        alpha, beta = map(fetch, self._programs.posterior(self.state))
        posterior = self._state.posterior
        own = {"prior_alpha": posterior.prior_alpha, "prior_beta": posterior.prior_beta}
        placement, num_tasks = self._selector.placement, self._selector.num_tasks
        priors = placement.fetch_state(own, num_tasks)
        for label in set(groups):
            peers = self._groups.rows_of(label)
            peers = peers[self._rows.exists[peers]]
            prior = Belief(*(at_rows(x, peers) for x in priors.values()))
            belief = group_belief(prior, alpha[peers], beta[peers])
            if belief is not None:
                here = np.array([other == label for other in groups])
                start.alpha[here], start.beta[here] = belief
        return start

    def _fresh_state(self) -> Any:
        """The state at the start, on the host, with references of 0.5."""
        given = np.zeros((0, num_references(self._selector, self._state)), np.float32)
        return _fresh(self._selector, np.arange(0), given)

    def _widened(
        self, selector: TaskSelector, rows: np.ndarray, references: Any, start: Start
    ) -> Any:
        """The state with new tasks in some rows, on the devices."""
        columns = num_references(self._selector, self._state)
        self._check_given("references", references, columns > 0, len(rows))
        given = np.full((len(rows), columns), 0.5, np.float32)
        if references is not None:
            given = np.asarray(references)
            checks.check_shape("references", given, ((len(rows), columns),))
            checks.check_dtype("references", given, (np.floating,), "floating point")
            checks.check_in_range("references", given, 0.0, 1.0)
        old_rows = np.flatnonzero(self._rows.exists)
        old = self._selector.placement.fetch_state(self.state, self._selector.num_tasks)
        fresh = _fresh(selector, rows, given)
        fresh = fresh._replace(eligible=np.ones(selector.num_tasks, bool))
        if selector.remake is not None:
            settle = lambda path, leaf, new: _settled(path, leaf, new, rows)  # noqa: E731
            newcomers = _newcomers(selector.remake, selector.batch_size, given)
            fresh = jax.tree_util.tree_map_with_path(settle, fresh, newcomers)
        moved = carry(old, fresh, old_rows, old_rows, start)
        return selector.placement.put_state(moved, selector.num_tasks)


def num_references(selector: TaskSelector, state: Any) -> int:
    """Counts the columns of references that new tasks must come with.

    Example:
      >>> import bots_jax
      >>> selector = bots_jax.bots(num_tasks=4, batch_size=2)
      >>> state = selector.init(np.full((4, 2), 0.5))
      >>> num_references(selector, state), num_references(selector, selector.init())
      (2, 0)
    """
    if getattr(state, "plugin", None) is not None:  # bots: a weak and a strong model
        return 2
    return selector.num_references


def _fresh(selector: TaskSelector, rows: np.ndarray, given: np.ndarray) -> Any:
    """A fresh state on the host, with the references of the tasks in some rows."""
    every = None
    if given.shape[1]:
        every = np.full((selector.num_tasks, given.shape[1]), 0.5, np.float32)
        every[rows] = given
    return selector.placement.fetch_state(selector.init(every), selector.num_tasks)


def _newcomers(remake: RemakeFn, batch_size: int, given: np.ndarray) -> Any:
    """A fresh state whose last rows are new tasks, with the settings of the first.

    A selector that is cut to few tasks and then made larger continues what was given
    per task with its first row.
    """
    few = max(batch_size, given.shape[1])
    more = 1 << (len(given) - 1).bit_length()  # few lengths, few programs
    cut = remake(Shard(few))
    assert cut.remake is not None
    rows = few + more - len(given) + np.arange(len(given))
    return _fresh(cut.remake(Shard(few + more)), rows, given)


_BY_ROW = frozenset({"loadings", "place"})
"""Per-task fields that start as a function of the row, or of the whole pool."""


def _settled(
    path: Any, leaf: np.ndarray, newcomers: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """Puts new tasks into their rows."""
    if is_per_task(path, leaf) and getattr(path[-1], "name", "") not in _BY_ROW:
        if np.ndim(newcomers):
            leaf = np.array(leaf)
            leaf[rows] = newcomers[-len(rows) :]
    return leaf
