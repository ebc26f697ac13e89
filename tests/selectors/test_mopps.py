"""MoPPS against its public code, read and written anew in NumPy."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from tests.nights import nightly_but
from tests.selectors.rivals import (
    TouchedBeta,
    as_evidence,
    assert_counts,
    choices,
    float32,
    int32,
    learn,
    run_all,
)
from tests.statistical import CAUGHT, HONEST, set_counts, two_sample_pvalue

NUM_TASKS, BATCH_SIZE = 8, 2
SUCCESSES = float32([0, 1, 3, 8, 20, 7, 2, 5])
FAILURES = float32([9, 2, 3, 1, 22, 30, 9, 0])
LOW, HIGH, TARGET = 0.35, 0.6, 0.4


@pytest.mark.parametrize("retention", [1.0, 0.5, 0.0])
def test_counts_of_long_runs(retention):
    rng = np.random.default_rng(1)
    prior = rng.uniform(0.5, 4, (2, 30))
    selector = bots_jax.mopps(
        num_tasks=30,
        batch_size=2,
        retention=retention,
        prior_alpha=prior[0],
        prior_beta=prior[1],
    )
    want = TouchedBeta(30, retention, *prior)
    state, history = run_all(selector, 60)
    for rows in history:
        want.learn(*rows)
    assert_counts(selector, state, want)
    if retention < 1:  # planted: a clock that runs for all, as that of BOTS
        everyone = TouchedBeta(30, retention, *prior)
        nothing = np.zeros(30)
        for rows in history:
            everyone.learn(range(30), nothing, nothing)
            everyone.alpha[rows[0]] += rows[1]
            everyone.beta[rows[0]] += rows[2]
        with pytest.raises(AssertionError):
            assert_counts(selector, state, everyone)


def test_one_rollout_counts_as_one():
    """In the public code n = 1 sets alpha = beta = 8."""
    selector = bots_jax.mopps(num_tasks=3, batch_size=1)
    state = learn(selector, [1], [1], [0])
    alpha, beta = selector.posterior(state)
    assert alpha.tolist() == [1, 2, 1] and beta.tolist() == [1, 1, 1]


def reference_batches(
    rule: str, num_candidates: int = 2 * BATCH_SIZE, swap: bool = False
) -> np.ndarray:
    rng = np.random.default_rng(7)
    more, less = (FAILURES, SUCCESSES) if swap else (SUCCESSES, FAILURES)
    batches = []
    for _ in range(20_000):
        ids = rng.permutation(NUM_TASKS)[:num_candidates]
        draws = rng.beta(1 + more[ids], 1 + less[ids])
        if rule == "uniform":
            chosen = rng.permutation(num_candidates)[:BATCH_SIZE]
        elif rule == "nearest":
            chosen = np.argsort((draws - TARGET) ** 2)[:BATCH_SIZE]
        else:
            inside = np.flatnonzero((draws >= LOW) & (draws <= HIGH))
            if len(inside) >= BATCH_SIZE:
                chosen = rng.permutation(inside)[:BATCH_SIZE]
            else:
                outside = np.maximum(LOW - draws, draws - HIGH).clip(0)
                chosen = np.argsort(outside)[:BATCH_SIZE]
        batches.append(ids[chosen])
    return np.array(batches)


@functools.cache
def batches_of(rule: str) -> np.ndarray:
    selector = bots_jax.mopps(
        num_tasks=NUM_TASKS,
        batch_size=BATCH_SIZE,
        rule=rule,
        candidate_ratio=2,
        target_success_prob=TARGET,
        low=LOW,
        high=HIGH,
    )
    return choices(selector, learn(selector, range(NUM_TASKS), SUCCESSES, FAILURES))


def pvalue(ours: np.ndarray, theirs: np.ndarray) -> float:
    return two_sample_pvalue(set_counts(ours, NUM_TASKS), set_counts(theirs, NUM_TASKS))


@pytest.mark.parametrize(
    "rule", nightly_but(["nearest", "threshold", "uniform"], "nearest")
)
def test_law_of_the_rules(rule):
    assert pvalue(batches_of(rule), reference_batches(rule)) > HONEST


def test_the_test_of_laws_catches_planted_bugs():
    ours = batches_of("nearest")
    assert pvalue(ours, reference_batches("nearest", NUM_TASKS)) < CAUGHT
    assert pvalue(ours, reference_batches("nearest", swap=True)) < CAUGHT
    assert pvalue(ours, reference_batches("threshold")) < CAUGHT


def test_refusals():
    sizes: dict[str, Any] = {"num_tasks": 4, "batch_size": 2}
    cases: tuple[tuple[Any, str], ...] = (
        ({"rule": "topk"}, "rule must be one of 'nearest', 'threshold', 'uniform'"),
        ({"candidate_ratio": 0.5}, r"candidate_ratio must be in \[1, 1e\+06\]"),
        ({"high": 0.1}, r"high must be in \[0.3, 1\], got 0.1"),
        ({"retention": 2}, r"retention must be in \[0, 1\], got 2"),
        ({"group_ids": [0, 1]}, r"group_ids must have shape \(4,\), got \(2,\)"),
        ({"num_groups": 2}, "num_groups needs group_ids, got 2 alone"),
        ({"coverage": bots_jax}, "coverage must be a Coverage"),
    )
    for bad, message in cases:
        with pytest.raises(ValueError, match=message):
            bots_jax.mopps(**dict(sizes, **bad))
    selector = bots_jax.mopps(**sizes)
    with pytest.raises(ValueError, match="references must be floating point"):
        selector.init(np.ones((4, 2), np.int32))
    with pytest.raises(ValueError, match=r"references must have shape \(4, 5\)"):
        selector.init(np.ones((3, 5), np.float32))
    assert selector.init(np.ones((4, 5), np.float32)) is not None


def test_rows_without_evidence_change_nothing():
    selector = bots_jax.mopps(num_tasks=4, batch_size=2, retention=0.5)
    state = learn(selector, [1, 2], [3, 4], [5, 4])
    rows = (int32([-1, 2]), float32([1, 0]), float32([1, 0]))
    after, _ = selector.update(state, as_evidence(rows))
    for x, y in zip(*map(selector.posterior, (state, after)), strict=True):
        np.testing.assert_array_equal(x, y)
    assert jax.tree.structure(after) == jax.tree.structure(state)
