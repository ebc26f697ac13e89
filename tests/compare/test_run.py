"""One arm, one seed: budgets, evidence, what is learnt from, what leaves no trace."""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax import metrics
from bots_jax.compare import run
from bots_jax.compare.arms import parse_arm
from bots_jax.compare.run import (
    Runner,
    Running,
    run_arm,
    start_run,
    take_step,
)
from bots_jax.compare.shared import Shared
from bots_jax.grpo.success import success_probs
from tests.compare.tiny import SETTINGS, TIMED

B, G, T = SETTINGS.grpo.batch_size, SETTINGS.grpo.group_size, SETTINGS.grpo.num_steps
BUDGET = T * B * G
CurveFn = Callable[..., dict[str, list[Any]]]


@pytest.fixture(scope="module")
def curve_of(shared: Shared) -> CurveFn:
    """Trains every arm and seed once; without what a clock decides."""

    @functools.cache
    def curve(text: str, seed: int = 0) -> dict[str, list[Any]]:
        return clockless(run_arm(shared, parse_arm(text), seed))

    return curve


def clockless(curve: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: values for name, values in curve.items() if name not in TIMED}


def chances_of(shared: Shared, now: Running, tokens: Any) -> np.ndarray:
    policy = shared.policy._replace(params=now.learner.params)
    return success_probs(policy, tokens)


first_take_step = run.take_step


def test_a_seed_decides_everything_but_the_seconds(shared, curve_of):
    first = curve_of("uniform")
    again = clockless(run_arm(shared, parse_arm("uniform"), 0))
    np.testing.assert_equal(again, first)
    other = curve_of("uniform", 1)
    assert other["success"][0] == first["success"][0]  # one common start
    assert other["success"][1:] != first["success"][1:]
    assert first["success"][-1] > first["success"][0]


def test_the_rehearsal_leaves_no_trace(shared, curve_of, monkeypatch):
    calls = []

    def without_rehearsal(runner: Runner, now: Running) -> Running:
        calls.append(now.spent.steps)
        return now if len(calls) == 1 else first_take_step(runner, now)

    monkeypatch.setattr(run, "take_step", without_rehearsal)
    plain = clockless(run_arm(shared, parse_arm("uniform"), 0))
    np.testing.assert_equal(plain, curve_of("uniform"))
    assert calls == [0, *range(T)]


@pytest.mark.parametrize("arm", ["uniform", "bots", "dynamic_sampling", "oracle"])
def test_all_arms_get_the_same_rollouts(arm, curve_of):
    curve = curve_of(arm)
    assert {len(values) for values in curve.values()} == {len(curve["steps"])}
    assert curve["rollouts"][0] == curve["tokens"][0] == curve["steps"][0] == 0
    assert curve["rollouts"][-1] == BUDGET
    if arm == "dynamic_sampling":
        assert curve["steps"][-1] < T
    else:
        assert curve["steps"] == [0, 2, 4, 6]
        assert curve["rollouts"] == [0, 64, 128, 192]
    tokens = np.array(curve["tokens"])
    assert (np.diff(tokens) > 0).all() and tokens[-1] <= 9 * BUDGET
    assert curve["effective_task_ratio"][0] is None
    assert all(0 <= ratio <= 1 for ratio in curve["effective_task_ratio"][1:])
    assert all(0 < share <= 1 for share in curve["coverage"][1:])
    assert curve["success"][0] == pytest.approx(curve_of("uniform")["success"][0])


def test_the_oracle_is_told_the_truth(shared, curve_of, monkeypatch):
    """Every fourth step, before it chooses; it then takes the largest p (1 - p)."""
    told: list[tuple[int, np.ndarray, np.ndarray]] = []
    chosen: list[np.ndarray] = []
    latest: list[Running] = []

    def start(*arguments):
        runner, now = start_run(*arguments)
        latest.append(now)
        inform = runner.arm.inform
        assert inform is not None

        def record(state, chances):
            truth = chances_of(shared, latest[-1], shared.data.train.tokens)
            told.append((latest[-1].spent.steps, np.asarray(chances), truth))
            return inform(state, chances)

        return runner._replace(arm=runner.arm._replace(inform=record)), now

    def step(runner: Runner, now: Running) -> Running:
        if not told:  # the rehearsal, of which nothing is kept
            return now
        latest.append(first_take_step(runner, now))
        chosen.append(np.asarray(latest[-1].evidence.task_ids))
        return latest[-1]

    monkeypatch.setattr(run, "start_run", start)
    monkeypatch.setattr(run, "take_step", step)
    curve = clockless(run_arm(shared, parse_arm("oracle"), 0))
    assert [when for when, _, _ in told] == [0, run.INFORM_EVERY]
    for _, chances, truth in told:
        assert chances.shape == (SETTINGS.num_tasks,)
        np.testing.assert_allclose(chances, truth, rtol=1e-6)
    for picked, (_, chances, _) in zip((chosen[0], chosen[4]), told, strict=True):
        value = chances * (1 - chances)
        assert value[picked].min() >= np.sort(value)[-B] * (1 - 1e-6)
    np.testing.assert_equal(curve, curve_of("oracle"))
    ratio = np.mean(curve["effective_task_ratio"][1:])
    assert ratio > np.mean(curve_of("uniform")["effective_task_ratio"][1:]) + 0.2


def test_the_posterior_is_judged_after_the_last_evidence(shared, curve_of):
    runner, now = start_run(shared, parse_arm("bots"), 0)
    while now.spent.steps < T:
        now = take_step(runner, now)
    rows = shared.belief_ids
    truth = chances_of(shared, now, shared.data.train.tokens)[rows]
    selector = runner.arm.selector
    state, _ = selector.update(now.state, now.evidence)
    judged = []
    for one in (state, now.state):
        alpha, beta = map(np.asarray, selector.posterior(one))
        believed = (alpha / (alpha + beta))[rows]
        judged.append(float(np.mean((believed - truth) ** 2, dtype=np.float64)))
    curve = curve_of("bots")
    assert curve["brier"][-1] == pytest.approx(judged[0], rel=1e-4)
    assert abs(judged[1] - judged[0]) > 1e-3 * judged[0]  # the late one would be seen
    held_out = chances_of(shared, now, shared.data.held_out.tokens)
    assert curve["success"][-1] == pytest.approx(held_out.mean(), rel=1e-5)
    visited = float(metrics.coverage(jnp.asarray(now.visits)))
    assert curve["coverage"][-1] == pytest.approx(visited)


def test_when_the_posterior_is_judged(curve_of):
    """Not at the start, and at the end in every case."""
    for name in ("auc", "spearman", "calibration_error", "brier"):
        values = curve_of("bots")[name]
        assert values[0] is None and all(value is not None for value in values[1:])
    assert curve_of("uniform")["spearman"] == [None] * 4  # it believes nothing
