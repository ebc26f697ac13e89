"""Continuous rewards: against sufficient statistics in float64, and Monte Carlo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.evidence.collect import collect_moment_rows
from bots_jax.evidence.rewards import MomentEvidence, moment_evidence_from_rewards
from bots_jax.posterior.normal_gamma import (
    as_beta,
    expected_reward_variance,
    init_normal_gamma,
    mean_variance,
    update_normal_gamma,
)

N, B, G, STEPS = 6, 4, 5, 60
LOW, HIGH = -2.0, 6.0


@functools.partial(jax.jit, static_argnames="on_touch")
def step(belief, evidence, forgetting, on_touch):
    rows = collect_moment_rows(evidence, N)
    return update_normal_gamma(belief, rows, forgetting, on_touch=on_touch)


def make_batch(rng: np.random.Generator):
    """Ids with repeats and padding, and rewards, a few of them masked."""
    ids = rng.integers(0, N, B)
    ids[rng.integers(B)] = rng.choice([-1, N, ids[0]])
    rewards = np.float32(rng.uniform(LOW, HIGH, (B, G)))
    return ids, rewards, rng.random((B, G)) < 0.8


def as_evidence(batch) -> MomentEvidence:
    ids, rewards, mask = batch
    return moment_evidence_from_rewards(ids, rewards, mask, low=LOW, high=HIGH)


def to_sums(mean, count, shape, rate):
    """Natural parameters, in which densities to powers mix linearly."""
    return np.array([count, count * mean, shape, rate + count * mean**2 / 2])


def from_sums(count, total, shape, energy):
    mean = total / count
    return np.array([mean, count, shape, energy - count * mean**2 / 2])


def reference(prior, batches, forgetting, on_touch):
    """Mean, count, shape, rate [4, N], by sums and sums of squares."""
    start = to_sums(*np.array(prior, np.float64))
    sums = start.copy()
    for ids, rewards, mask in batches:
        for task in range(N):
            seen = rewards[ids == task][mask[ids == task]].astype(np.float64)
            if on_touch and not seen.size:
                continue
            mixed = (1 - forgetting) * sums[:, task] + forgetting * start[:, task]
            size = seen.size
            sums[:, task] = mixed + [size, seen.sum(), size / 2, (seen**2).sum() / 2]
    return from_sums(*sums)


PRIORS = {
    "numbers": (1.0, 2.0, 3.0, 4.0),
    "per_task": tuple(np.random.default_rng(0).uniform(1.1, 4, (4, N))),
}


@pytest.mark.parametrize("on_touch", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_long_runs_agree_with_the_reference(prior, on_touch):
    rng = np.random.default_rng(1)
    batches = [make_batch(rng) for _ in range(STEPS)]
    evidence = [as_evidence(batch) for batch in batches]
    start = init_normal_gamma(N, *PRIORS[prior])
    whole = np.stack([np.broadcast_to(x, N) for x in PRIORS[prior]])
    for forgetting in (0.0, 0.2, 1.0):
        got = start
        for rows in evidence:
            got = step(got, rows, np.float32(forgetting), on_touch)
            for new, least in zip(got[1:4], start[5:], strict=True):
                assert bool((new >= least).all())
        got = np.stack([np.asarray(x) for x in got[:4]])
        want = reference(whole, batches, forgetting, on_touch)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-5)
        if forgetting:  # the other clock is told apart
            other = reference(whole, batches, forgetting, not on_touch)
            assert np.abs(got / other - 1).max() > 1e-2


def test_nothing_forgotten_is_the_textbook():
    """From kappa = 2, mu = 1, a = 3, b = 4, then rewards 3, 5: by hand."""
    evidence = moment_evidence_from_rewards([2], [[3, 5]], low=0, high=9)
    got = update_normal_gamma(
        init_normal_gamma(N, 1.0, 2.0, 3.0, 4.0), collect_moment_rows(evidence, N), 0.0
    )
    # mean (2 * 1 + 2 * 4) / 4 = 2.5, rate 4 + (2 + 2 * 2 / 4 * 3^2) / 2 = 9.5
    assert [float(x[2]) for x in got[:4]] == [2.5, 4.0, 4.0, 9.5]
    # the spread alone would give a rate of 5


def test_far_from_zero_nothing_cancels():
    """Sums of squares in float32 would lose all digits of the spread at 10,000."""
    rng, far = np.random.default_rng(2), np.float32(10_000)
    near, moved = init_normal_gamma(N, 0.0), init_normal_gamma(N, far)
    for _ in range(10):
        ids, rewards, mask = make_batch(rng)
        rewards = np.round(rewards * 64) / np.float32(64)  # exact in both places
        near = step(near, as_evidence((ids, rewards, mask)), np.float32(0.1), False)
        evidence = moment_evidence_from_rewards(
            ids, rewards + far, mask, low=0, high=2e4
        )
        moved = step(moved, evidence, np.float32(0.1), False)
    np.testing.assert_allclose(near.precision_rate, moved.precision_rate, rtol=1e-3)
    np.testing.assert_allclose(near.reward_mean + far, moved.reward_mean, rtol=1e-6)


def drawn_z(count, shape, rate) -> float:
    """How far the closed forms are from 400,000 draws of mean and precision."""
    rng, n = np.random.default_rng(3), 400_000
    precision = rng.gamma(7.5, 1 / 2.5, n)
    means = rng.normal(0, 1 / np.sqrt(3.0 * precision))
    column = lambda x: jnp.float32([x])  # noqa: E731
    within = expected_reward_variance(column(shape), column(rate))
    between = mean_variance(column(count), column(shape), column(rate))
    z = []
    for drawn, closed in ((1 / precision, within), (means**2, between)):
        z.append(abs(drawn.mean() - float(closed[0])) / (drawn.std() / np.sqrt(n)))
    return max(z)


def test_variances_are_those_of_draws():
    assert drawn_z(3.0, 7.5, 2.5) < 4
    # planted: shape and rate swapped; and rate / shape, without the minus one
    assert drawn_z(3.0, 2.5, 7.5) > 50 and drawn_z(3.0, 8.5, 2.5) > 50


def test_variance_without_a_mean_is_infinite():
    one = jnp.float32([1.0])
    assert expected_reward_variance(one, one).tolist() == [np.inf]
    assert mean_variance(one, one / 2, one).tolist() == [np.inf]
    alpha, beta = as_beta(one / 2, one, one, one)  # the widest there is
    np.testing.assert_allclose([alpha[0], beta[0]], [0.01, 0.01], rtol=1e-6)


def test_beta_has_the_moments_of_the_mean_reward():
    column = lambda x: jnp.float32([x])  # noqa: E731
    belief = [column(x) for x in (1.0, 3.0, 7.5, 2.5)]
    alpha, beta = (np.float64(x[0]) for x in as_beta(*belief, low=LOW, high=HIGH))
    mean = alpha / (alpha + beta)
    np.testing.assert_allclose(LOW + 8 * mean, 1.0, rtol=1e-5)
    variance = 64 * mean * (1 - mean) / (alpha + beta + 1)
    np.testing.assert_allclose(variance, mean_variance(*belief[1:])[0], rtol=1e-4)


def test_beta_of_the_first_prior_is_nearly_uniform():
    alpha, beta = as_beta(*init_normal_gamma(1)[:4])
    np.testing.assert_allclose([alpha[0], beta[0]], [1.06, 1.06], atol=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_tasks": 0}, "^num_tasks must be an integer"),
        ({"prior_reward_mean": np.inf}, "^prior_reward_mean must be in"),
        ({"prior_precision_count": 0.0}, "^prior_precision_count must be in"),
        ({"prior_precision_shape": 1.0}, r"^prior_precision_shape must be in \[1.01,"),
        ({"prior_precision_rate": -1.0}, "^prior_precision_rate must be in"),
        ({"prior_precision_rate": np.ones(3)}, r"must have shape \(\) or \(6,\)"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        init_normal_gamma(**{"num_tasks": N} | settings)


def test_state_keeps_its_form_and_can_be_donated():
    start = init_normal_gamma(N, *PRIORS["per_task"])
    form = lambda state: jax.tree.map(  # noqa: E731
        lambda x: (x.shape, x.dtype, x.weak_type), state
    )
    want, evidence = form(start), as_evidence(make_batch(np.random.default_rng(0)))
    donating = jax.jit(
        lambda state: update_normal_gamma(state, collect_moment_rows(evidence, N), 0.1),
        donate_argnums=0,
    )
    assert form(donating(start)) == want
    with jax.enable_x64(True):
        assert form(donating(init_normal_gamma(N, *PRIORS["per_task"]))) == want
