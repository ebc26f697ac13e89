"""Orbax's atomic commit for the files of a checkpoint: written beside, then renamed."""

import dataclasses
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from bots_jax.checkpoint_files import Snapshot, read_step, sync_folder, write_step
from bots_jax.checkpoint_tree import Saved


class StepHandler(ocp.CheckpointHandler):
    """Tells orbax how to write a `Snapshot`: bytes as they are, with checksums.

    Orbax's own handlers compress, which takes several times as long for a posterior,
    and keep no checksum of what they store.
    """

    def save(self, directory: Any, *args: Any, **kwargs: Any) -> None:
        """Writes `args.snapshot` into orbax's temporary folder."""
        write_step(pathlib.Path(directory), kwargs["args"].snapshot)

    def restore(self, directory: Any, *args: Any, **kwargs: Any) -> Saved:
        """Reads a folder that `save` has written."""
        folder = pathlib.Path(directory)
        return read_step(folder, int(folder.name))


@ocp.args.register_with_handler(StepHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class StepArgs(ocp.args.CheckpointArgs):
    """What orbax hands to `StepHandler`.

    Attributes:
      snapshot: what is to be saved.
    """

    snapshot: Snapshot | None = None


def commit_step(directory: pathlib.Path, snapshot: Snapshot) -> None:
    """Writes a checkpoint as directory/step; nobody sees it before it is whole.

    Args:
      directory: that is there.
      snapshot: of a step that is not there.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     commit_step(pathlib.Path(folder), Snapshot(3, "run", {}, {"a": 1}))
      ...     read_step(pathlib.Path(folder) / "3", 3).extra
      {'a': 1}
    """
    me = jax.process_index()  # the snapshot is whole here: nobody else takes part
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"bots_{me}"
    )
    checkpointer = ocp.Checkpointer(StepHandler(), multiprocessing_options=alone)
    checkpointer.save(directory / str(snapshot.step), args=StepArgs(snapshot))
    sync_folder(directory)
    checkpointer.close()
