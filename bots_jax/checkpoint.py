"""Pytrees on disk through orbax: atomic, checked, and told apart by a fingerprint."""

import errno
import pathlib
import warnings
from typing import Any

import jax
import numpy as np

_FORMAT = 1


class Checkpoints:
    """The checkpoints of one directory, numbered by step.

    Every save is complete or absent: orbax writes beside the target and renames. A
    checkpoint carries the fingerprint of what it belongs to, and one that belongs to
    something else is refused, not loaded.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> folder = tempfile.TemporaryDirectory()
      >>> checkpoints = Checkpoints(folder.name, fingerprint="run-1")
      >>> checkpoints.save(3, {"x": jnp.arange(2)})
      >>> step, tree = checkpoints.restore_latest({"x": jnp.zeros(2, jnp.int32)})
      >>> step, tree["x"]
      (3, array([0, 1], dtype=int32))
      >>> checkpoints.close(); folder.cleanup()
    """

    def __init__(
        self, directory: str | pathlib.Path, fingerprint: str, keep: int | None = 2
    ):
        """Opens a directory, made if it is not there.

        Args:
          directory: where the checkpoints lie.
          fingerprint: of what they belong to.
          keep: how many of the newest stay; None for all.
        """
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._fingerprint = fingerprint
        self._directory = pathlib.Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, create=True
        )
        with _full_disk_named(self._directory):
            self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, tree: Any) -> None:
        """Writes a pytree of arrays and returns when it is complete.

        Raises:
          OSError: with one sentence, if the disk is full; earlier ones are kept.
        """
        ocp = self._ocp
        leaves = jax.tree.leaves(jax.device_get(tree))
        arrays = {f"{i:05d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        meta = {"format": _FORMAT, "fingerprint": self._fingerprint, "step": step}
        items = ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave(meta)
        )
        with _full_disk_named(self._directory):
            if step in self._manager.all_steps():
                self._manager.delete(step)  # a damaged one, passed over on resume
            self._manager.save(step, args=items, force=True)
            self._manager.wait_until_finished()

    def restore_latest(self, template: Any) -> tuple[int, Any] | None:
        """Reads the newest checkpoint that is whole.

        Args:
          template: a pytree of the same structure, shapes and dtypes.

        Returns:
          Its step and the tree, with NumPy leaves; None if there is none. One that
          cannot be read is passed over with a warning.

        Raises:
          ValueError: if it belongs to another run, or has other shapes.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, meta = self._read(step)
            except Exception as error:  # whatever damage makes orbax raise
                why = (str(error) or repr(error)).splitlines()[0]
                warnings.warn(
                    f"checkpoint {step} in {self._directory} cannot be read and is "
                    f"passed over: {why}",
                    stacklevel=2,
                )
                continue
            return step, self._rebuild(arrays, meta, template)
        return None

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        ocp = self._ocp
        meta = self._manager.restore(
            step, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        )["meta"]
        arrays = self._manager.restore(
            step, args=ocp.args.Composite(arrays=ocp.args.StandardRestore())
        )["arrays"]
        return arrays, meta

    def _rebuild(self, arrays: dict, meta: dict, template: Any) -> Any:
        if meta.get("fingerprint") != self._fingerprint:
            raise ValueError(
                f"{self._directory} holds a checkpoint of another run: its fingerprint "
                f"is {meta.get('fingerprint')}, this run's is {self._fingerprint}."
            )
        wanted, structure = jax.tree.flatten(template)
        leaves = [np.asarray(arrays[name]) for name in sorted(arrays)]
        shapes = [(leaf.shape, str(leaf.dtype)) for leaf in leaves]
        expected = [(np.shape(leaf), str(np.asarray(leaf).dtype)) for leaf in wanted]
        if shapes != expected:
            raise ValueError(
                f"{self._directory} holds a checkpoint of another shape: "
                f"{len(shapes)} arrays that differ from the {len(expected)} expected."
            )
        return jax.tree.unflatten(structure, leaves)

    def close(self) -> None:
        """Releases the directory."""
        self._manager.close()


class _full_disk_named:  # noqa: N801  (reads as a statement where it is used)
    """Turns whatever is raised on a full disk into one OSError with one sentence."""

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and is_disk_full(error):
            raise OSError(
                errno.ENOSPC,
                f"No space left on the disk of {self._path}; the checkpoints already "
                "there are whole. Free some room and resume.",
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
