"""Exact top-k among the eligible, at its edges."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.selection import (
    count_eligible,
    posterior_means,
    select_top_k,
    target_distance_scores,
)

select = jax.jit(select_top_k, static_argnums=2)


def top(scores, batch_size, eligible: Any = True) -> list[int]:
    scores, mask = jnp.asarray(scores, jnp.float32), jnp.asarray(eligible)
    return select(scores, mask, batch_size).tolist()


def test_best_first():
    assert top([1, 3, 2, 0], 3) == [1, 2, 0]


def test_ties_go_to_the_lower_id():
    assert top([2, 5, 5, 2, 5], 4) == [1, 2, 4, 0]


def test_minus_zero_and_zero_tie():
    assert top([-0.0, 0.0, -0.0], 2) in ([0, 1], [1, 0])


def test_nan_ranks_below_every_number_but_above_no_task():
    """`lax.top_k` alone puts NaN first."""
    scores = [np.nan, -3e38, 1, -np.inf]
    assert top(scores, 2) == [2, 1]
    assert sorted(top(scores, 4)) == [0, 1, 2, 3]
    assert jax.lax.top_k(jnp.float32(scores), 1)[1].tolist() == [0]


def test_infinities_are_scores_too():
    assert top([np.inf, 1, -np.inf], 3) == [0, 1, 2]


@pytest.mark.parametrize(
    "eligible, want",
    [
        ([True, False, True, True], [2, 3, 0]),
        ([True, False, True, False], [2, 0, -1]),
        ([False] * 4, [-1, -1, -1]),
    ],
)
def test_only_eligible_tasks(eligible, want):
    assert top([1, 9, 3, 2], 3, eligible) == want
    assert top([np.nan, np.nan, 3, 2], 3, eligible)[-1] == want[-1]


def test_scalar_eligibility():
    assert top([1, 9], 2, False) == [-1, -1]
    assert top([1, 9], 2, True) == [1, 0]


def test_eligible_are_counted():
    assert int(count_eligible(jnp.array([True, False, True]), 3)) == 2
    assert int(count_eligible(jnp.array(False), 3)) == 0
    assert int(count_eligible(jnp.array(True), 3)) == 3


def test_scores_fall_with_the_distance_to_each_tasks_target():
    draws, targets = jnp.float32([0.5, 0.5, 0.9]), jnp.float32([0.5, 0.75, 0.4])
    np.testing.assert_allclose(
        target_distance_scores(draws, targets), [0, -0.25, -0.5], rtol=1e-6
    )


def test_means_are_not_swapped_and_leave_the_key_alone():
    with jax.debug_key_reuse(True):
        key = jax.random.key(0)
        means = posterior_means(key, jnp.float32([3]), jnp.float32([1]))
        jax.random.normal(key)
    assert means.tolist() == [0.75]
