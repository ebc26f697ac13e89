"""MaPP: chances proportional to that of a mixed group."""

import numpy as np
from scipy.special import betaln

import bots_jax
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


def mixed_chance(alpha, beta, group_size):
    whole = betaln(alpha, beta)
    right = np.exp(betaln(alpha + group_size, beta) - whole)
    return 1 - right - np.exp(betaln(alpha, beta + group_size) - whole)


def test_counts_of_long_runs():
    selector = bots_jax.mapp(num_tasks=30, batch_size=2)
    want = TouchedBeta(30, 0.5)  # the paper's best discount is the default
    state, history = run_all(selector, 60)
    for rows in history:
        want.learn(*rows)
    assert_counts(selector, state, want)


def test_selection_is_proportional():
    selector = bots_jax.mapp(num_tasks=6, batch_size=2, group_size=4)
    ids = choices(selector, learn(selector, range(6), SUCCESSES, FAILURES))
    alpha, beta = 1.0 + SUCCESSES, 1.0 + FAILURES
    weights = mixed_chance(alpha, beta, 4)
    assert pairs_pvalue(ids, weights) > HONEST
    # planted: another group size, and the variance in its place
    assert pairs_pvalue(ids, mixed_chance(alpha, beta, 8)) < CAUGHT
    total = alpha + beta
    assert pairs_pvalue(ids, alpha * beta / total / (total + 1)) < CAUGHT
