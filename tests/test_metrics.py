"""Effective task ratio and coverage, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax


def ratio(successes, rollouts) -> float:
    ids = np.arange(len(successes))
    evidence = bots_jax.evidence_from_counts(ids, successes, rollouts)
    return float(bots_jax.effective_task_ratio(evidence))


def test_ratio_counts_mixed_groups():
    # of 0, 1, 3 and 4 successes in 4 rollouts, two are mixed
    assert ratio([0, 1, 3, 4], 4) == 0.5
    assert ratio([0, 4], 4) == 0
    assert ratio([1, 2], 4) == 1


def test_rows_without_trials_are_left_out():
    # 1 of 2, not 1 of 3
    assert ratio([2, 4, 0], [4, 4, 0]) == 0.5


def test_fractional_rewards_are_mixed():
    assert ratio([3.5], 4) == 1


def test_ratio_of_nothing_is_nan():
    assert np.isnan(ratio([0, 0], 0))
    assert np.isnan(ratio([], 0))
    assert np.isnan(float(bots_jax.effective_task_ratio(bots_jax.empty_evidence(3))))


def test_ratio_equals_the_one_in_info():
    ids, successes = np.arange(6), np.array([0, 1, 2, 3, 4, 4])
    evidence = bots_jax.evidence_from_counts(ids, successes, 4)
    for selector in (
        bots_jax.bots(num_tasks=6, batch_size=2),
        bots_jax.uniform(num_tasks=6, batch_size=2),
    ):
        _, info = selector.update(selector.init(), evidence)
        want = bots_jax.effective_task_ratio(evidence)
        assert float(info.effective_task_ratio) == float(want) == 0.5


@pytest.mark.parametrize(
    "visits, want",
    [
        ([3, 1, 0, 0, 0], 0.5),  # 2 distinct of 4 choices
        ([1, 1, 1, 0, 0], 1.0),  # none twice
        ([9, 1, 1, 1, 1], 1.0),  # all chosen
        ([10, 0, 0, 0, 0], 0.2),  # 1 of 5 tasks, not 1 of 10 choices
    ],
)
def test_coverage(visits, want):
    assert float(bots_jax.coverage(jnp.array(visits))) == pytest.approx(want)
    assert float(jax.jit(bots_jax.coverage)(jnp.array(visits))) == pytest.approx(want)


def test_coverage_before_the_first_choice_is_nan():
    assert np.isnan(float(bots_jax.coverage(jnp.zeros(3, jnp.int32))))
