"""A disk that is really full: one sentence, nothing lost, and on when there is room."""

import errno
import os
import pathlib
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from bots_jax.checkpoint import Checkpoints
from tests.test_checkpoint import assert_same

MEGABYTE = 1 << 20


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of eight megabytes, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_tree(step: int) -> dict:
    rng = np.random.default_rng(step)
    return {"x": rng.integers(0, 256, 2 * MEGABYTE, np.uint8), "step": np.int64(step)}


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("left", [0, 1, 5000, MEGABYTE])
def test_a_disk_that_is_full(disk, left, asynchronous):
    folder = disk / "checkpoints"
    options = {"keep": None, "asynchronous": asynchronous}
    with Checkpoints(folder, "run", **options) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_tree(step))
            checkpoints.wait()
        space = os.statvfs(disk)
        room = space.f_bavail * space.f_frsize
        (disk / "ballast").write_bytes(bytes(room - left))
        for step in (3, 2):  # a new one, and one in the place of another
            with pytest.raises(OSError) as caught:
                checkpoints.save(step, make_tree(7))
                checkpoints.wait()
            assert caught.value.errno == errno.ENOSPC
            assert len(str(caught.value).splitlines()) == 1
            assert f"No space left on the disk of {folder};" in str(caught.value)
            assert {path.name for path in folder.iterdir()} == {
                "1",
                "2",
                "writer.lock",
            }
            for reader in (checkpoints, Checkpoints(folder, "run")):
                saved = reader.read_latest()
                assert saved is not None and saved.step == 2
                assert_same(saved.tree(make_tree(2)), make_tree(2))
        (disk / "ballast").unlink()
        checkpoints.save(3, make_tree(3))
        saved = checkpoints.read_latest()
        assert saved is not None
        assert_same(saved.tree(make_tree(3)), make_tree(3))


def test_a_disk_that_has_no_room_for_the_lock(disk):
    (disk / "checkpoints").mkdir()
    space = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(space.f_bavail * space.f_frsize))
    checkpoints = Checkpoints(disk / "checkpoints", "run")
    with pytest.raises(OSError, match="No space left on the disk of"):
        checkpoints.save(1, make_tree(1))
    assert list((disk / "checkpoints").iterdir()) == []
    (disk / "ballast").unlink()
    checkpoints.save(1, make_tree(1))
    checkpoints.close()
