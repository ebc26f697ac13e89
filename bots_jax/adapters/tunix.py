"""Tunix trains on tasks that are chosen as it goes; nothing of it is changed.

    bots = tunix.attach(cluster, sampler, rows, success=0.5, reward="correct")
    learner = GRPOLearner(
        rl_cluster=cluster,
        reward_fns=[correct, well_formed],
        metric_fns=[bots.metrics],
        algo_config=GRPOConfig(num_generations=16, reward_manager=bots.reward_manager),
    )
    learner.train(bots)

What is chosen stands in the column "task_id", which Tunix hands to the reward manager
beside the rollouts. The reward manager comes from Tunix's own registry and knows
whether it is called for training: rewards of an evaluation are never learnt from. The
same lines serve the agentic learner, whose groups come one by one from a thread of its
own, out of order and late.

One step of the sampler is one batch: B groups that were answered, however many calls,
micro-batches, mini-batches or iterations Tunix makes of them.

MaxText trains through Tunix (read, not run): between the lines of its script that make
the cluster and the learner,

    names = ("prompts", "question", "answer")
    columns = {name: [row[name] for row in rows] for name in names}
    bots = tunix.attach(rl_cluster, sampler, columns, success=solved)
    grpo_config.reward_manager = bots.reward_manager

where `rows` are those of its data set before it is repeated and batched, as a list,
`solved` is the sum of rewards from which on an answer counts as right, and `bots` is
then given to `rl_trainer.train` in place of the data set.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from bots_jax import checks
from bots_jax.adapters import tunix_checkpoints, tunix_rewards
from bots_jax.adapters.common import Success, group_rows, to_success
from bots_jax.host.keys import TaskKeys

COLUMN = "task_id"
"""The column that carries the tasks' keys through Tunix."""

_TAKEN = (COLUMN, "trajectory_ids", "trajectory_rewards", "mode", "completions")


class RowTable(Protocol):
    """As much of a table of tasks as is read."""

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def rows_of(self, keys: Any, /) -> np.ndarray:
        """Row numbers of keys."""
        ...

    def texts(self, rows: Any, /) -> list[str]:
        """Prompts of rows."""
        ...

    def answers(self, rows: Any, /) -> list[Any]:
        """Answers of rows."""
        ...


Rows = Callable[[np.ndarray], Mapping[str, Any]] | Mapping[str, Any] | RowTable
"""From keys to columns, "prompts" among them; or the columns of all tasks; or a table
with `rows_of`, `texts` and `answers`."""


def attach(
    cluster: Any,
    sampler: Any,
    rows: Rows,
    *,
    success: Success = None,
    reward: str | None = None,
    base: str | None = None,
    directory: str | None = None,
    missing: str = "raise",
) -> "TunixTasks":
    """Makes Tunix train on what a sampler selects.

    Where Tunix has restored a checkpoint, the sampler goes on from the state that it
    had at that step. Where Tunix saves one, the sampler's is saved beside it. Call it
    after the cluster and before the learner is made, in every process.

    Args:
      cluster: an RLCluster (RLEngine in later versions), not yet trained on.
      sampler: a `TaskSampler`; its selector's batch size is that of Tunix.
      rows: see `Rows`. Columns other than "prompts" reach the reward functions, as
        those of any data set of Tunix do. All are one-dimensional.
      success: a threshold on the reward, or a function of an array of rewards to
        successes in [0, 1]; None if rewards are in [0, 1] as they are. Without `reward`
        it is about the sum over all reward functions, bonuses for a format included.
      reward: name of the one reward function that says what is solved, or
        "trajectory_rewards" for the environment's in agentic training.
      base: name of the registered reward manager to make the rewards; by default the
        one that the learner would have had.
      directory: where the sampler's checkpoints lie; by default the folder "bots" in
        Tunix's checkpoint_root_directory. A local path, seen by all processes.
      missing: what to do where Tunix has restored a step of which the sampler has no
        checkpoint: "raise", or "start" with the sampler as it is.

    Returns:
      The data set, the name of the reward manager and the metric function.

    Raises:
      ModuleNotFoundError: where Tunix is not installed.
      FileNotFoundError: if there is no checkpoint of the sampler for Tunix's step.
      ValueError: for rows that do not fit, or a checkpoint of other tasks.
    """
    checks.check_choice("missing", missing, ("raise", "start"))
    tasks = TunixTasks(sampler, rows, success=success, reward=reward)
    tasks.reward_manager = tunix_rewards.register(tasks, base)
    trainer, config = cluster.actor_trainer, cluster.cluster_config.training_config
    place = tunix_checkpoints.folder(config.checkpoint_root_directory, directory)
    if trainer.train_steps:
        if place is None:
            raise ValueError("Tunix has restored a checkpoint from an unknown place.")
        tunix_checkpoints.restore(tasks, place, trainer.train_steps, missing)
    if place is not None:
        tunix_checkpoints.follow(tasks, trainer, place)
    micro = config.train_micro_batch_size or config.mini_batch_size
    tasks.skip_like(cluster, micro or tasks.batch_size)
    return tasks


