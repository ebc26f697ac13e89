"""Least squares against NumPy, parity of the ratio, and batches that say nothing."""

import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.evidence.interpolation_plugin import interpolation
from bots_jax.evidence.plugin import Plugin
from bots_jax.shard import Shard
from tests.evidence.plugin_laws import (
    WORTH,
    assert_laws,
    everyone,
    random_steps,
    taught,
)

N = 23
RNG = np.random.default_rng(4)
WEAK = RNG.uniform(0, 0.5, N)
REFERENCES = np.stack([WEAK, WEAK + RNG.uniform(-0.1, 0.5, N)], 1)


def run(plugin: Plugin, steps, references=REFERENCES):
    return taught(plugin, steps, len(references), references)


def slow_capability(steps, momentum, ridge, low, high, weigh=True):
    """One task at a time in float64."""
    capability = None
    for ids, good, trials in steps:
        above = below = 0.0
        for k, s, n in zip(ids, good, trials, strict=True):
            if k < 0:
                continue
            w = n / (1 + (n - 1) / (1 + WORTH)) if weigh else 1.0
            d = REFERENCES[k, 1] - REFERENCES[k, 0]
            above += w * d * (s / n - REFERENCES[k, 0])
            below += w * d * d
        if below < ridge:
            continue
        estimate = min(max(above / (below + ridge), low), high)
        if capability is None:
            capability = estimate
        capability = momentum * capability + (1 - momentum) * estimate
    return capability


def test_least_squares_is_the_slow_reference():
    steps = random_steps(1, N, 12)
    plugin = interpolation(momentum=0.7, ridge=0.3, lowest=-0.2, highest=1.1)
    got = float(run(plugin, steps).capability)
    want = slow_capability(steps, 0.7, 0.3, -0.2, 1.1)
    assert got == pytest.approx(want, rel=1e-4)
    # planted bugs: rollouts that all count in full, weights and ridge left out
    assert got != pytest.approx(
        slow_capability(steps, 0.7, 0.3, -0.2, 1.1, weigh=False), rel=1e-3
    )
    assert got != pytest.approx(slow_capability(steps, 0.7, 1e-9, -0.2, 1.1), rel=1e-3)


def test_ratio_is_the_capability_of_bots():
    steps = random_steps(2, N, 5)
    selector = bots_jax.bots(num_tasks=N, batch_size=2)
    state = selector.init(REFERENCES)
    for ids, good, trials in steps:
        rows = bots_jax.Evidence(
            jnp.asarray(ids, jnp.int32),
            jnp.asarray(good, jnp.float32),
            jnp.asarray(trials - good, jnp.float32),
        )
        state, _ = selector.update(state, rows)
    ours = run(interpolation(estimate="ratio"), steps)
    want = pytest.approx(float(state.plugin.capability), rel=1e-6)
    assert float(ours.capability) == want
    assert float(run(interpolation(), steps).capability) != want


def test_recovers_the_capability_of_a_simulated_policy():
    """The sd of the estimate: sqrt(p q / (16 * 200 * mean d^2)) = .03; 4 sd allowed."""
    rng = np.random.default_rng(5)
    weak = rng.uniform(0, 0.5, 200)
    references = np.stack([weak, weak + rng.uniform(0.1, 0.5, 200)], 1)
    p = weak + 0.6 * (references[:, 1] - weak)
    steps = [(np.arange(200), rng.binomial(16, p), 16)]
    plugin = interpolation(num_tasks=200)
    state = run(plugin, steps, references)
    assert abs(float(state.capability) - 0.6) < 0.12
    said = plugin.predict(state, everyone, Shard(200))
    assert np.abs(np.asarray(said.success_prob) - p).mean() < 0.04


@pytest.mark.parametrize("plugin", [interpolation(), interpolation(estimate="ratio")])
def test_equal_references_change_nothing(plugin):
    equal = np.full((3, 2), 0.5)
    state = run(plugin, [([0, 1], [8, 8], 8)], equal)
    assert int(state.num_estimates) == 0
    assert np.isnan(float(plugin.capability(state)))
    said = plugin.predict(state, everyone, Shard(3))
    assert said.concentration.tolist() == [0, 0, 0]


def test_tiny_gaps_cannot_make_it_explode():
    references = np.tile([[0.0, 0.02]], (40, 1))
    state = run(interpolation(), [(np.arange(40), np.full(40, 8), 8)], references)
    assert int(state.num_estimates) == 1 and float(state.capability) == 1.5
    ratio = run(
        interpolation(estimate="ratio"),
        [(np.arange(40), np.full(40, 8), 8)],
        references,
    )
    assert float(ratio.capability) > 40


@pytest.mark.parametrize("estimate", ["least_squares", "ratio"])
def test_laws(estimate):
    assert_laws(interpolation(estimate=estimate), REFERENCES, N)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"estimate": "median"}, "estimate must be one of"),
        ({"ridge": 0}, "ridge must be in"),
        ({"highest": 0.5}, "highest must be in"),
        ({"estimate": "ratio", "ridge": 0.5}, "ridge must be left out"),
        ({"momentum": 1.5}, "momentum must be in"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        interpolation(**settings)


@pytest.mark.parametrize("bad", [None, np.ones((5, 3)), np.full((N, 2), np.nan), 0.5])
def test_bad_references(bad):
    with pytest.raises(ValueError, match="references must"):
        interpolation().init(bad)


def test_fit_checks_the_new_number_of_tasks():
    plugin = interpolation(num_tasks=N).fit(5)
    assert plugin.init(REFERENCES[:5]).weak is not None
    with pytest.raises(ValueError, match=r"shape \(5, 2\)"):
        plugin.init(REFERENCES)
