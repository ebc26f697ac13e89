"""One writer at a time; readers at any time."""

import os
import re
import socket
import threading

import numpy as np
import pytest

from bots_jax.checkpoint import Checkpoints
from bots_jax.directory_lock import DirectoryLock
from tests.faults import saving_loop
from tests.faults.common import kill, start


def refusal(directory, pid: int) -> str:
    return re.escape(
        f"{directory} is being written by pid {pid} on {socket.gethostname()}; a "
        "directory takes one writer at a time, so wait for that one to end or choose "
        "another directory."
    )


def test_another_object_of_this_process(tmp_path):
    tree = {"x": np.ones(2)}
    with Checkpoints(tmp_path, "run") as one, Checkpoints(tmp_path, "run") as two:
        one.save(1, tree)
        for attempt in (lambda: two.save(2, tree), two.lock):
            with pytest.raises(BlockingIOError, match=refusal(tmp_path, os.getpid())):
                attempt()
        assert two.restore_latest(tree) is not None  # reading needs no lock
        one.close()
        two.save(2, tree)
        with pytest.raises(BlockingIOError):
            one.save(3, tree)
    with Checkpoints(tmp_path, "run") as three:
        three.save(3, tree)
    assert {path.name for path in tmp_path.iterdir()} == {"2", "3"}


def test_another_process_and_its_death(tmp_path):
    process = start("-m", "tests.faults.saving_loop", str(tmp_path), "sync")
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    checkpoints = Checkpoints(tmp_path, saving_loop.FINGERPRINT)
    with pytest.raises(BlockingIOError, match=refusal(tmp_path, process.pid)):
        checkpoints.save(10**6, {"x": np.ones(2)})
    assert checkpoints.read_latest() is not None
    kill(process)
    assert (tmp_path / "writer.lock").exists()  # left behind, and it blocks nobody
    checkpoints.save(10**6, {"x": np.ones(2)})
    checkpoints.close()
    assert not (tmp_path / "writer.lock").exists()


def test_a_writer_that_is_forgotten_lets_the_next_one_in(tmp_path):
    checkpoints = Checkpoints(tmp_path, "run")
    checkpoints.save(1, {"x": np.ones(2)})
    del checkpoints
    with Checkpoints(tmp_path, "run") as other:
        other.save(2, {"x": np.ones(2)})


def test_the_lock_alone(tmp_path):
    path = tmp_path / "writer.lock"
    one, two = DirectoryLock(path), DirectoryLock(path)
    one.release()  # not held: nothing happens
    one.acquire()
    one.acquire()
    assert one.is_held and not two.is_held
    with pytest.raises(BlockingIOError):
        two.acquire()
    one.release()
    with two:
        assert two.is_held
        with pytest.raises(BlockingIOError):
            one.acquire()
    assert not path.exists()


def test_a_lock_whose_file_was_removed_while_another_waited_for_it(
    tmp_path, monkeypatch
):
    """The second opens the file, the first removes it and ends: still one holder."""
    import bots_jax.directory_lock as module

    path = tmp_path / "writer.lock"
    one, two = DirectoryLock(path), DirectoryLock(path)
    one.acquire()
    flock = module.fcntl.flock

    def late(*args):
        one.release()
        flock(*args)

    monkeypatch.setattr(module.fcntl, "flock", late)
    two.acquire()
    monkeypatch.undo()
    assert path.exists()
    with pytest.raises(BlockingIOError):
        one.acquire()
    two.release()


def test_many_threads_take_turns(tmp_path):
    path = tmp_path / "writer.lock"
    inside, most, entered = [0], [0], [0]

    def work() -> None:
        for _ in range(200):
            try:
                with DirectoryLock(path):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    entered[0] += 1
                    inside[0] -= 1
            except BlockingIOError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1 and entered[0] > 0


@pytest.mark.parametrize(
    "saves", [20, pytest.param(2000, marks=pytest.mark.nightly)], ids=["few", "many"]
)
@pytest.mark.parametrize("mode", ["sync", "again"])
def test_reading_while_another_process_writes_and_deletes(tmp_path, mode, saves):
    """At whatever moment: what is read is whole, and nothing is passed over."""
    process = start("-m", "tests.faults.saving_loop", str(tmp_path), mode)
    assert process.stdout is not None
    process.stdout.readline()
    reader = Checkpoints(tmp_path, saving_loop.FINGERPRINT)
    try:
        last = -1
        while last < saves:
            saved = reader.read_latest()
            assert saved is not None
            number = int(saved.arrays["number"])
            assert number >= last and saved.extra == {"number": number}
            last = number
    finally:
        kill(process)
