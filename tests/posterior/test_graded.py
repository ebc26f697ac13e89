"""Graded rewards: against a loop in float64, Monte Carlo, and the Beta for L = 2."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.beta import beta_variance
from bots_jax.evidence.collect import collect_level_rows
from bots_jax.evidence.counts import collect_rows
from bots_jax.evidence.rewards import LevelEvidence, as_levels
from bots_jax.posterior.graded import (
    as_beta,
    expected_reward,
    expected_reward_variance,
    init_graded,
    mean_variance,
    update_graded,
)
from bots_jax.posterior.recurrence import init_posterior, update_posterior
from bots_jax.types import Evidence

N, L, B, STEPS = 7, 4, 5, 60


def make_evidence(rng: np.random.Generator) -> LevelEvidence:
    """Rows with repeats, padding and a stray id among them."""
    ids = rng.integers(0, N, B)
    ids[rng.integers(B)] = rng.choice([-1, N, ids[0]])
    counts = rng.integers(0, 6, (B, L))
    return LevelEvidence(jnp.int32(ids), jnp.float32(counts))


@functools.partial(jax.jit, static_argnames="on_touch")
def step(posterior, evidence, forgetting, on_touch):
    rows = collect_level_rows(evidence, N)
    return update_graded(posterior, rows, forgetting, on_touch=on_touch)


def reference(prior, batches, forgetting, on_touch):
    """Pseudo-counts [N, L] by the recurrence, task by task."""
    belief = np.array(prior, np.float64)
    for evidence in batches:
        gained = np.zeros_like(belief)
        ids, counts = np.asarray(evidence.task_ids), np.asarray(evidence.counts)
        for row in range(B):
            if 0 <= ids[row] < N:
                gained[ids[row]] += counts[row]
        for task in range(N):
            if gained[task].sum() or not on_touch:
                mixed = (1 - forgetting) * belief[task] + forgetting * prior[task]
                belief[task] = mixed + gained[task]
    return belief


PRIORS = {
    "number": 0.5,
    "per_level": np.array([4.0, 1.0, 0.5, 2.0]),
    "per_task": np.random.default_rng(0).uniform(0.1, 5, (N, L)),
}


@pytest.mark.parametrize("on_touch", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_long_runs_agree_with_the_reference(prior, on_touch):
    rng = np.random.default_rng(1)
    batches = [make_evidence(rng) for _ in range(STEPS)]
    start = init_graded(N, L, PRIORS[prior])
    whole = np.broadcast_to(PRIORS[prior], (N, L))
    for forgetting in (0.0, 0.2, 1.0):
        got = start
        for evidence in batches:
            got = step(got, evidence, np.float32(forgetting), on_touch)
            assert bool((got.level_counts >= jnp.asarray(whole, jnp.float32)).all())
        want = reference(whole, batches, forgetting, on_touch)
        np.testing.assert_allclose(got.level_counts, want, rtol=1e-5)
        other = reference(whole, batches, forgetting, not on_touch)
        if 0 < forgetting:  # the other clock is told apart
            assert np.abs(np.asarray(got.level_counts) / other - 1).max() > 1e-2


def test_two_levels_are_the_beta_posterior():
    rng = np.random.default_rng(2)
    graded, plain = init_graded(N, 2, np.array([3.0, 0.5])), init_posterior(N, 0.5, 3.0)

    @jax.jit
    def both(graded, plain, evidence):
        levels = collect_level_rows(as_levels(evidence, 2), N)
        counts = collect_rows(evidence, N)
        graded = update_graded(graded, levels, 0.1)
        return graded, update_posterior(plain, counts, None, 0.1, 0.0)

    for _ in range(20):
        ids, right = rng.integers(-1, N + 1, B), rng.integers(0, 9, B)
        columns = jnp.int32(ids), jnp.float32(right), jnp.float32(8 - right)
        graded, plain = both(graded, plain, Evidence(*columns))
    np.testing.assert_array_equal(graded.level_counts[:, 1], plain.alpha)
    np.testing.assert_array_equal(graded.level_counts[:, 0], plain.beta)
    unit, other = jnp.float32([0, 1]), jnp.float32([-2, 3])
    alpha, beta = plain.alpha, plain.beta
    np.testing.assert_allclose(
        expected_reward_variance(graded.level_counts, unit),
        alpha * beta / ((alpha + beta) * (alpha + beta + 1)),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        mean_variance(graded.level_counts, unit), beta_variance(alpha, beta), rtol=1e-6
    )
    for levels in (unit, other):  # whatever the two rewards are
        got = as_beta(graded.level_counts, levels)
        np.testing.assert_allclose(got[0], alpha, rtol=1e-5)
        np.testing.assert_allclose(got[1], beta, rtol=1e-5)


LOPSIDED = jnp.float32([[0.7, 2.0, 4.5]])
VALUES = jnp.float32([-1, 0.5, 4])


def monte_carlo() -> dict[str, tuple[float, float]]:
    """Mean and standard error of what the closed forms give, from 400,000 draws."""
    rng, n = np.random.default_rng(3), 400_000
    chances = rng.dirichlet(np.asarray(LOPSIDED[0], np.float64), n)
    values = np.asarray(VALUES, np.float64)
    means = chances @ values
    within = chances @ values**2 - means**2
    squares = (means - means.mean()) ** 2
    return {
        name: (x.mean(), x.std() / np.sqrt(n))
        for name, x in (("mean", means), ("within", within), ("between", squares))
    }


def z_scores(level_counts, levels) -> dict[str, float]:
    closed = {
        "mean": expected_reward(level_counts, levels),
        "within": expected_reward_variance(level_counts, levels),
        "between": mean_variance(level_counts, levels),
    }
    drawn = monte_carlo()
    return {
        name: abs(float(x[0]) - drawn[name][0]) / drawn[name][1]
        for name, x in closed.items()
    }


def test_moments_are_those_of_dirichlet_draws():
    assert max(z_scores(LOPSIDED, VALUES).values()) < 4
    # planted: levels in the wrong order, and a concentration too large by one
    swapped = z_scores(LOPSIDED[:, ::-1], VALUES)
    assert min(swapped["mean"], swapped["within"]) > 20
    assert z_scores(LOPSIDED * 8.2 / 7.2, VALUES)["within"] > 20


def test_variance_of_large_levels_does_not_cancel():
    """sum(v^2 pi) - sum(v pi)^2 of levels near 10,000 would keep no digit."""
    near, far = jnp.float32([0, 1, 2]), jnp.float32([10_000, 10_001, 10_002])
    np.testing.assert_allclose(
        expected_reward_variance(LOPSIDED, far),
        expected_reward_variance(LOPSIDED, near),
        rtol=1e-5,
    )


def test_beta_has_the_moments_of_the_mean_reward():
    alpha, beta = (np.float64(x[0]) for x in as_beta(LOPSIDED, VALUES))
    mean, variance = expected_reward(LOPSIDED, VALUES), mean_variance(LOPSIDED, VALUES)
    total = alpha + beta
    np.testing.assert_allclose(-1 + 5 * alpha / total, mean[0], rtol=1e-5)
    got = 25 * alpha * beta / (total**2 * (total + 1))
    np.testing.assert_allclose(got, variance[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "^num_tasks must be an integer"),
        ((4, 1), r"^num_levels must be an integer in \[2,"),
        ((4, 3, np.ones(4)), r"^prior_level_counts must have shape \(\) or \(3,\) or"),
        ((4, 3, 0.0), r"^prior_level_counts must be in \[0.01, 100000\], got 0"),
        ((4, 3, [1, 1, np.nan]), "^prior_level_counts must be in"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        init_graded(*arguments)


def test_rows_of_other_levels_are_refused():
    rows = collect_level_rows(make_evidence(np.random.default_rng(0)), N)
    with pytest.raises(ValueError, match="^counts must have 3 levels, got 4"):
        update_graded(init_graded(N, 3), rows, 0.1)


def test_state_keeps_its_form_and_can_be_donated():
    start = init_graded(N, L, PRIORS["per_task"])
    evidence = make_evidence(np.random.default_rng(0))
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), start)
    donating = jax.jit(
        lambda state: update_graded(state, collect_level_rows(evidence, N), 0.1),
        donate_argnums=0,
    )
    new = donating(start)
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), new) == shapes
    batched = jax.tree.map(lambda x: jnp.stack([x, x]), new)
    moved = jax.vmap(lambda s: step(s, evidence, np.float32(0.1), False))(batched)
    want = step(new, evidence, np.float32(0.1), False)
    np.testing.assert_allclose(moved.level_counts[1], want.level_counts, rtol=1e-6)


def test_no_rows_only_forget():
    nothing = LevelEvidence(jnp.zeros(0, jnp.int32), jnp.zeros((0, L), jnp.float32))
    start = init_graded(N, L)
    grown = start._replace(level_counts=start.level_counts + 8)
    new = update_graded(grown, collect_level_rows(nothing, N), 0.5)
    assert new.level_counts.tolist() == [[5.0] * L] * N
