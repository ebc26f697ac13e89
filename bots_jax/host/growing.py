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
from bots_jax.types import TaskSelector


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
          references: floating [n, 2] in [0, 1], if the pool's tasks have references.
            Priors and targets that were given per task are those of the first one.
          groups: their labels, if the pool's tasks have groups.
          from_group: start from what the tasks of their group have shown (a Beta fitted
            to them, of concentration 64 at most), not from the prior. A group in which
            fewer than two tasks have shown anything gives the prior.

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
        if groups is None or not hasattr(self._state, "posterior"):
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

    def _widened(
        self, selector: TaskSelector, rows: np.ndarray, references: Any, start: Start
    ) -> Any:
        """The state with new tasks in some rows, on the devices."""
        plugin = getattr(self._state, "plugin", None)
        self._check_given("references", references, plugin is not None, len(rows))
        capacity, every = selector.num_tasks, None
        if references is not None:
            given = np.asarray(references)
            checks.check_references(given, len(rows))
            every = np.full((capacity, 2), 0.5, np.float32)
            every[rows] = given
        old_rows = np.flatnonzero(self._rows.exists)
        old = self._selector.placement.fetch_state(self.state, self._selector.num_tasks)
        fresh = selector.placement.fetch_state(selector.init(every), capacity)
        fresh = fresh._replace(eligible=np.ones(capacity, bool))
        fresh = jax.tree_util.tree_map_with_path(
            lambda path, leaf: _settings_of_first(path, leaf, rows), fresh
        )
        moved = carry(old, fresh, old_rows, old_rows, start)
        return selector.placement.put_state(moved, capacity)


def _settings_of_first(path: Any, leaf: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Gives new tasks the settings of the first, where those are given per task."""
    settings = {"prior_alpha", "prior_beta", "target_success_prob"}
    if is_per_task(path, leaf) and getattr(path[-1], "name", "") in settings:
        leaf = np.array(leaf)
        leaf[rows] = leaf[0]
    return leaf
