"""The recurrence by hand, and its textbook cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.posterior import discount, init_posterior

WEAK_STRONG = np.array([[0.2, 0.8], [0.1, 0.5], [0.0, 1.0]])


@pytest.fixture(params=["dense", "lazy"])
def run(request):
    return functools.partial(run_engine, engine=request.param)


def run_engine(steps, references=None, **settings):
    """Alpha and beta after steps of (task ids, successes, rollouts)."""
    selector = bots_jax.bots(num_tasks=3, batch_size=1, **settings)
    state = selector.init(references)
    for ids, successes, rollouts in steps:
        evidence = bots_jax.evidence_from_counts(ids, successes, rollouts)
        state, _ = selector.update(state, evidence)
    return tuple(np.asarray(x) for x in selector.posterior(state))


def test_nothing_forgotten_is_the_textbook_beta_binomial(run):
    # Beta(1, 1), then 3 of 4, then 1 of 4: alpha = 1 + 3 + 1, beta = 1 + 1 + 3
    alpha, beta = run([([0], [3], 4), ([0], [1], 4)], forgetting=0.0)
    assert alpha.tolist() == [5, 1, 1] and beta.tolist() == [5, 1, 1]
    # taking lambda for what is kept would give 1 + 1 = 2 and 1 + 3 = 4
    assert alpha[0] != 2 and beta[0] != 4


def test_all_forgotten_is_prior_and_last_batch(run):
    # alpha = 1 + 1, beta = 1 + 3
    alpha, beta = run([([0], [3], 4), ([0], [1], 4)], forgetting=1.0)
    assert alpha.tolist() == [2, 1, 1] and beta.tolist() == [4, 1, 1]
    # leaving the prior term out would give 1 and 3
    assert alpha[0] != 1 and beta[0] != 3


def test_half_forgotten(run):
    # alpha: 1 -> .5 + .5 + 3 = 4 -> .5 * 4 + .5 + 1 = 3.5
    # beta:  1 -> .5 + .5 + 1 = 2 -> .5 * 2 + .5 + 3 = 4.5
    alpha, beta = run([([0], [3], 4), ([0], [1], 4)], forgetting=0.5)
    assert alpha.tolist() == [3.5, 1, 1] and beta.tolist() == [4.5, 1, 1]
    # discounting after adding, .5 * (1 + 3) + .5, would make the first alpha 2.5


def test_forgetting_returns_to_each_tasks_own_prior(run):
    # task 0: alpha = .5 * (4 + 2) + .5 * 4 = 5, not .5 * 6 + .5 * 1 = 3.5 (prior 1)
    priors = {"prior_alpha": np.array([4, 2, 1]), "prior_beta": 8.0}
    steps = [([0], [2], 2), ([1], [0], 2)]
    alpha, beta = run(steps, forgetting=0.5, **priors)
    assert alpha.tolist() == [5, 2, 1]
    assert beta.tolist() == [8, 10, 8]


def test_implicit_evidence_by_hand(run):
    # capability = (.5 - .2) / (.8 - .2) = .5, so p~ of task 1 is .1 + .5 * .4 = .3
    # rho n = .25 * 8 = 2 pseudo-rollouts: alpha = 1 + .6, beta = 1 + 1.4
    settings = {"forgetting": 0.5, "implicit_weight": 0.25, "group_size": 8}
    alpha, beta = run([([0], [4], 8)], WEAK_STRONG, **settings)
    np.testing.assert_allclose(alpha, [5, 1.6, 2], rtol=1e-5)
    np.testing.assert_allclose(beta, [5, 2.4, 2], rtol=1e-5)
    # task 0, rolled out, counts in full; (1 - rho) s + rho n p~ of the others' kind
    # would be the same here, s alone weighted by 1 - rho would be 1 + 3 = 4


def test_rolled_out_tasks_count_in_full_whatever_the_implicit_weight(run):
    for weight in (0.0, 0.3, 1.0):
        alpha, beta = run([([0], [6], 8)], WEAK_STRONG, implicit_weight=weight)
        np.testing.assert_allclose((alpha[0], beta[0]), (7, 3), rtol=1e-6)


def test_counts_are_true_counts_whatever_the_group_size(run):
    # the official code would count rate * m: 16 * [1, .25, .5] = 16, 4, 8
    steps = [([0, 1, 2], [1, 2, 32], [1, 8, 64])]
    alpha, beta = run(steps, forgetting=0.0, group_size=16)
    assert alpha.tolist() == [2, 3, 33] and beta.tolist() == [1, 7, 33]


def test_fractional_successes_count_as_fractions(run):
    alpha, beta = run([([0], [2.75], 4)])
    assert (alpha[0], beta[0]) == (3.75, 2.25)


def test_repeated_ids_add_up(run):
    # the official code keeps the last row: alpha = 1 + 4 = 5, beta = 1
    alpha, beta = run([([0, 0], [0, 4], 4)])
    assert (alpha[0], beta[0]) == (5, 5)


@pytest.mark.parametrize("forgetting", [0.0, 1e-3, 0.1, 0.5, 0.999, 1.0])
def test_discount_never_falls_below_the_prior(forgetting):
    rng = np.random.default_rng(0)
    prior = jnp.float32(rng.uniform(0.01, 1e5, 4096))
    counts = prior * jnp.float32(1 + rng.uniform(0, 1e-6, 4096))
    for _ in range(20):
        counts = discount(counts, prior, jnp.float32(forgetting))
        assert bool((counts >= prior).all())


def test_steady_state_lies_in_the_papers_bounds():
    """Proposition 2: rho n / lambda <= n_t - n_0 <= n / lambda."""
    selector = bots_jax.bots(num_tasks=3, batch_size=1)
    evidence = bots_jax.evidence_from_counts([0], [8], 16)

    def step(state, _):
        return selector.update(state, evidence)[0], None

    state = selector.init(WEAK_STRONG)
    state, _ = jax.jit(lambda s: jax.lax.scan(step, s, None, length=300))(state)
    alpha, beta = selector.posterior(state)
    excess = np.asarray(alpha + beta) - 2
    np.testing.assert_allclose(excess, [160, 16, 16], rtol=1e-4)


def test_init_broadcasts_scalars_and_keeps_arrays():
    prior = np.array([1, 2, 3], np.float32)
    posterior = init_posterior(3, 0.5, prior)
    assert posterior.alpha.tolist() == [0.5] * 3 and posterior.prior_alpha.shape == ()
    assert posterior.beta.tolist() == [1, 2, 3] and posterior.prior_beta.shape == (3,)
    prior[0] = 9
    assert posterior.beta[0] == 1 and posterior.prior_beta[0] == 1
