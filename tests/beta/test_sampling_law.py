"""The sampler's law is Beta(alpha, beta): n = 100,000 draws per pair, fixed keys."""

import functools
import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import bots_jax
from bots_jax import counter_bits
from bots_jax.beta import sampling
from tests.statistical import CAUGHT, HONEST, independence_pvalue, ks_pvalue

NUM_DRAWS = 100_000
SHAPES = [
    (0.5, 3.0),
    (3.0, 0.5),
    (0.7, 50.0),
    (1.0, 4.0),
    (1.5, 1.0),
    (2.0, 9.0),
    (9.0, 2.0),
    (1.0, 300.0),
    (30.0, 200.0),
    (1e3, 50.0),
    (1e4, 2e3),
    (3e3, 1e4),
    (0.5, 1e4),
    (1e4, 0.5),
    (1e5, 7e4),
]
SMALL_SHAPES = [
    (0.01, 0.01),
    (0.01, 2.0),
    (2.0, 0.01),
    (0.02, 50.0),
    (0.05, 0.3),
    (0.3, 0.05),
    (0.1, 0.5),
    (0.99, 0.2),
]
ABOVE_ONE = [shape for shape in SHAPES if min(shape) >= 1]


def draw(
    shapes, key=0, sample: Callable = bots_jax.sample_beta, **options
) -> np.ndarray:
    """Draws [len(shapes), NUM_DRAWS] in one call."""
    table = jnp.asarray(shapes, jnp.float32)
    alpha, beta = (jnp.repeat(table[:, i], NUM_DRAWS) for i in (0, 1))
    sampler = jax.jit(functools.partial(sample, **options))
    return np.asarray(sampler(jax.random.key(key), alpha, beta)).reshape(
        len(shapes), -1
    )


@functools.cache
def all_draws(above_one: bool, key: int = 0) -> dict:
    shapes = ABOVE_ONE if above_one else SHAPES + SMALL_SHAPES
    return dict(zip(shapes, draw(shapes, key, shapes_above_one=above_one), strict=True))


def pvalue(draws: np.ndarray, shape: tuple[float, float]) -> float:
    # the shapes as float32 holds them
    return ks_pvalue(draws, stats.beta(*(float(np.float32(s)) for s in shape)).cdf)


@pytest.mark.parametrize("shape", SHAPES + SMALL_SHAPES, ids=str)
def test_law(shape):
    assert pvalue(all_draws(above_one=False)[shape], shape) > HONEST


@pytest.mark.parametrize("shape", ABOVE_ONE, ids=str)
def test_law_of_the_faster_path(shape):
    assert pvalue(all_draws(above_one=True)[shape], shape) > HONEST


@pytest.mark.parametrize("shape", [(0.5, 3.0), (2.0, 9.0), (30.0, 200.0), (1e3, 50.0)])
def test_tails(shape):
    """One draw in a thousand lies beyond each outer quantile."""
    draws = all_draws(above_one=False)[shape]
    law = stats.beta(*shape)
    beyond = int(np.sum(draws < law.ppf(1e-3))), int(np.sum(draws > law.ppf(1 - 1e-3)))
    for count in beyond:
        assert stats.binomtest(count, NUM_DRAWS, 1e-3).pvalue > HONEST


@pytest.mark.nightly
@pytest.mark.parametrize("key", range(100, 150))
def test_law_for_many_keys(key):
    for shape, draws in all_draws(above_one=False, key=key).items():
        assert pvalue(draws, shape) > HONEST / 50, shape


