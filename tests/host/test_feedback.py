"""Counting, adding up and telling apart what was observed."""

import numpy as np
import pytest

from bots_jax.host.feedback import (
    NO_GROUP,
    Feedback,
    Observed,
    count_rewards,
    hash_groups,
    total,
)


def observed(rows, drawn_at=0, groups=NO_GROUP, successes=1.0, failures=0.0):
    number = len(rows)
    return Observed(
        np.array(rows, np.int32),
        np.full(number, successes, np.float64),
        np.full(number, failures, np.float64),
        np.full(number, drawn_at, np.int32),
        np.full(number, groups, np.uint64),
    )


def slow_total(given: Observed, step: int, keep: float) -> dict[int, list[float]]:
    sums: dict[int, list[float]] = {}
    for row, s, f, at, _ in zip(*given, strict=True):
        weight = 1.0
        for _ in range(step - int(at)):
            weight *= keep
        entry = sums.setdefault(int(row), [0.0, 0.0])
        entry[0], entry[1] = entry[0] + weight * s, entry[1] + weight * f
    return sums


@pytest.mark.parametrize("keep", [0.0, 0.9, 1.0])
def test_total_is_the_sum_of_a_slow_loop(keep):
    rng = np.random.default_rng(0)
    for number in (0, 1, 2, 40):
        given = Observed(
            rng.integers(0, 9, number).astype(np.int32),
            rng.random(number),
            rng.random(number),
            rng.integers(0, 6, number).astype(np.int32),
            np.zeros(number, np.uint64),
        )
        counts, want = total(given, 5, keep), slow_total(given, 5, keep)
        assert counts.rows.tolist() == sorted(want)
        have = np.stack([counts.successes, counts.failures], 1)
        listed = [want[row] for row in counts.rows.tolist()]
        np.testing.assert_allclose(have, np.reshape(listed, (-1, 2)), rtol=1e-12)


def test_total_does_not_depend_on_the_order():
    rng = np.random.default_rng(1)
    rows, delays = rng.integers(0, 4, 30), rng.integers(0, 3, 30)
    given = observed(rows)._replace(drawn_at=delays.astype(np.int32))
    mixed = given.where(rng.permutation(30))
    one, other = total(given, 2, 0.5), total(mixed, 2, 0.5)  # halves add up exactly
    for have, want in zip(one, other, strict=True):
        np.testing.assert_array_equal(have, want)


def test_all_forgotten_leaves_only_what_is_in_time():
    given = observed([1, 2])._replace(drawn_at=np.array([3, 2], np.int32))
    assert total(given, 3, 0.0).successes.tolist() == [1, 0]


def test_first_of_each_group_is_new():
    feedback = Feedback()
    groups = np.array([4, NO_GROUP, 4, 5, NO_GROUP], np.uint64)
    assert feedback.are_new(groups).tolist() == [True, True, False, True, True]
    assert feedback.are_new(groups[:1]).tolist() == [True]  # asking remembers nothing
    feedback.add(observed([1], groups=4))
    assert feedback.are_new(groups[2:4]).tolist() == [False, True]


def test_groups_are_forgotten_after_their_window():
    feedback = Feedback()
    for step in range(4):
        feedback.add(observed([0], groups=10 + step))
        feedback.take(step)
    groups = np.arange(10, 14, dtype=np.uint64)
    feedback.forget_groups(before=2)
    assert feedback.are_new(groups).tolist() == [True, True, False, False]
    feedback.forget_groups(before=99)
    assert feedback.are_new(groups).all()


def test_groups_of_what_is_dropped_may_come_again():
    feedback = Feedback()
    feedback.add(observed([1], groups=4))
    feedback.add(observed([2], groups=5))
    feedback.drop(np.array([1]))
    groups = np.array([4, 5], np.uint64)
    assert feedback.are_new(groups).tolist() == [True, False]
    feedback.move(np.array([0, 1, -1]))
    assert feedback.are_new(groups).all() and feedback.num_waiting == 0


def test_what_two_processes_saw_is_counted_once():
    feedback = Feedback()
    feedback.add(observed([1], groups=4))
    feedback.take(0)
    every = observed([1, 2, 3, 3])._replace(groups=np.array([4, 6, 6, 0], np.uint64))
    assert feedback.replace(every) == 2
    assert feedback.waiting().rows.tolist() == [2, 3]


def test_arrays_come_back():
    feedback, other = Feedback(), Feedback()
    feedback.add(observed([1], groups=4))
    feedback.take(7)
    for row in (2, 1):
        feedback.add(observed([row], drawn_at=6, groups=5 + row))
    arrays = feedback.arrays()
    other.add(observed([9], groups=99))  # is gone afterwards
    other.load(arrays)
    assert other.num_waiting == 2
    for name, array in other.arrays().items():
        np.testing.assert_array_equal(array, arrays[name])
    groups = np.array([4, 6, 7, 99], np.uint64)
    assert other.are_new(groups).tolist() == [False, False, False, True]


def test_nothing_waits_at_first():
    feedback = Feedback()
    feedback.add(observed([]))
    assert feedback.num_waiting == 0 == len(feedback._waiting)
    assert len(feedback.take(0).rows) == 0
    assert feedback.take(0).rows.dtype == np.int32


@pytest.mark.parametrize(
    ("task_ids", "rewards", "mask", "successes", "failures"),
    [
        ([1, 2], [[1, 0, 1], [0, 0, 0.5]], None, [2, 0.5], [1, 2.5]),
        ([1, 2], [1, 0], None, [1, 0], [0, 1]),
        (7, [1, 0, 1], None, [2], [1]),
        ("a", [1], None, [1], [0]),
        ([7], [1, 0, 1], None, [2], [1]),
        (np.int64(7), np.array([True, False]), None, [1], [1]),
        ([1, 2], [[1, np.nan], [9, 0]], [[True, False], [False, True]], [1, 0], [0, 1]),
        ([1, 2], [np.nan, 1], [False, True], [0, 1], [0, 0]),
        ([], [], None, [], []),
        ([1, 2], np.zeros((2, 0)), None, [0, 0], [0, 0]),
    ],
)
def test_rewards_are_counted(task_ids, rewards, mask, successes, failures):
    _, s, f = count_rewards(task_ids, rewards, mask)
    assert (s.tolist(), f.tolist()) == (successes, failures)


def test_group_ids_do_not_collide_by_kind_and_none_is_no_group():
    ids = ["1", 1, "i1", "s1", -1, 2**70, ""]
    hashes = hash_groups(ids, len(ids))
    assert len(set(hashes.tolist())) == len(ids) and NO_GROUP not in hashes
    assert hash_groups(np.array([1]), 1)[0] == hashes[1]
    assert hash_groups(np.array(["1"]), 1)[0] == hashes[0]
