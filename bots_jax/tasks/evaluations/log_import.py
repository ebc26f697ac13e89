"""Reads evaluations that somebody has logged, of whatever program, into a table's rows.

Lines are JSON objects. A line names its task by `key`, or by `prompt` (or `question`),
as text or chat messages; where several rows have that prompt, `answer` (or `truth`)
tells them apart. It holds `rewards`, or one `reward`, or `pass_rate` and
`num_rollouts`. That covers our own logs and those of Trinity-RFT's
`bots_ref_eval_collect_math_boxed_workflow`.

Nothing is guessed. A row without a line is not evaluated, and is not 0. Lines of one
task add up. Rows with the same prompt share its lines where their answers are the same
too; where the answers differ and the line has none, the rows stay unevaluated.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bots_jax.tasks.evaluations.log import (
    Line,
    Tally,
    is_header,
    read_lines,
    rewards_of,
    row_of,
)
from bots_jax.tasks.tables.columns import joined_text
from bots_jax.tasks.tables.keys import prompt_hash
from bots_jax.tasks.tables.table import TaskTable

_ROWS_AT_ONCE = 4096
_PROMPTS, _ANSWERS = ("prompt", "question"), ("answer", "truth")


class LoggedEvaluation(NamedTuple):
    """What a log says of a table.

    Attributes:
      tally: per row.
      notes: one sentence for everything that was left out or shared.
    """

    tally: Tally
    notes: list[str]


def read_log(
    path: Path, table: TaskTable, model_version: int | str | None = None
) -> LoggedEvaluation:
    r"""Reads a log of rewards into the rows of a table.

    Args:
      path: JSON lines.
      table: N tasks.
      model_version: takes only the lines whose `model_version` is this; None where the
        log is of one model.

    Returns:
      Sums per row, and what there is to say.

    Raises:
      ValueError: with one sentence, for a file that is not there, and naming the line,
        for one that is no such log, is of several models, or has nothing to do with
        the table.
      OSError: if the file cannot be read.

    >>> import tempfile
    >>> from bots_jax.tasks.tables.table import open_table
    >>> folder = tempfile.TemporaryDirectory()
    >>> tasks, log = Path(folder.name, "tasks.jsonl"), Path(folder.name, "log.jsonl")
    >>> _ = tasks.write_text('{"prompt": "a"}\n{"prompt": "b"}')
    >>> table = open_table(tasks, cache_dir=folder.name)
    >>> _ = log.write_text('{"prompt": "b", "rewards": [1, 0]}\n')
    >>> found = read_log(log, table)
    >>> found.tally.pass_rates, found.notes
    (array([nan, 0.5], dtype=float32), ['lines taken: 1 of 1'])
    >>> folder.cleanup()
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path} to read a log of rewards from.")
    reader = _Reader(path, table)
    versions: dict[Any, int] = {}
    end = 0
    for line in read_lines(path):
        end = line.end
        if is_header(line.values):
            reader.take_header(line)
            continue
        version = line.values.get("model_version")
        if model_version is not None and str(version) != str(model_version):
            continue
        versions.setdefault(json.dumps(version), line.number)
        if len(versions) > 1:
            found = " and ".join(f"{v} (line {n})" for v, n in versions.items())
            raise ValueError(
                f"{path} is of several models, by their model_version: {found}; say "
                "which one is wanted (--model-version)."
            )
        reader.take(line)
    if _holds_more(path, end):
        reader.notes.append("a torn last line was left out")
    return reader.result(model_version)


def _holds_more(path: Path, end: int) -> bool:
    with path.open("rb") as file:
        file.seek(end)
        return any(line.strip() for line in file)


