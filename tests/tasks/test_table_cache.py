import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bots_jax.tasks.tables import files as table_files
from bots_jax.tasks.tables import index as table_index
from bots_jax.tasks.tables import sources as table_sources
from bots_jax.tasks.tables.table import open_table
from tests.tasks.table_tools import guru_rows, write_lines, write_parquet


@pytest.fixture
def source(tmp_path):
    return write_parquet(tmp_path / "tasks.parquet", guru_rows(100))


@pytest.fixture
def work(monkeypatch):
    """Names what was done anew, in order."""
    done = []
    convert, make = table_files.Cache._convert, table_index._make

    def counted_convert(self, progress):
        done.append("rows")
        return convert(self, progress)

    def counted_make(*args):
        done.append("keys")
        return make(*args)

    monkeypatch.setattr(table_files.Cache, "_convert", counted_convert)
    monkeypatch.setattr(table_index, "_make", counted_make)
    return done


def test_sources_are_read_once(source, tmp_path, work):
    cache = tmp_path / "cache"
    first = open_table(source, cache_dir=cache)
    again = open_table([source], cache_dir=cache)
    assert work == ["rows", "keys"]
    assert again.rows(range(100)) == first.rows(range(100))
    assert again.fingerprint == first.fingerprint
    assert len(list(cache.iterdir())) == 2  # and no leftovers of writing them
    open_table(source, answer="data_source", cache_dir=cache)
    assert work == ["rows", "keys", "keys"]


def test_the_default_folder_follows_the_environment(source, tmp_path):
    open_table(source)
    assert len(list((tmp_path / "cache" / "tables").iterdir())) == 2


def test_a_relative_path_is_the_same_table(source, work, monkeypatch):
    open_table(source)
    monkeypatch.chdir(source.parent)
    open_table(source.name)
    assert work == ["rows", "keys"]


def test_changed_sources_are_read_again_and_the_old_copy_goes(source, tmp_path, work):
    cache = tmp_path / "cache"
    old = open_table(source, cache_dir=cache)
    write_parquet(source, guru_rows(90))
    new = open_table(source, cache_dir=cache)
    assert (len(old), len(new)) == (100, 90)
    assert work == ["rows", "keys"] * 2
    assert len(list(cache.iterdir())) == 2
    # Whoever has the old one open still reads it.
    assert old.rows([99]) == guru_rows(100)[99:]
    assert old.numbers("extra_info.index")[-1] == 99
    assert old.text_column("extra_info.split")[-1] == "train"
    # A touched file counts as changed: its bytes are not compared.
    os.utime(source, ns=(0, time.time_ns() + 10**9))
    open_table(source, cache_dir=cache)
    assert work == ["rows", "keys"] * 3


def test_old_leftovers_of_a_killed_process_go(source, tmp_path):
    cache = tmp_path / "cache"
    open_table(source, cache_dir=cache)
    family = next(cache.iterdir()).name.split("-")[0]
    for name, age in ((f"{family}-x.partial", 10**6), (f"{family}-y.partial", 0)):
        (cache / name).write_text("")
        os.utime(cache / name, (time.time() - age, time.time() - age))
    write_parquet(source, guru_rows(90))
    open_table(source, cache_dir=cache)
    assert [path.name for path in cache.glob("*.partial")] == [f"{family}-y.partial"]


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "short by a byte": lambda data: data[:-1],
    "text": lambda data: b"not an Arrow file",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("kind", ["rows", "index"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_copy_is_made_again(source, tmp_path, work, kind, damage):
    cache = tmp_path / "cache"
    before = open_table(source, cache_dir=cache).keys.tolist()
    (path,) = cache.glob(f"*.{kind}.arrow")
    # Replaced, as a torn write would; what is mapped must not shrink.
    (tmp_path / "damaged").write_bytes(damage(path.read_bytes()))
    os.replace(tmp_path / "damaged", path)
    work.clear()
    table = open_table(source, cache_dir=cache)
    assert work == (["rows"] if kind == "rows" else ["keys"])
    assert table.keys.tolist() == before
    assert table.rows(range(100)) == guru_rows(100)


def test_every_flipped_byte_of_the_keys_is_seen(source, tmp_path):
    cache = tmp_path / "cache"
    table = open_table(source, cache_dir=cache)
    (path,) = cache.glob("*.index.arrow")
    data = path.read_bytes()
    at = data.index(np.int64(table.keys[50]).tobytes())
    for place in (at, at + 7):
        (tmp_path / "damaged").write_bytes(
            data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        )
        os.replace(tmp_path / "damaged", path)
        again = open_table(source, cache_dir=cache)
        assert again.keys.tolist() == table.keys.tolist()


def test_an_interrupted_conversion_leaves_nothing(source, tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        open_table(source, cache_dir=cache, progress=stop)
    assert list(cache.iterdir()) == []
    assert len(open_table(source, cache_dir=cache)) == 100


def test_progress_counts_rows_of_the_copy_and_then_of_the_keys(
    source, tmp_path, monkeypatch
):
    monkeypatch.setattr(table_files, "_BLOCK_ROWS", 40)
    seen = []
    open_table(source, progress=seen.append)
    assert seen == [40, 80, 100] * 2
    open_table(source, progress=seen.append)
    assert len(seen) == 6


def test_sources_that_change_meanwhile_are_refused(tmp_path):
    path = write_lines(tmp_path / "t.jsonl", guru_rows())

    def change(done):
        write_lines(path, guru_rows(7))

    with pytest.raises(ValueError, match="changed while they were read"):
        open_table(path, progress=change)
    assert len(open_table(path)) == 7


def test_a_folder_that_cannot_be_written_is_named(source, tmp_path):
    (tmp_path / "file").write_text("")
    sentence = "cannot be kept in .*file/inside: Not a directory; cache_dir or BOTS"
    with pytest.raises(ValueError, match=sentence):
        open_table(source, cache_dir=tmp_path / "file" / "inside")


def test_a_full_disk_is_said_and_leaves_nothing(source, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    cache = tmp_path / "cache"
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="kept in .*cache: No space left on device;"):
        open_table(source, cache_dir=cache)
    assert list(cache.iterdir()) == []


def test_wide_rows_are_kept_in_small_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(table_files, "_BLOCK_BYTES", 10_000)
    monkeypatch.setattr(table_sources, "_BATCH_ROWS", 2)
    rows = [{"prompt": str(row) * 3000} for row in range(10)]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows))
    assert len(table._rows.blocks) == 5
    assert table.rows(range(10)) == rows


def test_many_may_open_at_once(source, tmp_path):
    def read(_):
        return open_table(source, cache_dir=tmp_path / "cache").rows(range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(rows == guru_rows(100) for rows in pool.map(read, range(16)))
    assert len(list((tmp_path / "cache").iterdir())) == 2
