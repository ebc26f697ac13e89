"""DAPO's dynamic sampling: what is kept, what is charged, and a uniform choice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bots_jax
from bots_jax.selectors.dynamic_sampling import is_mixed, keep_mixed
from tests.selectors.rivals import choices
from tests.statistical import CAUGHT, HONEST, inclusion_pvalue


def generate(filled, mixed, batch_size, charge_all=False):
    """The trainer's loop: generations until enough groups are mixed."""
    kept, charged, batches = [], [], 0
    for start in range(0, len(mixed), batch_size):
        if len(kept) >= batch_size and not charge_all:
            break
        batches += 1
        slots = range(start, min(start + batch_size, len(mixed)))
        charged += [i for i in slots if filled[i]]
        kept += [i for i in slots if filled[i] and mixed[i]]
    return kept[:batch_size], charged, batches


def test_against_a_loop():
    rng = np.random.default_rng(0)
    keep = jax.jit(keep_mixed, static_argnums=2)
    differs = 0
    for _ in range(200):
        size, share = int(rng.choice([1, 7, 12, 15])), rng.uniform(0, 1)
        filled, mixed = rng.random(size) < 0.9, rng.random(size) < share
        got = keep(filled, mixed, 4)
        kept, charged, batches = generate(filled, mixed, 4)
        assert np.flatnonzero(got.trained).tolist() == kept
        assert np.flatnonzero(got.rolled_out).tolist() == charged
        assert int(got.num_kept) == len(kept) and int(got.num_charged) == len(charged)
        assert int(got.num_batches) == batches
        wrong = generate(filled, mixed, 4, charge_all=True)  # planted: never stops
        differs += wrong[1] != charged
    assert differs > 50


def test_which_groups_are_mixed():
    ids, ones = jnp.int32([3, 1, 2, -1]), jnp.float32([1, 4, 0, 2])
    assert is_mixed(ids, ones, 4 - ones).tolist() == [True, False, False, False]


def test_the_simulated_loop_keeps_the_same():
    loop = pytest.importorskip("bots_jax.evaluation.loop")
    if not hasattr(loop, "_keep"):
        pytest.skip("the loop uses keep_mixed itself")
    rng = np.random.default_rng(1)
    selector = bots_jax.dynamic_sampling(num_tasks=20, batch_size=12)
    arm = loop.Arm(selector, 4, dynamic_sampling=True)
    for _ in range(20):
        filled, mixed = jnp.array(rng.random((2, 12)) < 0.6)
        rolled_out, trained = loop._keep(arm, filled, mixed & filled)
        kept = keep_mixed(filled, mixed, 4)
        np.testing.assert_array_equal(rolled_out, kept.rolled_out)
        np.testing.assert_array_equal(trained, kept.trained)


def test_every_task_is_chosen_equally_often():
    selector = bots_jax.dynamic_sampling(num_tasks=12, batch_size=3)
    ids = choices(selector, selector.init()).copy()
    assert inclusion_pvalue(ids, 12) > HONEST
    ids[ids == 11] = 0  # planted
    assert inclusion_pvalue(ids, 12) < CAUGHT


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="mixed must have shape"):
        keep_mixed(jnp.ones(3, bool), jnp.ones(2, bool), 1)
