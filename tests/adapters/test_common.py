"""Rewards in a row become successes per task; what was not evaluated is no failure."""

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.adapters import common


def test_rollouts_in_any_order_are_those_of_their_tasks():
    rng = np.random.default_rng(0)
    task_ids = rng.integers(0, 5, 40)
    rewards = rng.random(40)
    keys, values, mask = common.group_rows(task_ids, rewards, rewards > 0.2)
    assert sorted(keys) == sorted(set(task_ids.tolist()))
    for key, row, kept in zip(keys, values, mask, strict=True):
        mine = rewards[task_ids == key]
        assert row[: len(mine)].tolist() == mine.tolist()
        assert kept.tolist() == (mine > 0.2).tolist() + [False] * (len(row) - len(mine))


def test_not_evaluated_is_neither_success_nor_failure():
    selector = bots_jax.bots(num_tasks=4, batch_size=2, forgetting=0.0)
    sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
    rewards = [3.0, float("nan"), -1.0, float("nan"), float("nan"), float("nan")]
    assert common.observe_rows(sampler, [1, 1, 1, 2, 2, 2], rewards, success=1.0) == 2
    sampler.advance()
    alpha, beta = sampler.posterior()
    # one success and one failure of task 1, at BOTS's 1 - rho; nothing of task 2
    np.testing.assert_allclose((alpha - 1)[[1, 2]], [0.9, 0.0], atol=0.11)
    np.testing.assert_allclose((beta - 1)[[1, 2]], [0.9, 0.0], atol=0.11)


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3)])
def test_shapes_stay(shape):
    values, mask = common.to_success(np.ones(shape), 0.5)
    assert values.shape == mask.shape == shape and values.dtype == np.float32


def test_a_function_says_what_counts():
    values, mask = common.to_success([-2.0, 4.0, np.nan], lambda r: (r + 2) / 6)
    assert values.tolist() == [0.0, 1.0, 0.0] and mask.tolist() == [True, True, False]


def test_nothing_observed_is_nothing():
    selector = bots_jax.bots(num_tasks=4, batch_size=2)
    sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
    assert common.observe_rows(sampler, [], []) == 0


@pytest.mark.parametrize(
    ("task_ids", "rewards", "success", "words"),
    [
        ([1], [1.5], None, "rewards must be in [0, 1], got 1.5; success= says"),
        ([1], [0.5], lambda r: r * 4, "success(rewards) must be in [0, 1], got 2"),
        ([1], [0.5], lambda r: [1, 2], "success(rewards) must have shape"),
        ([1, 2], [0.5], None, "one number per task id, 2 here, got shape (1,)"),
        ([1], ["yes"], None, "rewards must be real numbers"),
        ([1], [0.5], float("nan"), "success must be"),
        ([9], [0.5], None, "task_ids must be keys of the pool's 4 tasks, got 9"),
    ],
)
def test_one_clear_sentence(task_ids, rewards, success, words):
    selector = bots_jax.bots(num_tasks=4, batch_size=2)
    sampler = bots_jax.TaskSampler(selector, jax.random.key(0), selector.init())
    with pytest.raises(ValueError) as raised:
        common.observe_rows(sampler, task_ids, rewards, success)
    assert words in str(raised.value)
    assert sampler.metrics()["sampler/waiting"] == 0
