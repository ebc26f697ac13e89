"""Law 7: the posterior stays finite and at or above its prior, for ever."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax

NUM_TASKS, NUM_STEPS = 4, 10**6
LARGEST = np.float32(2.0**24)
REFERENCES = np.array([[0, 1], [0.2, 0.9], [0.5, 0.6], [0, 0.05]])
# name: forgetting, implicit weight, prior alpha, prior beta
SETTINGS = {
    "keep_all": (0.0, 1.0, 0.01, 0.01),
    "keep_nearly_all": (1e-3, 0.5, 0.01, 3.0),
    "paper": (0.1, 0.1, 1.0, 1.0),
    "lopsided": (0.1, 0.1, 0.01, 1e5),
    "reset": (1.0, 0.0, 1e5, 0.01),
}


def hard_evidence(step: jax.Array) -> bots_jax.Evidence:
    """Two rows of the largest counts, all right or all wrong, sometimes one task."""
    word = step * np.uint32(2654435761)
    pick = lambda shift: (word >> np.uint32(shift)) % np.uint32(NUM_TASKS)  # noqa: E731
    task_ids = jnp.stack([pick(20), pick(24)]).astype(jnp.int32)
    solved = (word >> np.uint32(10)) % np.uint32(2) == 0
    successes = jnp.where(solved, LARGEST, 0) * jnp.ones(2, jnp.float32)
    return bots_jax.Evidence(task_ids, successes, LARGEST - successes)


def run(forgetting, implicit_weight, prior_alpha, prior_beta, num_steps, absorb=None):
    """Lowest excess over the prior, largest concentration, all finite."""
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS,
        batch_size=1,
        group_size=2.0**24,
        forgetting=forgetting,
        implicit_weight=implicit_weight,
        prior_alpha=prior_alpha,
        prior_beta=prior_beta,
        capability_momentum=0.5,
    )
    absorb = absorb or selector.update

    def body(carry, step):
        state, lowest, highest = carry
        state, _ = absorb(state, hard_evidence(step))
        alpha, beta = state.posterior.alpha, state.posterior.beta
        excess = jnp.minimum(alpha - prior_alpha, beta - prior_beta)
        lowest = jnp.minimum(lowest, jnp.min(excess))
        highest = jnp.maximum(highest, jnp.max(alpha + beta))
        return (state, lowest, highest), None

    start = (selector.init(REFERENCES), jnp.float32(0), jnp.float32(0))
    steps = jnp.arange(num_steps, dtype=jnp.uint32)
    (state, lowest, highest), _ = jax.lax.scan(body, start, steps)
    return state, lowest, highest


def test_a_million_steps_stay_finite_and_above_the_prior():
    knobs = [jnp.asarray(x, jnp.float32) for x in zip(*SETTINGS.values(), strict=True)]
    sweep = jax.jit(jax.vmap(functools.partial(run, num_steps=NUM_STEPS)))
    state, lowest, highest = sweep(*knobs)
    chex.assert_tree_all_finite((state.posterior, state.plugin, highest))
    assert lowest.tolist() == [0.0] * len(SETTINGS)
    # it was hard: without forgetting the beliefs reach 10^6 steps of 2^24 trials
    assert float(highest[0]) > 1e13
    assert state.num_updates.tolist() == [NUM_STEPS] * len(SETTINGS)


def test_floor_check_catches_planted_bug():
    """The recurrence as the paper writes it rounds below the prior."""

    def textbook(state, evidence):
        prior = state.posterior.prior_beta
        keep = np.float32(0.9)
        beta = keep * state.posterior.beta + np.float32(0.1) * prior
        return state._replace(posterior=state.posterior._replace(beta=beta)), None

    planted = functools.partial(run, num_steps=100, absorb=textbook)
    knobs = [jnp.full(4, x, jnp.float32) for x in (0.1, 0.0, 1.0)]
    priors = jnp.float32([0.9, 1.7, 3.1, 5.7])
    lowest = jax.jit(jax.vmap(planted))(*knobs, priors)[1]
    assert float(jnp.min(lowest)) < 0


@pytest.mark.parametrize("prior", [0.01, 1.0, 1e5])
def test_draws_from_extreme_posteriors_are_chances(prior):
    """Selection after a million steps of the largest counts still works."""
    selector = bots_jax.bots(num_tasks=NUM_TASKS, batch_size=2, prior_alpha=prior)
    state = selector.init()
    alpha = jnp.float32([prior, 1.7e13, prior, 1.7e13])
    beta = jnp.float32([1.7e13, 1, 1, 1.7e13])
    posterior = state.posterior._replace(alpha=alpha, beta=beta)
    ids, info = jax.jit(selector.select)(
        jax.random.key(0), state._replace(posterior=posterior)
    )
    assert len(set(ids.tolist())) == 2 and ids.tolist()[0] == 3
    assert 0 <= float(info.draw_mean) <= 1
