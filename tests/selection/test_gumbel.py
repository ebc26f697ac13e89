"""Gumbel noise, and the law of tempered selection without replacement."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import bots_jax
from bots_jax.selection import choose, gumbel, gumbel_noise, temper
from tests import reference
from tests.statistical import (
    CAUGHT,
    HONEST,
    chi_square_pvalue,
    ks_pvalue,
    order_counts,
    two_sample_pvalue,
)

NUM_TASKS, NUM_KEYS, TEMPERATURE, TARGET = 5, 40_000, 0.2, 0.4
MEANS = np.array([0.1, 0.35, 0.5, 0.7, 0.95], np.float32)


def noise(num_tasks: int = 200_000) -> np.ndarray:
    return np.asarray(jax.jit(gumbel_noise)(jax.random.key(2), jnp.arange(num_tasks)))


def test_noise_has_its_law():
    assert ks_pvalue(noise(), stats.gumbel_r.cdf) > HONEST


def test_noise_catches_planted_bug():
    assert ks_pvalue(-noise(), stats.gumbel_r.cdf) < CAUGHT
    assert ks_pvalue(noise() * np.float32(1.02), stats.gumbel_r.cdf) < CAUGHT


def test_noise_is_keyed_by_task():
    np.testing.assert_array_equal(noise(1000)[:77], noise(77))


def test_temperature_zero_leaves_the_scores():
    scores = jnp.asarray(MEANS)
    for temperature in (0.0, jnp.float32(0)):
        got = temper(jax.random.key(0), scores, temperature, jnp.arange(NUM_TASKS))
        np.testing.assert_array_equal(got, scores)


def pick(temperature=TEMPERATURE, batch_size=2, key=0) -> np.ndarray:
    """Batches [NUM_KEYS, B] judged by fixed success chances."""
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS,
        batch_size=batch_size,
        temperature=temperature,
        target_success_prob=TARGET,
        estimate=lambda key, alpha, beta: jnp.asarray(MEANS),
    )
    keys = jax.random.split(jax.random.key(key), NUM_KEYS)
    select = jax.jit(jax.vmap(lambda k: selector.select(k, selector.init())[0]))
    return np.asarray(select(keys))


def chances(temperature=TEMPERATURE) -> np.ndarray:
    scores = -np.abs(MEANS.astype(np.float64) - np.float32(TARGET))
    return reference.softmax(scores, temperature)


def pair_pvalue(ids: np.ndarray) -> float:
    exact = reference.pair_probabilities(chances())
    return chi_square_pvalue(order_counts(ids, NUM_TASKS), exact)


def test_pairs_have_the_law_of_sequential_sampling():
    assert pair_pvalue(pick()) > HONEST


@pytest.mark.parametrize("temperature", [0.05, 1.0, 50.0])
def test_first_pick_has_the_law_of_a_softmax(temperature):
    counts = np.bincount(pick(temperature, key=1)[:, 0], minlength=NUM_TASKS)
    assert chi_square_pvalue(counts, chances(temperature)) > HONEST


def test_triples_have_the_law_of_the_oracle():
    rng = np.random.default_rng(0)
    sequential = np.array(
        [
            reference.sample_without_replacement(rng, chances(), 3)
            for _ in range(NUM_KEYS // 4)
        ]
    )
    ours = order_counts(pick(batch_size=3), NUM_TASKS)
    assert two_sample_pvalue(ours, order_counts(sequential, NUM_TASKS)) > HONEST


def invert_temperature(monkeypatch):
    wrong = lambda key, scores, t, ids: temper(key, scores, 1 / t, ids)  # noqa: E731
    monkeypatch.setattr(choose, "temper", wrong)


def negate_noise(monkeypatch):
    honest = gumbel.gumbel_noise
    monkeypatch.setattr(gumbel, "gumbel_noise", lambda key, ids: -honest(key, ids))


def normal_noise(monkeypatch):
    deviation = np.float32(np.pi / np.sqrt(6))
    wrong = lambda key, ids: deviation * jax.random.normal(key, ids.shape)  # noqa: E731
    monkeypatch.setattr(gumbel, "gumbel_noise", wrong)


def wrong_sign(monkeypatch):
    wrong = lambda draws, target: jnp.abs(draws - target)  # noqa: E731
    monkeypatch.setattr(choose, "target_distance_scores", wrong)


@pytest.mark.parametrize(
    "bug", [invert_temperature, negate_noise, normal_noise, wrong_sign]
)
def test_tempered_law_catches_planted_bug(bug, monkeypatch):
    bug(monkeypatch)
    ids = pick()
    assert pair_pvalue(ids) < CAUGHT
    first = np.bincount(ids[:, 0], minlength=NUM_TASKS)
    assert chi_square_pvalue(first, chances()) < CAUGHT


def test_two_sample_law_catches_planted_bug():
    """With replacement, or softmax scores a little off, is seen."""
    rng = np.random.default_rng(1)
    draw = functools.partial(rng.choice, NUM_TASKS, p=chances())
    with_replacement = draw(size=(NUM_KEYS // 4, 3))
    ours = order_counts(pick(batch_size=3), NUM_TASKS)
    assert two_sample_pvalue(ours, order_counts(with_replacement, NUM_TASKS)) < CAUGHT
