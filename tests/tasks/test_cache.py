from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from bots_jax.tasks import FAMILIES, build_pool, cache
from bots_jax.tasks.cache import default_cache_dir, read_pool, request_fingerprint

REQUEST = {"num_tasks": 60, "families": ["gcd", "spell_backward"]}


@pytest.fixture
def count_generations(monkeypatch):
    calls = []
    generate = cache.generate_pool

    def counted(*args):
        calls.append(args)
        return generate(*args)

    monkeypatch.setattr(cache, "generate_pool", counted)
    return calls


def test_second_call_reads_the_same_pool_from_disk(tmp_path, count_generations):
    first = build_pool(**REQUEST, cache_dir=tmp_path)
    seen = []
    second = build_pool(
        **REQUEST, cache_dir=tmp_path, progress=lambda *args: seen.append(args)
    )
    assert len(count_generations) == 1
    assert seen == [(60, 60)]
    for name in cache._COLUMNS:
        old, new = getattr(first, name), getattr(second, name)
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(old, new)
    # One file, and no leftovers of writing it.
    assert len(list(tmp_path.iterdir())) == 1


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "short by a byte": lambda data: data[:-1],
    "text": lambda data: b"not a parquet file",
    **{
        f"flipped at {part}/16": lambda data, part=part: flip(
            data, len(data) * part // 16
        )
        for part in range(1, 16)
    },
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_rebuilt_not_trusted(tmp_path, damage):
    whole = build_pool(**REQUEST, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    # Either the damage is seen, or it hit a byte that carries no content.
    damaged = read_pool(path)
    assert damaged is None or damaged.fingerprint == whole.fingerprint
    again = build_pool(**REQUEST, cache_dir=tmp_path)
    assert again.fingerprint == whole.fingerprint
    assert read_pool(path) is not None


def test_readable_file_with_other_content_is_rebuilt(tmp_path, count_generations):
    whole = build_pool(**REQUEST, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    table = pq.read_table(path)
    answers = table["answers"].to_pylist()
    column = table.schema.get_field_index("answers")
    altered = table.set_column(column, "answers", [["0", *answers[1:]]])
    pq.write_table(altered.replace_schema_metadata(table.schema.metadata), path)
    assert read_pool(path) is None
    assert build_pool(**REQUEST, cache_dir=tmp_path).fingerprint == whole.fingerprint
    assert len(count_generations) == 2


def test_file_of_another_layout_is_not_read(tmp_path):
    build_pool(**REQUEST, cache_dir=tmp_path)
    (path,) = tmp_path.iterdir()
    table = pq.read_table(path)
    for other in (table.drop_columns(["keys"]), table.replace_schema_metadata(None)):
        pq.write_table(other, path)
        assert read_pool(path) is None


def test_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        build_pool(**REQUEST, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_everything_that_decides_the_pool_is_in_the_name(monkeypatch):
    base = (60, 0, ["gcd"])
    names = {
        request_fingerprint(*request)
        for request in (base, (61, 0, ["gcd"]), (60, 1, ["gcd"]), (60, 0, ["lcm"]))
    }
    monkeypatch.setattr(cache, "version", lambda package: "9.9")
    names.add(request_fingerprint(*base))
    monkeypatch.setattr(cache, "FORMAT_VERSION", 99)
    names.add(request_fingerprint(*base))
    monkeypatch.setitem(FAMILIES, "gcd", FAMILIES["count_bits"])
    names.add(request_fingerprint(*base))
    assert len(names) == 7


def test_default_directory_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("BOTS_JAX_CACHE", str(tmp_path / "chosen"))
    build_pool(**REQUEST)
    assert len(list((tmp_path / "chosen").glob("pool-*.parquet"))) == 1
    monkeypatch.delenv("BOTS_JAX_CACHE")
    assert default_cache_dir() == Path.home() / ".cache" / "bots_jax"


def test_bad_requests_never_reach_the_disk(tmp_path):
    with pytest.raises(ValueError, match="families must be among .*; got 'chess'"):
        build_pool(10, families=["chess"], cache_dir=tmp_path)
    with pytest.raises(ValueError, match="num_tasks must be > 0, got 0"):
        build_pool(0, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []
