"""ARCUS: its filter and scores in float64, its Gumbel top-M, warm-up and pace."""

from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from tests.selectors.rivals import (
    as_evidence,
    choices,
    float32,
    learn,
    pairs_pvalue,
    run,
)
from tests.statistical import CAUGHT, HONEST

NUM_TASKS, GROUP_SIZE, WIDTH = 25, 8, 0.2
RIGHT = np.pi / 2


class Filter:
    """The paper's equations, one task at a time."""

    def __init__(self, num_tasks: int, learns: bool = True):
        self.mean = np.full(num_tasks, np.pi / 4)
        self.variance = np.full(num_tasks, np.pi**2 / 48)
        self.last, self.step = np.zeros(num_tasks, int), 0
        self.drift, self.noise, self.learns = 0.0, 1e-3, learns

    def predict(self):
        age = self.step + 1 - self.last
        moved = self.mean + age * self.drift * np.sin(2 * self.mean)
        return np.clip(moved, 0, RIGHT), self.variance + age * self.noise

    def learn(self, ids, successes, failures) -> None:
        mean, variance = self.predict()
        surprises, excess, slopes, ages = [], [], [], []
        before = self.mean.copy()
        for k, s, f in zip(ids, successes, failures, strict=True):
            n = s + f
            if s == 0 or f == 0:
                z, noise = (0 if s == 0 else RIGHT), 1 / (2 * n)
            else:
                z, noise = np.arcsin(np.sqrt((s + 0.375) / (n + 0.75))), 1 / (4 * n + 2)
            total = variance[k] + noise
            gain = variance[k] / total
            self.mean[k] = np.clip(mean[k] + gain * (z - mean[k]), 0, RIGHT)
            self.variance[k] = (1 - gain) * variance[k]
            if self.last[k] > 0:
                age = self.step + 1 - self.last[k]
                surprises.append(z - mean[k])
                excess.append((z - mean[k]) ** 2 - total)
                slopes.append(age * max(np.sin(2 * before[k]), 0.05))
                ages.append(age)
            self.last[k] = self.step + 1
        self.step += 1
        if surprises and self.learns:
            self.drift += 0.1 * sum(surprises) / sum(slopes)
            raised = self.noise + np.mean(excess) / np.mean(ages)
            self.noise = max(1e-5, 0.9 * self.noise + 0.1 * max(raised, 0))

    def scores(self, target: float) -> np.ndarray:
        mean, variance = self.predict()
        total = WIDTH**2 + variance
        kernel = np.sqrt(WIDTH**2 / total) * np.exp(-((mean - target) ** 2) / 2 / total)
        a = 1 + 2 * GROUP_SIZE * variance
        lost = np.exp(-GROUP_SIZE * mean**2 / a)
        lost = lost + np.exp(-GROUP_SIZE * (RIGHT - mean) ** 2 / a)
        return kernel * np.clip(1 - lost / np.sqrt(a), 0, 1)


def compare(want: Filter) -> None:
    selector = bots_jax.arcus(
        num_tasks=NUM_TASKS,
        batch_size=4,
        group_size=GROUP_SIZE,
        temperature=0.0,
        warmup=False,
        pacing=False,
        target_success_prob=0.3,
    )
    state = None
    select, target = jax.jit(selector.select), np.arcsin(np.sqrt(0.3))
    for number, (state, rows) in enumerate(run(selector, 40, seed=6)):
        want.learn(*rows)
        scores = want.scores(target)
        ids = np.asarray(select(jax.random.key(number), state)[0])
        best = np.sort(scores)[::-1][:4]
        np.testing.assert_allclose(scores[ids], best, atol=2e-4)
    assert state is not None
    arcs = state.belief.arcs
    np.testing.assert_allclose(arcs.drift, want.drift, atol=1e-4)
    np.testing.assert_allclose(arcs.noise, want.noise, rtol=1e-2)
    alpha, beta = selector.posterior(state)
    mean, variance = want.predict()
    chance = (1 - np.exp(-2 * variance) * np.cos(2 * mean)) / 2
    np.testing.assert_allclose(alpha / (alpha + beta), chance, atol=1e-3)


def test_the_best_of_long_runs_are_chosen():
    compare(Filter(NUM_TASKS))


def test_a_filter_that_does_not_learn_is_caught():
    with pytest.raises(AssertionError):
        compare(Filter(NUM_TASKS, learns=False))


SUCCESSES, FAILURES = float32([0, 4, 2, 1, 3]), float32([8, 4, 6, 7, 1])


def test_law_of_gumbel_top_m():
    selector = bots_jax.arcus(
        num_tasks=5, batch_size=2, group_size=GROUP_SIZE, warmup=False, pacing=False
    )
    ids = choices(selector, learn(selector, range(5), SUCCESSES, FAILURES))
    want = Filter(5)
    want.learn(range(5), SUCCESSES, FAILURES)
    scores = want.scores(np.pi / 4)
    assert pairs_pvalue(ids, np.exp(scores / 0.3)) > HONEST
    # planted: another temperature, and chances proportional to the scores
    assert pairs_pvalue(ids, np.exp(scores)) < CAUGHT
    assert pairs_pvalue(ids, scores) < CAUGHT


def test_warmup_takes_every_task_once():
    selector = bots_jax.arcus(num_tasks=12, batch_size=3, group_size=8)
    step = jax.jit(bots_jax.make_step(selector))
    state, seen = selector.init(), []
    ids, _ = selector.select(jax.random.key(99), state)
    for i in range(4):
        seen += ids.tolist()
        evidence = as_evidence((ids, float32([8, 8, 8]), float32([0, 0, 0])))
        state, ids, _ = step(jax.random.key(i), state, evidence)
    assert sorted(seen) == list(range(12)) != seen


def test_the_target_moves_to_harder_tasks_that_yield():
    """By 0.005 a step, here where all chances of success have tasks."""
    selector = bots_jax.arcus(num_tasks=200, batch_size=4, group_size=8)
    rate = np.linspace(0, 1, 200)
    state = learn(selector, range(200), 64 * rate, 64 * (1 - rate))
    start = np.pi / 4
    np.testing.assert_allclose(state.belief.arc_target, start - 0.005, atol=1e-6)
    still = bots_jax.arcus(num_tasks=200, batch_size=4, group_size=8, pacing=False)
    state = learn(still, range(200), 64 * rate, 64 * (1 - rate))
    np.testing.assert_allclose(state.belief.arc_target, start, atol=1e-6)


def test_refusals():
    sizes: dict[str, Any] = {"num_tasks": 4, "batch_size": 2}
    wrong: dict[str, Any] = {"pacing": 1}
    with pytest.raises(ValueError, match="pacing must be True or False, got 1"):
        bots_jax.arcus(**sizes, **wrong)
    with pytest.raises(ValueError, match=r"width must be in \[0.001, 10\]"):
        bots_jax.arcus(**sizes, width=0.0)
    with pytest.raises(ValueError, match=r"noise must be in \[1e-05, 1\]"):
        bots_jax.arcus(**sizes, noise=0.0)
