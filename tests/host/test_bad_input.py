"""Bad input to each public call: one sentence, and nothing is changed."""

import re
from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from tests.host.common import (
    NUM_TASKS,
    assert_same_state,
    make_references,
    make_sampler,
    names,
    selector_of,
    work,
)


def assert_one_sentence(message: str) -> None:
    """One line that ends in a full stop; a stop inside is of a number or a name."""
    assert "\n" not in message and len(message) < 400, message
    assert message.endswith(".") and not re.search(r"[.!?] [A-Z]", message), message


def named() -> bots_jax.TaskSampler:
    sampler = make_sampler(references=True, task_keys=names(), max_delay=4)
    work(sampler, 6)
    sampler.observe(names()[:1], [[1]], group_ids=["waits"])
    return sampler


def numbered() -> bots_jax.TaskSampler:
    sampler = make_sampler(max_delay=4)
    work(sampler, 6)
    return sampler


def integers() -> bots_jax.TaskSampler:
    return make_sampler(task_keys=range(-3, 9))


def grouped() -> bots_jax.TaskSampler:
    return make_sampler(task_keys=names(), groups=["a"] * NUM_TASKS)


GOOD = np.ones((2, 3))
TWO = names()[:2]

CALLS = [
    # make, method, arguments, settings, part of the sentence
    (named, "select", (0,), {}, "num_tasks must be an integer in [1, "),
    (named, "select", (-3,), {}, "got -3."),
    (named, "select", (2.0,), {}, "got 2.0."),
    (named, "select", (True,), {}, "got True."),
    (named, "select", ("3",), {}, "got '3'."),
    (named, "observe", (["task-0", "nobody"], GOOD), {}, "got 'nobody' at index 1."),
    (named, "observe", ("nobody", [1]), {}, "keys of the pool's 12 tasks"),
    (named, "observe", ([0, 1], GOOD), {}, "got 0 at index 0."),
    (named, "observe", ([["task-0"], ["task-1"]], GOOD), {}, "task"),
    (named, "observe", (None, [1]), {}, "got None at index 0."),
    (named, "observe", (TWO, np.ones((3, 3))), {}, "got shape (3, 3)."),
    (named, "observe", (TWO, np.ones((2, 3, 1))), {}, "got shape (2, 3, 1)."),
    (named, "observe", (TWO, 1.0), {}, "got shape ()."),
    (named, "observe", (TWO, [[1], [np.nan]]), {}, "rewards must be in [0, 1]"),
    (named, "observe", (TWO, [[1], [1.5]]), {}, "got 1.5"),
    (named, "observe", (TWO, [[1], [-0.1]]), {}, "got -0.1"),
    (named, "observe", (TWO, [["x"], ["y"]]), {}, "rewards must be real numbers"),
    (named, "observe", (TWO, [None, None]), {}, "rewards must be real numbers"),
    (named, "observe", (TWO, [[1, 0], [1]]), {}, "rewards must"),
    (named, "observe", (TWO, GOOD), {"mask": np.ones((2, 2), bool)}, "mask must have"),
    (named, "observe", (TWO, GOOD), {"mask": np.ones((2, 3))}, "mask must be booleans"),
    (named, "observe", (TWO, GOOD), {"drawn_at": 7}, "drawn_at must be in [0, 6]"),
    (named, "observe", (TWO, GOOD), {"drawn_at": [0, -1]}, "got -1 at index 1."),
    (named, "observe", (TWO, GOOD), {"drawn_at": [0, 2**40]}, "drawn_at must be in"),
    (named, "observe", (TWO, GOOD), {"drawn_at": [1.0, 1.0]}, "must be integers"),
    (named, "observe", (TWO, GOOD), {"drawn_at": [1, 1, 1]}, "must have shape"),
    (named, "observe", (TWO, GOOD), {"group_ids": ["a"]}, "must name 2 rows, got 1."),
    (named, "observe", (TWO, GOOD), {"group_ids": "ab"}, "group_ids must name 2 rows"),
    (named, "observe", (TWO, GOOD), {"group_ids": [1.5, 2]}, "got 1.5."),
    (named, "observe", (TWO, GOOD), {"group_ids": [True, 2]}, "got True."),
    (named, "observe", (TWO, GOOD), {"group_ids": 2.5}, "group_ids must"),
    (numbered, "observe", ([0, 12], GOOD), {}, "got 12 at index 1."),
    (numbered, "observe", ([0, -1], GOOD), {}, "got -1 at index 1."),
    (numbered, "observe", ([0, 2**40], GOOD), {}, "got 1099511627776 at index 1."),
    (numbered, "observe", ([0, 1.0], GOOD), {}, "task_ids must be integers"),
    (numbered, "observe", (["a", "b"], GOOD), {}, "task_ids must be integers"),
    (numbered, "observe", ([True, False], GOOD), {}, "task_ids must be integers"),
    (numbered, "observe", ([[0], [1]], GOOD), {}, "task_ids must"),
    (numbered, "observe", ([[0, 1], [2]], GOOD), {}, "task_ids must"),
    (integers, "observe", (["-3", "0"], GOOD), {}, "got '-3' at index 0."),
    (integers, "observe", ([0, 2**70], GOOD), {}, "at index 1."),
    (integers, "observe", ([True, 0], GOOD), {}, "True"),
    (integers, "observe", ([0.0, 1], GOOD), {}, "0.0"),
    (named, "posterior", (["nobody"],), {}, "got 'nobody' at index 0."),
    (named, "rows_of", (["task-1", "x"],), {}, "got 'x' at index 1."),
    (named, "retire_tasks", (["task-1", "x"],), {}, "got 'x' at index 1."),
    (named, "readmit_tasks", (["task-1", "x"],), {}, "got 'x' at index 1."),
    (named, "remove_tasks", (["task-1", "x"],), {}, "got 'x' at index 1."),
    (named, "retire_tasks", (5,), {}, "task"),
    (named, "retire_tasks", (None,), {}, "task"),
    (integers, "remove_tasks", (99,), {}, "99"),
    (numbered, "retire_tasks", (99,), {}, "99"),
    (numbered, "retire_tasks", ([0.5],), {}, "task_ids must be integers, got 0.5."),
    (numbered, "remove_tasks", ([1],), {}, "remove_tasks needs task_keys"),
    (numbered, "add_tasks", (["a"],), {}, "no task_keys, since the pool has none."),
    (numbered, "add_tasks", (), {}, "add_tasks needs num_tasks"),
    (numbered, "add_tasks", (), {"num_tasks": 0}, "got 0."),
    (numbered, "add_tasks", (), {"num_tasks": 1.0}, "got 1.0."),
    (numbered, "add_tasks", (), {"num_tasks": 1, "references": np.ones((1, 2))}, "no "),
    (numbered, "add_tasks", (), {"num_tasks": 1, "groups": ["a"]}, "no groups."),
    (numbered, "add_tasks", (), {"num_tasks": 1, "from_group": True}, "with groups"),
    (grouped, "add_tasks", (), {"num_tasks": 1}, "add_tasks needs task_keys"),
    (grouped, "add_tasks", (), {"groups": ["a"]}, "add_tasks needs task_keys"),
    (grouped, "add_tasks", (["x"],), {"num_tasks": 1, "groups": ["a"]}, "no num_tasks"),
    (grouped, "add_tasks", (["x"],), {}, "groups must be given"),
    (grouped, "add_tasks", (["x"],), {"groups": ["a", "b"]}, "of 1 tasks, got 2."),
    (grouped, "add_tasks", ([],), {"groups": []}, "got 0."),
    (grouped, "add_tasks", (["task-3"],), {"groups": ["a"]}, "'task-3' is there"),
    (grouped, "add_tasks", (["x", "x"],), {"groups": ["a", "b"]}, "must be distinct"),
    (grouped, "add_tasks", ([7],), {"groups": ["a"]}, "must be of the same kind as"),
    (grouped, "add_tasks", (["x", 7],), {"groups": ["a", "b"]}, "got 7 at index 1."),
    (grouped, "add_tasks", ([None],), {"groups": ["a"]}, "got None at index 0."),
    (grouped, "add_tasks", (5,), {"groups": ["a"]}, "task_keys"),
    (grouped, "add_tasks", (["x"],), {"groups": 5}, "groups"),
    (integers, "add_tasks", ([2**63],), {}, "must fit in 64 bits"),
    (integers, "add_tasks", ([-3],), {}, "-3 is there already."),
    (integers, "add_tasks", (["x"],), {}, "must be of the same kind as"),
    (named, "add_tasks", (["x"],), {}, "references must be given"),
    (named, "add_tasks", (["x"],), {"references": np.ones((2, 2))}, "of 1 tasks"),
    (named, "add_tasks", (["x"],), {"references": np.ones((1, 3))}, "shape (1, 2)"),
    (named, "add_tasks", (["x"],), {"references": [[0, 1]]}, "floating point"),
    (named, "add_tasks", (["x"],), {"references": [[0.5, np.nan]]}, "got nan"),
    (named, "add_tasks", (["x"],), {"references": 0.5}, "references must"),
    (named, "load_state_dict", ({},), {}, "it must hold 'arrays' and 'extra'."),
    (named, "load_state_dict", (None,), {}, "is not one of a TaskSampler"),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda c: f"{c[1]}-{c[2]}-{c[3]}"[:70])
