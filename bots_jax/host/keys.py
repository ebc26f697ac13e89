"""Names of tasks that stay when a data set is reordered, and the rows they have."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

ABSENT = -1
"""The row of a key that is not there."""


class TaskKeys:
    """Maps keys to rows and back; rows may be added and emptied.

    Without keys of their own, tasks are known by their row numbers.

    Example:
      >>> keys = TaskKeys(2, ["gcd-7", "sum-1"])
      >>> keys.rows_of(["sum-1"]), keys.at(np.array([0]))
      (array([1], dtype=int32), array(['gcd-7'], dtype=object))
    """

    def __init__(self, num_tasks: int, keys: Sequence[Any] | np.ndarray | None = None):
        """Takes the keys of rows 0 to N - 1.

        Args:
          num_tasks: N.
          keys: N distinct strings, or N distinct integers of 64 bits; None for rows.

        Raises:
          ValueError: for keys of another number or kind, or that repeat.
        """
        self._num_rows = num_tasks
        self._keys = self._row_of = None
        self._hashed, self._is_hashed = np.zeros(0, np.uint64), np.zeros(0, bool)
        if keys is not None:
            checked = _checked(keys)
            if len(checked) != num_tasks:
                raise ValueError(
                    f"task_keys must name {num_tasks} tasks, got {len(checked)}."
                )
            self._keys = checked
            self._row_of = _index(checked)

    @property
    def has_names(self) -> bool:
        """Whether tasks have keys of their own."""
        return self._keys is not None

    @property
    def num_rows(self) -> int:
        """Rows that hold a task, or held one."""
        return self._num_rows

    def rows_of(self, keys: Any) -> np.ndarray:
        """Finds rows; int32, `ABSENT` where a key is not there.

        Raises:
          ValueError: for keys of another kind than those of the tasks.
        """
        check_listed("task_ids", keys)
        if self._keys is None or self._row_of is None:
            try:
                ids = np.asarray(keys)
            except ValueError:  # lists of several lengths
                ids = np.empty((0, 0))
            check_listed("task_ids", ids)
            if ids.dtype.kind not in "iu" and ids.size:
                raise ValueError(f"task_ids must be integers, got {_shown(ids[0])}.")
            is_row = (ids >= 0) & (ids < self._num_rows)
            return np.where(is_row, ids, ABSENT).astype(np.int32)
        names = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
        if self._keys.dtype.kind == "i":  # 1.0 and True would be found as 1
            for place, name in enumerate(names):
                if isinstance(name, (bool, np.bool_, float, np.floating)):
                    raise ValueError(
                        f"task_ids must be integers, got {name} at index {place}."
                    )
        find = self._row_of.get
        try:
            rows = [find(name, ABSENT) for name in names]
        except TypeError:  # not hashable
            raise ValueError(
                f"task keys must be strings or integers, got {_shown(names[0])}."
            ) from None
        return np.array(rows, np.int32)

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Gives the keys of rows; row numbers, int32, where tasks have no names."""
        if self._keys is None:
            return np.asarray(rows, np.int32)
        return self._keys[rows]

    def add(self, keys: Any, rows: np.ndarray) -> None:
        """Puts new tasks into rows; for tasks without names the keys are not read.

        Raises:
          ValueError: for keys that are there already, repeat, or are of another kind.
        """
        num_rows = max(self._num_rows, int(rows.max(initial=-1)) + 1)
        if self._keys is None or self._row_of is None:
            self._num_rows = num_rows
            return
        new = _checked(keys)
        if len(self._keys) and new.dtype != self._keys.dtype:
            raise ValueError(
                f"task keys must be of the same kind as {_shown(self._keys[0])}, "
                f"got {_shown(new[0])}."
            )
        known = [name for name in new.tolist() if name in self._row_of]
        if known:
            raise ValueError(f"task key {_shown(known[0])} is there already.")
        index = _index(new)
        grown = np.zeros(num_rows, self._keys.dtype)
        grown[: len(self._keys)] = self._keys
        grown[rows] = new
        self._is_hashed[rows[rows < len(self._is_hashed)]] = False
        self._row_of.update({name: int(rows[at]) for name, at in index.items()})
        self._keys, self._num_rows = grown, num_rows

    def put(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Forgets all rows, and puts keys that were here before into these."""
        assert self._keys is not None
        size = int(rows.max(initial=-1)) + 1
        self._keys = np.zeros(size, keys.dtype)
        self._keys[rows] = keys
        self._is_hashed = np.zeros_like(self._is_hashed)
        self._row_of = dict(zip(keys.tolist(), rows.tolist(), strict=True))
        self._num_rows = size

    def resize(self, num_rows: int) -> None:
        """Sets how many rows there are, where tasks have no names."""
        assert self._keys is None
        self._num_rows = num_rows

    def remove(self, rows: np.ndarray) -> None:
        """Forgets the names of rows, which may then be given to other tasks."""
        assert self._keys is not None and self._row_of is not None
        for name in self._keys[rows].tolist():
            del self._row_of[name]

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        """Gives 64 bits per row that stand for its key on disk; uint64.

        Each key is hashed once: a million strings take a second.
        """
        if self._keys is None:
            return np.asarray(rows, np.uint64)
        if len(self._hashed) < len(self._keys):
            more = len(self._keys) - len(self._hashed)
            self._hashed = np.pad(self._hashed, (0, more))
            self._is_hashed = np.pad(self._is_hashed, (0, more))
        new = rows[~self._is_hashed[rows]]
        self._hashed[new] = key_hashes(self._keys[new])
        self._is_hashed[new] = True
        return self._hashed[rows]


def key_hashes(keys: np.ndarray) -> np.ndarray:
    """Hashes keys to 64 bits, the same in every process and version.

    Example:
      >>> key_hashes(np.array([3, -1]))
      array([                   3, 18446744073709551615], dtype=uint64)
    """
    if keys.dtype.kind in "iu":
        return keys.astype(np.uint64)

    def digest(name: str) -> bytes:
        text = name.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, digest_size=8).digest()

    return np.frombuffer(b"".join(map(digest, keys.tolist())), "<u8").copy()


def set_fingerprint(hashes: np.ndarray, has_names: bool) -> str:
    """Hashes a set of tasks, whatever their order.

    Example:
      >>> a, b = np.uint64([1, 2]), np.uint64([2, 1])
      >>> set_fingerprint(a, True) == set_fingerprint(b, True)
      True
    """
    body = np.sort(hashes).astype("<u8").tobytes() if has_names else b""
    kind = f"{'keys' if has_names else 'rows'} {len(hashes)} "
    return hashlib.sha256(kind.encode() + body).hexdigest()[:16]


def check_listed(name: str, given: Any) -> None:
    """Refuses what is not a list or an array of one dimension.

    Example:
      >>> check_listed("groups", "gsm8k")
      Traceback (most recent call last):
      ValueError: groups must be a list or an array [n], got 'gsm8k'.
    """
    is_one = isinstance(given, (str, bytes)) or not hasattr(given, "__len__")
    if is_one or getattr(given, "ndim", 1) != 1:
        shape = getattr(given, "shape", None)
        got = _shown(given) if shape is None else f"shape {shape}"
        raise ValueError(f"{name} must be a list or an array [n], got {got}.")


def _checked(keys: Any) -> np.ndarray:
    check_listed("task_keys", keys)
    given = keys if isinstance(keys, np.ndarray) else np.array(list(keys), object)
    if given.ndim != 1:
        raise ValueError(f"task_keys must have shape (n,), got {given.shape}.")
    if given.dtype.kind in "iu":
        return given.astype(np.int64) if given.dtype.kind == "i" else _as_int64(given)
    names = given.tolist()
    is_int = lambda x: isinstance(x, (int, np.integer)) and not isinstance(x, bool)  # noqa: E731
    if names and all(map(is_int, names)):
        return _as_int64(given)
    for place, name in enumerate(names):
        if not isinstance(name, str):
            raise ValueError(
                "task_keys must be all strings or all integers of 64 bits, "
                f"got {_shown(name)} at index {place}."
            )
    return np.array(names, object) if names else np.zeros(0, object)


def _as_int64(keys: np.ndarray) -> np.ndarray:
    for place, key in enumerate(keys.tolist()):
        if not -(2**63) <= key < 2**63:
            raise ValueError(
                f"integer task keys must fit in 64 bits, got {key} at index {place}."
            )
    return keys.astype(np.int64)


def _index(keys: np.ndarray) -> dict[Any, int]:
    names = keys.tolist()
    index = dict(zip(names, range(len(names)), strict=True))
    if len(index) < len(names):
        seen: set[Any] = set()
        for place, name in enumerate(names):
            if name in seen:
                raise ValueError(
                    f"task_keys must be distinct, got {_shown(name)} "
                    f"again at index {place}."
                )
            seen.add(name)
    return index


def _shown(value: Any) -> str:
    return f"{value.item() if isinstance(value, np.generic) else value!r:.60}"
