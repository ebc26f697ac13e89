"""The fixed order: once per pass, easy first, over and over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selectors.offline import order_scores
from bots_jax.shard import Shard
from tests.selectors.rivals import as_evidence

DIFFICULTY = np.array([0.5, 0.1, 0.9, 0.3, 0.1, 0.7, 0.2])  # 1 and 4 alike
ORDER = [1, 4, 6, 3, 0, 5, 2]


def batches(num_steps: int, **more) -> list[int]:
    settings = {"num_tasks": 7, "batch_size": 3, "difficulty": DIFFICULTY} | more
    selector = bots_jax.offline_easy_to_hard(**settings)
    step = jax.jit(bots_jax.make_step(selector))
    state = selector.init()
    ids, _ = selector.select(jax.random.key(0), state)
    seen = ids.tolist()
    for i in range(num_steps - 1):
        rows = (np.asarray(ids), np.ones(3, np.float32), np.ones(3, np.float32))
        state, ids, _ = step(jax.random.key(i), state, as_evidence(rows))
        seen += ids.tolist()
    return seen


def test_every_task_once_per_pass_and_then_again():
    seen = batches(14)
    assert seen == ORDER * 6
    assert seen != batches(14, difficulty=-DIFFICULTY)  # planted: hard to easy


def test_tasks_that_may_not_be_chosen_are_passed_over():
    mask = np.arange(7) != 6
    # places 0 to 2 without 6, then from place 3 on, then from place 6 on
    assert batches(3, eligible=mask) == [1, 4, 3, 3, 0, 5, 2, 1, 4]


def test_scores_order_places_as_a_ring():
    rng = np.random.default_rng(0)
    for num_tasks in (5, 1000, 2**31 - 2):
        place = np.unique(rng.integers(0, num_tasks, 300))
        start = int(rng.choice(place))
        got = np.asarray(order_scores(jnp.asarray(place, jnp.int32), jnp.int32(start)))
        ahead = (place - start) % num_tasks
        near = np.argsort(ahead)[:3]
        assert np.argsort(-got, kind="stable")[:3].tolist() == near.tolist()
        if num_tasks <= 1000:
            assert (
                np.argsort(-got, kind="stable").tolist() == np.argsort(ahead).tolist()
            )


def test_another_number_of_tasks():
    selector = bots_jax.offline_easy_to_hard(
        num_tasks=7, batch_size=3, difficulty=DIFFICULTY
    )
    assert selector.remake is not None
    state = selector.remake(Shard(9)).init()
    # new tasks have the label of the first
    np.testing.assert_array_equal(state.belief.own.place, [4, 0, 8, 3, 1, 7, 2, 5, 6])


def test_refusals():
    with pytest.raises(ValueError, match=r"difficulty must have shape \(4,\)"):
        bots_jax.offline_easy_to_hard(num_tasks=4, batch_size=2, difficulty=0.5)
    with pytest.raises(ValueError, match="got nan at index 1"):
        bots_jax.offline_easy_to_hard(
            num_tasks=2, batch_size=1, difficulty=[0.5, np.nan]
        )
