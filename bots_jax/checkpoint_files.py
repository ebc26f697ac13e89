"""The files of one checkpoint: written with checksums, read back if they fit."""

import concurrent.futures
import io
import os
import pathlib
import zlib
from typing import Any, NamedTuple

import numpy as np

from bots_jax.checkpoint_format import (
    ALIGNMENT,
    DTYPES,
    FORMAT,
    ArrayRecord,
    Meta,
    encode_meta,
    parse_meta,
)
from bots_jax.checkpoint_tree import HostArray, Saved, from_host

META, ARRAYS = "meta.json", "arrays.bin"
_META_1 = "meta/metadata"
_NO_FILL = {"fill_missing_data_reads": False}  # what is missing is not zero
_CHUNK = 1 << 20  # bytes; still in the cache when they are summed


class Snapshot(NamedTuple):
    """All that a checkpoint is to hold, on the host.

    Attributes:
      step: its number.
      fingerprint: of what it belongs to.
      arrays: by name.
      extra: what else is saved, as JSON can hold it.
    """

    step: int
    fingerprint: str
    arrays: dict[str, HostArray]
    extra: dict[str, Any]


def write_step(folder: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Writes a checkpoint into a folder that is there; on disk when it returns.

    Example:
      >>> import tempfile
      >>> arrays = {"x": HostArray(np.arange(2), None)}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_step(folder, Snapshot(3, "run", arrays, {}))
      ...     read_step(pathlib.Path(folder), 3).arrays
      {'x': array([0, 1])}
    """
    folder = pathlib.Path(folder)
    arrays = snapshot.arrays
    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # sums while we write
        sums = {name: thread.submit(_sum, array) for name, (array, _) in arrays.items()}
        with (folder / ARRAYS).open("xb") as file:
            for array, _ in arrays.values():
                file.write(bytes(-file.tell() % ALIGNMENT))
                file.write(_bytes(array))
            _sync(file)
        rows = tuple(
            ArrayRecord(name, str(array.dtype), array.shape, key, sums[name].result())
            for name, (array, key) in arrays.items()
        )
    step, fingerprint, _, extra = snapshot
    meta = Meta(FORMAT, step, fingerprint, rows, extra)
    with (folder / META).open("xb") as file:
        file.write(encode_meta(meta))
        _sync(file)
    sync_folder(folder)


def read_step(folder: pathlib.Path, step: int) -> Saved:
    """Reads a checkpoint and checks every byte that it uses.

    No symbolic link is followed, from the folder on, and nothing outside is read.

    Args:
      folder: of the checkpoint.
      step: that it must be of.

    Raises:
      NewerFormat: if later code has written it.
      ValueError, OSError: if it is damaged.

    Example:
      >>> read_step(pathlib.Path("no-such-folder"), 3)
      Traceback (most recent call last):
      ValueError: meta.json is missing
    """
    if folder.is_symlink():
        raise ValueError("it is a symbolic link")
    is_first_format = not os.path.lexists(folder / META)
    if is_first_format:
        if not os.path.lexists(folder / _META_1):
            raise ValueError(f"{META} is missing")
        _refuse_links(folder)
    with _open(folder / (_META_1 if is_first_format else META)) as file:
        meta = parse_meta(file.read())
    if (meta.format == 1) != is_first_format:
        raise ValueError("its record is of another format than its files")
    if meta.step != step:
        raise ValueError(f"it says that it is of step {meta.step}")
    if is_first_format:
        arrays = _read_first_format(folder / "arrays")
    else:
        arrays = _read_arrays(folder / ARRAYS, meta)
    return Saved(step, arrays, meta.extra, meta.fingerprint, meta.format)


def _read_arrays(path: pathlib.Path, meta: Meta) -> dict[str, Any]:
    *offsets, end = meta.offsets()
    arrays: dict[str, Any] = {}
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size != end:
            raise ValueError(f"{ARRAYS} has {size} bytes, its record says {end}")
        for row, offset in zip(meta.arrays, offsets, strict=True):
            file.seek(offset)
            array = np.empty(row.shape, DTYPES[row.dtype])
            crc32 = 0
            data = _bytes(array)
            for at in range(0, len(data), _CHUNK):
                chunk = data[at : at + _CHUNK]
                if file.readinto(chunk) != len(chunk):
                    raise ValueError(f"{ARRAYS} ends within array {row.name!r}")
                crc32 = zlib.crc32(chunk, crc32)
            if crc32 != row.crc32:
                raise ValueError(f"array {row.name!r} does not match its checksum")
            arrays[row.name] = from_host(HostArray(array, row.key))
    return arrays


def _read_first_format(folder: pathlib.Path) -> dict[str, Any]:
    """Reads what orbax's StandardCheckpointHandler wrote, past its own records."""
    import tensorstore as ts

    base = {"driver": "file", "path": f"{folder}/"}
    arrays: dict[str, Any] = {}
    try:
        store = ts.KvStore.open({"driver": "ocdbt", "base": base}).result()
        names = {key.decode().partition("/")[0] for key in store.list().result()}
        for name in sorted(names):
            where = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
            spec = {
                "driver": "zarr",
                "kvstore": where,
                "fill_missing_data_reads": False,
            }
            array = ts.open(spec, open=True, read=True).result().read().result()
            arrays[f"{int(name):05d}"] = np.array(array)
    except OSError:
        raise
    except Exception as error:  # whatever damage makes tensorstore raise
        raise ValueError((str(error) or repr(error)).splitlines()[0]) from error
    if list(arrays) != [f"{i:05d}" for i in range(len(arrays))]:
        raise ValueError(f"its arrays are named {sorted(arrays)}")
    return arrays


def sync_folder(folder: pathlib.Path) -> None:
    """Brings the names in a folder to the disk, as a rename needs.

    Example:
      >>> sync_folder(pathlib.Path("."))
    """
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sync(file: io.BufferedWriter) -> None:
    file.flush()
    os.fsync(file.fileno())


def _open(path: pathlib.Path) -> io.BufferedReader:
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb")


def _refuse_links(folder: pathlib.Path) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if pathlib.Path(parent, name).is_symlink():
                raise ValueError(f"{name} is a symbolic link")


def _bytes(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _sum(array: np.ndarray) -> int:
    return zlib.crc32(_bytes(array))
