"""How choices spread, and what their rollouts were worth, by hand and by loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax import metrics


def test_the_old_names_are_still_here():
    assert metrics.coverage is bots_jax.coverage
    assert metrics.effective_task_ratio is bots_jax.effective_task_ratio
    assert sorted(metrics.__all__) == metrics.__all__


def gini_reference(visits) -> float:
    """Half the mean difference over the mean, over all pairs."""
    v = np.asarray(visits, np.float64)
    return float(np.abs(v[:, None] - v[None]).mean() / (2 * v.mean()))


@pytest.mark.parametrize("seed", range(3))
def test_gini_is_that_of_all_pairs(seed):
    visits = np.random.default_rng(seed).geometric(0.3, 300) - 1
    got = jax.jit(metrics.gini)(jnp.asarray(visits, jnp.int32))
    assert float(got) == pytest.approx(gini_reference(visits), abs=1e-6)
    where = np.arange(300) % 3 > 0
    part = metrics.gini(jnp.asarray(visits, jnp.int32), jnp.asarray(where))
    assert float(part) == pytest.approx(gini_reference(visits[where]), abs=1e-6)


def test_gini_by_hand():
    assert float(metrics.gini(jnp.array([3, 3, 3]))) == 0
    # 1 - 1/4; sum (2i - 5) v_i / (4 * 4) = 3 * 4 / 16
    assert float(metrics.gini(jnp.array([0, 4, 0, 0]))) == 0.75
    assert np.isnan(metrics.gini(jnp.zeros(3, jnp.int32)))
    assert np.isnan(metrics.gini(jnp.zeros(0, jnp.int32)))


def test_gini_of_ten_million_equal_visits_is_zero():
    visits = jnp.ones(3_000_000, jnp.int32)
    assert float(jax.jit(metrics.gini)(visits)) == 0
    last = visits.at[1_000_000:].set(0)
    assert float(jax.jit(metrics.gini)(last)) == pytest.approx(2 / 3, abs=1e-6)


def test_max_visits():
    visits = jnp.array([4, 0, 7])
    assert metrics.max_visits(visits) == 7
    assert metrics.max_visits(visits, jnp.array([True, True, False])) == 4
    assert metrics.max_visits(visits[:0]) == 0
    assert metrics.max_visits(visits).dtype == jnp.int32


def test_mean_age():
    last = jnp.array([9, 5, -1])
    assert float(metrics.mean_age(last, 9)) == pytest.approx(14 / 3)
    assert float(metrics.mean_age(last, jnp.int32(9), last >= 0)) == 2
    assert np.isnan(metrics.mean_age(last, 9, last > 9))
    with jax.enable_x64(True):
        age = metrics.mean_age(jnp.array([2**30]), 2**30 + 5)
        assert age == 5 and age.dtype == jnp.float32


def test_silent_groups_complete_the_ratio():
    ids, wins = np.arange(7), np.array([0, 1, 2, 4, 4, 4, 0])
    evidence = bots_jax.evidence_from_counts(ids, wins, [4] * 6 + [0])
    right, wrong = metrics.silent_groups(evidence)
    assert (float(right), float(wrong)) == (0.5, pytest.approx(1 / 6))
    ratio = metrics.effective_task_ratio(evidence)
    assert float(ratio + right + wrong) == pytest.approx(1)
    some = metrics.silent_groups(evidence, jnp.asarray(ids < 3))
    assert (float(some.all_right), float(some.all_wrong)) == (0, pytest.approx(1 / 3))
    nothing = metrics.silent_groups(bots_jax.empty_evidence(3))
    assert np.isnan(nothing).all()


def test_gain_per_rollout():
    p = jnp.float32([0.5, 0.9, np.nan])
    trained = jnp.array([True, True, False])
    # 0.25 + 0.09, of three groups of 8
    got = metrics.gain_per_rollout(p, 24, trained)
    assert float(got) == pytest.approx(0.34 / 24, rel=1e-5)
    assert float(metrics.gain_per_rollout(p, jnp.int32(24), trained)) == float(got)
    assert np.isnan(metrics.gain_per_rollout(p, 24))
    assert np.isnan(metrics.gain_per_rollout(p[:0], 0))


def test_regret():
    chosen, best = jnp.float32([2, 3, 1]), jnp.float32([4, 4, np.nan])
    assert float(metrics.regret(chosen, best, jnp.array([True, True, False]))) == 1.5
    assert np.isnan(metrics.regret(chosen, best))
    assert np.isnan(metrics.regret(chosen[:0], best[:0]))
