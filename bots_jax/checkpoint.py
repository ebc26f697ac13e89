"""Pytrees on disk through orbax: atomic, checked, and told apart by a fingerprint."""

import concurrent.futures
import contextlib
import errno
import json
import operator
import os
import pathlib
import re
import shutil
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from bots_jax.checkpoint_files import Snapshot, read_step
from bots_jax.checkpoint_format import NewerFormat, encode_json
from bots_jax.checkpoint_tree import Saved, to_host
from bots_jax.directory_lock import DirectoryLock

_STEP = re.compile(r"(0|[1-9][0-9]{0,17})(\.replaced)?")
_LEFT_BEHIND = re.compile(r"[0-9]+\.(orbax-checkpoint-tmp.*|deleted)")
_NOT_DAMAGE = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class _Entry(NamedTuple):
    """A folder that may hold a checkpoint; its identity changes with its content."""

    step: int
    path: pathlib.Path
    identity: tuple[int, int]


class Checkpoints:
    """The checkpoints of one directory, numbered by step.

    - A save is complete or absent, also through a kill, a full disk or the loss of
      power: orbax writes beside the target, what is written is brought to the disk, and
      only then gets its name.
    - What is read is what was saved: every byte is under a checksum. One that is
      damaged is passed over with a warning and the one before it used.
    - One that belongs to something else, by its fingerprint, is refused, not loaded;
      so is one that newer code has written.
    - One writer at a time, from its first save to `close`; reading is always allowed.
    - Nothing outside the directory is read or written: names of arrays are never
      paths, and symbolic links in it are not followed. Nothing read is executed.

    Format 1, of earlier versions, is read as well; it has no checksums of its own, so
    that there a changed number may go unseen.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> folder = tempfile.TemporaryDirectory()
      >>> checkpoints = Checkpoints(folder.name, fingerprint="run-1")
      >>> checkpoints.save(3, {"x": jnp.arange(2)}, extra={"note": "first"})
      >>> step, tree = checkpoints.restore_latest({"x": jnp.zeros(2, jnp.int32)})
      >>> step, tree["x"], checkpoints.read_latest().extra
      (3, array([0, 1], dtype=int32), {'note': 'first'})
      >>> checkpoints.close(); folder.cleanup()
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        fingerprint: str,
        keep: int | None = 2,
        *,
        asynchronous: bool = False,
    ):
        """Names a directory, made by the first save if it is not there.

        Args:
          directory: where the checkpoints lie.
          fingerprint: of what they belong to.
          keep: how many of the newest stay, > 0; None for all.
          asynchronous: True to write in the background: `save` returns as soon as it
            has copied the tree.

        Raises:
          ValueError: for a `keep` out of range.
        """
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be > 0, or None for all, got {keep}.")
        self._directory = pathlib.Path(directory).absolute()
        self._fingerprint = fingerprint
        self._keep = keep
        self._lock = DirectoryLock(self._directory / "writer.lock")
        self._damaged: set[int] = set()
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None
        self._writing: concurrent.futures.Future[None] | None = None
        if asynchronous:
            self._executor = concurrent.futures.ThreadPoolExecutor(1)

    def lock(self) -> None:
        """Becomes the writer now, rather than at the first save.

        Raises:
          BlockingIOError: naming the other writer, if there is one.

        Example:
          >>> import tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     with Checkpoints(folder, "run") as one:
          ...         one.lock()
          ...         (pathlib.Path(folder) / "writer.lock").exists()
          True
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()

    def save(self, step: int, tree: Any, extra: dict[str, Any] | None = None) -> None:
        """Writes a pytree of arrays; what was saved under that step is replaced.

        The tree is on the host when this returns, so that it may be donated to the next
        step. The checkpoint is complete when this returns or, when asynchronous, when
        `wait`, `close` or the next `save` does; a program that ends without one of them
        may lose it.

        Args:
          step: its number, >= 0.
          tree: of JAX arrays, NumPy arrays and numbers; random keys may be typed.
          extra: a dict that strict JSON gives back unchanged; None for {}.

        Raises:
          OSError: with one sentence, if the disk is full; earlier ones are kept. Also
            what the previous save has met in the background: then this one is not made.
          BlockingIOError: naming the other writer, if there is one.
          ValueError: for a step, a tree or an extra that cannot be saved.
        """
        self.wait()
        step = operator.index(step)
        if not 0 <= step < 10**18:
            raise ValueError(f"step must be >= 0 and < 10**18, got {step}.")
        extra = {} if extra is None else extra
        if not isinstance(extra, dict):
            raise ValueError(f"extra must be a dict or None, got {extra!r}.")
        own_extra = json.loads(encode_json(extra, "extra"))
        arrays = to_host(tree, copy=self._executor is not None)
        snapshot = Snapshot(step, self._fingerprint, arrays, own_extra)
        with _full_disk_named(self._directory):
            self.lock()
        if self._executor is None:
            self._write(snapshot)
        else:
            self._writing = self._executor.submit(self._write, snapshot)

    def wait(self) -> None:
        """Waits for the save in the background, and raises what it has raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def restore_latest(self, template: Any) -> tuple[int, Any] | None:
        """Reads the newest checkpoint that is whole, as a pytree.

        Args:
          template: a pytree of the same structure, shapes and dtypes.

        Returns:
          Its step and the tree, with NumPy leaves, and typed keys where they were; None
          if there is none. One that cannot be read is passed over with a warning.

        Raises:
          ValueError: if it belongs to another run, has other shapes, or is of a format
            newer than this code.
        """
        saved = self.read_latest()
        if saved is None:
            return None
        try:
            return saved.step, saved.tree(template)
        except ValueError as error:
            raise ValueError(
                f"{self._directory} holds a checkpoint of another shape: {error}"
            ) from None

    def read_latest(self, any_fingerprint: bool = False) -> Saved | None:
        """Reads the newest checkpoint that is whole, without a template.

        Args:
          any_fingerprint: True to read also what belongs to another run.

        Returns:
          What it holds; None if there is none. One that cannot be read is passed over
          with a warning.

        Raises:
          ValueError: if it belongs to another run, or is of a format newer than this
            code.
        """
        self.wait()
        saved = self._read_newest()
        if saved is None or any_fingerprint or saved.fingerprint == self._fingerprint:
            return saved
        raise ValueError(
            f"{self._directory} holds a checkpoint of another run: its fingerprint is "
            f"{saved.fingerprint}, this run's is {self._fingerprint}."
        )

    def close(self) -> None:
        """Waits for the save in the background, and lets another writer in."""
        try:
            self.wait()
        finally:
            self._lock.release()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else the first failure is the one to hear of
                raise

    def _read_newest(self) -> Saved | None:
        found = self._listed()
        position = 0
        while position < len(found):
            entry = found[position]
            try:
                return read_step(entry.path, entry.step)
            except NewerFormat as error:
                raise ValueError(f"checkpoint {entry.path} {error}") from None
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
                    raise
                now = self._listed()
                if now != found:  # the writer has gone on meanwhile
                    found, position = now, 0
                    continue
                self._pass_over(entry.step, error)
            position += 1
        return None

    def _pass_over(self, step: int, error: Exception) -> None:
        self._damaged.add(step)
        why = (str(error) or repr(error)).splitlines()[0]
        warnings.warn(
            f"checkpoint {step} in {self._directory} cannot be read and is passed "
            f"over: {why}",
            stacklevel=5,
        )

    def _listed(self) -> list[_Entry]:
        """Lists the checkpoints there are, the newest first.

        Twice, until both agree: one that is renamed meanwhile may be in no list.
        """
        found = _scan(self._directory)
        while found != (again := _scan(self._directory)):
            found = again
        return found

    def _write(self, snapshot: Snapshot) -> None:
        from bots_jax.checkpoint_commit import commit_step

        target = self._directory / str(snapshot.step)
        with _full_disk_named(self._directory):
            self._tidy()
            if os.path.lexists(target):
                target.rename(f"{target}.replaced")
            try:
                commit_step(self._directory, snapshot)
            finally:
                self._tidy()
            self._delete_old(snapshot.step)

    def _tidy(self) -> None:
        """Removes what a kill or a full disk has left; only for the writer."""
        for path in self._directory.iterdir():
            match = _STEP.fullmatch(path.name)
            if _LEFT_BEHIND.fullmatch(path.name):
                _remove(path)
            elif match and match[2]:
                original = path.with_name(match[1])
                if os.path.lexists(original):
                    _remove(path)
                else:
                    path.rename(original)

    def _delete_old(self, saved: int) -> None:
        others = [entry.step for entry in self._listed() if entry.step != saved]
        damaged = [step for step in others if self._is_damaged(step)]
        self._damaged.clear()
        whole = [step for step in others if step not in damaged]
        too_many = [] if self._keep is None else whole[self._keep - 1 :]
        for step in (*damaged, *too_many):
            path = self._directory / str(step)
            _remove(path.rename(f"{path}.deleted"))

    def _is_damaged(self, step: int) -> bool:
        """Reads once more what was passed over: it may have been replaced since."""
        if step not in self._damaged:
            return False
        try:
            read_step(self._directory / str(step), step)
        except (OSError, ValueError):
            return True
        return False


def _scan(directory: pathlib.Path) -> list[_Entry]:
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            match = _STEP.fullmatch(path.name)
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                if match:
                    is_original, stat = match[2] is None, path.lstat()
                    identity = (stat.st_ino, stat.st_ctime_ns)
                    found.append((int(match[1]), is_original, path, identity))
    found.sort(reverse=True)
    return [_Entry(step, path, identity) for step, _, path, identity in found]


def _remove(path: pathlib.Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextlib.contextmanager
def _full_disk_named(path: pathlib.Path) -> Iterator[None]:
    """Turns whatever is raised on a full disk into one OSError with one sentence."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise OSError(
            errno.ENOSPC,
            f"No space left on the disk of {path}; the checkpoints already there are "
            "whole. Free some room and resume.",
        ) from error


def is_disk_full(error: BaseException) -> bool:
    """Tells whether an error, or one that caused it, is a full disk.

    Example:
      >>> is_disk_full(OSError(errno.ENOSPC, "No space left on device"))
      True
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(seen)
        if "No space left on device" in text or "RESOURCE_EXHAUSTED: write" in text:
            return True
        seen = seen.__cause__ or seen.__context__
    return False
