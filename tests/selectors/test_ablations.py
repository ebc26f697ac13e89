"""The two halves of BOTS are `bots` with other settings, and a name of their own."""

from typing import Any

import jax
import numpy as np
import pytest

import bots_jax
from bots_jax.shard import Shard
from tests.selector_cases import make_references
from tests.selectors.rivals import as_evidence, random_rows

NUM_TASKS = 40
SIZES: dict[str, Any] = {"num_tasks": NUM_TASKS, "batch_size": 5, "group_size": 8}
DOTS = {
    "forgetting": 1.0,
    "implicit_weight": 1.0,
    "estimate": bots_jax.posterior_means,
}
MOPPS = {"forgetting": 0.0, "implicit_weight": 0.0}


def history(selector) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    state = selector.init(make_references(NUM_TASKS))
    step = jax.jit(bots_jax.make_step(selector))
    seen = []
    for i in range(6):
        evidence = as_evidence(random_rows(rng, NUM_TASKS))
        state, ids, _ = step(jax.random.key(i), state, evidence)
        seen.append(np.asarray(ids))
    return [*seen, *map(np.asarray, selector.posterior(state))]


def same(left, right) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(left, right, strict=True))


@pytest.mark.parametrize(
    ("factory", "settings"), [(bots_jax.bots_mopps, MOPPS), (bots_jax.bots_dots, DOTS)]
)
def test_they_are_bots_with_the_papers_settings(factory, settings):
    got = history(factory(**SIZES))
    assert same(got, history(bots_jax.bots(**SIZES, **settings)))
    assert not same(got, history(bots_jax.bots(**SIZES)))  # planted: the defaults


@pytest.mark.parametrize("factory", [bots_jax.bots_mopps, bots_jax.bots_dots])
def test_they_keep_their_names(factory):
    selector = factory(**SIZES)
    assert selector.name == factory.__name__
    assert selector.remake is not None
    other = selector.remake(Shard(64))
    assert (other.name, other.num_tasks) == (factory.__name__, 64)
    mesh = jax.make_mesh((1,), ("tasks",))
    assert bots_jax.shard_selector(selector, mesh).name == factory.__name__


def test_explicit_counts_alone_by_hand():
    """3 of 4 and then 1 of 4, nothing forgotten: Beta(1 + 4, 1 + 4)."""
    selector = bots_jax.bots_mopps(num_tasks=2, batch_size=1)
    state = selector.init()
    for successes in (3, 1):
        evidence = bots_jax.evidence_from_counts([1], [successes], 4)
        state, _ = selector.update(state, evidence)
    alpha, beta = selector.posterior(state)
    assert alpha.tolist() == [1, 5] and beta.tolist() == [1, 5]
