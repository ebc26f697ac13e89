"""The bank of forgettings and trusts, against SciPy and against what is best."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from bots_jax.beta.binomial import log_beta_binomial
from bots_jax.posterior.adaptation import (
    TRUSTS,
    Foreseen,
    bank_weights,
    expected_trust,
    forgetting_weights,
    init_bank,
    learn_bank,
    limited,
)


def slow_log_beta_binomial(a, b, s, f):
    a, b, s, f = (np.asarray(x, np.float64) for x in (a, b, s, f))
    return special.betaln(a + s, b + f) - special.betaln(a, b)


def beliefs():
    rng = np.random.default_rng(0)
    a, b = np.exp(rng.uniform(-2, 6, (2, 500))).astype(np.float32)
    s, f = rng.integers(0, 17, (2, 500)).astype(np.float32)
    return a, b, s, f


def test_log_beta_binomial_equals_scipy():
    a, b, s, f = beliefs()
    got = jax.jit(log_beta_binomial)(a, b, s, f)
    want = slow_log_beta_binomial(a, b, s, f)
    limit = 1e-5 + 1e-5 * np.abs(want)
    assert (np.abs(np.asarray(got) - want) < limit).all()


def test_log_beta_binomial_catches_swapped_counts():
    a, b, s, f = map(jnp.asarray, beliefs())
    wrong = np.asarray(log_beta_binomial(a, b, f, s))
    assert np.abs(wrong - slow_log_beta_binomial(a, b, s, f)).max() > 1


def make_seen(rng, size: int, num_forgettings: int) -> Foreseen:
    counts = rng.uniform(0, 9, (2, size, num_forgettings))
    return Foreseen(
        prior_alpha=jnp.float32(rng.uniform(0.3, 2, size)),
        prior_beta=jnp.float32(rng.uniform(0.3, 2, size)),
        predicted=jnp.float32(rng.uniform(0.05, 0.95, size)),
        concentration=jnp.float32(rng.uniform(1, 100, size)),
        successes=jnp.float32(counts[0]),
        failures=jnp.float32(counts[1]),
    )


def test_scores_equal_a_slow_loop():
    rng, trusts = np.random.default_rng(1), (0.0, 3.0, 40.0)
    bank, scores = init_bank(2, trusts, 0.1), np.zeros((2, 3))
    learn = jax.jit(learn_bank)
    for _ in range(5):
        seen = make_seen(rng, 7, 2)
        s, f = rng.integers(0, 9, (2, 7)).astype(np.float32)
        valid = rng.random(7) < 0.8
        bank = learn(bank, seen, s, f, valid)
        scores = 0.9 * scores
        host = jax.tree.map(lambda x: np.asarray(x, np.float64), seen)
        for i in range(2):
            for j, trust in enumerate(trusts):
                t = trust * host.concentration / (trust + host.concentration)
                a = host.prior_alpha + t * host.predicted + host.successes[:, i]
                b = host.prior_beta + t * (1 - host.predicted) + host.failures[:, i]
                scores[i, j] += slow_log_beta_binomial(a, b, s, f)[valid].sum()
    got = np.asarray(bank.log_weights)
    np.testing.assert_allclose(got - got.max(), scores - scores.max(), atol=2e-3)


def simulate(concentration: float, num_steps: int = 60, group_size: int = 16):
    """Success chances that scatter around predictions like a Beta."""
    rng, bank = np.random.default_rng(2), init_bank(1, TRUSTS, 0.02)
    learn = jax.jit(learn_bank)
    one, none = jnp.ones(64), jnp.zeros((64, 1))
    for _ in range(num_steps):
        said = rng.uniform(0.1, 0.9, 64)
        truth = rng.beta(concentration * said, concentration * (1 - said))
        s = rng.binomial(group_size, truth).astype(np.float32)
        seen = Foreseen(
            0.01 * one, 0.01 * one, jnp.float32(said), 1e6 * one, none, none
        )
        bank = learn(bank, seen, s, group_size - s, one > 0)
    return bank


@pytest.mark.parametrize("concentration", [1.0, 4.0, 16.0, 64.0])
def test_trust_finds_what_predictions_are_worth(concentration):
    trust = float(expected_trust(simulate(concentration)))
    assert concentration / 1.6 < trust < concentration * 1.6


def test_trust_is_lost_and_earned_again():
    good = simulate(64.0)
    assert float(expected_trust(good)) > 30
    rng, bank, one = np.random.default_rng(3), good, jnp.ones(64)
    learn = jax.jit(learn_bank)
    none = jnp.zeros((64, 1))
    trusts = []
    for step in range(200):
        said = rng.uniform(0.1, 0.9, 64)
        truth = rng.uniform(0, 1, 64) if step < 60 else said
        s = rng.binomial(16, truth).astype(np.float32)
        seen = Foreseen(one, one, jnp.float32(said), 1e6 * one, none, none)
        bank = learn(bank, seen, s, 16 - s, one > 0)
        trusts.append(float(expected_trust(bank)))
    assert trusts[59] < 2 and trusts[-1] > 25


@pytest.mark.parametrize(("period", "best"), [(1000, 0), (10, 2)])
def test_forgetting_follows_how_fast_tasks_move(period, best):
    """Tasks visited in every step: still ones are remembered, restless ones not."""
    rng, forgettings = np.random.default_rng(4), np.array([0.0, 0.3, 1.0])
    bank = init_bank(3, (0.0,), 0.02)
    truth = rng.uniform(0.2, 0.8, 64)
    s_old, f_old = np.zeros((2, 64, 3))
    one, learn = jnp.ones(64), jax.jit(learn_bank)
    for step in range(60):
        s = rng.binomial(8, truth).astype(np.float32)
        seen = Foreseen(one, one, one / 2, one, jnp.float32(s_old), jnp.float32(f_old))
        bank = learn(bank, seen, s, 8 - s, one > 0)
        s_old = (1 - forgettings) * s_old + s[:, None]
        f_old = (1 - forgettings) * f_old + 8 - s[:, None]
        if step % period == period - 1:
            truth = rng.uniform(0.02, 0.98, 64)
    weights = np.asarray(forgetting_weights(bank))
    assert weights[best] > 0.9


def test_nothing_seen_changes_nothing():
    bank = init_bank(2, TRUSTS, 0.5)._replace(log_weights=jnp.ones((2, len(TRUSTS))))
    seen = make_seen(np.random.default_rng(0), 3, 2)
    nan = jnp.full((3,), jnp.nan)
    same = learn_bank(bank, seen, nan, nan, jnp.zeros(3, bool))
    np.testing.assert_array_equal(same.log_weights, bank.log_weights)
    assert float(jnp.sum(bank_weights(same))) == pytest.approx(1, abs=1e-5)


def test_limited_adds_variances():
    got = limited(jnp.float32([16, 16, 0, 4]), jnp.float32([16, 1e6, 5, 0]))
    np.testing.assert_allclose(got, [8, 16, 0, 0], rtol=1e-4)
