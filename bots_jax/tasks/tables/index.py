"""Keeps what stands for each row of a table: its key and hashes of its content."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bots_jax.tasks.tables.columns import ColumnPath, array_of
from bots_jax.tasks.tables.files import Cache, Progress, RowsFile
from bots_jax.tasks.tables.keys import (
    check_distinct,
    first_null,
    numbered,
    own_keys,
    pair_hashes,
    rows_fingerprint,
)

_ARRAYS = ("keys", "prompts", "contents")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns hold what.

    Attributes:
      prompt: text or chat messages.
      answer: None where there are no answers.
      key: None where keys come from the content.
    """

    prompt: ColumnPath
    answer: ColumnPath | None = None
    key: ColumnPath | None = None


@dataclasses.dataclass(frozen=True)
class Index:
    """What stands for the rows of a table.

    Attributes:
      keys: int64 [N], distinct; hashes of the keys where those are text.
      prompts: int64 [N], `prompt_hash` of each.
      contents: int64 [N], hashes of prompt and answer.
      num_answers: rows whose answer is not null.
      fingerprint: of keys and contents, in their order and in any.
    """

    keys: np.ndarray
    prompts: np.ndarray
    contents: np.ndarray
    num_answers: int
    fingerprint: str


def open_index(
    cache: Cache, rows: RowsFile, columns: Columns, progress: Progress | None
) -> Index:
    """Reads what stands for the rows from the cache, or hashes them all and keeps it.

    Raises:
      ValueError: with one sentence, for a row without a prompt, and for keys that are
        null or repeat.
    """
    path = cache.index_path(dataclasses.astuple(columns))
    index = _read(path, rows)
    if index is None:
        index = _make(rows, columns, progress)
        _write(cache, path, rows, index)
    return index


def _make(rows: RowsFile, columns: Columns, progress: Progress | None) -> Index:
    names = ("prompts", "contents", *(("keys",) if columns.key else ()))
    hashes = {name: np.empty(rows.num_rows, np.int64) for name in names}
    paths = [path for path in dataclasses.astuple(columns) if path is not None]
    done = num_answers = 0
    for batch in rows.scan([path[0] for path in paths]):
        prompts = array_of(batch, columns.prompt)
        if prompts.null_count:
            row = done + first_null(prompts)
            raise ValueError(
                f"every row must have a prompt, got null in row {row} of column "
                f"{'.'.join(columns.prompt)!r}."
            )
        answers: Iterator[Any] = iter([None] * len(prompts))
        if columns.answer is not None:
            array = array_of(batch, columns.answer)
            num_answers += len(array) - array.null_count
            answers = iter(array.to_pylist())
        here = slice(done, done + len(prompts))
        hashes["prompts"][here], hashes["contents"][here] = pair_hashes(
            prompts.to_pylist(), answers
        )
        if columns.key is not None:
            name = ".".join(columns.key)
            hashes["keys"][here] = own_keys(array_of(batch, columns.key), name, done)
        done += len(prompts)
        if progress is not None:
            progress(done)
    if columns.key is None:
        hashes["keys"] = numbered(hashes["contents"])
    else:
        check_distinct(rows, columns.key, hashes["keys"])
    fingerprint = rows_fingerprint(hashes["keys"], hashes["contents"])
    return Index(num_answers=num_answers, fingerprint=fingerprint, **hashes)


def _write(cache: Cache, path: Path, rows: RowsFile, index: Index) -> None:
    import pyarrow as pa

    arrays = [pa.array(getattr(index, name)) for name in _ARRAYS]
    notes = {
        "fingerprint": index.fingerprint,
        "num_answers": str(index.num_answers),
        "rows_bytes": str(rows.num_bytes),
        "digest": _digest_of(index),
    }
    schema = pa.schema([(name, pa.int64()) for name in _ARRAYS], metadata=notes)
    with cache.writing(path, schema) as write:
        write(pa.RecordBatch.from_arrays(arrays, schema=schema))


def _digest_of(index: Index) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name in _ARRAYS:
        state.update(memoryview(getattr(index, name)))
    return state.hexdigest()


def _read(path: Path, rows: RowsFile) -> Index | None:
    """Reads the file of keys; None where it is missing, damaged or of other rows."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        notes = {
            name.decode(): x.decode() for name, x in reader.schema.metadata.items()
        }
        batch = reader.get_batch(0)
        arrays = {name: batch.column(name).to_numpy() for name in _ARRAYS}
        index = Index(
            num_answers=int(notes["num_answers"]),
            fingerprint=notes["fingerprint"],
            **arrays,
        )
        is_intact = notes["digest"] == _digest_of(index)
        is_of_rows = notes["rows_bytes"] == str(rows.num_bytes)
        is_of_rows = is_of_rows and len(index.keys) == rows.num_rows
    # A damaged file may fail in any of these ways.
    except (OSError, ValueError, KeyError, AttributeError, pa.ArrowException):
        return None
    return (
        index if is_intact and is_of_rows and len(index.keys) == rows.num_rows else None
    )
