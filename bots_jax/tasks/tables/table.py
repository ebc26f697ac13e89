"""Opens a table of tasks, of any size: prompts, answers and keys by row number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bots_jax.tasks.cache import default_cache_dir
from bots_jax.tasks.tables import columns as columns_
from bots_jax.tasks.tables.columns import ColumnPath
from bots_jax.tasks.tables.duplicates import Duplicates, find_duplicates
from bots_jax.tasks.tables.files import Cache, Progress, RowsFile
from bots_jax.tasks.tables.index import Columns, Index, open_index
from bots_jax.tasks.tables.keys import KeyLookup
from bots_jax.tasks.tables.sources import Paths, find_files

if TYPE_CHECKING:
    import pyarrow as pa


def open_table(
    paths: Paths,
    *,
    prompt: str | None = None,
    answer: str | None = None,
    key: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> TaskTable:
    r"""Opens parquet, JSON lines or Arrow files as one table of tasks.

    The first time, rows are copied into one file that is read in place, uncompressed,
    and every row gets its key; later the copy is used, as long as name, size and time
    of the files are the same. Rows are never all in memory.

    A key is a hash of prompt and answer, so it does not depend on the order of rows,
    on the kind of file or on other columns. Rows that are equal in both get distinct
    keys too.

    Args:
      paths: a file or a folder of files, or several, in this order; files of a folder
        by name.
      prompt: the column of prompts, text or chat messages; None for the first of
        `PROMPT_COLUMNS`. Dots reach into structs.
      answer: the column of answers; None for the first of `ANSWER_COLUMNS` that holds
        any, or no answers.
      key: a column of distinct texts or whole numbers to be used as keys.
      cache_dir: where the copy goes; None for the folder "tables" in
        `default_cache_dir()`.
      progress: called with the number of rows done, of the copy and then of the keys.

    Returns:
      The table.

    Raises:
      ValueError: with one sentence, for files that are not there, damaged or not
        tables, for columns that are missing or mix types, for rows without a prompt,
        an answer column without answers, and keys that are null or repeat.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "tasks.jsonl")
      ...     _ = path.write_text('{"question": "1 + 1", "answer": "2"}\n'
      ...                         '{"question": "2 + 3", "answer": "5"}')
      ...     table = open_table(path, cache_dir=folder)
      ...     len(table), table.prompts([1, 0]), table.answers([1, 0])
      (2, ['2 + 3', '1 + 1'], ['5', '2'])
    """
    folder = default_cache_dir() / "tables" if cache_dir is None else Path(cache_dir)
    cache = Cache(find_files(paths), folder.expanduser().absolute())
    rows = cache.rows(progress)
    prompt_path, answers, key_path = _choose(rows.schema, prompt, answer, key)
    how = {"prompt": prompt, "answer": answer, "key": key, "cache_dir": folder}
    for answer_path in answers:
        columns = Columns(prompt_path, answer_path, key_path)
        index = open_index(cache, rows, columns, progress)
        if index.num_answers or answer_path is None:
            return TaskTable(rows, index, columns, {"paths": cache.files, **how})
    raise ValueError(
        f"column {answer!r} holds no answer: it is null in all {rows.num_rows} rows."
    )


def _choose(
    schema: pa.Schema, prompt: str | None, answer: str | None, key: str | None
) -> tuple[ColumnPath, list[ColumnPath | None], ColumnPath | None]:
    """Finds the columns; of answers all that may be meant, in order."""
    if prompt is None:
        prompt_path = columns_.first_column(schema, columns_.PROMPT_COLUMNS, "prompt")
    else:
        prompt_path = columns_.known_column(schema, prompt)
    type_ = columns_.type_of(schema, prompt_path)
    columns_.check_prompt_type(".".join(prompt_path), type_)
    answers: list[ColumnPath | None]
    if answer is None:
        found = [columns_.find_column(schema, x) for x in columns_.ANSWER_COLUMNS]
        answers = [*(path for path in found if path not in (None, prompt_path)), None]
    else:
        answers = [columns_.known_column(schema, answer)]
    if key is None:
        return prompt_path, answers, None
    key_path = columns_.known_column(schema, key)
    columns_.check_key_type(key, columns_.type_of(schema, key_path))
    return prompt_path, answers, key_path


class TaskTable:
    """Rows of tasks on disk; made by `open_table`, safe to read from threads.

    Pages of the file that were read count as memory of the process, but the system
    takes them back where memory is short. A pickle holds names of files only, and
    opens them again.

    Attributes:
      prompt_column: the name of the column of prompts.
      answer_column: that of answers, None without.
      key_column: that of keys, None where they come from the content.
    """

    def __init__(
        self, rows: RowsFile, index: Index, columns: Columns, how: dict[str, Any]
    ):
        self._rows, self._index, self._columns, self._how = rows, index, columns, how
        self._texts: np.ndarray | None = None
        self._lookup: KeyLookup | None = None
        self.prompt_column = ".".join(columns.prompt)
        self.answer_column = ".".join(columns.answer) if columns.answer else None
        self.key_column = ".".join(columns.key) if columns.key else None

    def __len__(self) -> int:
        return self._rows.num_rows

    def __repr__(self) -> str:
        return (
            f"TaskTable({len(self)} tasks, prompt={self.prompt_column!r}, "
            f"answer={self.answer_column!r}, key={self.key_column!r})"
        )

    def __reduce__(self) -> tuple[Callable[..., TaskTable], tuple[Any, ...]]:
        return _reopened, (self._how, self.fingerprint)

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._rows.schema

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, as in the files."""
        return list(self._rows.schema.names)

    @property
    def keys(self) -> np.ndarray:
        """Distinct names of the rows; int64 [N], or texts [N] of a column of them."""
        if not self._keys_are_text:
            return self._index.keys
        if self._texts is None:
            assert self.key_column is not None
            self._texts = self.text_column(self.key_column)
        return self._texts

    @property
    def _keys_are_text(self) -> bool:
        import pyarrow as pa

        path = self._columns.key
        if path is None:
            return False
        return pa.types.is_string(columns_.type_of(self.schema, path))

    @property
    def prompt_hashes(self) -> np.ndarray:
        """The `prompt_hash` of every row; int64 [N]."""
        return self._index.prompts

    @property
    def fingerprint(self) -> str:
        """The number of rows, and hashes of their keys, prompts and answers."""
        return self._index.fingerprint

    def rows_of(self, keys: Any) -> np.ndarray:
        """Finds rows by their keys.

        Args:
          keys: n keys of the kind of `keys`.

        Returns:
          int32 [n], -1 where a key is not in the table.

        Raises:
          ValueError: for keys of another kind.
        """
        if self._lookup is None:  # another thread may do the same: the result is equal
            path = self._columns.key if self._keys_are_text else None
            self._lookup = KeyLookup(self._index.keys, self._rows, path)
        return self._lookup.rows_of(keys)

    def read(
        self, task_ids: Any, columns: Sequence[str] | None = None
    ) -> dict[str, list[Any]]:
        """Reads columns of some rows.

        Args:
          task_ids: B row numbers in [0, N), in any order; they may repeat.
          columns: names, dotted ones too; None for all.

        Returns:
          One list [B] per name.

        Raises:
          ValueError: for a column that is not there, or rows out of range.
        """
        ids = self._checked(task_ids)
        if columns is None:
            paths = {name: (name,) for name in self.column_names}
        else:
            paths = {x: columns_.known_column(self.schema, x) for x in columns}
        return {name: self._rows.values(ids, path) for name, path in paths.items()}

    def rows(self, task_ids: Any) -> list[dict[str, Any]]:
        """Reads some rows, all columns of each."""
        read = self.read(task_ids)
        values = zip(*read.values(), strict=True)
        return [dict(zip(read, row, strict=True)) for row in values]

    def prompts(self, task_ids: Any) -> list[Any]:
        """Reads prompts: texts, or lists of messages without their null fields."""
        ids = self._checked(task_ids)
        read = self._rows.values(ids, self._columns.prompt)
        return [columns_.without_nulls(prompt) for prompt in read]

    def texts(self, task_ids: Any) -> list[str]:
        """Reads prompts as texts: the contents of messages, a line break between."""
        return [columns_.joined_text(prompt) for prompt in self.prompts(task_ids)]

    def answers(self, task_ids: Any) -> list[Any]:
        """Reads answers; None for all where the table has none."""
        ids = self._checked(task_ids)
        if self._columns.answer is None:
            return [None] * len(ids)
        return self._rows.values(ids, self._columns.answer)

    def numbers(self, column: str) -> np.ndarray:
        """Reads a column of numbers for all rows; float64 [N], NaN where null.

        Raises:
          ValueError: naming the first value, if it is not a column of numbers.
        """
        import pyarrow as pa

        path = columns_.known_column(self.schema, column)
        type_ = columns_.type_of(self.schema, path)
        if not _is_number(type_):
            for start, array in self._scan(path):
                if len(array) > array.null_count:
                    array_ = array.to_pylist()
                    place = next(i for i, x in enumerate(array_) if x is not None)
                    raise ValueError(
                        f"column {column!r} must hold numbers, got {type_}: "
                        f"{array_[place]!r:.60} in row {start + place}."
                    )
        values = np.full(len(self), np.nan)
        if _is_number(type_):
            for start, array in self._scan(path):
                floats = array.cast(pa.float64(), safe=False)
                here = slice(start, start + len(array))
                values[here] = floats.to_numpy(zero_copy_only=False)
        return values

    def text_column(self, column: str) -> np.ndarray:
        """Reads a column of texts for all rows; str or None [N], equal ones shared.

        Raises:
          ValueError: if it is not a column of texts.
        """
        import pyarrow as pa

        path = columns_.known_column(self.schema, column)
        type_ = columns_.type_of(self.schema, path)
        if not (pa.types.is_string(type_) or pa.types.is_null(type_)):
            raise ValueError(f"column {column!r} must hold text, got {type_}.")
        values, seen = np.full(len(self), None, object), {}
        for start, array in self._scan(path):
            texts = array.to_pylist()
            here = slice(start, start + len(array))
            values[here] = [seen.setdefault(text, text) for text in texts]
        return values

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Reads all rows in order, some thousand at a time, as Arrow batches.

        Args:
          columns: names as in the files; None for all.

        Raises:
          ValueError: for a column that is not there.
        """
        for name in columns or ():
            if name not in self.schema.names:
                columns_.known_column(self.schema, name)
                raise ValueError(f"batches reads whole columns, got {name!r}.")
        return self._rows.scan(columns)

    def duplicates(self) -> Duplicates:
        """Finds prompts that stand in more than one row."""
        return find_duplicates(self._index, self._rows, self._columns.prompt)

    def _scan(self, path: ColumnPath) -> Iterator[tuple[int, pa.Array]]:
        start = 0
        for batch in self._rows.scan([path[0]]):
            yield start, columns_.array_of(batch, path)
            start += batch.num_rows

    def _checked(self, task_ids: Any) -> np.ndarray:
        ids = np.asarray(task_ids)
        if ids.ndim != 1:
            raise ValueError(
                f"task_ids must be a list or an array [n], got {task_ids!r:.60}."
            )
        if ids.dtype.kind not in "iu" and ids.size:
            raise ValueError(
                f"task_ids must be row numbers, got {ids[0].item()!r:.60}."
            )
        bad = (ids < 0) | (ids >= len(self)) if ids.size else np.zeros(0, bool)
        if bad.any():
            at = int(np.flatnonzero(bad)[0])
            raise ValueError(
                f"task_ids must be in [0, {len(self) - 1}], "
                f"got {ids[at]} at index {at}."
            )
        return ids.astype(np.int64)


def _is_number(type_: Any) -> bool:
    import pyarrow as pa

    is_ = pa.types
    return is_.is_integer(type_) or is_.is_floating(type_) or is_.is_decimal(type_)


def _reopened(how: dict[str, Any], fingerprint: str) -> TaskTable:
    table = open_table(**how)
    check_unchanged(table, fingerprint, since="it was sent here")
    return table


def check_unchanged(
    table: TaskTable, fingerprint: str, since: str = "the checkpoint"
) -> None:
    """Refuses a table that is not the one of a checkpoint.

    Args:
      table: as it is now.
      fingerprint: what `table.fingerprint` was then.
      since: what the sentence calls that moment.

    Raises:
      ValueError: with one sentence saying what differs, as far as it is known.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "tasks.jsonl")
      ...     _ = path.write_text('{"question": "1 + 1", "answer": "2"}')
      ...     check_unchanged(open_table(path, cache_dir=folder), "7-12ab-34cd")
      Traceback (most recent call last):
      ValueError: the table has changed since the checkpoint: it had 7 rows then and has
      1 now.
    """
    if fingerprint == table.fingerprint:
        return
    then, now = str(fingerprint).split("-"), table.fingerprint.split("-")
    if len(then) != len(now) or not then[0].isdecimal():
        what = f"its fingerprint was {fingerprint!r:.60} and is {table.fingerprint!r}"
    elif then[0] != now[0]:
        what = f"it had {then[0]} rows then and has {now[0]} now"
    elif then[2] == now[2]:
        what = f"its {now[0]} rows are the same, in another order"
    else:
        what = f"it has {now[0]} rows as then, but keys, prompts or answers differ"
    raise ValueError(f"the table has changed since {since}: {what}.")
