"""Writes files whole or not at all: whoever reads sees the old one or the new one."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def writing(
    path: str | os.PathLike[str], *, durable: bool = False, alone: bool = True
) -> Iterator[BinaryIO]:
    """Opens a file beside its place, and gives it its name when all is written.

    An error takes the unfinished file away and leaves what was there. A kill leaves
    `NAME.partial` behind, which the next writer of that file replaces.

    Args:
      path: the file; its folder is made where it is not there.
      durable: brings the bytes to the disk before they get their name, so that a
        power cut cannot leave an empty file under it.
      alone: False where several processes may write the same file at once: each has
        an unfinished file of its own then, and the last one to end stays.

    Yields:
      The file, open for bytes.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = pathlib.Path(folder, "made", "a.bin")
      ...     with writing(path) as file:
      ...         _ = file.write(b"all"); file.flush(); there = path.exists()
      ...     there, path.read_bytes(), [p.name for p in path.parent.iterdir()]
      (False, b'all', ['a.bin'])
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = "" if alone else f".{secrets.token_hex(8)}"
    partial = path.with_name(f"{path.name}{own}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_bytes(
    path: str | os.PathLike[str], content: bytes, *, durable: bool = False
) -> None:
    """Writes bytes, the file replaced as a whole; see `writing`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_bytes(pathlib.Path(folder, "a"), b"state", durable=True)
      ...     pathlib.Path(folder, "a").read_bytes()
      b'state'
    """
    with writing(path, durable=durable) as file:
        file.write(content)


def write_text(
    path: str | os.PathLike[str], text: str, *, durable: bool = False
) -> None:
    r"""Writes text as UTF-8, the file replaced as a whole; see `writing`.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     write_text(pathlib.Path(folder, "a"), "é")
      ...     pathlib.Path(folder, "a").read_bytes()
      b'\xc3\xa9'
    """
    write_bytes(path, text.encode(), durable=durable)
