"""The law of whole selections: uniform, and Thompson sampling against NumPy."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selection import choose
from bots_jax.selection.gumbel import gumbel_noise
from tests.statistical import (
    CAUGHT,
    HONEST,
    chi_square_pvalue,
    inclusion_pvalue,
    set_counts,
    two_sample_pvalue,
)

sweep_module = importlib.import_module("bots_jax.selection.sweep")
uniform_module = importlib.import_module("bots_jax.selectors.uniform")
NUM_KEYS = 20_000
# lopsided, one task nearly hopeless, one nearly solved, two well known
ALPHA = np.array([1, 2, 0.7, 9, 30, 1, 200, 4, 0.5, 12], np.float32)
BETA = np.array([1, 5, 3.0, 2, 45, 20, 150, 6, 0.5, 7], np.float32)
NUM_TASKS, BATCH_SIZE, TARGET = len(ALPHA), 3, 0.45


def batches(selector, state, key=0) -> np.ndarray:
    keys = jax.random.split(jax.random.key(key), NUM_KEYS)
    select = jax.jit(jax.vmap(lambda k: selector.select(k, state)[0]))
    return np.asarray(select(keys))


def uniform_batches(**settings) -> np.ndarray:
    selector = bots_jax.uniform(num_tasks=20, batch_size=4, **settings)
    return batches(selector, selector.init())


def uniform_pvalues(ids: np.ndarray) -> list[float]:
    """Of being in the batch, of each slot, and of the first two slots together."""
    slots = [np.bincount(column, minlength=20) for column in ids.T]
    pairs = np.bincount(ids[:, :2] @ np.array([20, 1]), minlength=400)
    return [
        inclusion_pvalue(ids, 20),
        *(chi_square_pvalue(counts, np.full(20, 1 / 20)) for counts in slots),
        chi_square_pvalue(pairs, (1 - np.eye(20)) / 380),
    ]


def test_uniform_draws_every_task_and_pair_equally_often():
    assert min(uniform_pvalues(uniform_batches())) > HONEST


def test_uniform_among_the_eligible():
    ids = uniform_batches(eligible=np.arange(20) % 2 == 1)
    assert (ids % 2 == 1).all()
    assert inclusion_pvalue(ids // 2, 10) > HONEST


def test_uniform_catches_planted_bug(monkeypatch):
    """One task in twenty half again as likely as the others is seen by each test."""
    bias = np.array([np.log(1.5)] + [0] * 19, np.float32)
    wrong = lambda key, ids: gumbel_noise(key, ids) + bias  # noqa: E731
    monkeypatch.setattr(uniform_module, "gumbel_noise", wrong)
    assert max(uniform_pvalues(uniform_batches())) < CAUGHT


def test_uniform_catches_planted_bug_of_too_few_bits(monkeypatch):
    """Noise of three bits ties, and ties go to the lower id."""
    wrong = lambda key, ids: jnp.round(gumbel_noise(key, ids))  # noqa: E731
    monkeypatch.setattr(uniform_module, "gumbel_noise", wrong)
    assert inclusion_pvalue(uniform_batches(), 20) < CAUGHT


def thompson_batches(**settings) -> np.ndarray:
    defaults = {
        "prior_alpha": ALPHA,
        "prior_beta": BETA,
        "target_success_prob": TARGET,
    }
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS, batch_size=BATCH_SIZE, **defaults | settings
    )
    return batches(selector, selector.init())


@functools.cache
def brute_force() -> np.ndarray:
    """Float64 NumPy: draw for every task, take the nearest."""
    rng = np.random.default_rng(0)
    size = (5 * NUM_KEYS, NUM_TASKS)
    draws = rng.beta(ALPHA.astype(np.float64), BETA.astype(np.float64), size)
    distance = np.abs(draws - TARGET)
    return np.argsort(distance, axis=1, kind="stable")[:, :BATCH_SIZE]


def pvalues(ids: np.ndarray) -> tuple[float, float]:
    """Of the first task of a batch, and of the set that a batch is."""
    first = [np.bincount(x[:, 0], minlength=NUM_TASKS) for x in (ids, brute_force())]
    sets = [set_counts(x, NUM_TASKS) for x in (ids, brute_force())]
    return two_sample_pvalue(*first), two_sample_pvalue(*sets)


def test_thompson_batches_have_the_law_of_brute_force():
    assert min(pvalues(thompson_batches())) > HONEST


def test_thompson_with_scalar_priors_takes_the_faster_path_to_the_same_law():
    """Equal beliefs: every task equally often, whichever way Beta is drawn."""
    for prior in (0.5, 2.0):
        ids = thompson_batches(prior_alpha=prior, prior_beta=prior)
        assert inclusion_pvalue(ids, NUM_TASKS) > HONEST


def test_target_and_shapes_are_not_mirrored():
    """Swapping alpha and beta and 1 - target is the same law."""
    selector = bots_jax.bots(
        num_tasks=NUM_TASKS,
        batch_size=BATCH_SIZE,
        target_success_prob=1 - TARGET,
        prior_alpha=BETA,
        prior_beta=ALPHA,
    )
    assert min(pvalues(batches(selector, selector.init(), key=1))) > HONEST


def per_task_targets_pvalue(targets: np.ndarray) -> float:
    """Each task judged by its own target, against brute force."""
    ids = thompson_batches(target_success_prob=targets)
    honest = np.linspace(0.2, 0.8, NUM_TASKS)
    rng = np.random.default_rng(1)
    draws = rng.beta(ALPHA, BETA, (5 * NUM_KEYS, NUM_TASKS))
    want = np.argsort(np.abs(draws - honest), axis=1)[:, :BATCH_SIZE]
    return two_sample_pvalue(set_counts(ids, NUM_TASKS), set_counts(want, NUM_TASKS))


def test_per_task_targets():
    targets = np.linspace(0.2, 0.8, NUM_TASKS)
    assert per_task_targets_pvalue(targets) > HONEST


def test_per_task_targets_catch_planted_bug():
    """The targets of two tasks exchanged."""
    targets = np.linspace(0.2, 0.8, NUM_TASKS)
    targets[[3, 6]] = targets[[6, 3]]
    assert per_task_targets_pvalue(targets) < CAUGHT


def wrong_sign(monkeypatch):
    wrong = lambda draws, target: jnp.abs(draws - target)  # noqa: E731
    monkeypatch.setattr(choose, "target_distance_scores", wrong)


def wrong_target(monkeypatch):
    honest = choose.target_distance_scores
    wrong = lambda draws, target: honest(draws, target + np.float32(0.05))  # noqa: E731
    monkeypatch.setattr(choose, "target_distance_scores", wrong)


def ineligible_last(monkeypatch):
    honest = sweep_module.rankable
    wrong = lambda s, e: honest(s, e & (jnp.arange(NUM_TASKS) > 0))  # noqa: E731
    monkeypatch.setattr(sweep_module, "rankable", wrong)


@pytest.mark.parametrize("bug", [wrong_sign, wrong_target, ineligible_last])
def test_thompson_catches_planted_bug(bug, monkeypatch):
    bug(monkeypatch)
    assert min(pvalues(thompson_batches())) < CAUGHT


def test_thompson_catches_planted_bug_of_swapped_shapes():
    ids = thompson_batches(prior_alpha=BETA, prior_beta=ALPHA)
    assert min(pvalues(ids)) < CAUGHT


def test_thompson_catches_planted_bug_of_means():
    ids = thompson_batches(estimate=bots_jax.posterior_means)
    assert min(pvalues(ids)) < CAUGHT
