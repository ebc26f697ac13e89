import hashlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots_jax.host.keys import TaskKeys
from bots_jax.tasks.tables import keys as table_keys
from bots_jax.tasks.tables.keys import numbered, prompt_hash
from bots_jax.tasks.tables.table import open_table
from tests.tasks.table_tools import (
    WRITERS,
    chat,
    guru_rows,
    write_lines,
    write_parquet,
)


def by_row(table):
    rows = table.rows(range(len(table)))
    return {json.dumps(row): key for row, key in zip(rows, table.keys, strict=True)}


def test_keys_are_the_same_in_every_kind_of_file(tmp_path):
    found = []
    for name, (ending, write) in WRITERS.items():
        path = write(tmp_path / f"{name}{ending}", guru_rows())
        table = open_table(path)
        assert table.keys.dtype == np.int64
        found.append((table.keys.tolist(), table.fingerprint))
    assert all(each == found[0] for each in found)
    assert len(set(found[0][0])) == 6


def test_keys_do_not_depend_on_order_or_other_columns(tmp_path):
    rows = guru_rows(50)
    table = open_table(write_parquet(tmp_path / "a.parquet", rows))
    order = np.random.default_rng(0).permutation(50)
    mixed = open_table(
        write_parquet(tmp_path / "b.parquet", [rows[row] for row in order])
    )
    assert by_row(table) == by_row(mixed)
    np.testing.assert_array_equal(mixed.keys, table.keys[order])
    less = [
        {"prompt": r["prompt"], "answer": r["reward_model"]["ground_truth"]}
        for r in rows
    ]
    fewer = open_table(write_lines(tmp_path / "c.jsonl", less))
    np.testing.assert_array_equal(fewer.keys, table.keys)
    assert fewer.fingerprint == table.fingerprint


def test_keys_by_hand(tmp_path):
    table = open_table(
        write_lines(tmp_path / "t.jsonl", [{"prompt": "1 + 1", "answer": "ü"}] * 2)
    )
    first = hashlib.blake2b('["1 + 1","ü"]'.encode(), digest_size=8).digest()
    again = hashlib.blake2b(first + (1).to_bytes(8, "little"), digest_size=8).digest()
    expected = [int.from_bytes(x, "little", signed=True) for x in (first, again)]
    assert table.keys.tolist() == expected
    alone = hashlib.blake2b(b'"1 + 1"', digest_size=8).digest()
    assert prompt_hash("1 + 1") == int.from_bytes(alone, "little", signed=True)
    assert table.prompt_hashes.tolist() == [prompt_hash("1 + 1")] * 2


def test_whole_numbers_and_missing_fields_are_the_same_in_other_types(tmp_path):
    ints = {"prompt": ["a", "b"], "answer": pa.array([3, None], pa.int64())}
    floats = {"prompt": ["a", "b"], "answer": pa.array([3.0, np.nan], pa.float64())}
    keys = []
    for name, columns in (("ints", ints), ("floats", floats)):
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        keys.append(open_table(tmp_path / f"{name}.parquet").keys)
    np.testing.assert_array_equal(*keys)
    named = [{"role": "user", "content": "Hi", "name": None}]
    assert prompt_hash(named) == prompt_hash(chat("Hi")) != prompt_hash("Hi")
    assert prompt_hash("Hi") != prompt_hash("Hi ")


def test_equal_rows_keep_distinct_keys(tmp_path):
    rows = [{"prompt": "same", "answer": "1", "id": row} for row in range(300)]
    rows += [{"prompt": "same", "answer": "2", "id": 300}]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows))
    assert len(set(table.keys.tolist())) == 301
    back = open_table(write_parquet(tmp_path / "u.parquet", rows[::-1]))
    assert set(back.keys.tolist()) == set(table.keys.tolist())


def are_distinct_in_any_order(number, contents, shuffled):
    """Whether keys are distinct, and those of equal contents the same set."""
    found = []
    for each in (contents, shuffled):
        keys = number(np.array(each, np.int64)).tolist()
        if len(set(keys)) < len(keys):
            return False
        found.append(sorted(zip(each, keys, strict=True)))
    return found[0] == found[1]


@given(st.lists(st.integers(0, 5), max_size=30), st.randoms())
def test_numbering_makes_keys_distinct_in_any_order(contents, random):
    shuffled = list(contents)
    random.shuffle(shuffled)
    assert are_distinct_in_any_order(numbered, contents, shuffled)


def test_keys_by_row_or_without_numbers_would_not_pass():
    contents, shuffled = [3, 1, 3], [3, 3, 1]
    assert are_distinct_in_any_order(numbered, contents, shuffled)
    for planted in (lambda x: x, lambda x: np.arange(len(x))):
        assert not are_distinct_in_any_order(planted, contents, shuffled)


