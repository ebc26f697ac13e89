"""CurES: the law of prompts, and rollouts spread by deviation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selectors.cures import rollouts_for
from tests.selectors.rivals import (
    TouchedBeta,
    assert_counts,
    choices,
    float32,
    learn,
    pairs_pvalue,
    run_all,
)
from tests.statistical import CAUGHT, HONEST

SUCCESSES = float32([0, 30, 3, 8, 0, 1])
FAILURES = float32([9, 0, 3, 1, 99, 30])
MEAN = (1.0 + SUCCESSES) / (2.0 + SUCCESSES + FAILURES)


def test_counts_of_long_runs():
    selector = bots_jax.cures(num_tasks=30, batch_size=2, retention=0.8)
    want = TouchedBeta(30, 0.8)
    state, history = run_all(selector, 60)
    for rows in history:
        want.learn(*rows)
    assert_counts(selector, state, want)


def test_law_of_prompts():
    selector = bots_jax.cures(num_tasks=6, batch_size=2, temperature=0.2)
    ids = choices(selector, learn(selector, range(6), SUCCESSES, FAILURES))
    variance = MEAN * (1 - MEAN)
    assert pairs_pvalue(ids, np.exp(np.sqrt(variance) / 0.2)) > HONEST
    # planted: without the root, as one of the authors' two files has it
    assert pairs_pvalue(ids, np.exp(variance / 0.2)) < CAUGHT


def best_split(sigma: np.ndarray, budget: int, least: int, most: int) -> float:
    """The least sum of sigma^2 / n that whole numbers reach."""
    values = [
        np.sum(sigma**2 / np.array(n))
        for n in itertools.product(range(least, most + 1), repeat=len(sigma))
        if sum(n) == budget
    ]
    return min(values)


@pytest.mark.parametrize("budget", [8, 13, 20, 28])
def test_rollouts_are_the_best_split(budget):
    alpha = float32([1, 9, 0.4, 30])
    beta = float32([1, 2, 7.0, 33])
    sigma = np.sqrt(alpha * beta) / (alpha + beta).astype(np.float64)
    spread = jax.jit(
        lambda a, b: rollouts_for(a, b, budget, min_rollouts=2, max_rollouts=7)
    )
    number = np.asarray(spread(alpha, beta))
    assert number.dtype == np.int32 and number.sum() == budget
    assert number.min() >= 2 and number.max() <= 7
    got = np.sum(sigma**2 / number)
    assert got <= best_split(sigma, budget, 2, 7) * (1 + 1e-6)
    if budget == 20:  # planted: equal shares
        assert np.sum(sigma**2 / 5) > got * 1.01


def test_rollouts_are_proportional_to_the_deviation():
    alpha, beta = jnp.float32([1, 1, 1]), jnp.float32([1, 4, 24])
    number = rollouts_for(alpha, beta, 1100, min_rollouts=2, max_rollouts=1000)
    sigma = np.array([0.5, 0.4, np.sqrt(24) / 25])
    np.testing.assert_allclose(number, 1100 * sigma / sigma.sum(), atol=1)
    np.testing.assert_array_equal(rollouts_for(alpha, beta, 12, max_rollouts=4), 4)
    np.testing.assert_array_equal(rollouts_for(alpha, beta, 6), 2)


def test_a_budget_that_cannot_be_met_is_refused():
    one = jnp.ones(3)
    with pytest.raises(ValueError, match=r"budget must be an integer in \[6, 192\]"):
        rollouts_for(one, one, 5)
