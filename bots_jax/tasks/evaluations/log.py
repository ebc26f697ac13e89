"""The log of a reference evaluation: one JSON line per task, appended and never lost.

The first line says what the log is of; every other line is a task's:
{"key": 7, "rewards": [1.0, 0.0, null], "num_failed": 1}, null where a rollout was not
evaluated. A batch is on the disk when `append` returns. Whatever ends the process, a
later one reads the whole lines and goes on behind them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bots_jax.directory_lock import DirectoryLock
from bots_jax.tasks.tables.table import TaskTable, check_unchanged

FORMAT = "bots_jax evaluation log"
VERSION = 1


@dataclass(frozen=True)
class LogHeader:
    """What an evaluation log is of; a log of other settings is not gone on with.

    Attributes:
      table: fingerprint of the table.
      group_size: rollouts per task, G.
      name: of the column that is to be.
      model: what was rolled out.
      reward: what it was judged by.
      seed: of the rollouts.
    """

    table: str
    group_size: int
    name: str
    model: str
    reward: str
    seed: int


class Tally:
    """Sums of rewards per row.

    Attributes:
      sums: float64 [N], of the rewards that are known.
      num_rollouts: int32 [N], how many are known.
      num_failed: int32 [N], rollouts that were not evaluated.
      is_done: bool [N], True where a line has spoken of the row.

    >>> tally = Tally(2)
    >>> tally.add(0, [1.0, 0.0, float("nan")])
    >>> tally.pass_rates, tally.num_rollouts, tally.num_failed
    (array([0.5, nan], dtype=float32), array([2, 0], dtype=int32),
     array([1, 0], dtype=int32))
    """

    def __init__(self, num_tasks: int):
        self.sums = np.zeros(num_tasks)
        self.num_rollouts = np.zeros(num_tasks, np.int32)
        self.num_failed = np.zeros(num_tasks, np.int32)
        self.is_done = np.zeros(num_tasks, bool)

    def add(self, row: int, rewards: Sequence[float]) -> None:
        """Adds the rewards of one task; NaN is a rollout that was not evaluated."""
        known = [float(value) for value in rewards if not math.isnan(value)]
        self.add_sum(row, math.fsum(known), len(known), len(rewards) - len(known))

    def add_sum(self, row: int, total: float, count: int, failed: int = 0) -> None:
        """Adds rewards of which the sum and the number are known."""
        self.sums[row] += total
        self.num_rollouts[row] += count
        self.num_failed[row] += failed
        self.is_done[row] = True

    @property
    def pass_rates(self) -> np.ndarray:
        """float32 [N] in [0, 1], of the known rewards; NaN where there is none."""
        rates = np.full(len(self.sums), np.nan)
        np.divide(self.sums, self.num_rollouts, out=rates, where=self.num_rollouts > 0)
        return np.minimum(rates, 1.0).astype(np.float32)


class Line(NamedTuple):
    """A line of a log: its number from 1, its values, and where it ends in bytes."""

    number: int
    values: dict[str, Any]
    end: int
    is_whole: bool


def read_lines(path: Path) -> Iterator[Line]:
    r"""Reads JSON lines; a last one without its line break may be torn.

    A torn last line that is no JSON is left out, as a kill leaves one behind.

    Raises:
      ValueError: naming the first other line that is no JSON object.
      OSError: if the file cannot be read.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     _ = file.write(b'{"key": 1}\n{"ke'); file.flush()
    ...     list(read_lines(Path(file.name)))
    [Line(number=1, values={'key': 1}, end=11, is_whole=True)]
    """
    end = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            end += len(raw)
            is_whole = raw.endswith(b"\n")
            if not raw.strip():
                continue
            try:
                values = json.loads(raw)
            except (ValueError, RecursionError):
                if not is_whole:
                    return
                values = None
            if not isinstance(values, dict):
                raise ValueError(
                    f"{path} cannot be read as an evaluation log: line {number} is "
                    f"not a JSON object, got {raw[:60]!r}."
                )
            yield Line(number, values, end, is_whole)


class EvaluationLog:
    r"""An evaluation log that is being written, by one process at a time.

    Attributes:
      path: the file.
      tally: what its lines say, by row.
      num_dropped: 1 if a torn last line was dropped, else 0.

    >>> import tempfile
    >>> from bots_jax.tasks.tables.table import open_table
    >>> folder = tempfile.TemporaryDirectory()
    >>> tasks, path = Path(folder.name, "tasks.jsonl"), Path(folder.name, "log.jsonl")
    >>> _ = tasks.write_text('{"prompt": "a"}\n{"prompt": "b"}')
    >>> table = open_table(tasks, cache_dir=folder.name)
    >>> header = LogHeader(table.fingerprint, 2, "weak", "m:f", "exact", 0)
    >>> with EvaluationLog(path, header, table) as log:
    ...     log.append([0], np.float32([[1, np.nan]]))
    >>> with EvaluationLog(path, header, table) as log:
    ...     log.tally.is_done, log.tally.pass_rates
    (array([ True, False]), array([ 1., nan], dtype=float32))
    >>> folder.cleanup()
    """

    def __init__(self, path: Path, header: LogHeader, table: TaskTable):
        """Names a log; it is opened by `with`.

        Args:
          path: the file, made if it is not there.
          header: what it must be of.
          table: N tasks, whose keys name the lines.
        """
        self.path = path
        self.tally = Tally(len(table))
        self.num_dropped = 0
        self._header, self._table = header, table
        self._lock = DirectoryLock(path.with_name(path.name + ".lock"))

    def append(self, rows: Sequence[int], rewards: np.ndarray) -> None:
        """Writes the rewards of some tasks, to the disk.

        Args:
          rows: n rows that have no line yet.
          rewards: float32 [n, G]; NaN where not evaluated.
        """
        lines = []
        for row, group in zip(rows, rewards.tolist(), strict=True):
            values = [None if math.isnan(value) else value for value in group]
            failed = values.count(None)
            lines.append(
                {"key": self._key(row), "rewards": values, "num_failed": failed}
            )
        self._write(lines)
        for row, group in zip(rows, rewards.tolist(), strict=True):
            self.tally.add(row, group)

    def _key(self, row: int) -> int | str:
        key = self._table.keys[row]
        return key if isinstance(key, str) else int(key)

    def __enter__(self) -> EvaluationLog:
        """Takes the lock, reads what is there, drops a torn line.

        Raises:
          ValueError: for a log of other settings or of another table, a damaged one,
            or one with keys that the table has not.
          BlockingIOError: if another process is writing it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno, f"{self.path} is being written by another evaluation."
            ) from None
        try:
            end = self._read() if self.path.exists() else 0
            self._file = self.path.open("ab")
            try:
                self.num_dropped = int(self._file.tell() > end)
                self._file.truncate(end)
                if end == 0:
                    self._begin()
            except BaseException:
                self._file.close()
                raise
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._file.close()  # on a full disk this raises again
        finally:
            self._lock.release()

    def _begin(self) -> None:
        self._write([{"format": FORMAT, "version": VERSION, **asdict(self._header)}])
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name
        finally:
            os.close(folder)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._file.write(text.encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> int:
        """Reads the lines into the tally; returns where the last whole one ends."""
        end = 0
        for line in read_lines(self.path):
            if not line.is_whole:
                break
            if end == 0:
                check_header(self.path, line.values, self._header, self._table)
            else:
                self._take(line)
            end = line.end
        return end

    def _take(self, line: Line) -> None:
        row = row_of(self._table, line.values.get("key"))
        if row is None:
            raise ValueError(
                f"line {line.number} of {self.path} has the key "
                f"{line.values.get('key')!r}, which the table has not."
            )
        if not self.tally.is_done[row]:
            self.tally.add(row, rewards_of(self.path, line))


def row_of(table: TaskTable, key: Any) -> int | None:
    r"""Returns the row of a key that JSON gave; None where the table has none.

    >>> import tempfile
    >>> from bots_jax.tasks.tables.table import open_table
    >>> folder = tempfile.TemporaryDirectory()
    >>> tasks = Path(folder.name, "tasks.jsonl")
    >>> _ = tasks.write_text('{"prompt": "a"}\n{"prompt": "b"}')
    >>> table = open_table(tasks, cache_dir=folder.name)
    >>> row_of(table, int(table.keys[1])), row_of(table, 3), row_of(table, "b")
    (1, None, None)
    >>> folder.cleanup()
    """
    are_text = table.keys.dtype.kind not in "iu"
    if type(key) is not (str if are_text else int):
        return None
    row = int(table.rows_of([key])[0])
    return None if row < 0 else row


def rewards_of(path: Path, line: Line) -> list[float]:
    """Returns a line's rewards, NaN where not evaluated.

    Raises:
      ValueError: naming the line, if they are no list of numbers in [0, 1] and nulls.

    >>> rewards_of(Path("log"), Line(3, {"rewards": [1, None, True]}, 9, True))
    [1.0, nan, 1.0]
    >>> rewards_of(Path("log"), Line(3, {"rewards": [-0.1]}, 9, True))
    Traceback (most recent call last):
    ValueError: line 3 of log has the reward -0.1; a reward must be a number in [0, 1],
    or null where it is not known.
    """
    found = line.values.get("rewards")
    if not isinstance(found, list):
        raise ValueError(
            f"line {line.number} of {path} must have a list of rewards, "
            f"got {found!r:.60}."
        )
    return [_reward(path, line.number, value) for value in found]


def _reward(path: Path, number: int, value: Any) -> float:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(
            f"line {number} of {path} has the reward {value!r:.60}; a reward must be a "
            "number in [0, 1], or null where it is not known."
        )
    return float(value)


def is_header(values: dict[str, Any]) -> bool:
    """Tells whether a line is the first of a log of ours.

    >>> is_header({"format": FORMAT, "version": 1}), is_header({"key": 1})
    (True, False)
    """
    return values.get("format") == FORMAT


def check_header(
    path: Path, found: dict[str, Any], wanted: LogHeader, table: TaskTable
) -> None:
    r"""Checks that a log is of these settings and this table.

    Raises:
      ValueError: naming the first difference, if it is not.

    >>> import tempfile
    >>> from bots_jax.tasks.tables.table import open_table
    >>> folder = tempfile.TemporaryDirectory()
    >>> tasks = Path(folder.name, "tasks.jsonl")
    >>> _ = tasks.write_text('{"prompt": "a"}\n{"prompt": "b"}')
    >>> table = open_table(tasks, cache_dir=folder.name)
    >>> header = LogHeader(table.fingerprint, 16, "weak", "m:f", "exact", 0)
    >>> line = {"format": FORMAT, "version": 1, **asdict(header), "group_size": 8}
    >>> check_header(Path("log"), line, header, table)
    Traceback (most recent call last):
    ValueError: log is of another evaluation: its group_size is 8, this one's is 16;
    choose another output, or remove it.
    >>> folder.cleanup()
    """
    if not is_header(found) or not isinstance(found.get("version"), int):
        raise ValueError(f"{path} is not an evaluation log of bots_jax.")
    if found["version"] > VERSION:
        raise ValueError(
            f"{path} is of version {found['version']}, this code reads up to {VERSION}."
        )
    for name, value in asdict(wanted).items():
        if name != "table" and found.get(name) != value:
            raise ValueError(
                f"{path} is of another evaluation: its {name} is {found.get(name)!r}, "
                f"this one's is {value!r}; choose another output, or remove it."
            )
    check_unchanged(table, str(found.get("table")), since=f"{path} was begun")
