"""One writer per directory: a lock that ends with the process that holds it."""

import contextlib
import fcntl
import os
import pathlib
import socket
import weakref

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class DirectoryLock:
    """An exclusive lock on a file, which says who holds it.

    The lock is the kernel's (flock), not the file's existence: whatever ends the
    process, SIGKILL included, ends the lock, and a file left behind blocks nobody. A
    second holder is refused at once, be it another process or another object of the
    same process. A child made by fork shares the lock until both have ended. Network
    file systems may not keep it between hosts.

    Example:
      >>> import tempfile
      >>> folder = tempfile.TemporaryDirectory()
      >>> path = pathlib.Path(folder.name) / "writer.lock"
      >>> with DirectoryLock(path) as lock:
      ...     lock.is_held, path.read_text().split()[0]
      (True, 'pid')
      >>> path.exists(), lock.is_held
      (False, False)
      >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Names the file, made on `acquire`, in the directory that it guards."""
        self._path = pathlib.Path(path)
        self._held: weakref.finalize | None = None

    @property
    def is_held(self) -> bool:
        """True between `acquire` and `release`."""
        return self._held is not None

    def acquire(self) -> None:
        """Takes the lock; does nothing where this object holds it.

        Raises:
          BlockingIOError: naming the holder, if there is another one.

        Example:
          >>> lock = DirectoryLock("/nowhere/writer.lock")
          >>> lock.acquire()
          Traceback (most recent call last):
          FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/writer.lock'
        """
        while self._held is None:
            file = os.open(self._path, _FLAGS, 0o644)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException as error:
                holder = os.pread(file, 300, 0).decode(errors="replace").strip()
                os.close(file)
                if not isinstance(error, BlockingIOError):
                    raise
                raise BlockingIOError(error.errno, self._refusal(holder)) from None
            if not _is_at(file, self._path):  # removed by its last holder
                os.close(file)
                continue
            pid = os.getpid()
            self._held = weakref.finalize(self, _give_back, file, self._path, pid)
            try:
                os.ftruncate(file, 0)
                os.pwrite(file, f"pid {pid} on {socket.gethostname()}\n".encode(), 0)
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Gives the lock back and removes its file; does nothing where it is not held.

        Example:
          >>> DirectoryLock("writer.lock").release()
        """
        held, self._held = self._held, None
        if held is not None:
            held()

    def __enter__(self) -> "DirectoryLock":
        self.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _refusal(self, holder: str) -> str:
        return (
            f"{self._path.parent} is being written by {holder or 'somebody else'}; a "
            "directory takes one writer at a time, so wait for that one to end or "
            "choose another directory."
        )


def _give_back(file: int, path: pathlib.Path, pid: int) -> None:
    """Removes the file before the lock ends; a forked child only closes it."""
    with contextlib.suppress(OSError):
        if pid == os.getpid() and _is_at(file, path):
            path.unlink()
    os.close(file)


def _is_at(file: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