class TunixTasks:
    """The data set for Tunix: each batch is drawn when Tunix asks for it. Thread-safe.

    `attach` makes it. On its own it needs no Tunix.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=100, batch_size=2)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> rows = {"prompts": [f"{n} + 1 =" for n in range(100)]}
      >>> tasks = TunixTasks(sampler, rows, success=0.5)
      >>> batch = next(iter(tasks))
      >>> sorted(batch), batch["task_id"].shape
      (['prompts', 'task_id'], (2,))
      >>> for task_id in batch["task_id"]:  # a group at a time
      ...     tasks.observe(np.repeat(task_id, 4), [1.1, 0.1, 0.1, float("nan")])
      >>> sampler.step
      1
    """

    reward_manager: str = ""
    """Its name in Tunix's registry, for `algo_config`."""

    def __init__(
        self,
        sampler: Any,
        rows: Rows,
        *,
        success: Success = None,
        reward: str | None = None,
    ):
        """Takes a sampler over; see `attach` for the arguments."""
        self.sampler = sampler
        self.reward = reward
        self.batch_size: int = sampler.selector.batch_size
        self.is_agentic = False
        self.num_managers = 0
        self.fingerprint = getattr(rows, "fingerprint", None)
        self._rows = as_rows(sampler, rows)
        self._success = success
        self._lock = threading.RLock()
        self._open: dict[Any, None] = {}
        self._again: list[Any] = []
        self._num_answered = 0
        self._rows_to_skip: Callable[[], int] = lambda: 0
        self._wants_metrics, self._last_metrics = False, {}

    def skip_like(self, cluster: Any, micro_batch_size: int) -> None:
        """Answers the calls that Tunix throws away after a restart without drawing.

        The GRPO learner throws away as many micro-batches as its trainer has seen, the
        agentic one as many batches as there were global steps.
        """
        seen = [cluster.actor_trainer.iter_steps * micro_batch_size]

        def rows_to_skip() -> int:
            if self.is_agentic:
                return cluster.global_steps * self.batch_size
            return seen.pop() if seen else 0

        self._rows_to_skip = rows_to_skip

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """Yields batches of columns without end.

        Raises:
          ValueError: if fewer tasks may be drawn than a batch holds.
        """
        if self.reward_manager and not self.num_managers:
            raise ValueError(
                "no learner has been made with this reward manager, so that no reward "
                "would be seen: set reward_manager=bots.reward_manager in algo_config."
            )
        return self._batches(self._rows_to_skip())

    def _batches(self, num_skipped: int) -> Iterator[dict[str, np.ndarray]]:
        filler = self.sampler.task_ids()[:1].tolist() if num_skipped else []
        skipped = None
        while num_skipped >= self.batch_size:
            if skipped is None:
                skipped = self._pack(filler * self.batch_size)
            num_skipped -= self.batch_size
            yield skipped
        ids = self._draw(filler * num_skipped)
        while True:
            yield self._pack(ids)
            ids = self._draw([])

    def _draw(self, ids: list[Any]) -> Any:
        """Fills a batch up: what was drawn before a restart first, then new tasks."""
        with self._lock:
            size = self.batch_size - len(ids)
            again, self._again = self._again[:size], self._again[size:]
            self._open.update(dict.fromkeys(again))
            if size == len(again):
                return ids + again
            drawn = self.sampler.select(size - len(again))
            if len(drawn) < size - len(again):
                raise ValueError(
                    f"a batch needs {size - len(again)} more tasks, but only "
                    f"{len(drawn)} of the {self.sampler.num_tasks} are eligible and "
                    "not in flight."
                )
            self._open.update(dict.fromkeys(drawn.tolist()))
            if self._wants_metrics:
                self._last_metrics = self.sampler.metrics()
        return ids + again + drawn.tolist() if ids or again else drawn

    def _pack(self, task_ids: Any) -> dict[str, np.ndarray]:
        ids = _column(COLUMN, task_ids, len(task_ids))
        found = self._rows(ids)
        if not isinstance(found, Mapping) or "prompts" not in found:
            got = sorted(found) if isinstance(found, Mapping) else type(found).__name__
            raise ValueError(f"rows must give a dict with 'prompts', got {got}.")
        taken = [name for name in _TAKEN if name in found]
        if taken:
            raise ValueError(
                f"rows must not give a column {taken[0]!r}: it is Tunix's."
            )
        batch = {name: _column(name, found[name], len(ids)) for name in found}
        return batch | {COLUMN: ids}

    def observe(self, task_ids: Any, rewards: Any) -> None:
        """Takes the rewards of whole groups; the reward manager calls it in training.

        Args:
          task_ids: [R], one key per rollout, in any order.
          rewards: [R]; NaN was not evaluated.

        Raises:
          ValueError: for unknown keys, or rewards that `success` does not make a
            success or a failure; then nothing is changed.
        """
        values, mask = to_success(rewards, self._success)
        keys, grouped, kept = group_rows(task_ids, values, mask)
        if not keys:
            return
        with self._lock:
            self.sampler.observe(keys, grouped, mask=kept)
            for key in keys:
                self._open.pop(key, None)
            self._num_answered += len(keys)
            while self._num_answered >= self.batch_size:
                self._num_answered -= self.batch_size
                self.sampler.advance()

    def metrics(self, **columns: Any) -> dict[str, tuple[float, Any]]:
        """Tells Tunix's logger of the selection; one of `metric_fns`.

        Args:
          **columns: what Tunix passes, "task_id" and "advantages" among them.

        Returns:
          "bots/zero_advantage_groups", the share of groups that teach nothing, and what
          `TaskSampler.metrics` said after the last draw.
        """
        if COLUMN not in columns:  # an evaluation on other data
            return {}
        _, place = np.unique(np.asarray(columns[COLUMN]), return_inverse=True)
        size = np.abs(np.asarray(columns["advantages"]).reshape(len(place), -1)).max(1)
        largest = np.zeros(place.max() + 1)
        np.maximum.at(largest, place, size)
        self._wants_metrics = True
        said = {"zero_advantage_groups": float((largest < 1e-8).mean())}
        said |= self._last_metrics
        return {f"bots/{name}": (value, np.mean) for name, value in said.items()}

    def state_dict(self) -> dict[str, Any]:
        """Copies what goes into a checkpoint: the sampler, and what is under way."""
        with self._lock:
            saved = self.sampler.state_dict()
            saved["extra"] = {
                "sampler": saved["extra"],
                "open": [*self._open, *self._again],
                "num_answered": self._num_answered,
                "fingerprint": self.fingerprint,
            }
            return saved

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Goes on from what `state_dict` gave; what was not answered comes again.

        Raises:
          ValueError: for a state of other tasks, or of rows that have changed.
        """
        extra = saved["extra"]
        if extra["fingerprint"] != self.fingerprint:
            raise ValueError(
                "the rows are not those of the checkpoint: their fingerprint was "
                f"{extra['fingerprint']}, now it is {self.fingerprint}."
            )
        with self._lock:
            state = {"arrays": saved["arrays"], "extra": extra["sampler"]}
            self.sampler.load_state_dict(state)
            self._again, self._open = list(extra["open"]), {}
            self._num_answered = extra["num_answered"]


def as_rows(sampler: Any, rows: Rows) -> Callable[[np.ndarray], Mapping[str, Any]]:
    """Makes one function of what users have: a function, columns, or a table.

    Args:
      sampler: whose tasks they are.
      rows: see `Rows`; columns are in the order of `sampler.task_ids()`.

    Returns:
      A function of keys [B] to columns of B.

    Raises:
      ValueError: for columns of another length, or for something else.

    Example:
      >>> import jax, bots_jax
      >>> selector = bots_jax.bots(num_tasks=3, batch_size=2)
      >>> sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
      >>> as_rows(sampler, {"prompts": ["a", "b", "c"]})(np.array([2, 0]))
      {'prompts': array(['c', 'a'], dtype='<U1')}
    """
    if isinstance(rows, Mapping):
        keys = sampler.task_ids()
        known = TaskKeys(len(keys), None if keys.dtype == np.int32 else keys)
        columns = {name: _column(name, rows[name], len(keys)) for name in rows}
        return lambda ids: _taken(columns, known.rows_of(ids))
    if all(hasattr(rows, name) for name in ("rows_of", "texts", "answers")):
        table: Any = rows
        by_row = sampler.task_ids().dtype == np.int32
        if by_row and len(table) != sampler.num_tasks:
            raise ValueError(
                f"the table must have one row per task, {sampler.num_tasks}, "
                f"got {len(table)}."
            )

        def read(ids: np.ndarray) -> dict[str, Any]:
            numbers = ids if by_row else table.rows_of(ids)
            return {"prompts": table.texts(numbers), "answer": table.answers(numbers)}

        return read
    if not callable(rows):
        raise ValueError(
            "rows must be a function of keys, a dict of columns or a table with "
            f"rows_of, texts and answers, got {rows!r:.60}."
        )
    return rows  # pyright: ignore[reportReturnType]


def _taken(columns: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[rows] for name, column in columns.items()}


def _column(name: str, values: Any, length: int) -> np.ndarray:
    try:
        column = np.asarray(values)
    except ValueError:  # lists of several lengths
        column = np.empty((0, 0))
    if column.shape != (length,):
        raise ValueError(
            f"column {name!r} must hold one number or text for each of {length} tasks, "
            f"got shape {column.shape}; what has parts can be given as JSON."
        )
    if name == COLUMN and column.dtype == object:
        return column.astype(str)
    return column
