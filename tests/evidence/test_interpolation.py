"""The capability by hand, and references that say nothing."""

import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.evidence import interpolate
from bots_jax.evidence.interpolation import (
    MIN_REFERENCE_GAP,
    init_interpolation,
    known_references,
)

REFERENCES = np.array([[0.2, 0.8], [0.1, 0.5], [0.5, 0.5], [0.3, 0.3]])


def run(steps, references=REFERENCES, **settings):
    """Selector, state and the info of each step of (ids, successes, rollouts)."""
    selector = bots_jax.bots(num_tasks=len(references), batch_size=1, **settings)
    state, infos = selector.init(references), []
    for ids, successes, rollouts in steps:
        evidence = bots_jax.evidence_from_counts(ids, successes, rollouts)
        state, info = selector.update(state, evidence)
        infos.append(info)
    return selector, state, infos


def test_first_estimate_is_taken_as_it_is():
    # (.5 - .2) / .6 = .5; an average that started at 0 would say .1 * .5 = .05
    _, state, infos = run([([0], [4], 8)])
    assert float(state.plugin.capability) == pytest.approx(0.5, rel=1e-5)
    assert float(infos[0].capability) == pytest.approx(0.5, rel=1e-5)
    assert np.isnan(float(infos[0].plugin_error))


def test_momentum_keeps_nine_tenths():
    # .9 * .5 + .1 * (.8 - .2) / .6 = .55; the other way round it would be .95
    # before learning, task 0 was predicted .2 + .5 * .6 = .5, observed .8: error .3
    _, state, infos = run([([0], [4], 8), ([0], [8], 10)])
    assert float(state.plugin.capability) == pytest.approx(0.55, rel=1e-5)
    assert float(infos[1].plugin_error) == pytest.approx(0.3, rel=1e-4)


def test_capability_is_a_ratio_of_means():
    # ((.5 + .5) / 2 - (.2 + .1) / 2) / ((.8 + .5) / 2 - .15) = .35 / .5 = .7
    # the mean of the two ratios would be (.5 + 1) / 2 = .75
    _, state, _ = run([([0, 1], [4, 4], 8)])
    assert float(state.plugin.capability) == pytest.approx(0.7, rel=1e-5)


def test_every_task_has_the_same_weight_whatever_its_rollouts():
    _, few, _ = run([([0, 1], [1, 1], [2, 2])])
    _, many, _ = run([([0, 1], [1, 500], [2, 1000])])
    assert float(few.plugin.capability) == float(many.plugin.capability)


def test_capability_leaves_the_unit_interval():
    _, above, _ = run([([1], [9], 10)])  # (.9 - .1) / .4 = 2
    _, below, _ = run([([0], [0], 10)])  # (0 - .2) / .6 = -1/3
    assert float(above.plugin.capability) == pytest.approx(2, rel=1e-5)
    assert float(below.plugin.capability) == pytest.approx(-1 / 3, rel=1e-5)


def test_prediction_is_clipped():
    predicted = interpolate(
        jnp.float32([0.2, 0.6, 0.6]), jnp.float32([0.8, 0.9, 0.5]), jnp.float32(2)
    )
    np.testing.assert_allclose(predicted, [1, 1, 0.4], rtol=1e-6)
    predicted = interpolate(jnp.float32([0.2]), jnp.float32([0.8]), jnp.float32(-1))
    assert predicted.tolist() == [0]


def test_equal_references_leave_the_capability_alone():
    # the official code divides by 1e-6: (1 - .5) / 1e-6 = 5e5, and .9 * .5 + 5e4 here
    _, before, _ = run([([0], [4], 8)])
    selector, state, infos = run([([0], [4], 8), ([2], [8], 8)])
    assert float(state.plugin.capability) == float(before.plugin.capability)
    assert int(state.plugin.num_estimates) == 1
    assert float(infos[1].capability) == float(before.plugin.capability)
    # task 2 itself is still learnt from
    assert float(selector.posterior(state)[0][2]) > 8


def test_equal_references_in_the_first_batch_imply_nothing():
    selector, state, infos = run([([2], [8], 8)])
    assert int(state.plugin.num_estimates) == 0
    assert np.isnan(float(infos[0].capability))
    alpha, beta = selector.posterior(state)
    assert alpha.tolist() == [1, 1, 9, 1] and beta.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("gap, learns", [(0.009, False), (0.0101, True)])
@pytest.mark.parametrize("sign", [1, -1])
def test_smallest_gap_that_is_believed(gap, learns, sign):
    references = np.array([[0.5, 0.5 + sign * gap], [0.2, 0.8]])
    assert (gap >= MIN_REFERENCE_GAP) is learns
    _, state, _ = run([([0], [4], 8)], references)
    assert int(state.plugin.num_estimates) == int(learns)
    assert abs(float(state.plugin.capability)) <= 1 / MIN_REFERENCE_GAP


def test_capability_is_bounded_by_the_smallest_gap():
    references = np.array([[0.0, 0.0101], [0.2, 0.8]])
    _, state, _ = run([([0], [8], 8)], references)
    assert 90 < float(state.plugin.capability) < 100


def test_strong_model_may_be_the_weaker_one():
    # (.5 - .8) / (.2 - .8) = .5
    _, state, _ = run([([0], [4], 8)], np.array([[0.8, 0.2]]))
    assert float(state.plugin.capability) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("momentum, want", [(0.0, 1.0), (1.0, 0.5), (0.5, 0.75)])
def test_momentum_at_its_ends(momentum, want):
    steps = [([0], [4], 8), ([0], [8], 10)]
    _, state, _ = run(steps, capability_momentum=momentum)
    assert float(state.plugin.capability) == pytest.approx(want, rel=1e-5)


def test_batch_without_valid_rows_implies_what_the_last_capability_implied():
    settings = {"forgetting": 0.5, "implicit_weight": 0.25, "group_size": 8}
    selector, state, _ = run([([0], [4], 8)], **settings)
    alpha, beta = selector.posterior(state)
    new, info = selector.update(state, bots_jax.empty_evidence(3))
    # task 1: p~ = .3, 2 pseudo-rollouts: .5 * alpha + .5 + .6
    want = 0.5 * np.asarray(alpha) + 0.5 + 2 * np.array([0.5, 0.3, 0.5, 0.3])
    np.testing.assert_allclose(selector.posterior(new)[0], want, rtol=1e-5)
    assert float(new.plugin.capability) == float(state.plugin.capability)
    assert np.isnan([float(info.success_rate), float(info.plugin_error)]).all()
    assert np.isnan(float(info.effective_task_ratio))
    assert int(info.num_tasks_applied) == 0 and int(info.num_masked) == 3
    assert np.isfinite(np.asarray(beta)).all()


def test_traced_references_are_made_clean():
    state = init_interpolation(jnp.float32([[jnp.nan, 2.0], [-1.0, 0.5]]))
    weak, strong = known_references(state)
    assert weak.tolist() == [0.5, 0] and strong.tolist() == [1, 0.5]
