"""The sweep in blocks against scoring everyone at once."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.selection import select_top_k, sweep
from bots_jax.shard import Shard

sweep_module = importlib.import_module("bots_jax.selection.sweep")
SIZES = [(10, 3), (100, 7), (101, 101), (257, 40)]


def scores_of(num_tasks: int, seed: int):
    """Scores with ties, NaN and infinities, and a mask."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 12, num_tasks).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        scores[rng.random(num_tasks) < 0.05] = value
    return jnp.asarray(scores), jnp.asarray(rng.random(num_tasks) < 0.8)


def swept(scores, eligible, batch_size, block_size):
    def score(start, size):
        cut = lambda x: jax.lax.dynamic_slice(x, (start,), (size,))  # noqa: E731
        return cut(scores), cut(scores) + 1, cut(eligible)

    run = lambda: sweep(Shard(len(scores)), batch_size, score, block_size)  # noqa: E731
    return jax.jit(run)()


@pytest.mark.parametrize("block_size", [8, 33, 64, 1000])
@pytest.mark.parametrize("num_tasks, batch_size", SIZES)
def test_blocks_change_nothing(num_tasks, batch_size, block_size):
    """Ties, NaN, ineligible and missing tasks included; the last block overlaps."""
    for seed in range(3):
        scores, eligible = scores_of(num_tasks, seed)
        chosen = swept(scores, eligible, batch_size, block_size)
        want = select_top_k(scores, eligible, batch_size)
        np.testing.assert_array_equal(chosen.task_ids, want)
        filled = np.asarray(want) >= 0
        np.testing.assert_array_equal(
            np.asarray(chosen.draws)[filled], np.asarray(scores)[want][filled] + 1
        )


def test_catches_planted_bug_of_the_overlap(monkeypatch):
    """Tasks of the last block that the one before had already must not count twice."""
    honest = sweep_module.rankable
    everyone = lambda scores, eligible: honest(scores, jnp.bool_(True))  # noqa: E731
    monkeypatch.setattr(sweep_module, "rankable", everyone)
    chosen = swept(
        jnp.arange(11, dtype=jnp.float32).at[5].set(99), jnp.ones(11, bool), 3, 5
    )
    assert len(set(chosen.task_ids.tolist())) < 3
