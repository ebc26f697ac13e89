"""Writes parquet files that are new, whole or not there, and never replaced."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def check_new(path: Path) -> None:
    """Checks that a parquet file can be written here without replacing anything.

    Raises:
      ValueError: if something is there, or for another ending.

    >>> check_new(Path("/nowhere/table.csv"))
    Traceback (most recent call last):
    ValueError: output must end in .parquet, got /nowhere/table.csv.
    >>> check_new(Path(__file__).with_suffix(".parquet"))
    """
    if path.suffix != ".parquet":
        raise ValueError(f"output must end in .parquet, got {path}.")
    if os.path.lexists(path):
        raise ValueError(f"output must be a new file, and {path} is there.")


@contextlib.contextmanager
def new_parquet(
    path: Path, schema: pa.Schema
) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Writes a parquet file beside its place, and gives it its name at the end.

    Args:
      path: the file; its folder is made where it is not there.
      schema: of the batches.

    Yields:
      A function that writes a batch.

    Raises:
      ValueError: if there is such a file, before or meanwhile.

    >>> import pyarrow as pa
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path, batch = Path(folder, "t.parquet"), pa.record_batch({"x": [1]})
    ...     with new_parquet(path, batch.schema) as write:
    ...         write(batch)
    ...     [file.name for file in Path(folder).iterdir()]
    ['t.parquet']
    """
    import pyarrow.parquet as pq

    check_new(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as writer:
                yield writer.write_batch
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        _give_name(Path(name), path)
    finally:
        Path(name).unlink(missing_ok=True)


def _give_name(partial: Path, path: Path) -> None:
    try:
        os.link(partial, path)  # unlike a renaming, it replaces nothing
    except FileExistsError:
        raise ValueError(
            f"output must be a new file, and {path} is there now."
        ) from None
    except OSError:  # a file system without hard links
        check_new(path)
        os.rename(partial, path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
