"""The sampler's checkpoints beside those of Tunix, one for each step that it has.

The sampler's comes first: it is whole on the disk before Tunix begins to write its own,
so that whatever Tunix can restore has its counterpart, also after a kill between the
two. One that Tunix has never finished, or has deleted, is removed at the next save.
"""

import contextlib
import pathlib
import re
import shutil
from typing import Any

from bots_jax.checkpoint import Checkpoints

FINGERPRINT = "bots_jax.adapters.tunix"


def folder(root: Any, directory: Any = None) -> pathlib.Path | None:
    """Finds where the sampler's checkpoints lie.

    Args:
      root: Tunix's checkpoint_root_directory; None if it saves nothing.
      directory: the user's choice, if any.

    Returns:
      A local folder; None if there is nothing to save.

    Raises:
      ValueError: if it would not be on this machine's own file system.

    Example:
      >>> folder("runs/7").as_posix(), folder(None)
      ('runs/7/bots', None)
    """
    if root is None:
        return None
    place = str(directory) if directory is not None else f"{root}/bots"
    if "://" in place:
        raise ValueError(
            f"the sampler's checkpoints need a local folder, got {place}; give one as "
            "directory=."
        )
    return pathlib.Path(place)


def save(tasks: Any, place: pathlib.Path, step: int) -> None:
    """Writes the state that belongs to a step of Tunix; whole when it returns.

    In several processes all must call it; the first one writes.

    Args:
      tasks: a `TunixTasks`.
      place: the folder of all steps.
      step: Tunix's train_steps.
    """
    import jax

    saved = tasks.state_dict()
    if jax.process_index() == 0:
        with Checkpoints(place / str(step), FINGERPRINT, keep=1) as checkpoints:
            checkpoints.save(step, saved["arrays"], saved["extra"])


def restore(tasks: Any, place: pathlib.Path, step: int, missing: str) -> None:
    """Reads the state that belongs to the step that Tunix has restored.

    Args:
      tasks: a `TunixTasks`.
      place: the folder of all steps.
      step: Tunix's train_steps.
      missing: "raise" or "start", if there is none.

    Raises:
      FileNotFoundError: naming the steps that there are.
      ValueError: for a state of other tasks.
    """
    saved = Checkpoints(place / str(step), FINGERPRINT).read_latest()
    if saved is not None:
        tasks.load_state_dict({"arrays": saved.arrays, "extra": saved.extra})
    elif missing == "raise":
        there = sorted(steps_in(place))
        raise FileNotFoundError(
            f"Tunix has restored step {step}, of which the sampler has no checkpoint "
            f"in {place}, which has those of {there or 'no step'}; missing='start' "
            "goes on with the sampler as it is."
        )


def follow(tasks: Any, trainer: Any, place: pathlib.Path) -> None:
    """Saves with Tunix from now on: at its steps, and as many of them as it keeps.

    Args:
      tasks: a `TunixTasks`.
      trainer: Tunix's, of the actor.
      place: the folder of all steps.
    """
    manager, root = trainer.checkpoint_manager, trainer.config.checkpoint_root_directory
    tunix_save = manager.save

    def save_both(step: int, *args: Any, **how: Any) -> bool:
        is_first = how.get("force", False) or _will_save(manager, step)
        if is_first:
            save(tasks, place, step)
        is_saved = tunix_save(step, *args, **how)
        if is_saved:
            if not is_first:  # its clock has gone on between the two questions
                save(tasks, place, step)
            remove_others(place, steps_in(root) | {step})
        return is_saved

    manager.save = save_both


def _will_save(manager: Any, step: int) -> bool:
    """Asks orbax, beneath Tunix, whether it is time; False if that is not known."""
    for name in ("_checkpoint_manager", "_checkpointer"):
        should_save = getattr(getattr(manager, name, None), "should_save", None)
        if should_save is not None:
            return bool(should_save(step))
    return False


def steps_in(root: Any) -> set[int]:
    """Lists the steps of finished checkpoints, ours or those of Tunix.

    Args:
      root: a folder, which may be remote for Tunix's, or not be there.

    Returns:
      Their numbers.

    Example:
      >>> steps_in("/nowhere")
      set()
    """
    from etils import epath

    names = []
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [path.name for path in epath.Path(root).iterdir()]
    found = (re.fullmatch(r"(?:[A-Za-z_-]*_)?(\d+)", name) for name in names)
    return {int(match[1]) for match in found if match}


def remove_others(place: pathlib.Path, kept: set[int]) -> None:
    """Removes the sampler's checkpoints of steps that Tunix does not have any more.

    Args:
      place: the folder of all steps.
      kept: steps to leave.
    """
    for step in steps_in(place) - kept:
        shutil.rmtree(place / str(step), ignore_errors=True)
