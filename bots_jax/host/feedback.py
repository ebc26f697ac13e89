"""What was observed since the last step, from any thread: told apart, and aged."""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from bots_jax import checks
from bots_jax.host.keys import check_listed

NO_GROUP = 0
"""In place of the hash of a group."""


class Observed(NamedTuple):
    """Evidence as it came in, one row per task and call.

    Attributes:
      rows: int32 [n], whose it is; may repeat.
      successes: float64 [n].
      failures: float64 [n].
      drawn_at: int32 [n], step of the draw that it answers.
      groups: uint64 [n], hash of the group id, or `NO_GROUP`.
    """

    rows: np.ndarray
    successes: np.ndarray
    failures: np.ndarray
    drawn_at: np.ndarray
    groups: np.ndarray

    def where(self, keep: np.ndarray) -> "Observed":
        """Takes some of the rows."""
        return Observed(*(column[keep] for column in self))


_DTYPES = Observed(np.int32, np.float64, np.float64, np.int32, np.uint64)  # pyright: ignore[reportArgumentType]


class Counts(NamedTuple):
    """Evidence of one step, one row per task, in order of rows.

    Attributes:
      rows: int32 [n], distinct, ascending.
      successes: float64 [n], late ones discounted.
      failures: float64 [n].
    """

    rows: np.ndarray
    successes: np.ndarray
    failures: np.ndarray


class Feedback:
    """Evidence that waits for the next step, and the groups that were seen.

    Not thread-safe by itself; the sampler's lock guards it.

    Example:
      >>> feedback, group = Feedback(), np.uint64([5])
      >>> feedback.are_new(group).tolist()
      [True]
      >>> one = np.ones(1)
      >>> feedback.add(Observed(np.int32([4]), one, one, np.int32([0]), group))
      >>> len(feedback.take(step=0).rows), feedback.are_new(group).tolist()
      (1, [False])
    """

    def __init__(self) -> None:
        """Starts with nothing."""
        self._waiting: list[Observed] = []
        self._waiting_groups: set[int] = set()
        self._seen: dict[int, int] = {}  # group to the step that applied it

    @property
    def num_waiting(self) -> int:
        """Rows that wait, repeats included."""
        return sum(len(part.rows) for part in self._waiting)

    def are_new(self, groups: np.ndarray) -> np.ndarray:
        """Tells which rows are the first of their group; bool [n]. Asks, no more."""
        here: set[int] = set()
        new = np.ones(len(groups), bool)
        for place, group in enumerate(groups.tolist()):
            if group != NO_GROUP:
                known = group in self._seen or group in self._waiting_groups
                new[place] = not (known or group in here)
                here.add(group)
        return new

    def add(self, observed: Observed) -> None:
        """Adds rows to what waits."""
        if not len(observed.rows):
            return
        pairs = zip(observed, _DTYPES, strict=True)
        owned = Observed(*(np.array(column, dtype) for column, dtype in pairs))
        self._waiting.append(owned)
        self._waiting_groups.update(owned.groups[owned.groups != NO_GROUP].tolist())

    def waiting(self) -> Observed:
        """Everything that waits, in the order in which it came."""
        if not self._waiting:
            return Observed(*(np.zeros(0, dtype) for dtype in _DTYPES))
        if len(self._waiting) > 1:
            joined = zip(*self._waiting, strict=True)
            self._waiting = [Observed(*(np.concatenate(x) for x in joined))]
        return self._waiting[0]

    def replace(self, observed: Observed) -> int:
        """Puts what all processes observed in place of what this one did.

        Returns:
          How many rows were left out, since two processes saw the same group.
        """
        self._waiting, self._waiting_groups = [], set()
        keep = self.are_new(observed.groups)
        self.add(observed.where(keep))
        return int((~keep).sum())

    def drop(self, rows: np.ndarray) -> None:
        """Forgets what waits for some rows."""
        kept = self.waiting()
        kept = kept.where(~np.isin(kept.rows, rows))
        self._waiting, self._waiting_groups = [], set()
        self.add(kept)

    def move(self, where: np.ndarray) -> None:
        """Renames rows; what waits for a row that goes nowhere, -1, is dropped."""
        moved = self.waiting()
        moved = moved._replace(rows=where[moved.rows])
        self._waiting, self._waiting_groups = [], set()
        self.add(moved.where(moved.rows >= 0))

    def take(self, step: int) -> Observed:
        """Hands out everything that waits, to be applied in this step."""
        taken = self.waiting()
        groups = taken.groups[taken.groups != NO_GROUP].tolist()
        self._seen.update(dict.fromkeys(groups, step))
        self._waiting, self._waiting_groups = [], set()
        return taken

    def forget_groups(self, before: int) -> None:
        """Forgets groups applied before a step."""
        while self._seen:
            group, step = next(iter(self._seen.items()))  # the oldest comes first
            if step >= before:
                return
            del self._seen[group]

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, as arrays to save."""
        seen = np.array(list(self._seen), np.uint64)
        since = np.array(list(self._seen.values()), np.int32)
        waiting = {name: x.copy() for name, x in self.waiting()._asdict().items()}
        return {**waiting, "seen_groups": seen, "seen_at": since}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes over what `arrays` gave."""
        self.__init__()
        pairs = arrays["seen_groups"].tolist(), arrays["seen_at"].tolist()
        self._seen = dict(zip(*pairs, strict=True))
        self.add(Observed(*(arrays[name] for name in Observed._fields)))


