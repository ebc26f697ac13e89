"""The walk that all races share, and the pieces it is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bots_jax.selection.walk import multiply_high, prefix_sum, uniform_task, walk
from tests.statistical import HONEST, inclusion_pvalue


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 1000, 2**31 - 2])
def test_every_task_has_the_same_number_of_words(num_tasks):
    """Words at both borders of each task's range, and those left over."""
    share, left_over = divmod(2**32, num_tasks)
    words = np.random.default_rng(0).integers(0, 2**32, 4000, dtype=np.uint64)
    edges = np.array([0, 1, 2**32 - 1, 2**31], np.uint64)
    words = np.concatenate([words, edges])
    high, low = multiply_high(jnp.asarray(words, jnp.uint32), num_tasks)
    np.testing.assert_array_equal(high, (words * num_tasks) >> 32)
    np.testing.assert_array_equal(low, (words * num_tasks) % 2**32)
    got = np.asarray(uniform_task(jnp.asarray(words, jnp.uint32), num_tasks))
    want = np.where(
        (words * num_tasks) % 2**32 >= left_over, (words * num_tasks) >> 32, -1
    )
    np.testing.assert_array_equal(got, want.astype(np.int64))
    if num_tasks <= 3:
        sample = np.arange(0, 2**32, 2**12 + 1, dtype=np.uint64).astype(np.uint32)
        counts = np.bincount(
            np.asarray(uniform_task(jnp.asarray(sample), num_tasks)) + 1
        )
        assert np.ptp(counts[1:]) <= 2 and share * num_tasks + left_over == 2**32


def test_prefix_sum():
    x = np.random.default_rng(0).random(640).astype(np.float32)
    np.testing.assert_allclose(prefix_sum(jnp.asarray(x)), np.cumsum(x), rtol=1e-5)


def test_walk_in_which_everyone_is_accepted_is_a_uniform_sample():
    always = lambda task_ids, times, bits: jnp.ones_like(times)  # noqa: E731

    def sample(key):
        words = jax.random.bits(key, (2,), jnp.uint32)
        return walk((words[0], words[1]), 50, 5, 0.25, always)

    found = jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(0), 20_000))
    ids = np.asarray(found.task_ids)[np.asarray(found.num_found) >= 5]
    assert len(ids) > 19_000
    # not conditioned on anything but enough arrivals, which all tasks share alike
    assert inclusion_pvalue(ids[:, :5], 50) > HONEST