def test_bad_input_gets_one_sentence_and_changes_nothing(call):
    make, method, arguments, settings, sentence = call
    sampler = make()
    before = sampler.state_dict()
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        getattr(sampler, method)(*arguments, **settings)
    assert_one_sentence(str(raised.value))
    assert_same_state(before, sampler.state_dict())
    assert len(sampler.select(1)) == 1


STARTS: list[tuple[dict[str, Any], str]] = [
    ({"key": 0}, "key must be a typed key"),
    ({"key": np.zeros(2, np.uint32)}, "key must be a typed key"),
    ({"undrawn": "ignore"}, "undrawn must be one of 'apply', 'drop'"),
    ({"undrawn": None}, "undrawn must be one of"),
    ({"max_delay": 0}, "max_delay must be an integer in [1, 1000000], got 0."),
    ({"max_delay": 2.5}, "got 2.5."),
    ({"max_delay": 10**7}, "got 10000000."),
    ({"task_keys": ["a"]}, "task_keys must name 12 tasks, got 1."),
    ({"task_keys": ["a"] * 12}, "must be distinct, got 'a' again at index 1."),
    ({"task_keys": [*"abcdefghijk", 5]}, "got 5 at index 11."),
    ({"task_keys": [*range(11), 2**63]}, "must fit in 64 bits"),
    ({"task_keys": [*range(11), 0.5]}, "got 0"),
    ({"task_keys": np.zeros((12, 1), int)}, "got shape (12, 1)."),
    ({"task_keys": "abcdefghijkl"}, "got 'abcdefghijkl'."),
    ({"task_keys": 5}, "task_keys"),
    ({"groups": ["a"]}, "groups must label 12 tasks, got 1."),
    ({"groups": 5}, "groups"),
    ({"state": {}}, "state must be one of selector 'bots'"),
    ({"state": None}, "state must be one of selector 'bots'"),
]


