"""TaskSampler against plain `selector.update`, with references, dense and lazy."""

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.host import sampler as sampler_module
from tests.host.common import (
    FORGETTING,
    NUM_TASKS,
    make_references,
    make_sampler,
    rewards_of,
)

kinds = pytest.mark.parametrize("kind", ["dense", "lazy"])


def compare(kind: str, steps: int) -> None:
    """Late evidence, repeats and empty steps; then the same sums, given directly."""
    sampler = make_sampler(kind, references=True)
    selector, rng = sampler.selector, np.random.default_rng(0)
    state = selector.init(make_references(NUM_TASKS))
    update, posterior = jax.jit(selector.update), jax.jit(selector.posterior)
    for step in range(steps):
        successes, failures = np.zeros((2, NUM_TASKS))
        sampler.select()
        for part in range(int(rng.integers(0, 4))):
            rewards = rewards_of(2, seed=4 * step + part)
            ids, drawn_at = rng.integers(0, NUM_TASKS, 2), rng.integers(0, step + 1, 2)
            drawn_at = np.maximum(drawn_at, step - 9)
            assert sampler.observe(ids, rewards, drawn_at=drawn_at) == 2
            for i in range(2):
                weight = (1 - FORGETTING) ** (step - drawn_at[i])
                successes[ids[i]] += weight * rewards[i].sum()
                failures[ids[i]] += weight * (1 - rewards[i]).sum()
        sampler.advance()
        evidence = bots_jax.evidence_from_counts(
            np.arange(NUM_TASKS), successes, successes + failures
        )
        state, _ = update(state, evidence)
        for have, want in zip(sampler.posterior(), posterior(state), strict=True):
            np.testing.assert_allclose(have, want, rtol=2e-5)
    assert int(sampler.state.num_updates) == steps


@kinds
def test_sampler_learns_what_update_learns(kind):
    compare(kind, 40)


def test_comparison_catches_late_evidence_that_counts_in_full(monkeypatch):
    total = sampler_module.total
    monkeypatch.setattr(sampler_module, "total", lambda x, step, _: total(x, step, 1.0))
    with pytest.raises(AssertionError):
        compare("dense", 10)
