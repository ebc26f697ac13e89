"""Names of tasks and the rows they have."""

import numpy as np
import pytest

from bots_jax.host.keys import ABSENT, TaskKeys, key_hashes, set_fingerprint

STRINGS = ["a", "", "ä", "a b"]


def test_keys_and_rows_are_each_others_inverse():
    for keys in (STRINGS, np.array(STRINGS), [3, -1, 2**62, 0], np.arange(4), None):
        found = TaskKeys(4, keys)
        rows = np.array([2, 0, 3, 1])
        assert found.rows_of(found.at(rows)).tolist() == rows.tolist()
        assert found.rows_of(list(found.at(rows))).tolist() == rows.tolist()
        assert found.rows_of([]).tolist() == []
        assert found.at(np.zeros(0, np.int32)).shape == (0,)


def test_integers_of_every_kind_find_their_row():
    keys = TaskKeys(2, [5, -7])
    for kind in (np.int8, np.int32, np.int64):
        assert keys.rows_of(np.array([-7, 5], kind)).tolist() == [1, 0]
    assert keys.rows_of([np.int64(-7), 6]).tolist() == [1, ABSENT]
    listed = TaskKeys(2, list(np.array([5, -7])))
    assert listed.rows_of([-7, 5]).tolist() == [1, 0]
    unsigned = TaskKeys(2, np.array([5, 7], np.uint64))
    assert unsigned.rows_of([7, 5]).tolist() == [1, 0]


def test_row_numbers_outside_are_absent():
    keys = TaskKeys(3)
    assert keys.rows_of([0, 2, 3, -1, 2**40]).tolist() == [0, 2, -1, -1, -1]
    assert keys.rows_of(np.array([2**63], np.uint64)).tolist() == [ABSENT]


def test_removed_names_are_gone_and_may_come_back():
    keys = TaskKeys(3, ["a", "b", "c"])
    keys.remove(np.array([1]))
    assert keys.rows_of(["a", "b"]).tolist() == [0, ABSENT]
    keys.add(["d", "b"], np.array([1, 3], np.int32))
    assert keys.rows_of(["b", "d"]).tolist() == [3, 1]
    assert keys.num_rows == 4


def test_adding_what_is_there_changes_nothing():
    keys = TaskKeys(2, ["a", "b"])
    for new in (["c", "a"], ["c", "c"], [1, 2], ["c", 1]):
        with pytest.raises(ValueError, match=r"^task.keys? "):
            keys.add(new, np.array([2, 3]))
    assert keys.num_rows == 2 and keys.rows_of(["c", "a"]).tolist() == [ABSENT, 0]


def test_hashes_are_the_same_in_every_process():
    strings = key_hashes(np.array(STRINGS, object)).tolist()
    assert len(set(strings)) == 4
    # blake2b of b"a", 8 bytes, little endian
    assert strings[0] == int.from_bytes(bytes.fromhex(BLAKE_A), "little")
    assert key_hashes(np.array([-1, 3])).tolist() == [2**64 - 1, 3]


BLAKE_A = "40f89e395b66422f"


def test_fingerprint_is_of_the_set():
    hashes = np.array([5, 1, 9], np.uint64)
    whole = set_fingerprint(hashes, True)
    assert whole == set_fingerprint(hashes[::-1], True)
    assert whole != set_fingerprint(hashes[:2], True)
    assert whole != set_fingerprint(hashes + np.uint64(1), True)
    assert whole != set_fingerprint(hashes, False)
    assert set_fingerprint(hashes, False) == set_fingerprint(hashes[::-1] * 2, False)
