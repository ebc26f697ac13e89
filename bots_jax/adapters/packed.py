"""A sampler's state as bytes, and as a file, for trainers that save JSON."""

import glob
import io
import json
import os
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from bots_jax.whole_files import write_bytes

_KEPT_FILES = 3
_DIGITS = 12


def pack(saved: dict[str, Any]) -> bytes:
    """Turns what `TaskSampler.state_dict` gave into bytes, compressed.

    Example:
      >>> saved = {"arrays": {"state/alpha": np.ones(3)}, "extra": {"step": 4}}
      >>> back = unpack(pack(saved))
      >>> back["arrays"]["state/alpha"].tolist(), back["extra"]
      ([1.0, 1.0, 1.0], {'step': 4})
    """
    arrays = {f"array/{name}": array for name, array in saved["arrays"].items()}
    arrays["extra"] = np.frombuffer(json.dumps(saved["extra"]).encode(), np.uint8)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as stored:
        for name, array in arrays.items():
            with stored.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
    return buffer.getvalue()


def unpack(blob: bytes) -> dict[str, Any]:
    """Turns bytes back into what `TaskSampler.load_state_dict` takes.

    Raises:
      ValueError: if they are not what `pack` gave.

    Example:
      >>> unpack(b"half a file")
      Traceback (most recent call last):
      ValueError: the state saved is broken, or not one of this selector.
    """
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as stored:
            extra = json.loads(stored["extra"].tobytes())
            names = [name for name in stored.files if name.startswith("array/")]
            arrays = {name.removeprefix("array/"): stored[name] for name in names}
    except (
        AttributeError,
        EOFError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ):
        raise ValueError(
            "the state saved is broken, or not one of this selector."
        ) from None
    return {"arrays": arrays, "extra": extra}


def write_file(
    directory: str | os.PathLike[str], name: str, position: int, blob: bytes
) -> str:
    """Writes a state whole or not at all, and drops old ones of the same name.

    Args:
      directory: made if it is not there.
      name: of the task set.
      position: grows from state to state.
      blob: from `pack`.

    Returns:
      The file's path, absolute; the newest 3 of a name stay.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as place:
      ...     path = write_file(place, "train", 64, b"state")
      ...     pathlib.Path(path).name, read_file(path)
      ('train-000000000064.npz', b'state')
    """
    place = pathlib.Path(directory).absolute()
    stem = name.replace(os.sep, "-")
    path = place / f"{stem}-{position:0{_DIGITS}d}.npz"
    write_bytes(path, blob, durable=True)
    pattern = f"{glob.escape(stem)}-{'[0-9]' * _DIGITS}.npz"
    files = sorted(place.glob(pattern), key=lambda p: p.stat().st_mtime_ns)
    for old in files[:-_KEPT_FILES]:
        old.unlink()
    return str(path)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Reads a state that `write_file` wrote.

    Example:
      >>> read_file("/no/such/state.npz")
      Traceback (most recent call last):
      FileNotFoundError: the state of the selector is no longer at /no/such/state.npz.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(
            f"the state of the selector is no longer at {path}."
        ) from None