def test_keys_stay_distinct_when_hashes_meet(tmp_path, monkeypatch):
    # Hashes of 10 bits: different rows meet, and so do the keys of their repetitions.
    def short(content):
        return (hashlib.blake2b(content, digest_size=2).digest()[0] % 64).to_bytes(8)

    monkeypatch.setattr(table_keys, "_digest", short)
    rows = [{"prompt": f"{row % 20}", "answer": "1"} for row in range(40)]
    table = open_table(write_lines(tmp_path / "t.jsonl", rows))
    assert len(set(table.keys.tolist())) == 40


@pytest.mark.parametrize("kind", [str, int])
def test_keys_of_a_column(tmp_path, kind):
    rows = [row | {"id": kind(7 * at)} for at, row in enumerate(guru_rows())]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows), key="id")
    assert table.keys.tolist() == [kind(7 * at) for at in range(6)]
    assert table.rows_of([kind(35), kind(1), kind(0)]).tolist() == [5, -1, 0]
    keys = TaskKeys(len(table), table.keys)
    np.testing.assert_array_equal(keys.rows_of([kind(14)]), [2])


def test_rows_of_finds_every_row(tmp_path):
    table = open_table(write_parquet(tmp_path / "t.parquet", guru_rows(100)))
    ids = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(table.rows_of(table.keys[ids]), ids)
    assert table.rows_of([2**70, -(2**70)]).tolist() == [-1, -1]


def test_texts_whose_hashes_meet_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(table_keys, "_digest", lambda content: b"12345678")
    rows = [{"prompt": "x", "id": name} for name in "abc"]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows), key="id")
    assert table.rows_of(["c", "a", "b", "d"]).tolist() == [2, 0, 1, -1]


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["a", "b", "a"], "must hold distinct values, got 'a' in rows 0 and 2."),
        ([5, 6, 6], "must hold distinct values, got 6 in rows 1 and 2."),
        (["a", None, "b"], "must have no null, got one in row 1."),
        ([0.5, 1.5, 2.5], "must hold text or whole numbers, got double."),
        ([True, False, True], "must hold text or whole numbers, got bool."),
        (pa.array([1, 2, 2**63], pa.uint64()), "64 bits with a sign, got 922337"),
    ],
)
def test_bad_keys_are_refused(tmp_path, ids, sentence):
    pq.write_table(pa.table({"prompt": list("xyz"), "id": ids}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=sentence):
        open_table(tmp_path / "t.parquet", key="id")


@pytest.mark.parametrize("wanted", [["a"], [1.0], [True], [None]])
def test_keys_of_another_kind_are_refused(tmp_path, wanted):
    table = open_table(write_parquet(tmp_path / "t.parquet", guru_rows()))
    with pytest.raises(ValueError, match="keys must be integers, got .* at index 0."):
        table.rows_of(wanted)


def test_duplicates_are_told_with_their_answers(tmp_path):
    pairs = [("a", 1), ("b", 1), ("a", 1), ("c", 2), ("b", 9), ("d", 1), ("c", 2)]
    pairs += [("b", 1), ("e", None)]
    rows = [{"prompt": chat(prompt), "answer": answer} for prompt, answer in pairs]
    table = open_table(write_parquet(tmp_path / "t.parquet", rows))
    found = table.duplicates()
    assert (found.num_prompts, found.num_rows, found.num_conflicting) == (3, 7, 1)
    assert found.examples == (((0, 2), "a"), ((1, 4, 7), "b"), ((3, 6), "c"))
    assert str(found) == (
        "3 prompts stand in more than one row (7 rows), 1 of them with different "
        "answers; first: rows 0 and 2, 'a'."
    )


def test_no_duplicates_and_many(tmp_path):
    table = open_table(write_parquet(tmp_path / "t.parquet", guru_rows()))
    assert str(table.duplicates()) == "No prompt stands in more than one row."
    rows = [{"prompt": "x" * 200}] * 9
    many = open_table(write_parquet(tmp_path / "u.parquet", rows)).duplicates()
    assert "(9 rows), 0 of them" in str(many)
    assert "first: rows 0, 1, 2, 3, 4 and 4 more, 'xxx" in str(many)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("12")), min_size=1))
def test_duplicates_equal_a_slow_count(pairs):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        rows = [{"prompt": prompt, "answer": answer} for prompt, answer in pairs]
        path = write_lines(Path(folder, "t.jsonl"), rows)
        found = open_table(path, cache_dir=folder).duplicates()
    groups = {}
    for prompt, answer in pairs:
        groups.setdefault(prompt, []).append(answer)
    again = [answers for answers in groups.values() if len(answers) > 1]
    assert found.num_prompts == len(again)
    assert found.num_rows == sum(map(len, again))
    assert found.num_conflicting == sum(len(set(answers)) > 1 for answers in again)
