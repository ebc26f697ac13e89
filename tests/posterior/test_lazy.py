"""The lazy posterior against the recurrence in float64, where it is hardest."""

import functools
import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.evidence.counts import collect_rows, evidence_from_counts
from bots_jax.evidence.interpolation import interpolate
from bots_jax.posterior import init_lazy_posterior, lazy_counts
from bots_jax.posterior.lazy import (
    MAX_REMEMBERED,
    implied_counts,
    lazy_from_counts,
    num_remembered,
    references_at,
    update_lazy_posterior,
)
from tests.nights import nightly_but

lazy = importlib.import_module("bots_jax.posterior.lazy")
NUM_TASKS, ROWS, STEPS, WEIGHT = 50, 6, 1000, 1.6


def make_references() -> np.ndarray:
    """Pairs of every kind: equal, swapped, at the borders."""
    rng = np.random.default_rng(0)
    references = rng.random((NUM_TASKS, 2))
    references[:6] = [[0, 0], [1, 1], [0, 1], [1, 0], [0.5, 0.5], [0.3, 1]]
    return references.astype(np.float32)


def make_steps(seed: int = 0, steps: int = STEPS):
    """Rows of evidence, and a capability outside [0, 1] for a third of the steps."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.choice(NUM_TASKS, ROWS, replace=False) for _ in range(steps)])
    # the last tasks are never rolled out
    ids = np.where(ids >= NUM_TASKS - 5, -1, ids).astype(np.int32)
    successes = rng.integers(0, 17, (steps, ROWS)).astype(np.float32)
    capability = rng.uniform(0, 1, steps)
    third = rng.random(steps) < 1 / 3
    outside = np.where(rng.random(steps) < 0.5, -1, 1) * rng.uniform(0.0, 1.5, steps)
    capability = np.where(
        third, 0.5 + np.sign(outside) * (0.5 + abs(outside)), capability
    )
    return ids, successes, capability.astype(np.float32)


def in_float64(forgetting, references, prior, steps):
    """The recurrence, written out."""
    alpha, beta = (np.full(NUM_TASKS, p) for p in prior)
    weak, strong = references.astype(np.float64).T
    keep = 1 - np.float64(np.float32(forgetting))
    for ids, successes, capability in zip(*steps, strict=True):
        said = np.clip(weak + np.float64(capability) * (strong - weak), 0, 1)
        s, f = WEIGHT * said, WEIGHT * (1 - said)
        for task, good in zip(ids, successes.astype(np.float64), strict=True):
            if task >= 0:
                s[task], f[task] = good, 16 - good
        alpha = keep * alpha + (1 - keep) * prior[0] + s
        beta = keep * beta + (1 - keep) * prior[1] + f
    return alpha, beta


@functools.partial(jax.jit, static_argnames="remembered")
def in_lazy(forgetting, references, prior, steps, remembered):
    """All the steps in one scan; returns the largest total ever over its bound, too."""
    pair = (references[:, 0], references[:, 1])
    posterior = init_lazy_posterior(NUM_TASKS, prior[0], prior[1], remembered, pair)

    def step(carry, step):
        ids, successes, capability = step
        rows = collect_rows(evidence_from_counts(ids, successes, 16.0), NUM_TASKS)
        rate = interpolate(
            *references_at(carry, lambda x: x.at[rows.task_ids].get(mode="clip")),
            capability,
        )
        said = (capability, jnp.where(rows.valid, rate, 0))
        weight = jnp.float32(WEIGHT)
        carry = update_lazy_posterior(carry, rows, said, forgetting, weight)
        alpha, beta = lazy_counts(carry, lambda x: x)
        return carry, jnp.max(alpha + beta) / carry.max_concentration

    posterior, filled = jax.lax.scan(step, posterior, steps)
    return lazy_counts(posterior, lambda x: x), jnp.max(filled)


def worst_error(forgetting, remembered=None, prior=(1.0, 2.0), seed=0, steps=STEPS):
    references, given = make_references(), make_steps(seed, steps)
    want = in_float64(forgetting, references, prior, given)
    remembered = num_remembered(forgetting) if remembered is None else remembered
    got, filled = in_lazy(forgetting, references, prior, given, remembered)
    assert float(filled) <= 1 + 1e-5
    return max(
        np.max(np.abs(np.asarray(g, np.float64) / w - 1))
        for g, w in zip(got, want, strict=True)
    )


@pytest.mark.parametrize(
    "forgetting", nightly_but([0.02, 0.1, 0.2, 0.5, 0.9, 1.0], 0.1, 0.9, 1.0)
)
def test_lazy_equals_float64_over_a_thousand_steps(forgetting):
    """Forgetting 0.5 runs out of scale five times, 0.9 and 1 far more often."""
    assert worst_error(forgetting) < 1e-5


def test_lazy_without_forgetting():
    assert worst_error(0.0, steps=300) < 1e-5


@pytest.mark.parametrize("remembered", [32, 64])
def test_steps_that_have_not_faded_are_not_lost(remembered):
    """With too short a memory the oldest step is written into every task."""
    assert worst_error(0.02, remembered) < 1e-5


def test_small_priors():
    assert worst_error(0.1, prior=(0.1, 0.3)) < 1e-5


def plant(monkeypatch, name, wrong):
    monkeypatch.setattr(lazy, name, wrong)
    jax.clear_caches()


def test_catches_planted_bug_of_no_clip(monkeypatch):
    """Every capability taken for one within [0, 1]."""
    honest = lazy._remember

    def wrong(posterior, capability, keep, weight):
        return honest(posterior, jnp.clip(capability, 0, 1), keep, weight)

    plant(monkeypatch, "_remember", wrong)
    assert worst_error(0.1) > 1e-3
    jax.clear_caches()


def test_catches_planted_bug_of_a_step_that_is_dropped(monkeypatch):
    """A step leaves the list before it has faded, and is not written down."""
    honest = lazy._remember

    def wrong(*arguments):
        new, (capability, weight) = honest(*arguments)
        return new, (capability, jnp.zeros_like(weight))

    plant(monkeypatch, "_remember", wrong)
    assert worst_error(0.02, 32) > 1e-4
    jax.clear_caches()


def test_catches_planted_bug_of_counting_rows_twice(monkeypatch):
    """Tasks that were rolled out keep what the plug-in said of them as well."""
    honest = lazy.update_lazy_posterior

    def wrong(posterior, rows, said, forgetting, weight):
        said = (said[0], jnp.zeros_like(said[1]))
        return honest(posterior, rows, said, forgetting, weight)

    monkeypatch.setattr(sys.modules[__name__], "update_lazy_posterior", wrong)
    jax.clear_caches()
    assert worst_error(0.1) > 1e-3
    jax.clear_caches()


def test_counts_never_fall_below_the_prior():
    references, steps = make_references(), make_steps(3)
    for prior in ((1.0, 1.0), (0.01, 0.02)):
        (alpha, beta), _ = in_lazy(0.1, references, prior, steps, 192)
        assert float(alpha.min()) >= np.float32(prior[0])
        assert float(beta.min()) >= np.float32(prior[1])


def test_remembered_steps_cover_what_has_not_faded():
    for forgetting in (0.036, 0.1, 0.5, 0.99):
        steps = num_remembered(forgetting)
        assert steps % 32 == 0 and (1 - forgetting) ** steps <= 1e-8
    assert num_remembered(1.0) == 32
    assert num_remembered(0.035) == num_remembered(0.0) == MAX_REMEMBERED
    assert num_remembered(jnp.float32(0.1)) == 192
    traced = []
    jax.jit(lambda x: traced.append(num_remembered(x)))(0.1)
    assert traced == [MAX_REMEMBERED]


def test_counts_can_be_set_and_read_back():
    rng = np.random.default_rng(0)
    alpha, beta = (jnp.float32(rng.uniform(1, 1e5, NUM_TASKS)) for _ in range(2))
    pair = jnp.asarray(make_references()).T
    posterior = init_lazy_posterior(NUM_TASKS, 1.0, 1.0, 32, (pair[0], pair[1]))
    posterior = posterior._replace(implied=jnp.float32(3), past_weight=jnp.ones(32))
    got = lazy_counts(lazy_from_counts(posterior, alpha, beta), lambda x: x)
    np.testing.assert_allclose(got, (alpha, beta), rtol=1e-6)


def test_implied_counts_by_hand():
    # weight 2 at c = .5: p = .2 + .5 * .6 = .5; weight 1 at c = 2: clip(1.4) = 1
    posterior = init_lazy_posterior(1, 1.0, 1.0, 32)._replace(
        implied=jnp.float32(2), implied_strong=jnp.float32(1)
    )
    posterior = posterior._replace(
        past_capability=posterior.past_capability.at[0].set(2),
        past_weight=posterior.past_weight.at[0].set(1),
    )
    weak, strong = jnp.float32([0.2]), jnp.float32([0.8])
    successes, failures = implied_counts(posterior, weak, strong)
    np.testing.assert_allclose(successes, [2.0], rtol=1e-6)
    np.testing.assert_allclose(failures, [1.0], rtol=1e-6)


@pytest.mark.parametrize("block", nightly_but([1, 7, 50], 7))
def test_blocks_of_the_pass_change_nothing(block, monkeypatch):
    """The last block overlaps the one before; nothing may be forgotten twice."""
    monkeypatch.setattr(lazy, "_BLOCK", block)
    jax.clear_caches()
    assert worst_error(0.9) < 1e-5
    assert worst_error(0.02, 32, steps=300) < 1e-5
    jax.clear_caches()
