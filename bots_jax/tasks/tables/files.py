"""Keeps the rows of a table in one file that is read in place, made once.

The sources are turned into an uncompressed Arrow file in a cache folder. It is mapped
into memory, so a read touches only the pages that hold its rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bots_jax.tasks.tables.columns import ColumnPath, array_of
from bots_jax.tasks.tables.sources import common_schema, file_batches

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
"""Raise it when the files in the cache, or the keys in them, change."""

Progress = Callable[[int], Any]
"""Called with the number of rows done."""

_BLOCK_ROWS = 8192
_BLOCK_BYTES = 2**24
_OLD_PARTIAL_S = 24 * 3600


class RowsFile:
    """Rows in one Arrow file, mapped into memory; may be read from several threads."""

    def __init__(self, path: Path):
        """Maps a file.

        Raises:
          pa.ArrowException, OSError: if it is damaged.
        """
        import pyarrow as pa

        self.path = path
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self.schema: pa.Schema = reader.schema
        self.blocks = [reader.get_batch(at) for at in range(reader.num_record_batches)]
        lengths = [block.num_rows for block in self.blocks]
        self.starts = np.cumsum([0, *lengths])
        self.num_rows = int(self.starts[-1])
        self.num_bytes = path.stat().st_size
        self._arrays: dict[ColumnPath, list[Any]] = {}

    def scan(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Reads all rows in order, some thousand at a time, and lets them go again.

        Args:
          columns: names of columns to read; None for all.
        """
        import pyarrow as pa

        names = self.schema.names if columns is None else list(dict.fromkeys(columns))
        fields = sorted(self.schema.get_field_index(name) for name in names)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        try:
            file = pa.OSFile(str(self.path), "rb")
        except FileNotFoundError:  # what is mapped stays, but may crowd the memory
            yield from (block.select(fields) for block in self.blocks)
            return
        with file:
            reader = pa.ipc.open_file(file, options=options)
            for at in range(reader.num_record_batches):
                yield reader.get_batch(at)

    def values(self, task_ids: np.ndarray, path: ColumnPath) -> list[Any]:
        """Reads one column of some rows, in their order."""
        arrays = self._arrays.get(path)
        if arrays is None:  # another thread may do the same: the result is equal
            arrays = [array_of(block, path) for block in self.blocks]
            self._arrays[path] = arrays
        blocks = np.searchsorted(self.starts, task_ids, side="right") - 1
        places = (task_ids - self.starts[blocks]).tolist()
        found = zip(blocks.tolist(), places, strict=True)
        return [arrays[block][place].as_py() for block, place in found]


class Cache:
    """Where the files that belong to some sources, as they are now, lie.

    Attributes:
      files: the sources.
    """

    def __init__(self, files: Sequence[Path], folder: Path):
        self.files, self.folder = list(files), folder
        self._stamps = self._stamp()
        places = [place for place, _, _ in self._stamps]
        self._family = _hashed(places)
        self._name = f"{self._family}-{_hashed([self._stamps, FORMAT_VERSION])}"

    def _stamp(self) -> list[tuple[str, int, int]]:
        stats = [(str(file.absolute()), file.stat()) for file in self.files]
        return [(place, stat.st_size, stat.st_mtime_ns) for place, stat in stats]

    @property
    def rows_path(self) -> Path:
        """The file of rows."""
        return self.folder / f"{self._name}.rows.arrow"

    def index_path(self, columns: Any) -> Path:
        """The file of keys, for a choice of columns that JSON can hold."""
        return self.folder / f"{self._name}-{_hashed(columns)}.index.arrow"

    def rows(self, progress: Progress | None) -> RowsFile:
        """Maps the rows; reads the sources where that was not done, or is damaged.

        Raises:
          ValueError: with one sentence, for sources that cannot be read.
        """
        import pyarrow as pa

        with contextlib.suppress(OSError, pa.ArrowException):
            return RowsFile(self.rows_path)
        self._convert(progress)
        return RowsFile(self.rows_path)

    def _convert(self, progress: Progress | None) -> None:
        schema, done = common_schema(self.files), 0
        with self.writing(self.rows_path, schema) as write:
            for file in self.files:
                for block in _blocks(file_batches(file, schema)):
                    write(block)
                    done += block.num_rows
                    if progress is not None:
                        progress(done)
            if done == 0:
                raise ValueError(f"{self.files[0]} holds no rows.")
            self._check_unchanged()
        self._drop_old()

    def _check_unchanged(self) -> None:
        with contextlib.suppress(OSError):
            if self._stamp() == self._stamps:
                return
        raise ValueError("the files of the table changed while they were read.")

    @contextlib.contextmanager
    def writing(
        self, path: Path, schema: pa.Schema
    ) -> Iterator[Callable[[pa.RecordBatch], None]]:
        """Writes an Arrow file so that a reader sees the whole file or none.

        Yields:
          A function that writes a batch.

        Raises:
          ValueError: with one sentence, if the folder cannot be written to.
        """
        import pyarrow as pa

        name = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=self.folder, prefix=f"{self._family}-", suffix=".partial"
            )
            with os.fdopen(handle, "wb") as file:
                with pa.ipc.new_file(file, schema) as writer:
                    yield writer.write_batch
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except OSError as error:
            raise ValueError(
                f"the table cannot be kept in {self.folder}: {error.strerror or error};"
                " cache_dir or BOTS_JAX_CACHE names another folder."
            ) from None
        finally:
            if name is not None:
                Path(name).unlink(missing_ok=True)

    def _drop_old(self) -> None:
        """Removes what was kept of the same sources as they were before."""
        for path in self.folder.glob(f"{self._family}-*"):
            with contextlib.suppress(OSError):
                if path.suffix == ".partial":
                    is_old = time.time() - path.stat().st_mtime > _OLD_PARTIAL_S
                else:
                    is_old = not path.name.startswith(self._name)
                if is_old:
                    path.unlink()


def _blocks(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Joins small batches, so that a table of many rows has few of them."""
    import pyarrow as pa

    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BLOCK_ROWS):
            part = batch.slice(start, _BLOCK_ROWS)
            if held and (
                rows + part.num_rows > _BLOCK_ROWS or size + part.nbytes > _BLOCK_BYTES
            ):
                yield from pa.Table.from_batches(held).combine_chunks().to_batches()
                held, rows, size = [], 0, 0
            held.append(part)
            rows, size = rows + part.num_rows, size + part.nbytes
    if held:
        yield from pa.Table.from_batches(held).combine_chunks().to_batches()


def _hashed(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
