"""Files are whole or not there: errors, kills, several writers, power cuts."""

import os
import subprocess
import sys
import threading

import pytest

from bots_jax import whole_files
from bots_jax.whole_files import write_bytes, write_text, writing

FORMS = {
    "text": lambda path: write_text(path, "new"),
    "bytes": lambda path: write_bytes(path, b"new"),
    "durable": lambda path: write_bytes(path, b"new", durable=True),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_is_made_and_replaced_and_nothing_else_is_left(form, tmp_path):
    path = tmp_path / "made" / "a.json"
    for before in (None, b"old, and longer"):
        if before is not None:
            path.write_bytes(before)
        FORMS[form](path)
        assert path.read_bytes() == b"new"
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_error_leaves_what_was_there(error, alone, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), writing(path, alone=alone) as file:
        file.write(b"ne")
        raise error
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_cannot_be_given_leaves_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "a", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_kill_leaves_the_old_file_and_the_next_writer_clears_up(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    program = (
        "import os, signal, sys\n"
        "exec(open(sys.argv[1]).read())\n"  # alone: without waiting for JAX
        "with writing(sys.argv[2]) as file:\n"
        "    file.write(b'ne'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, whole_files.__file__, str(path)]
    assert subprocess.run(command, check=False).returncode == -9
    assert path.read_bytes() == b"old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "a.partial"]
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_several_writers_do_not_mix(tmp_path):
    """The planted bug: with one name for the unfinished file, one of them fails."""
    path, barrier = tmp_path / "pool", threading.Barrier(2)

    def write(content, alone, failed):
        try:
            with writing(path, alone=alone) as file:
                file.write(content)
                barrier.wait(timeout=10)
        except OSError:
            failed.append(content)

    for alone in (False, True):
        failed = []
        contents = (b"a" * 100_000, b"b" * 50_000)
        threads = [
            threading.Thread(target=write, args=(content, alone, failed))
            for content in contents
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(failed) == int(alone)
        if not alone:
            assert path.read_bytes() in contents
            assert list(tmp_path.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_they_have_their_name(tmp_path, monkeypatch):
    path, seen = tmp_path / "a", []
    monkeypatch.setattr(
        os, "fsync", lambda file: seen.append((os.fstat(file).st_size, path.exists()))
    )
    write_bytes(path, b"new", durable=True)
    assert seen == [(3, False)]
    write_bytes(path, b"new")
    assert len(seen) == 1


def test_a_file_has_the_rights_of_any_other(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    for alone in (True, False):
        with writing(tmp_path / "a", alone=alone):
            pass
        assert (tmp_path / "a").stat().st_mode == plain.stat().st_mode
