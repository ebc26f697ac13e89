"""AdaRFT against its public code, read and written anew in NumPy."""

from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from tests.selectors.rivals import as_evidence, float32, int32, random_rows

NUM_TASKS, BATCH_SIZE = 30, 4
LABELS = np.random.default_rng(0).permutation(NUM_TASKS) * 100 / NUM_TASKS


class Curriculum:
    """Their sampler and the update of its target, in [0, 100]."""

    def __init__(self, sign: float = 1.0):
        self.target, self.sign = 0.0, sign

    def batch(self) -> list[int]:
        return np.argsort(np.abs(LABELS - self.target), kind="stable")[
            :BATCH_SIZE
        ].tolist()

    def learn(self, reward: float) -> None:
        change = 50 * np.tanh(2 * (reward - 0.5))
        self.target = float(np.clip(self.target + self.sign * change, 0, 100))


def compare(want: Curriculum) -> None:
    selector = bots_jax.adarft(
        num_tasks=NUM_TASKS,
        batch_size=BATCH_SIZE,
        difficulty=LABELS,
        max_difficulty=100.0,
    )
    step = jax.jit(bots_jax.make_step(selector))
    state, rng = selector.init(), np.random.default_rng(3)
    assert selector.select(jax.random.key(0), state)[0].tolist() == want.batch()
    for i in range(40):
        ids, successes, failures = random_rows(rng, NUM_TASKS, group_size=6)
        want.learn(successes.sum() / (successes.sum() + failures.sum()))
        state, chosen, _ = step(
            jax.random.key(i), state, as_evidence((ids, successes, failures))
        )
        got = float(state.belief.own.target_difficulty)
        np.testing.assert_allclose(got, want.target, atol=1e-3)
        distance = np.abs(LABELS[np.asarray(chosen)] - want.target)
        best = np.sort(np.abs(LABELS - want.target))[:BATCH_SIZE]
        np.testing.assert_allclose(np.sort(distance), best, atol=1e-3)


def test_long_runs():
    compare(Curriculum())


def test_a_target_that_goes_the_wrong_way_is_caught():
    with pytest.raises(AssertionError):
        compare(Curriculum(sign=-1.0))


def test_a_step_without_evidence_keeps_the_target():
    selector = bots_jax.adarft(
        num_tasks=3, batch_size=1, difficulty=[0, 0.5, 1], initial_difficulty=0.4
    )
    state, _ = selector.update(selector.init(), bots_jax.empty_evidence(2))
    assert state.belief.own.target_difficulty == np.float32(0.4)
    rows = (int32([0]), float32([3]), float32([1]))
    state, _ = selector.update(state, as_evidence(rows))
    # 0.4 + 0.5 * tanh(2 * 0.25)
    np.testing.assert_allclose(state.belief.own.target_difficulty, 0.631059, atol=1e-6)


def test_refusals():
    sizes: dict[str, Any] = {"num_tasks": 2, "batch_size": 1}
    with pytest.raises(ValueError, match=r"difficulty must be in \[0, 1\], got 3"):
        bots_jax.adarft(**sizes, difficulty=[0, 3])
    with pytest.raises(ValueError, match="max_difficulty must be above"):
        bots_jax.adarft(**sizes, difficulty=[0, 0], min_difficulty=1.0)
