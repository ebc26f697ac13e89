"""Checkpoints: whole or absent, told apart, and never a damaged one."""

import contextlib
import errno
import pathlib
import re
import shutil
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.checkpoint import Checkpoints, is_disk_full

# tensorstore may report a damaged file once more, to an event loop that has ended.
DAMAGED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
TREE = {"w": jnp.arange(6, dtype=jnp.float32).reshape(2, 3), "n": jnp.int32(4)}


def save(directory: pathlib.Path, *steps: int, keep: int | None = 3) -> None:
    checkpoints = Checkpoints(directory, "run", keep)
    for step in steps:
        checkpoints.save(step, moved(step))
    checkpoints.close()


def moved(step: int) -> dict[str, jax.Array]:
    return {name: leaf + step for name, leaf in TREE.items()}


def restore(
    directory: pathlib.Path, fingerprint: str = "run", template: Any = TREE
) -> tuple[int, Any]:
    found = restore_if_any(directory, fingerprint, template)
    assert found is not None
    return found


def restore_if_any(
    directory: pathlib.Path, fingerprint: str = "run", template: Any = TREE
) -> tuple[int, Any] | None:
    with contextlib.closing(Checkpoints(directory, fingerprint)) as checkpoints:
        return checkpoints.restore_latest(template)


def damage(directory: pathlib.Path, step: int, pattern: str = "*") -> None:
    """Cuts files to half their length, as a disk may that was switched off."""
    paths = [path for path in (directory / str(step)).rglob(pattern) if path.is_file()]
    assert paths
    for path in paths:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    tree = {
        "float": np.array([0.1, np.nan, -0.0, 1e-45], np.float32),
        "int": np.int64(2**40),
        "flag": np.array([True, False]),
        "nested": (np.array([[7]], np.int32), {"scalar": np.float32(2)}),
    }
    checkpoints = Checkpoints(tmp_path, "run")
    checkpoints.save(7, tree)
    checkpoints.close()
    step, found = restore(tmp_path, template=jax.tree.map(np.zeros_like, tree))
    assert step == 7
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for one, other in zip(*map(jax.tree.leaves, (tree, found)), strict=True):
        assert np.asarray(one).dtype == other.dtype
        assert np.asarray(one).tobytes() == other.tobytes()


def test_a_selectors_state_comes_back(tmp_path):
    selector = bots_jax.bots(num_tasks=5, batch_size=2)
    state = selector.init(np.full((5, 2), 0.5, np.float32))
    checkpoints = Checkpoints(tmp_path, "run")
    checkpoints.save(1, state)
    checkpoints.close()
    _, found = restore(tmp_path, template=state)
    for one, other in zip(*map(jax.tree.leaves, (state, found)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_empty_directory_holds_none(tmp_path):
    assert restore_if_any(tmp_path / "new") is None


def test_the_newest_are_kept_and_used(tmp_path):
    save(tmp_path, 1, 2, 3, 10, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"3", "10"}
    step, tree = restore(tmp_path)
    assert step == 10 and tree["n"] == 14


def test_another_runs_checkpoint_is_refused(tmp_path):
    save(tmp_path, 1)
    sentence = (
        f"{tmp_path} holds a checkpoint of another run: its fingerprint is run, this "
        "run's is other."
    )
    with pytest.raises(ValueError, match=re.escape(sentence)):
        restore(tmp_path, "other")


@pytest.mark.parametrize(
    "template",
    [
        {"w": np.zeros((3, 2), np.float32), "n": np.int32(0)},
        {"w": np.zeros((2, 3), np.int32), "n": np.int32(0)},
        {"w": np.zeros((2, 3), np.float32)},
    ],
    ids=["shape", "dtype", "count"],
)
def test_other_shapes_are_refused(tmp_path, template):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match="holds a checkpoint of another shape"):
        restore(tmp_path, template=template)


def test_a_half_written_checkpoint_is_never_picked_up(tmp_path):
    """What a kill leaves: orbax's temporary directory, which has not got its name."""
    save(tmp_path, 1, 2)
    half = tmp_path / "3.orbax-checkpoint-tmp-1700000000000000"
    shutil.copytree(tmp_path / "2", half)
    (half / "meta" / "metadata").unlink()
    step, tree = restore(tmp_path)
    assert step == 2 and tree["n"] == 6
    save(tmp_path, 3)  # and it is not in the way of the real one
    assert restore(tmp_path)[0] == 3


@DAMAGED
@pytest.mark.parametrize("pattern", ["*", "manifest.ocdbt", "metadata", "_METADATA"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, pattern):
    save(tmp_path, 1, 2)
    damage(tmp_path, 2, pattern)
    with pytest.warns(UserWarning, match="checkpoint 2 in .* cannot be read and is pa"):
        step, tree = restore(tmp_path)
    assert step == 1
    np.testing.assert_array_equal(tree["w"], TREE["w"] + 1)


@DAMAGED
def test_the_step_of_a_damaged_checkpoint_can_be_saved_again(tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path, 2)
    checkpoints = Checkpoints(tmp_path, "run")
    with pytest.warns(UserWarning, match="passed over"):
        checkpoints.restore_latest(TREE)
    checkpoints.save(2, moved(20))
    checkpoints.close()
    step, tree = restore(tmp_path)
    assert step == 2 and tree["n"] == 24


@DAMAGED
def test_when_all_are_damaged_there_is_none(tmp_path):
    save(tmp_path, 1, 2)
    damage(tmp_path, 1)
    damage(tmp_path, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert restore_if_any(tmp_path) is None
    said = [str(w.message) for w in caught if "passed over" in str(w.message)]
    assert [line.split()[1] for line in said] == ["2", "1"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        ValueError("RESOURCE_EXHAUSTED: write failed"),
    ],
)
def test_a_full_disk_is_one_sentence_and_earlier_ones_stay(
    tmp_path, monkeypatch, error
):
    save(tmp_path, 1)
    checkpoints = Checkpoints(tmp_path, "run")

    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr(checkpoints._manager, "save", full)
    with pytest.raises(OSError, match="No space left on the disk of") as caught:
        checkpoints.save(2, TREE)
    checkpoints.close()
    assert caught.value.errno == errno.ENOSPC
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) in str(caught.value) and "resume" in str(caught.value)
    assert restore(tmp_path)[0] == 1


def test_other_errors_are_not_called_a_full_disk(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, "run")

    def broken(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoints._manager, "save", broken)
    with pytest.raises(PermissionError):
        checkpoints.save(2, TREE)
    checkpoints.close()
    assert not is_disk_full(ValueError("shape"))


def test_a_full_disk_is_found_behind_the_error_it_caused():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as inner:
            raise RuntimeError("could not commit") from inner
    except RuntimeError as error:
        assert is_disk_full(error)
