"""Checkpoints: formats, saves in the background, full disks, and what goes wrong."""

import errno
import inspect
import re
import shutil
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax import checkpoint_commit, checkpoint_files
from bots_jax.checkpoint import Checkpoints, is_disk_full
from bots_jax.checkpoint_format import FORMAT, Meta, encode_meta
from tests.checkpoint_tools import (
    TREE,
    assert_same,
    moved,
    read,
    restore,
    save,
)
from tests.fixtures import make_checkpoint


def test_what_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    """Else a run would start anew because of a wrong owner."""
    save(tmp_path, 1, 2)

    def refuse(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("bots_jax.checkpoint.read_step", refuse)
    with pytest.raises(PermissionError):
        restore(tmp_path)


def test_a_newer_format_is_refused_and_not_passed_over(tmp_path):
    save(tmp_path, 1, 2)
    newer = encode_meta(Meta(FORMAT + 1, 2, "run", (), {}))
    (tmp_path / "2" / "meta.json").write_bytes(newer)
    sentence = (
        f"checkpoint {tmp_path}/2 has format {FORMAT + 1}, which this version of "
        f"bots_jax does not know: it reads formats 1 to {FORMAT}; install a newer one."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        restore(tmp_path)


@pytest.mark.parametrize("version", range(1, FORMAT + 1))
def test_every_format_is_still_read(version, tmp_path):
    """A format without its committed fixture fails here."""
    source = make_checkpoint.HERE / f"checkpoint_v{version}"
    assert source.is_dir(), "run python -m tests.fixtures.make_checkpoint"
    size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    assert size < 100_000
    folder = tmp_path / "fixture"
    shutil.copytree(source, folder)
    for step in sorted(make_checkpoint.STEPS, reverse=True):
        tree = make_checkpoint.make_tree(step, version)
        checkpoints = Checkpoints(folder, make_checkpoint.FINGERPRINT)
        found = checkpoints.restore_latest(tree)
        assert found is not None and found[0] == step
        assert_same(found[1], tree)
        saved = checkpoints.read_latest()
        assert saved is not None and saved.format == version
        assert saved.extra == make_checkpoint.make_extra(step, version)
        assert len(saved.arrays) == len(jax.tree.leaves(tree))
        with pytest.raises(ValueError, match="another shape"):
            checkpoints.restore_latest({**tree, "more": np.ones(1)})
        shutil.rmtree(folder / str(step))


def test_a_run_of_the_first_format_goes_on_in_the_present_one(tmp_path):
    folder = tmp_path / "fixture"
    shutil.copytree(make_checkpoint.HERE / "checkpoint_v1", folder)
    tree = make_checkpoint.make_tree(13, 1)
    with Checkpoints(folder, make_checkpoint.FINGERPRINT) as checkpoints:
        assert checkpoints.restore_latest(tree) is not None
        checkpoints.save(13, tree)
        saved = checkpoints.read_latest()
    assert saved is not None and saved.format == FORMAT
    assert {path.name for path in folder.iterdir()} == {"12", "13"}


def test_the_tree_may_be_overwritten_when_save_returns(tmp_path, monkeypatch):
    """The copy is made before: NumPy arrays in place, JAX arrays by donation."""
    may_write = threading.Event()
    write = checkpoint_files.write_step

    def late(*args):
        assert may_write.wait(60)
        write(*args)

    monkeypatch.setattr(checkpoint_commit, "write_step", late)
    bump = jax.jit(lambda x: x + 1, donate_argnums=0)
    mine, donated = np.zeros(1000), jnp.zeros(1000)
    extra = {"list": [1]}
    with Checkpoints(tmp_path, "run", asynchronous=True) as checkpoints:
        checkpoints.save(1, {"mine": mine, "donated": donated}, extra)
        mine += 1
        extra["list"].append(2)
        for _ in range(3):
            donated = bump(donated)
        jax.block_until_ready(donated)
        may_write.set()
    saved = read(tmp_path)
    assert not saved.arrays["mine"].any() and not saved.arrays["donated"].any()
    assert saved.extra == {"list": [1]}


@pytest.mark.parametrize("where", ["save", "wait", "close", "with"])
def test_what_goes_wrong_in_the_background_is_raised_later(
    tmp_path, monkeypatch, where
):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    checkpoints = Checkpoints(tmp_path, "run", asynchronous=True)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_commit, "write_step", full)
        checkpoints.save(1, TREE)
        with pytest.raises(OSError, match="No space left on the disk of"):
            if where == "save":
                checkpoints.save(2, TREE)
            elif where == "with":
                with checkpoints:
                    pass
            else:
                getattr(checkpoints, where)()
    checkpoints.wait()  # it is raised once
    assert checkpoints.read_latest() is None
    checkpoints.save(3, TREE)
    checkpoints.close()
    assert read(tmp_path).step == 3


def test_the_first_failure_is_the_one_to_hear_of(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_commit, "write_step", full)
    with pytest.raises(KeyError, match="first"):
        with Checkpoints(tmp_path, "run", asynchronous=True) as checkpoints:
            checkpoints.save(1, TREE)
            raise KeyError("first")


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

    def full(*args, **kwargs):
        raise error

    with Checkpoints(tmp_path, "run") as checkpoints, monkeypatch.context() as patch:
        patch.setattr(checkpoint_commit, "write_step", full)
        with pytest.raises(OSError, match="No space left on the disk of") as caught:
            checkpoints.save(2, TREE)
    assert caught.value.errno == errno.ENOSPC
    assert len(str(caught.value).splitlines()) == 1
    assert str(tmp_path) in str(caught.value) and "resume" in str(caught.value)
    assert restore(tmp_path)[0] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"1"}


def test_other_errors_are_not_called_a_full_disk(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint_commit, "write_step", broken)
    with Checkpoints(tmp_path, "run") as checkpoints, pytest.raises(PermissionError):
        checkpoints.save(2, TREE)
    assert not is_disk_full(ValueError("shape"))


def test_a_full_disk_is_found_behind_the_error_it_caused():
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as inner:
            raise RuntimeError("could not commit") from inner
    except RuntimeError as error:
        assert is_disk_full(error)


def test_orbax_can_read_what_it_has_committed(tmp_path):
    import orbax.checkpoint as ocp

    save(tmp_path, 1)
    with ocp.Checkpointer(checkpoint_commit.StepHandler()) as checkpointer:
        saved = checkpointer.restore(tmp_path / "1", args=checkpoint_commit.StepArgs())
    assert_same(saved.tree(TREE), jax.tree.map(np.asarray, moved(1)))


def test_there_is_no_pickle():
    for module in (checkpoint_commit, checkpoint_files):
        assert "pickle" not in inspect.getsource(module)