def total(observed: Observed, step: int, keep: float) -> Counts:
    """Adds up what belongs to one task, late evidence discounted.

    Evidence that is d steps late has lost what it would have lost had it come in time:
    it weighs keep ** d.

    Args:
      observed: in any order; the result does not depend on it, up to float64 rounding.
      step: the clock.
      keep: 1 - forgetting.

    Returns:
      One row per task.

    Example:
      >>> rows, one = np.int32([7, 3, 7]), np.ones(3)
      >>> late = np.int32([2, 2, 0])
      >>> total(Observed(rows, one, one, late, np.zeros(3)), step=2, keep=0.5)
      Counts(rows=array([3, 7], dtype=int32), successes=array([1.  , 1.25]),
          failures=array([1.  , 1.25]))
    """
    rows, successes, failures, drawn_at, _ = observed
    delay = step - drawn_at
    if delay.any():
        weight = np.float64(keep) ** delay
        successes, failures = weight * successes, weight * failures
    order = np.argsort(rows, kind="stable")
    rows, successes, failures = rows[order], successes[order], failures[order]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = rows[1:] != rows[:-1]
    if is_first.all():
        return Counts(rows, successes, failures)
    starts = np.flatnonzero(is_first)
    add = lambda x: np.add.reduceat(x, starts)  # noqa: E731
    return Counts(rows[starts], add(successes), add(failures))


def count_rewards(
    task_ids: Any, rewards: Any, mask: Any
) -> tuple[Any, np.ndarray, np.ndarray]:
    """Checks one call's feedback and counts it.

    Args:
      task_ids: B keys, or one.
      rewards: [B, G], or [G] for one key, or [B], one rollout each; in [0, 1].
      mask: bool, like rewards, or None.

    Returns:
      A list of keys, successes and failures, float64 [B].

    Raises:
      ValueError: naming what was wrong.

    Example:
      >>> count_rewards(5, [1.0, 0.5], None)[1]
      array([1.5])
    """
    is_one = isinstance(task_ids, str) or not hasattr(task_ids, "__len__")
    is_one = is_one or getattr(task_ids, "ndim", 1) == 0
    keys = [task_ids] if is_one else task_ids
    try:
        values = rewards if hasattr(rewards, "dtype") else np.asarray(rewards)
    except ValueError:
        raise ValueError(
            "rewards must have as many rollouts in each row; mask leaves some out."
        ) from None
    checks.check_dtype(
        "rewards", values, (np.floating, np.integer, np.bool_), "real numbers"
    )
    values = np.asarray(values, np.float64)
    shape = values.shape
    if values.ndim == 1:
        values = values[None] if len(keys) == 1 else values[:, None]
    if values.ndim != 2 or len(values) != len(keys):
        raise ValueError(
            f"rewards must have one row per task, {len(keys)} here, got shape {shape}."
        )
    rollouts: Any = values.shape[1]
    if mask is not None:
        mask = np.asarray(mask)
        checks.check_shape("mask", mask, (shape,))
        checks.check_dtype("mask", mask, (np.bool_,), "booleans")
        mask = mask.reshape(values.shape)
        values, rollouts = np.where(mask, values, 0), mask.sum(axis=1)
    if values.size and not (values.min() >= 0 and values.max() <= 1):  # NaN is not
        checks.check_in_range("rewards", values, 0.0, 1.0)
    successes = values.sum(axis=1)
    return keys, successes, rollouts - successes


def hash_groups(group_ids: Any, num_rows: int) -> np.ndarray:
    """Turns group ids, strings or integers, into 64 bits each; uint64 [B].

    Raises:
      ValueError: for another number, or anything else.

    Example:
      >>> a, b = hash_groups(["7", 7], 2).tolist()
      >>> a == b, b == int(hash_groups(7, 1)[0])
      (False, True)
    """
    listed = [group_ids] if isinstance(group_ids, (str, int, np.integer)) else group_ids
    check_listed("group_ids", listed)
    if len(listed) != num_rows:
        raise ValueError(f"group_ids must name {num_rows} rows, got {len(listed)}.")
    return np.array([_hash_group(group) for group in listed], np.uint64)


def _hash_group(group: Any) -> int:
    if not isinstance(group, (str, int, np.integer)) or isinstance(group, bool):
        raise ValueError(f"group_ids must be strings or integers, got {group!r:.60}.")
    body = f"{'s' if isinstance(group, str) else 'i'}{group}".encode(
        "utf-8", "surrogatepass"
    )
    digest = hashlib.blake2b(body, digest_size=8).digest()
    return max(1, int.from_bytes(digest, "little"))  # 0 is NO_GROUP