class _Reader:
    def __init__(self, path: Path, table: TaskTable):
        self.path, self.table = path, table
        self.tally = Tally(len(table))
        self.notes: list[str] = []
        self.num_lines = self.num_matched = 0
        self.strange: list[Line] = []
        self.num_strange = self.num_unclear = 0
        self.unclear_rows: set[int] = set()
        self.shared_rows: set[int] = set()
        self._prompts: _PromptRows | None = None

    def take_header(self, line: Line) -> None:
        if line.number > 1:
            raise ValueError(
                f"{self.path} holds more than one log: another begins at line "
                f"{line.number}."
            )
        if line.values.get("table") != self.table.fingerprint:
            self.notes.append(
                "the log was begun on another state of the table; its lines were "
                "matched by their keys"
            )

    def take(self, line: Line) -> None:
        self.num_lines += 1
        total, count, failed = self._values(line)
        rows = self._rows(line)
        if rows is None:
            self.num_unclear += 1
            return
        if not rows:
            self.num_strange += 1
            self.strange = self.strange or [line]
            return
        self.num_matched += 1
        for row in rows:
            self.tally.add_sum(row, total, count, failed)

    def _values(self, line: Line) -> tuple[float, int, int]:
        """Returns sum and number of the rewards, and how many are not known."""
        values = line.values
        if "rewards" not in values and "reward" in values:
            one = line._replace(values={"rewards": [values["reward"]]})
            rewards = rewards_of(self.path, one)
        elif "rewards" not in values and "pass_rate" in values:
            return self._rate(line)
        else:
            rewards = rewards_of(self.path, line)
        known = [value for value in rewards if value == value]
        return sum(known), len(known), len(rewards) - len(known)

    def _rate(self, line: Line) -> tuple[float, int, int]:
        rate, count = (line.values.get(x) for x in ("pass_rate", "num_rollouts"))
        if type(count) is not int or count < 0:
            raise ValueError(
                f"line {line.number} of {self.path} has a pass_rate, and must say of "
                f"how many rollouts in num_rollouts, got {count!r:.60}."
            )
        if rate is None or rate != rate:
            return 0.0, 0, count
        if type(rate) not in (int, float) or not 0 <= rate <= 1:
            raise ValueError(
                f"line {line.number} of {self.path} has the pass_rate {rate!r:.60}; "
                "it must be in [0, 1], or null where it is not known."
            )
        return rate * count, count, 0

    def _rows(self, line: Line) -> list[int] | None:
        """Returns the rows that a line is of; None where they cannot be told apart."""
        values = line.values
        if "key" in values:
            row = row_of(self.table, values["key"])
            return [] if row is None else [row]
        names = [name for name in _PROMPTS if values.get(name) is not None]
        if not names:
            raise ValueError(
                f"line {line.number} of {self.path} must have a key, a prompt or a "
                f"question, got {sorted(values)}."
            )
        prompt = values[names[0]]
        if not is_prompt(prompt):
            raise ValueError(
                f"line {line.number} of {self.path} must have a {names[0]} that is "
                f"text or chat messages, got {prompt!r:.60}."
            )
        self._prompts = self._prompts or _PromptRows(self.table)
        rows = self._prompts.find(prompt)
        if len(rows) < 2:
            return rows
        return self._same(rows, line)

    def _same(self, rows: list[int], line: Line) -> list[int] | None:
        """Picks among rows of one prompt by their answers."""
        spelt = [_spelling(answer) for answer in self.table.answers(rows)]
        given = [line.values[x] for x in _ANSWERS if line.values.get(x) is not None]
        if given:
            wanted = _spelling(given[0])
            pairs = zip(rows, spelt, strict=True)
            rows = [row for row, answer in pairs if answer == wanted]
        elif len(set(spelt)) > 1:
            self.unclear_rows.update(rows)
            return None
        if len(rows) > 1:
            self.shared_rows.update(rows)
        return rows

    def result(self, model_version: int | str | None) -> LoggedEvaluation:
        if self.num_lines == 0:
            of = "" if model_version is None else f" of model_version {model_version}"
            raise ValueError(f"{self.path} holds no evaluations{of}.")
        if self.num_matched == 0 and self.num_unclear == 0:
            raise ValueError(
                f"none of the {self.num_lines} lines of {self.path} is of a task of "
                "the table."
            )
        notes = [f"lines taken: {self.num_matched} of {self.num_lines}"]
        if self.num_strange:
            notes.append(
                f"lines of tasks that the table has not: {self.num_strange}, "
                f"the first is line {self.strange[0].number}"
            )
        if self.shared_rows:
            notes.append(
                "rows that share their lines with rows of the same prompt and answer: "
                f"{len(self.shared_rows)}"
            )
        if self.num_unclear:
            notes.append(
                "lines left out, as nothing in them tells rows of one prompt and "
                f"different answers apart: {self.num_unclear}, of "
                f"{len(self.unclear_rows)} rows"
            )
        return LoggedEvaluation(self.tally, notes + self.notes)


class _PromptRows:
    """Finds the rows of a prompt, by its hash and then by itself.

    Text finds chat messages of that text too, and the other way round, where no row
    has the prompt in the form that was given.
    """

    def __init__(self, table: TaskTable):
        self._table = table
        self._exact = _HashRows(table.prompt_hashes)
        self._by_text: _HashRows | None = None

    def find(self, prompt: str | list[dict[str, Any]]) -> list[int]:
        rows = self._equal(self._exact.find(prompt_hash(prompt)), prompt, _spelling)
        if rows:
            return rows
        self._by_text = self._by_text or _HashRows(self._text_hashes())
        rows = self._by_text.find(prompt_hash(joined_text(prompt)))
        return self._equal(rows, prompt, joined_text)

    def _equal(
        self, rows: list[int], prompt: Any, form: Callable[[Any], str]
    ) -> list[int]:
        wanted, found = form(prompt), self._table.prompts(rows)
        pairs = zip(rows, found, strict=True)
        return [row for row, other in pairs if form(other) == wanted]

    def _text_hashes(self) -> np.ndarray:
        hashes = np.empty(len(self._table), np.int64)
        for start in range(0, len(hashes), _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(hashes)))
            hashes[rows] = [prompt_hash(text) for text in self._table.texts(rows)]
        return hashes


class _HashRows:
    def __init__(self, hashes: np.ndarray):
        self._order = np.argsort(hashes, kind="stable")
        self._sorted = hashes[self._order]

    def find(self, value: int) -> list[int]:
        first = np.searchsorted(self._sorted, value, "left")
        last = np.searchsorted(self._sorted, value, "right")
        return sorted(self._order[first:last].tolist())


def is_prompt(value: Any) -> bool:
    """Tells whether a value is text or chat messages.

    >>> is_prompt("Hi"), is_prompt([{"role": "user", "content": "Hi"}]), is_prompt([1])
    (True, True, False)
    """
    return isinstance(value, str) or (
        isinstance(value, list)
        and all(
            isinstance(message, dict)
            and isinstance(message.get("content", ""), (str, type(None)))
            for message in value
        )
    )


def _spelling(value: Any) -> str:
    """Spells a value so that equal ones are equal, of whatever file they came."""
    if isinstance(value, list):
        value = [
            {k: v for k, v in item.items() if v is not None}
            if isinstance(item, dict)
            else item
            for item in value
        ]
    if isinstance(value, (list, dict)):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)