def test_tasks_are_independent_of_their_neighbours():
    draws = draw([(2.0, 9.0)])[0]
    for lag in (1, 2, 31, 32, 33, NUM_DRAWS // 32):
        assert independence_pvalue(draws[lag:], draws[:-lag]) > HONEST


def test_keys_are_independent():
    keys = [jax.random.key(0), jax.random.key(1), *jax.random.split(jax.random.key(0))]
    ones = jnp.ones(NUM_DRAWS, jnp.float32)
    sampler = jax.jit(bots_jax.sample_beta)
    draws = [np.asarray(sampler(key, 2 * ones, 9 * ones)) for key in keys]
    for i in range(len(keys)):
        for j in range(i):
            assert independence_pvalue(draws[i], draws[j]) > HONEST


def wrong_law(bug, monkeypatch, shape) -> float:
    """The p-value at one shape with a bug planted."""
    bug(monkeypatch)
    traced_anew = inspect.unwrap(sampling.sample_beta)  # not the honest program
    return pvalue(draw([shape], sample=traced_anew)[0], shape)


def drop_boost(monkeypatch):
    monkeypatch.setattr(sampling, "_log_boost", lambda s, u: jnp.zeros_like(s))


def biased_uniform(monkeypatch):
    honest = counter_bits.unit_interval
    monkeypatch.setattr(counter_bits, "unit_interval", lambda w: honest(w) ** 1.1)


def accept_everything(monkeypatch):
    zeros = lambda proposal: jnp.zeros_like(proposal.z)  # noqa: E731
    monkeypatch.setattr(sampling, "_squeeze", zeros)
    monkeypatch.setattr(sampling, "_log_acceptance", zeros)


def squeeze_keeps_everything(monkeypatch):
    monkeypatch.setattr(sampling, "_squeeze", lambda p: jnp.zeros_like(p.z))


def reject_what_the_squeeze_leaves_open(monkeypatch):
    honest = sampling._squeeze  # three times as tight: more is left open
    monkeypatch.setattr(sampling, "_squeeze", lambda p: 3 * honest(p))
    monkeypatch.setattr(
        sampling, "_log_acceptance", lambda p: jnp.full_like(p.z, -jnp.inf)
    )


def one_normal_for_both(monkeypatch):
    honest = sampling._unit_circle
    monkeypatch.setattr(sampling, "_unit_circle", lambda b: (honest(b)[0],) * 2)


def wrong_third(monkeypatch):
    honest = sampling._gamma_proposal
    monkeypatch.setattr(
        sampling, "_gamma_proposal", lambda s, n: honest(s + np.float32(1 / 3), n)
    )


def retries_share_a_stream(monkeypatch):
    """Rejected tasks all take the same new draw."""
    honest = sampling._propose

    def propose(key, attempt, tasks, *rest, **options):
        tasks = tasks._replace(ids=jnp.where(attempt == 0, tasks.ids, 7))
        return honest(key, attempt, tasks, *rest, **options)

    monkeypatch.setattr(sampling, "_propose", propose)


@pytest.mark.parametrize(
    "bug, shape",
    [
        (drop_boost, (0.5, 3.0)),
        (biased_uniform, (0.1, 0.5)),
        (accept_everything, (1.0, 4.0)),
        (squeeze_keeps_everything, (1.0, 4.0)),
        (reject_what_the_squeeze_leaves_open, (1.0, 4.0)),
        (one_normal_for_both, (2.0, 9.0)),
        (wrong_third, (2.0, 9.0)),
        (retries_share_a_stream, (1.0, 4.0)),
    ],
)
def test_law_catches_planted_bug(bug, shape, monkeypatch):
    assert wrong_law(bug, monkeypatch, shape) < CAUGHT


@pytest.mark.parametrize("shape", [s for s in SHAPES + SMALL_SHAPES if s[0] != s[1]])
def test_law_catches_planted_bug_of_swapped_shapes(shape):
    assert pvalue(all_draws(above_one=False)[shape], shape[::-1]) < CAUGHT


def test_independence_catches_planted_bug():
    """Two tasks that share a stream are seen."""
    ids = jnp.arange(NUM_DRAWS) // 2
    shared = functools.partial(bots_jax.sample_beta, task_ids=ids)
    draws = draw([(2.0, 9.0)], sample=shared)[0]
    assert independence_pvalue(draws[1:], draws[:-1]) < CAUGHT


def test_independence_of_keys_catches_planted_bug():
    """Keys that differ in a word that is not used are seen."""
    draws = draw([(2.0, 9.0)])[0]
    assert independence_pvalue(draws, draws) < CAUGHT
    half = np.where(np.arange(draws.size) % 4 == 0, draws, draw([(2.0, 9.0)], key=1)[0])
    assert independence_pvalue(draws, half) < CAUGHT


def test_tails_catch_planted_bug():
    """A tail that is cut off is seen."""
    law = stats.beta(30, 200)
    draws = np.maximum(all_draws(above_one=False)[(30.0, 200.0)], law.ppf(2e-3))
    count = int(np.sum(draws < law.ppf(1e-3)))
    assert stats.binomtest(count, NUM_DRAWS, 1e-3).pvalue < CAUGHT