@pytest.mark.parametrize("start", STARTS, ids=lambda start: f"{start[0]}"[:50])
def test_bad_starts_get_one_sentence(start):
    settings, sentence = start
    selector = selector_of()
    given = {"key": jax.random.key(0), "state": selector.init()} | settings
    with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
        bots_jax.TaskSampler(selector, **given)
    assert_one_sentence(str(raised.value))


def test_state_of_another_number_of_tasks():
    selector, other = selector_of(), selector_of(num_tasks=NUM_TASKS + 1)
    with pytest.raises(ValueError, match="of 12 rows, got 13 rows.$"):
        bots_jax.TaskSampler(selector, jax.random.key(0), other.init())


def test_states_saved_of_other_samplers():
    sampler, before = named(), named().state_dict()
    cases = [
        (numbered(), "of a selector with other settings"),
        (make_sampler(references=True), "has no task_keys, and this sampler has"),
        (integers(), "of a selector with other settings"),
        (make_sampler("uniform", task_keys=names()), "of selector 'uniform'"),
        (
            make_sampler("lazy", references=True, task_keys=names()),
            "of a selector with other settings (engine, ",
        ),
        (
            make_sampler(
                references=make_references(13), num_tasks=13, task_keys=names(13)
            ),
            "of 13 tasks that are not the 12",
        ),
    ]
    for other, sentence in cases:
        with pytest.raises(ValueError, match=re.escape(sentence)) as raised:
            sampler.load_state_dict(other.state_dict())
        assert_one_sentence(str(raised.value))
        assert_same_state(before, sampler.state_dict())


def test_selector_that_cannot_be_remade_cannot_grow():
    selector = selector_of()._replace(remake=None)
    sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
    before = sampler.state_dict()
    with pytest.raises(ValueError, match="selector 'bots' cannot grow"):
        sampler.add_tasks(num_tasks=1)
    assert_same_state(before, sampler.state_dict())


def test_fewer_than_wanted_and_none_are_no_error():
    sampler = make_sampler(task_keys=names())
    assert len(sampler.select(20)) == NUM_TASKS
    empty = sampler.select()
    assert empty.shape == (0,) and empty.dtype == object
    assert sampler.metrics()["select/num_unfilled"] == 8
    assert sampler.observe(empty, np.zeros((0, 4))) == 0
    sampler.advance()
    assert len(make_sampler().select(99)) == NUM_TASKS
