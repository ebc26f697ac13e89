"""The rows of a pool: which hold a task, which are retired, which are in flight."""

import collections

import numpy as np

NEVER = -1
"""In place of a step: not drawn, or too long ago."""


class TaskRows:
    """What the host knows of every row; C rows, of which some may hold no task.

    Not thread-safe by itself; the sampler's lock guards it.

    Attributes:
      exists: bool [C], the row holds a task.
      retired: bool [C], not to be chosen until it is readmitted.
      in_flight: bool [C], chosen, and no answer applied yet.
      drawn_at: int32 [C], step of the last draw, or `NEVER`.

    Example:
      >>> rows = TaskRows(np.ones(3, bool))
      >>> rows.draw(np.array([1]), step=0)
      >>> rows.eligible().tolist(), rows.expire(before=1).tolist()
      ([True, False, True], [1])
    """

    def __init__(self, eligible: np.ndarray):
        """Starts with a task in every row; those not eligible are retired."""
        self.exists = np.ones(len(eligible), bool)
        self.retired = ~np.asarray(eligible, bool)
        self.in_flight = np.zeros(len(eligible), bool)
        self.drawn_at = np.full(len(eligible), NEVER, np.int32)
        self._draws: collections.deque[tuple[int, np.ndarray]] = collections.deque()

    @property
    def capacity(self) -> int:
        """C."""
        return len(self.exists)

    def eligible(self, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Tells which rows may be chosen."""
        free = ~(self.retired[rows] | self.in_flight[rows])
        return self.exists[rows] & free

    def draw(self, rows: np.ndarray, step: int) -> None:
        """Marks rows as in flight."""
        if not len(rows):
            return
        self.in_flight[rows] = True
        self.drawn_at[rows] = step
        self._draws.append((step, rows))

    def expire(self, before: int) -> np.ndarray:
        """Forgets draws made before a step; returns the rows still in flight then."""
        lost = []
        while self._draws and self._draws[0][0] < before:
            step, rows = self._draws.popleft()
            rows = rows[self.drawn_at[rows] == step]
            self.drawn_at[rows] = NEVER
            lost.append(rows[self.in_flight[rows]])
        return np.concatenate(lost) if lost else np.zeros(0, np.int32)

    def take_empty(self, number: int) -> np.ndarray:
        """Finds rows for new tasks, emptied ones first; beyond C if need be."""
        empty = np.flatnonzero(~self.exists)[:number]
        beyond = np.arange(self.capacity, self.capacity + number - len(empty))
        return np.concatenate([empty, beyond]).astype(np.int32)

    def grow(self, capacity: int) -> None:
        """Adds rows without a task."""
        more = capacity - self.capacity
        widen = lambda x, value: np.pad(x, (0, more), constant_values=value)  # noqa: E731
        self.exists = widen(self.exists, False)
        self.retired = widen(self.retired, False)
        self.in_flight = widen(self.in_flight, False)
        self.drawn_at = widen(self.drawn_at, NEVER)

    def fill(self, rows: np.ndarray) -> None:
        """Puts new tasks into rows."""
        self.exists[rows] = True
        self.retired[rows] = self.in_flight[rows] = False
        self.drawn_at[rows] = NEVER

    def empty(self, rows: np.ndarray) -> None:
        """Takes the tasks out of rows."""
        self.fill(rows)
        self.exists[rows] = False

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, as arrays to save."""
        drawn = np.flatnonzero(self.drawn_at != NEVER).astype(np.int32)
        return {
            "exists": self.exists.copy(),
            "retired": self.retired.copy(),
            "drawn": drawn,
            "drawn_at": self.drawn_at[drawn],
            "drawn_in_flight": self.in_flight[drawn],
        }

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes over what `arrays` gave."""
        self.__init__(~np.asarray(arrays["retired"], bool))
        self.exists = np.array(arrays["exists"], bool)
        drawn, steps = arrays["drawn"], arrays["drawn_at"]
        self.drawn_at[drawn] = steps
        self.in_flight[drawn] = arrays["drawn_in_flight"]
        for step in np.unique(steps).tolist():
            self._draws.append((step, np.array(drawn[steps == step], np.int32)))
