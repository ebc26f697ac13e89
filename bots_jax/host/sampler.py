"""The object for trainers without a jitted loop: select, observe, advance.

    batch = sampler.select(32)            # as often and as far ahead as you like
    sampler.observe(batch, rewards)       # from any thread, late, in parts, or never
    sampler.advance()                     # once per training step

A task is in flight from its draw until the step that applies its evidence, or until it
is `max_delay` steps old, and is not drawn again meanwhile. Evidence waits for
`advance`, which moves the posterior once, however many calls brought it. Evidence from
a draw d steps ago counts (1 - forgetting)^d, what would be left of it had it come in
time.

Keys are fold_in(key, number of the draw) and evidence is applied in order of rows, so
that results depend on what was called, not on which thread called first.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array

from bots_jax import checks, distributed
from bots_jax.host.feedback import (
    NO_GROUP,
    Feedback,
    Observed,
    count_rewards,
    hash_groups,
    total,
)
from bots_jax.host.groups import Groups
from bots_jax.host.keys import ABSENT, TaskKeys
from bots_jax.host.programs import Programs, make_programs, step_rows
from bots_jax.host.rows import NEVER, TaskRows
from bots_jax.placement import check_state, fetch, fetch_all
from bots_jax.types import State, TaskSelector

UNDRAWN = ("apply", "drop")
COUNTERS = (
    "drawn",
    "observed",
    "late",
    "too_late",
    "undrawn",
    "duplicates",
    "expired",
)


class SamplerCore:
    """Select, observe and advance; pools and files are added by its heirs."""

    def __init__(
        self,
        selector: TaskSelector,
        key: Array,
        state: State,
        *,
        task_keys: Sequence[Any] | np.ndarray | None = None,
        groups: Sequence[Any] | np.ndarray | None = None,
        max_delay: int = 64,
        undrawn: str = "apply",
    ):
        """Takes a selector's state over; it must not be used elsewhere afterwards.

        Args:
          selector: any selector, divided along a mesh or not.
          key: typed, of the whole life of this sampler.
          state: of the selector; tasks that are not eligible count as retired.
          task_keys: N distinct strings or integers of 64 bits, the tasks' names from
            now on; None for row numbers.
          groups: N labels, such as sources; only `add_tasks` reads them.
          max_delay: steps after which an unanswered draw is given up, evidence is too
            late, and a group id is forgotten; in [1, 10^6].
          undrawn: what to do with evidence for tasks that were not drawn within
            `max_delay` steps: "apply" it as if drawn now, or "drop" it. Evidence that
            comes with its own `drawn_at` is taken at its word.

        Raises:
          ValueError: naming the argument, the value received and what is allowed.
        """
        checks.check_key("key", key)
        checks.check_choice("undrawn", undrawn, UNDRAWN)
        self._lock = threading.RLock()
        self._max_delay = checks.check_count("max_delay", max_delay, 1, 10**6)
        self._undrawn = undrawn
        num_tasks = selector.num_tasks
        distributed.check_agreement("num_tasks", num_tasks, selector.placement.mesh)
        num_rows = selector.placement.shard(num_tasks).num_rows
        check_state(state, selector.name, num_rows)
        self._keys = TaskKeys(num_tasks, task_keys)
        self._groups = None if groups is None else Groups(num_tasks, groups)
        mask = fetch(state.eligible)
        is_scalar = np.ndim(mask) == 0
        mask = np.full(num_tasks, mask) if is_scalar else mask[:num_tasks]
        self._rows = TaskRows(mask)
        self._feedback = Feedback()
        self._key = key
        self._step = self._num_draws = 0
        self._counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
        self._use(selector, state)
        self._set_mask()

    def _use(self, selector: TaskSelector, state: State) -> None:
        """Takes a selector and a state of it."""
        if getattr(self, "_selector", None) is not selector:
            self._programs: Programs = make_programs(selector)
        self._selector, self._state = selector, state
        self._select_info = self._update_info = self._due = None

    def _set_mask(self) -> None:
        """Writes what the host knows of eligibility into the state."""
        self._catch_up()
        free = self._rows.eligible()
        count = np.int32(free.sum())
        placement, num_tasks = self._selector.placement, self._selector.num_tasks
        changed = {"eligible": free, "num_eligible": count}
        self._state = self._state._replace(**placement.put_state(changed, num_tasks))

    @property
    def selector(self) -> TaskSelector:
        """The selector; another one, of more tasks, after the pool has grown."""
        return self._selector

    @property
    def state(self) -> State:
        """The selector's state; gone after the next `select` or `advance`."""
        with self._lock:
            self._catch_up()
            return self._state

    @property
    def step(self) -> int:
        """The clock: how often `advance` was called."""
        return self._step

    @property
    def num_tasks(self) -> int:
        """Tasks in the pool, retired ones included."""
        with self._lock:
            return int(np.count_nonzero(self._rows.exists))

    def select(self, num_tasks: int | None = None) -> np.ndarray:
        """Chooses tasks, best first, and marks them as in flight.

        Args:
          num_tasks: k >= 1; the selector's batch size by default. Fewer are the best
            of a batch; more are several batches, each without those in flight.

        Returns:
          Keys of k distinct tasks, int32 row numbers if there are none; fewer than k
          if fewer may be chosen.

        Raises:
          ValueError: for a k that is not an integer >= 1.
        """
        batch_size = self._selector.batch_size
        wanted = batch_size if num_tasks is None else num_tasks
        wanted = checks.check_count("num_tasks", wanted)
        with self._lock:
            batches, found = [], 0
            while found < wanted:
                asked = min(batch_size, wanted - found)
                rows = self._draw(asked)
                self._rows.draw(rows, self._step)
                batches.append(rows)
                found += len(rows)
                if len(rows) < asked:
                    break
            self._counters["drawn"] += found
            return self._keys.at(np.concatenate(batches))

    def _draw(self, wanted: int) -> np.ndarray:
        numbers = np.array([self._num_draws, wanted], np.int32)
        self._num_draws += 1
        if self._due is None:
            self._state, taken, self._select_info = self._programs.draw(
                self._state, self._key, numbers
            )
        else:  # the step before goes along: one call costs less than two
            self._state, self._update_info, taken, self._select_info = (
                self._programs.learn_and_draw(
                    self._state, self._due, self._key, numbers
                )
            )
            self._due = None
        rows = np.asarray(taken)
        return rows[rows >= 0]

    def _catch_up(self) -> None:
        """Computes the step that was left to the next draw."""
        if self._due is not None:
            self._state, self._update_info = self._programs.learn(
                self._state, self._due
            )
            self._due = None

    def observe(
        self,
        task_ids: Any,
        rewards: Any,
        *,
        mask: Any = None,
        drawn_at: Any = None,
        group_ids: Any = None,
    ) -> int:
        """Takes what rollouts showed; it is applied by the next `advance`.

        Args:
          task_ids: keys of B tasks as `select` gave them, in any order; a task may
            repeat, its rollouts add up. Or the key of one task.
          rewards: in [0, 1]; [B, G], or [G] for one task, or [B], one rollout each.
          mask: bool, like rewards; False = leave this rollout out. A task without
            rollouts is only no longer in flight.
          drawn_at: the sampler's `step` when each task was drawn, int [] or [B]; the
            last draw by default.
          group_ids: B strings or integers. A row whose id was seen before, within
            `max_delay` steps, is ignored; parts of a group need ids of their own.

        Returns:
          How many of the rows will be applied.

        Raises:
          ValueError: for unknown keys, or values that do not fit. Then nothing of the
            call is applied.
        """
        keys, successes, failures = count_rewards(task_ids, rewards, mask)
        groups = np.full(len(keys), NO_GROUP, np.uint64)
        if group_ids is not None:
            groups = hash_groups(group_ids, len(keys))
        with self._lock:
            rows = self.rows_of(keys)
            steps = self._drawn_at(rows, drawn_at)
            undrawn = steps == NEVER
            steps = np.where(undrawn, self._step, steps)
            too_late = self._step - steps > self._max_delay
            keep = ~too_late if self._undrawn == "apply" else ~(too_late | undrawn)
            repeated = np.zeros(len(keep), bool)
            if group_ids is not None:
                counted = np.where(keep, groups, np.uint64(NO_GROUP))
                repeated = keep & ~self._feedback.are_new(counted)
                keep &= ~repeated
            self._count(undrawn=undrawn, too_late=too_late, duplicates=repeated)
            self._count(observed=keep, late=keep & (steps < self._step))
            observed = Observed(rows, successes, failures, steps, groups)
            self._feedback.add(observed.where(keep))
            return int(keep.sum())

    def rows_of(self, keys: Any) -> np.ndarray:
        """Finds the rows of tasks in the state's arrays; int32.

        Raises:
          ValueError: naming the first key that is not in the pool.
        """
        rows = self._keys.rows_of(keys)
        is_task = rows != ABSENT
        is_task[is_task] = self._rows.exists[rows[is_task]]
        if not is_task.all():
            place = int(np.argmin(is_task))
            raise ValueError(
                f"task_ids must be keys of the pool's {self.num_tasks} tasks, "
                f"got {keys[place]!r:.60} at index {place}."
            )
        return rows

    def _drawn_at(self, rows: np.ndarray, drawn_at: Any) -> np.ndarray:
        if drawn_at is None:
            return self._rows.drawn_at[rows]
        steps = np.asarray(drawn_at)
        checks.check_shape("drawn_at", steps, ((), rows.shape))
        checks.check_dtype("drawn_at", steps, (np.integer,), "integers")
        checks.check_in_range("drawn_at", steps, 0, self._step)
        return np.broadcast_to(steps, rows.shape).astype(np.int32)

    def _count(self, **flags: np.ndarray) -> None:
        for name, rows in flags.items():
            self._counters[name] += int(np.count_nonzero(rows))

    def advance(self) -> None:
        """Takes one step: forgets once, applies all that was observed since the last.

        Under a mesh over several processes all must call it, and each may have
        observed something else: evidence is made the same everywhere first.
        """
        with self._lock:
            self._catch_up()
            if distributed.spans_processes(self._selector.placement.mesh):
                every = distributed.gather_rows(self._feedback.waiting())
                left_out = self._feedback.replace(Observed(*every))
                self._counters["duplicates"] += left_out
            observed = self._feedback.take(self._step)
            rows, answers = self._rows, observed.drawn_at
            answered = observed.rows[rows.drawn_at[observed.rows] == answers]
            rows.in_flight[answered] = False
            keep = 1 - float(self._selector.forgetting)
            counts = total(observed, self._step, keep)
            self._step += 1
            oldest = self._step - self._max_delay
            self._feedback.forget_groups(oldest)
            lost = rows.expire(oldest)
            rows.in_flight[lost] = False
            self._counters["expired"] += len(lost)
            if len(lost):
                lost = lost[~np.isin(lost, counts.rows)]
            batch_size = self._selector.batch_size
            self._due = step_rows(counts, lost, rows.eligible, batch_size)

    def metrics(self) -> dict[str, float]:
        """Says what a person wants to see, as a flat dict of floats for a logger.

        `sampler/...` counts since the start (or the restored checkpoint's start),
        `select/...` and `update/...` tell of the last selection and step.
        """
        with self._lock:
            self._catch_up()
            rows = self._rows
            flat = {f"sampler/{name}": float(x) for name, x in self._counters.items()}
            flat["sampler/step"] = float(self._step)
            flat["sampler/capacity"] = float(rows.capacity)
            count = lambda flags: float(np.count_nonzero(flags))  # noqa: E731
            flat["sampler/tasks"] = count(rows.exists)
            flat["sampler/retired"] = count(rows.retired & rows.exists)
            flat["sampler/in_flight"] = count(rows.in_flight)
            flat["sampler/waiting"] = float(self._feedback.num_waiting)
            infos = (("select", self._select_info), ("update", self._update_info))
            for kind, info in infos:
                if info is not None:
                    values = map(float, fetch_all(tuple(info)))
                    names = (f"{kind}/{name}" for name in info._fields)
                    flat.update(zip(names, values, strict=True))
            return flat

    def posterior(self, task_ids: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Copies alpha and beta of tasks to the host; float32 [n] each.

        Args:
          task_ids: keys; all tasks of the pool, in order of rows, by default.
        """
        with self._lock:
            if task_ids is None:
                rows = np.flatnonzero(self._rows.exists)
            else:
                rows = self.rows_of(task_ids)
            alpha, beta = self._programs.posterior(self.state)
            return fetch(alpha)[rows], fetch(beta)[rows]

    def task_ids(self) -> np.ndarray:
        """The keys of all tasks of the pool, in order of rows."""
        with self._lock:
            return self._keys.at(np.flatnonzero(self._rows.exists))
