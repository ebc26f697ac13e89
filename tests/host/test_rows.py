"""Which rows hold a task, may be chosen, or are in flight."""

import numpy as np

from bots_jax.host.rows import NEVER, TaskRows


def some_rows() -> TaskRows:
    rows = TaskRows(np.array([True, True, False, True]))
    rows.draw(np.array([0, 3]), step=1)
    return rows


def test_eligible_needs_a_task_neither_retired_nor_in_flight():
    rows = some_rows()
    assert rows.eligible().tolist() == [False, True, False, False]
    assert rows.eligible(np.array([1, 0])).tolist() == [True, False]
    rows.empty(np.array([1]))
    assert not rows.eligible().any()


def test_draws_expire_once_and_only_when_old():
    rows = some_rows()
    rows.draw(np.array([1]), step=2)
    rows.in_flight[0] = False  # answered
    assert rows.expire(before=1).tolist() == []
    assert rows.expire(before=2).tolist() == [3]
    assert rows.drawn_at.tolist() == [NEVER, 2, NEVER, NEVER]
    assert rows.expire(before=2).tolist() == []
    assert rows.expire(before=9).tolist() == [1]


def test_a_row_drawn_again_does_not_expire_with_its_first_draw():
    rows = some_rows()
    rows.in_flight[3] = False
    rows.draw(np.array([3]), step=4)
    assert rows.expire(before=3).tolist() == [0]
    assert rows.drawn_at[3] == 4


def test_a_row_emptied_and_drawn_again_in_one_step_expires_once():
    rows = some_rows()
    rows.empty(np.array([3]))
    rows.fill(np.array([3]))
    rows.draw(np.array([3]), step=1)
    assert sorted(rows.expire(before=2).tolist()) == [0, 3]


def test_drawing_nothing_leaves_nothing():
    rows = TaskRows(np.ones(2, bool))
    rows.draw(np.zeros(0, np.int32), step=0)
    assert not rows._draws


def test_emptied_rows_are_taken_first():
    rows = some_rows()
    assert rows.take_empty(2).tolist() == [4, 5]
    rows.empty(np.array([2]))
    assert rows.take_empty(2).tolist() == [2, 4]
    rows.grow(8)
    assert rows.take_empty(3).tolist() == [2, 4, 5]
    assert rows.exists.sum() == 3 and rows.capacity == 8


def test_a_new_task_inherits_nothing():
    rows = some_rows()
    rows.retired[3] = True
    rows.empty(np.array([3]))
    rows.fill(np.array([3]))
    assert rows.eligible()[3] and rows.drawn_at[3] == NEVER


def test_arrays_come_back():
    rows = some_rows()
    rows.draw(np.array([1]), step=3)
    rows.in_flight[0] = False
    other = TaskRows(np.ones(4, bool))
    other.load(rows.arrays())
    for name in ("exists", "retired", "in_flight", "drawn_at"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(other, name))
    for before in (2, 4):
        assert rows.expire(before).tolist() == other.expire(before).tolist()
